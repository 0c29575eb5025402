// The signalling of a SIP call as a ladder between the two sides: its messages, or the events for records without messages.

import { clock } from "../format.js";
import { Empty, html } from "../ui.js";
import { messageSteps, stepsOf } from "./sip_steps.js";

export { stepsOf };

const WIDTH = 420, LEFT = 60, RIGHT = 360, TOP = 44, STEP = 34, SHOWN = 42;

function Drawing({ steps, label }) {
  const height = TOP + STEP * steps.length + 16;
  return html`
    <svg class="ladder" viewBox=${`0 0 ${WIDTH} ${height}`} role="img" aria-label=${`${label}: ${steps.map(step => `${step.isIn ? "received" : "sent"} ${step.text}`).join(", ")}`}>
      <text x=${LEFT} y="18" text-anchor="middle">other side</text><text x=${RIGHT} y="18" text-anchor="middle">this server</text>
      <line class="life" x1=${LEFT} y1="26" x2=${LEFT} y2=${height} /><line class="life" x1=${RIGHT} y1="26" x2=${RIGHT} y2=${height} />
      ${steps.map((step, index) => {
        const y = TOP + STEP * index + 12, [from, to] = step.isIn ? [LEFT, RIGHT] : [RIGHT, LEFT], head = step.isIn ? -8 : 8;
        return html`<g><text x=${(LEFT + RIGHT) / 2} y=${y - 5} text-anchor="middle">${step.text.slice(0, SHOWN)}</text><text class="at" x="0" y=${y + 4}>${clock(step.at)}</text>
          <line x1=${from} y1=${y} x2=${to} y2=${y} /><path d=${`M${to} ${y} l${head} -4 v8 z`} /></g>`;
      })}
    </svg>`;
}

function Texts({ messages }) {
  const written = message => message.text || [message.startLine, ...Object.entries(message.headers ?? {}).map(([name, value]) => `${name}: ${value}`)].join("\n");
  return html`
    <details><summary>${messages.length} ${messages.length === 1 ? "message" : "messages"}</summary>
      ${messages.map(message => html`<p class="hint">${clock(message.timestamp)} ${message.received ? "from" : "to"} ${message.transport} ${message.peer}</p><div class="message">${written(message)}</div>`)}
    </details>`;
}

export function Ladder({ record }) {
  if (record.callType !== "sip") return html`<${Empty}>A ${record.callType} call: no SIP.<//>`;
  const messages = record.sipMessages ?? [];
  const far = (record.transfers ?? []).flatMap(transfer => transfer.farLegs ?? []).filter(leg => leg.sipMessages?.length);
  return html`
    <${Drawing} label="Signalling" steps=${stepsOf(record)} />
    ${messages.length ? html`<${Texts} messages=${messages} />` : html`<p class="hint">Drawn from the events of the call; its messages were not kept.</p>`}
    ${far.map(leg => html`<h3>${leg.callee}</h3><${Drawing} label=${`Signalling of ${leg.callee}`} steps=${messageSteps(leg.sipMessages)} /><${Texts} messages=${leg.sipMessages} />`)}`;
}
