// The latency of a reply: a bar with a segment for each wait, and the figures.

import { ms } from "../format.js";
import { html } from "../ui.js";

export const OWNERS = {
  turn: "end of turn", recogniser: "recogniser", model: "model", synthesiser: "synthesiser", web: "web server", server: "this server",
};

/** `turn`: `{latency, waits: [{owner, start, duration}]}` in ms. */
export function Waterfall({ turn }) {
  const whole = Math.max(turn.latency, ...turn.waits.map(wait => wait.start + wait.duration), 1);
  const percent = value => `${(Math.max(value, 0) / whole) * 100}%`;
  const spoken = turn.waits.map(wait => `${OWNERS[wait.owner] ?? wait.owner} ${ms(wait.duration)}`).join(", ");
  return html`
    <details class="waterfall">
      <summary aria-label=${`Reply after ${ms(turn.latency)}: ${spoken}`}>
        <span class="bar" aria-hidden="true">${turn.waits.map(wait => html`
          <span class=${`wait ${wait.owner}`} style=${{ left: percent(wait.start), width: percent(wait.duration) }} title=${`${OWNERS[wait.owner] ?? wait.owner}: ${ms(wait.duration)}`}></span>`)}
        </span>
      </summary>
      <table>
        <thead><tr><th scope="col">waited for</th><th scope="col">from</th><th scope="col">for</th></tr></thead>
        <tbody>${turn.waits.map(wait => html`<tr><td><span class=${`dot ${wait.owner}`}></span> ${OWNERS[wait.owner] ?? wait.owner}</td><td>${ms(wait.start)}</td><td>${ms(wait.duration)}</td></tr>`)}</tbody>
      </table>
    </details>`;
}

export const Legend = () => html`<p class="legend">${Object.entries(OWNERS).map(([key, name]) => html`<span><span class=${`dot ${key}`}></span> ${name}</span>`)}</p>`;
