// The sound quality of a call over time: one small chart each for loss, jitter, round trip and the estimated opinion score.

import { Empty, html } from "../ui.js";
import { linesOf } from "./quality_points.js";

const WIDTH = 320, HEIGHT = 40, EDGE = 3;

const written = (value, unit) => `${value.toFixed(unit === "ms" ? 0 : 1)}${unit && ` ${unit}`}`;
const place = ([x, y]) => `${(EDGE + x * (WIDTH - 2 * EDGE)).toFixed(1)},${(HEIGHT - EDGE - y * (HEIGHT - 2 * EDGE)).toFixed(1)}`;

function Line({ line }) {
  const told = `${line.name}: worst ${written(line.worst, line.unit)}, best ${written(line.best, line.unit)}`;
  return html`
    <figure class="quality"><figcaption>${line.name} <span class="hint">worst ${written(line.worst, line.unit)}</span></figcaption>
      <svg viewBox=${`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label=${told}>
        ${line.parts.map(points => points.length > 1
          ? html`<polyline points=${points.map(place).join(" ")} />`
          : html`<circle cx=${place(points[0]).split(",")[0]} cy=${place(points[0]).split(",")[1]} r="2" />`)}
      </svg></figure>`;
}

export function Quality({ samples }) {
  if (!samples?.length) return html`<${Empty}>The call was too short for its quality over time, or has no RTP.<//>`;
  return linesOf(samples).map(line => html`<${Line} key=${line.name} line=${line} />`);
}
