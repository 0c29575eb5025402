// The formats of times, lengths and addresses. Pure.

export const clock = at => (at ? new Date(at).toLocaleTimeString() : "");
export const dateTime = at => (at ? new Date(at).toLocaleString([], { dateStyle: "medium", timeStyle: "medium" }) : "");

/** Seconds as `m:ss` or `h:mm:ss`. */
export function length(seconds) {
  const whole = Math.max(0, Math.floor(seconds || 0));
  const two = n => String(n).padStart(2, "0");
  const minutes = Math.floor(whole / 60) % 60, hours = Math.floor(whole / 3600);
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

export const ms = value => (value === undefined || value === null ? "" : `${Math.round(value)} ms`);

/** A SIP address for display: display name, else number or user without escapes, followed by the host. */
export function who(address) {
  const text = String(address ?? "");
  const named = /^\s*"?([^"<]*?)"?\s*<[^>]*>/.exec(text);
  return isolated(named?.[1] || unescaped(text.replace(/^.*<|>.*$/g, "").replace(/^sips?:/, "").replace(/;.*$/, "")));
}

function unescaped(text) {
  try { return decodeURIComponent(text); } catch { return text; }
}

/** Right-to-left text within Unicode's isolates, so that it does not change the order of what stands beside it. */
const isolated = text => (/[\u0590-\u08ff\ufb1d-\ufefc]/.test(text) ? `\u2068${text}\u2069` : text);

/** The two sides of a live call or a record: a browser has no number, an agent has a playbook. */
export function parties(call) {
  const other = { webrtc: "browser", websocket: "socket", webSocket: "socket" }[call.callType] ?? "unknown";
  const agent = bookName(call.playbook) || "unknown";
  if (call.callType && call.callType !== "sip") return `${who(call.caller) || other} → ${who(call.callee) || agent}`;
  return `${who(call.caller) || "unknown"} → ${who(call.callee) || "unknown"}`;
}

/** The name of a playbook without its folder. */
export const bookName = path => String(path ?? "").replace(/^.*\//, "");

export const value = item => (typeof item === "string" ? item : JSON.stringify(item));

/** Why a browser object is not available, as text. */
export function deviceError(error) {
  switch (error?.name) {
    case "NotAllowedError": return "The browser does not let this page use the microphone: allow it in the address bar.";
    case "NotFoundError":
    case "OverconstrainedError": return "No microphone was found.";
    case "NotReadableError": return "The microphone is in use by another program.";
    default: return error?.message ?? String(error);
  }
}
