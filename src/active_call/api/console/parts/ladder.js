// The signalling of a SIP call as a ladder between the two sides, as the record's events tell it.

import { clock } from "../format.js";
import { Empty, html } from "../ui.js";

const WIDTH = 420, LEFT = 60, RIGHT = 360, TOP = 44, STEP = 34;

/** Arrows `{at, text, isIn}`; `isIn`: from the other side to us. */
export function stepsOf(record) {
  const isIn = record.direction === "inbound";
  const steps = [{ at: Date.parse(record.startTime), text: "INVITE", isIn }];
  let answered = false;
  for (const event of record.events) {
    if (event.refer) continue;
    const add = (text, fromPeer) => steps.push({ at: event.timestamp, text, isIn: fromPeer });
    switch (event.event) {
      case "ringing": add(event.earlyMedia ? "183 with sound" : "180 Ringing", !isIn); break;
      case "answer": if (!answered) { answered = true; add("200 OK", !isIn); } break;
      case "mediaReady": add("ACK", isIn); break;
      case "hold": add(event.onHold ? "re-INVITE (hold)" : "re-INVITE (off hold)", event.initiator !== "system"); break;
      case "transferRequest": add(`REFER to ${event.referTo}`, true); break;
      case "transfer": if (event.state === "referring") add(`REFER to ${event.target}`, false); break;
      case "message": add("MESSAGE", true); break;
      case "hangup": {
        const byPeer = event.initiator === (isIn ? "caller" : "callee");
        if (record.answerTime) add("BYE", byPeer);
        else if (record.sipCode && record.sipCode !== 487) add(`${record.sipCode} ${event.extra?.reasonText ?? ""}`.trim().slice(0, 40), !isIn);
        else add("CANCEL", isIn);
        break;
      }
      default:
    }
  }
  return steps;
}

export function Ladder({ record }) {
  if (record.callType !== "sip") return html`<${Empty}>A ${record.callType} call: no SIP.<//>`;
  const steps = stepsOf(record);
  const height = TOP + STEP * steps.length + 16;
  return html`
    <svg class="ladder" viewBox=${`0 0 ${WIDTH} ${height}`} role="img" aria-label=${`Signalling: ${steps.map(step => `${step.isIn ? "received" : "sent"} ${step.text}`).join(", ")}`}>
      <text x=${LEFT} y="18" text-anchor="middle">other side</text><text x=${RIGHT} y="18" text-anchor="middle">this server</text>
      <line class="life" x1=${LEFT} y1="26" x2=${LEFT} y2=${height} /><line class="life" x1=${RIGHT} y1="26" x2=${RIGHT} y2=${height} />
      ${steps.map((step, index) => {
        const y = TOP + STEP * index + 12, [from, to] = step.isIn ? [LEFT, RIGHT] : [RIGHT, LEFT], head = step.isIn ? -8 : 8;
        return html`<g><text x=${(LEFT + RIGHT) / 2} y=${y - 5} text-anchor="middle">${step.text}</text><text class="at" x="0" y=${y + 4}>${clock(step.at)}</text>
          <line x1=${from} y1=${y} x2=${to} y2=${y} /><path d=${`M${to} ${y} l${head} -4 v8 z`} /></g>`;
      })}
    </svg>
    <p class="hint">Drawn from the events of the call; the messages themselves are not kept.</p>`;
}
