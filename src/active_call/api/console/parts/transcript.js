// The transcript of a call: both sides, interim words, interruptions, and how long each reply took.

import { clock, ms } from "../format.js";
import { html, useEffect, useRef } from "../ui.js";
import { Waterfall } from "./waterfall.js";

const NAMES = { caller: "Caller", agent: "Agent" };

function Line({ line, names, onPick }) {
  if (line.kind === "event") return html`<li class=${line.isProblem ? "note bad" : "note"}><span>${line.text}</span> <time>${clock(line.at)}</time></li>`;
  const words = onPick
    ? html`<button class="words" onClick=${() => onPick(line)} title="Hear it">${line.text}</button>`
    : html`<p class="words">${line.text}</p>`;
  return html`
    <li class=${`said ${line.speaker}`}>
      <div class="by"><strong>${names[line.speaker]}</strong> <time>${clock(line.at)}</time>
        ${line.turn && html`<span class="latency" title="From the caller's last voiced packet to our first">${ms(line.turn.latency)}</span>`}
        ${line.isInterrupted && html`<span class="cut">interrupted</span>`}</div>
      ${words}
      ${line.turn?.waits.length > 0 && html`<${Waterfall} turn=${line.turn} />`}
    </li>`;
}

/** `state`: from conversation.js. `names`: the names of the two sides. `onPick`: called for a click on words. The newest line stays in view. */
export function Transcript({ state, names = NAMES, onPick, isLive = false }) {
  const box = useRef(null);
  const isAtEnd = useRef(true);
  useEffect(() => {
    if (isLive && isAtEnd.current) box.current.scrollTop = box.current.scrollHeight;
  }, [state, isLive]);
  const scrolled = event => { // it may come when the transcript is gone from the page
    const { scrollHeight, scrollTop, clientHeight } = event.target;
    isAtEnd.current = scrollHeight - scrollTop - clientHeight < 40;
  };
  const isEmpty = !state.lines.length && !state.partial && !state.isAgentSpeaking;
  return html`
    <div class="transcript" ref=${box} onScroll=${scrolled} tabindex="0" role="region" aria-label="Transcript">
      <ol aria-live=${isLive ? "polite" : undefined}>
        ${state.lines.map(line => html`<${Line} key=${line.key} line=${line} names=${names} onPick=${onPick} />`)}
      </ol>
      ${state.partial && html`<p class="said caller interim"><span class="by"><strong>${names.caller}</strong></span> <em>${state.partial.text} …</em></p>`}
      ${state.isAgentSpeaking && html`<p class="said agent interim"><span class="by"><strong>${names.agent}</strong></span> <em>is speaking …</em></p>`}
      ${isEmpty && html`<p class="empty">Nothing has been said yet.</p>`}
    </div>`;
}
