// A call of this page: microphone and loudspeaker by WebRTC, events and commands by a socket. Part of /client.js.

import { Call } from "./call.js";

const ANSWER_TIMEOUT_MS = 15000;
const ICE_PATIENCE_MS = 3000;
const MAX_EARLY_CANDIDATES = 100;

/** A call of this page. Further events: `media` (the state of the media connection), `microphone` (another one is used). */
export class BrowserCall extends Call {
  #client;
  #pc;
  #sender;
  #early = [];
  #isOwnMicrophone;
  #isOwnAudio;
  #iceTimer = 0;
  #isRestarting = false;
  #silent = null;
  #stopWatching = () => {};

  constructor(client, pc, { microphone, isOwnMicrophone, audio }) {
    super(client, "", { since: 0, path: "/call/webrtc", connect: false });
    this.#client = client;
    this.#pc = pc;
    this.#isOwnMicrophone = isOwnMicrophone;
    this.#isOwnAudio = !audio;
    /** The microphone's MediaStream; null if the page only listens. */
    this.microphone = microphone;
    /** The agent's sound, as a MediaStream. */
    this.sound = new MediaStream();
    this.audio = audio ?? new Audio();
    this.audio.autoplay = true;
    this.audio.srcObject = this.sound;
    this.isMuted = false;
  }

  /** For `Client.call`: microphone and peer connection, before the request to the server. */
  static async open(client, { microphone, audio }) {
    if (!globalThis.RTCPeerConnection) throw new Error("this browser has no WebRTC, so it cannot make calls; try another one");
    const isGiven = microphone instanceof MediaStream || microphone === false;
    const stream = isGiven ? microphone || null : await openMicrophone(microphone);
    const iceServers = await client.request("/iceservers").then(response => response.json());
    const pc = new RTCPeerConnection({ iceServers });
    return new BrowserCall(client, pc, { microphone: stream, isOwnMicrophone: !isGiven, audio });
  }

  /** For `Client.call`: create the offer, get the answer, join the call's events. */
  async begin({ playbook, content, vars, option, caller, id }) {
    const pc = this.#pc;
    const stream = this.microphone ?? this.#silence();
    this.#sender = pc.addTrack(stream.getAudioTracks()[0], stream);
    pc.ontrack = ({ track: heard }) => { this.sound.addTrack(heard); this.audio.play().catch(() => this.tell("media", "blocked")); };
    pc.onicecandidate = ({ candidate }) => this.#sendCandidate(candidate);
    pc.onconnectionstatechange = () => this.#connectionChanged();
    await pc.setLocalDescription(await pc.createOffer());
    const json = { offer: pc.localDescription.sdp, playbook, content, vars, option, caller, id };
    const response = await this.#client.request("/call/webrtc", { json, signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS) });
    const answer = await response.json();
    this.id = answer.session_id;
    this.connect();
    this.#early.splice(0).forEach(candidate => this.send("addIceCandidate", candidate));
    this.on("hangup", event => { if (!event.refer) this.release(); });
    this.done.then(() => this.release());
    await pc.setRemoteDescription({ type: "answer", sdp: answer.sdp });
    const onOnline = () => this.restartIce();
    globalThis.addEventListener("online", onOnline);
    this.#stopWatching = () => globalThis.removeEventListener("online", onOnline);
  }

