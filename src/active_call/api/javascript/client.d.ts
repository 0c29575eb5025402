// Types of /client.js.

/** An event of a call; its fields are those of its kind (docs/http-api.md). Times are ms since 1970. */
export interface CallEvent {
  event: string;
  timestamp: number;
  /** Its number in the call. */
  seq?: number;
  trackId?: string;
  /** It belongs to the far leg of a transfer. */
  refer?: boolean;
  [field: string]: unknown;
}

/** A live call, as in `GET /list`. */
export interface LiveCall {
  id: string;
  callType: string;
  direction: "inbound" | "outbound";
  playbook: string;
  createdTime: string;
  ringTime: string | null;
  answerTime: string | null;
  startTime: string | null;
  "cs.option": { caller: string; callee: string };
  [field: string]: unknown;
}

export interface RecordSummary {
  id: string;
  date: string;
  /** Seconds from answer to end, as text: "12.4s". */
  duration: string;
  durationS: number;
  /** "completed" if the call was answered, otherwise as `outcome`. */
  status: string;
  /** "answered", "rejected", "failed" or "crashed". */
  outcome: string;
  direction: string;
  caller: string;
  callee: string;
}

export interface RecordPage {
  items: RecordSummary[];
  total: number;
  /** The query of the next page; null on the last one. */
  next: URLSearchParams | null;
}

export interface PlaceCall {
  callee: string;
  caller?: string;
  playbook?: string;
  content?: string;
  vars?: Record<string, unknown>;
  sip?: Record<string, unknown>;
  option?: Record<string, unknown>;
  id?: string;
}

export interface BrowserCallOptions {
  /** The name of a playbook on the server. */
  playbook?: string;
  /** The text of a playbook; overrides `playbook`. */
  content?: string;
  vars?: Record<string, unknown>;
  option?: Record<string, unknown>;
  caller?: string;
  id?: string;
  /** A device id, a stream, or false for none: the page can listen, and its keys work. */
  microphone?: string | MediaStream | false;
  /** Plays the agent; created if none is given. */
  audio?: HTMLAudioElement;
}

export interface Quality {
  roundTripMs?: number;
  jitterMs?: number;
  lostPackets?: number;
  packets?: number;
  codec?: string;
}

export type CallState = "connecting" | "connected" | "reconnecting" | "ended";
export type Unsubscribe = () => void;

export class ApiError extends Error {
  status: number;
  code: string;
}

export class Client {
  constructor(options?: { url?: string; token?: string });
  url: string;
  token: string;
  request(path: string, options?: RequestInit & { json?: unknown }): Promise<Response>;
  calls(): Promise<LiveCall[]>;
  place(wanted: PlaceCall): Promise<string>;
  command(id: string, command: { command: string; [field: string]: unknown }): Promise<void>;
  hangup(id: string): Promise<boolean>;
  records(filters?: Record<string, string | number | null | undefined> | URLSearchParams): Promise<RecordPage>;
  record(id: string): Promise<Record<string, unknown>>;
  recording(id: string): Promise<Blob>;
  playbooks(): Promise<{ name: string; updated: string }[]>;
  stream(
    path: string,
    options?: { signal?: AbortSignal; since?: string | number; isOver?: (item: StreamItem) => boolean },
  ): AsyncGenerator<StreamItem>;
  events(id: string, options?: { signal?: AbortSignal; since?: number }): AsyncGenerator<CallEvent>;
  follow(id: string, options?: { since?: number }): Call;
  call(options?: BrowserCallOptions): Promise<BrowserCall>;
}

export interface StreamItem {
  name: string;
  data: any;
  id?: string;
}

export class Call {
  id: string;
  state: CallState;
  /** The `hangup` event, once the call has ended. */
  ended: CallEvent | null;
  /** Resolves when the call has ended; null if it ended before it could be joined. */
  done: Promise<CallEvent | null>;
  on(name: "state", listener: (state: CallState) => void): Unsubscribe;
  on(name: "sound", listener: (sound: ArrayBuffer) => void): Unsubscribe;
  on(name: string, listener: (event: CallEvent, name: string) => void): Unsubscribe;
  next(name: string, options?: { matches?: (event: CallEvent) => boolean; timeoutMs?: number }): Promise<CallEvent>;
  send(command: string, fields?: Record<string, unknown>): void;
  say(text: string, options?: Record<string, unknown>): void;
  play(url: string, options?: Record<string, unknown>): void;
  interrupt(options?: { graceful?: boolean; fadeOutMs?: number }): void;
  dtmf(digits: string, options?: Record<string, unknown>): void;
  transfer(callee: string, options?: Record<string, unknown>): void;
  hold(on?: boolean): void;
  setVar(key: string, value: unknown): void;
  hangup(reason?: string): void;
  leave(): void;
}

export class BrowserCall extends Call {
  microphone: MediaStream | null;
  sound: MediaStream;
  audio: HTMLAudioElement;
  isMuted: boolean;
  on(name: "media", listener: (state: RTCPeerConnectionState | "blocked" | "lost") => void): Unsubscribe;
  on(name: "microphone", listener: (stream: MediaStream) => void): Unsubscribe;
  on(name: "state", listener: (state: CallState) => void): Unsubscribe;
  on(name: "sound", listener: (sound: ArrayBuffer) => void): Unsubscribe;
  on(name: string, listener: (event: CallEvent, name: string) => void): Unsubscribe;
  mute(on?: boolean): void;
  dtmf(digits: string, options?: { durationMs?: number; gapMs?: number }): void;
  setMicrophone(deviceId: string): Promise<void>;
  setSpeaker(deviceId: string): Promise<void>;
  quality(): Promise<Quality>;
  restartIce(): Promise<void>;
  release(): void;
}

export function openMicrophone(deviceId?: string): Promise<MediaStream>;
export function devices(): Promise<{ microphones: Device[]; speakers: Device[] }>;

export interface Device {
  id: string;
  label: string;
}
