// A conversation from a call's events: what was said, what was heard of it, and other events. Pure: (state, event) → state.

export const NOTHING = { lines: [], partial: null, isCallerSpeaking: false, isAgentSpeaking: false, agentSince: null, turn: null, wasCut: false };
const MAX_LINES = 500;
const CALLERS = new Set(["user", "caller"]);
const AGENTS = new Set(["assistant", "agent"]);

/** The state after an event. `at` of a line is ms since 1970. */
export function hear(state, event) {
  const at = event.timestamp;
  if (event.refer) return event.event === "asrDelta" || event.event === "asrFinal" ? state : noted(state, event, at, `other party: ${told(event)}`);
  switch (event.event) {
    case "speaking": return { ...state, isCallerSpeaking: true };
    case "silence": return { ...state, isCallerSpeaking: false };
    case "asrDelta": return { ...state, partial: { index: event.index, text: event.text, at: event.startTime ?? at } };
    case "asrFinal":
      if (event.text) return { ...state, partial: { index: event.index, text: event.text, at: event.startTime ?? at, isFinal: true } };
      return noted({ ...state, partial: null }, event, at, event.isLost ? "speech, lost: the recogniser was busy or did not answer" : "speech without words");
    case "trackStart": return isOfTheOther(event) ? state : { ...state, isAgentSpeaking: true, agentSince: state.agentSince ?? at };
    case "trackEnd": return isOfTheOther(event) ? state : { ...state, isAgentSpeaking: false };
    case "interruption": return { ...state, isAgentSpeaking: false, wasCut: true };
    case "turn": return measured(state, event);
    case "addHistory": return said(state, event, at);
    case "hangup": return noted({ ...state, partial: null, isCallerSpeaking: false, isAgentSpeaking: false }, event, at, told(event));
    default: {
      const text = told(event);
      return text ? noted(state, event, at, text) : state;
    }
  }
}

/** Whether a track is the other party's sound, and no play of the server's. */
const isOfTheOther = event => Boolean(event.trackId) && event.trackId !== "server-side-track";

function said(state, event, at) {
  if (CALLERS.has(event.speaker)) {
    const line = { kind: "said", speaker: "caller", text: event.text, at: state.partial?.at ?? at };
    return { ...added(state, line), partial: state.partial?.isFinal ? null : state.partial };
  }
  if (!AGENTS.has(event.speaker)) return noted(state, event, at, `${event.speaker}: ${event.text}`);
  if (event.sender === "client") return added(state, { kind: "said", speaker: "agent", text: event.text, at }); // not what the agent is saying
  const line = { kind: "said", speaker: "agent", text: event.text, at: state.agentSince ?? state.turn?.at ?? at, isInterrupted: state.wasCut, turn: state.turn };
  return { ...added(state, line), turn: null, agentSince: null, wasCut: false };
}

/** A turn's latency belongs to the agent's next words, or to the last ones if it comes late. */
function measured(state, event) {
  if (event.latency === undefined || event.latency === null) return state;
  const turn = { index: event.index, latency: event.latency, waits: event.waits ?? [], marks: event.marks ?? {}, at: event.timestamp };
  const last = state.lines.findLastIndex(line => line.kind === "said");
  if (!state.isAgentSpeaking && state.lines[last]?.speaker === "agent" && !state.lines[last].turn && state.lines[last].text === event.text) {
    return { ...state, lines: state.lines.with(last, { ...state.lines[last], turn }) };
  }
  return { ...state, turn };
}

function noted(state, event, at, text) {
  const isProblem = event.event === "error" || (event.event === "mediaProblem" && !event.over);
  return text ? added(state, { kind: "event", text, at, isProblem }) : state;
}

const added = (state, line) => ({ ...state, lines: [...state.lines.slice(-MAX_LINES + 1), { ...line, key: (state.lines.at(-1)?.key ?? 0) + 1 }] });

/** An event as text; empty for events that a transcript leaves out. */
export function told(event) {
  switch (event.event) {
    case "ringing": return event.earlyMedia ? "ringing, with sound" : "ringing";
    case "answer": return "answered";
    case "reject": return `refused${event.code ? ` with ${event.code}` : ""}: ${event.reason}`;
    case "hangup": return `ended by ${event.initiator ?? "nobody known"}: ${event.extra?.reasonText || event.reason || "no reason given"}`;
    case "dtmf": return `key ${event.digit}`;
    case "hold": return event.onHold ? "on hold" : "off hold";
    case "bridge": return `${event.state} with call ${event.targetSessionId}`;
    case "transfer": return `transfer to ${event.target}: ${event.state}${event.code ? ` (${event.code}${event.reason ? ` ${event.reason}` : ""})` : ""}`;
    case "transferRequest": return `asks to be transferred to ${event.referTo}`;
    case "functionCall": return `tool ${event.name}(${event.arguments})`;
    case "message": return `text message: ${event.body}`;
    case "mediaProblem": return event.over ? "sound goes both ways again" : `one-way sound: ${event.detail || event.problem}`;
    case "answerMachineDetection": return `answered by: ${event.kind ?? event.text}`;
    case "inactivity": return "nobody has said anything for too long";
    case "error": return `${event.sender}: ${event.error}`;
    case "custom": return `custom event: ${JSON.stringify(event.data)}`;
    default: return "";
  }
}