  /** Mute or unmute the microphone. */
  mute(on = true) {
    this.isMuted = on;
    if (this.#sender?.track) this.#sender.track.enabled = !on;
  }

  /** Press keys: they are sent to the agent as telephone events. */
  dtmf(digits, { durationMs = 120, gapMs = 70 } = {}) {
    const tones = this.#sender?.dtmf;
    if (!tones?.canInsertDTMF) throw new Error("this connection carries no keys");
    tones.insertDTMF((tones.toneBuffer ?? "") + digits, durationMs, gapMs);
  }

  /** Use another microphone from now on. */
  async setMicrophone(deviceId) {
    const stream = await openMicrophone(deviceId);
    const [track] = stream.getAudioTracks();
    track.enabled = !this.isMuted;
    await this.#sender.replaceTrack(track);
    if (this.#isOwnMicrophone) this.microphone?.getTracks().forEach(old => old.stop());
    this.microphone = stream;
    this.#isOwnMicrophone = true;
    this.tell("microphone", stream);
  }

  /** Play the agent on another loudspeaker. Does nothing if the browser cannot choose. */
  async setSpeaker(deviceId) {
    await this.audio.setSinkId?.(deviceId);
  }

  /** Connection figures: `{roundTripMs, jitterMs, lostPackets, packets, codec}`; missing while unknown. */
  async quality() {
    const all = [...(await this.#pc.getStats()).values()];
    const heard = all.find(one => one.type === "inbound-rtp") ?? {};
    const path = all.find(one => one.type === "candidate-pair" && one.state === "succeeded" && one.currentRoundTripTime !== undefined) ?? {};
    const codec = all.find(one => one.id === heard.codecId);
    return {
      roundTripMs: path.currentRoundTripTime === undefined ? undefined : path.currentRoundTripTime * 1000,
      jitterMs: heard.jitter === undefined ? undefined : heard.jitter * 1000,
      lostPackets: heard.packetsLost, packets: heard.packetsReceived, codec: codec?.mimeType.replace(/^audio\//, ""),
    };
  }

  /** Restart ICE after a change of the network (RFC 8445, section 9); automatic when the connection is lost. */
  async restartIce() {
    if (this.#isRestarting || this.state === "ended" || this.#pc.signalingState !== "stable") return;
    this.#isRestarting = true;
    try {
      await this.#pc.setLocalDescription(await this.#pc.createOffer({ iceRestart: true }));
      const answered = this.next("answer", { matches: event => Boolean(event.sdp) && !event.refer, timeoutMs: ANSWER_TIMEOUT_MS });
      this.send("renegotiate", { offer: this.#pc.localDescription.sdp });
      await this.#pc.setRemoteDescription({ type: "answer", sdp: (await answered).sdp });
    } catch (error) {
      if (this.#pc.signalingState === "have-local-offer") await this.#pc.setLocalDescription({ type: "rollback" });
      if (this.state !== "ended") this.tell("media", "lost");
    } finally {
      this.#isRestarting = false;
    }
  }

  /** End the call; the microphone is closed at once. */
  hangup(reason) {
    super.hangup(reason);
    this.release();
  }

  /** Close microphone and connection. May be called again. */
  release() {
    clearTimeout(this.#iceTimer);
    this.#stopWatching();
    if (this.#isOwnMicrophone) this.microphone?.getTracks().forEach(track => track.stop());
    if (this.#silent?.state !== "closed") this.#silent?.close();
    this.#pc.close();
    if (this.#isOwnAudio) this.audio.srcObject = null;
  }

  /** What a page without a microphone sends: keys travel with it, and the server sees that the page is connected. */
  #silence() {
    const context = this.#silent = new AudioContext();
    const line = context.createMediaStreamDestination();
    const source = new ConstantSourceNode(context, { offset: 0 });
    source.connect(line);
    source.start();
    context.resume().catch(() => {});
    return line.stream;
  }

  #sendCandidate(candidate) {
    if (!candidate?.candidate) return;
    const fields = { candidate: candidate.candidate, sdpMid: candidate.sdpMid, sdpMLineIndex: candidate.sdpMLineIndex };
    if (this.id) this.send("addIceCandidate", fields);
    else if (this.#early.length < MAX_EARLY_CANDIDATES) this.#early.push(fields);
  }

  #connectionChanged() {
    const state = this.#pc.connectionState;
    this.tell("media", state);
    clearTimeout(this.#iceTimer);
    if (state === "failed") this.restartIce();
    else if (state === "disconnected") this.#iceTimer = setTimeout(() => this.restartIce(), ICE_PATIENCE_MS);
  }
}

/** A microphone for speech. `deviceId`: which one; the browser's choice by default. Throws what `getUserMedia` throws. */
export function openMicrophone(deviceId) {
  if (!navigator.mediaDevices) throw new Error("no microphone: browsers give it to pages over https and of localhost only");
  const audio = { echoCancellation: true, noiseSuppression: true, autoGainControl: true, ...(deviceId ? { deviceId: { exact: deviceId } } : {}) };
  return navigator.mediaDevices.getUserMedia({ audio });
}

/** Microphones and loudspeakers: `{microphones, speakers}` of `{id, label}`. Labels are empty until microphone access was granted. */
export async function devices() {
  const all = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
  const of = kind => all.filter(one => one.kind === kind && one.deviceId).map(one => ({ id: one.deviceId, label: one.label }));
  return { microphones: of("audioinput"), speakers: of("audiooutput") };
}
