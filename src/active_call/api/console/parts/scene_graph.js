// The scenes of a playbook as a graph: from the start downwards, by the number of steps.

import { Empty, html } from "../ui.js";

const BOX_WIDTH = 112, BOX_HEIGHT = 32, GAP_X = 20, GAP_Y = 54, MARGIN = 26;
const EVERYWHERE = "";

/** Positions by scene: `{id: {x, y, scene}}`, and the overall size. Pure. */
export function layOut(scenes, edges) {
  const depth = new Map(scenes.length ? [[scenes[0].id, 0]] : []);
  const waiting = [...depth.keys()];
  while (waiting.length) {
    const from = waiting.shift();
    for (const edge of edges.filter(one => one.from === from && !depth.has(one.to))) {
      depth.set(edge.to, depth.get(from) + 1);
      waiting.push(edge.to);
    }
  }
  const last = Math.max(0, ...depth.values()) + 1;
  const rows = [];
  for (const scene of scenes) (rows[depth.get(scene.id) ?? last] ??= []).push(scene);
  const filled = rows.filter(Boolean);
  const widest = Math.max(1, ...filled.map(row => row.length));
  const width = widest * (BOX_WIDTH + GAP_X) + 2 * MARGIN;
  const places = {};
  filled.forEach((row, y) => row.forEach((scene, x) => {
    places[scene.id] = { scene, x: width / 2 + (x - (row.length - 1) / 2) * (BOX_WIDTH + GAP_X), y: MARGIN + y * (BOX_HEIGHT + GAP_Y) };
  }));
  return { places, width, height: filled.length * (BOX_HEIGHT + GAP_Y) - GAP_Y + 2 * MARGIN };
}

function Edge({ from, to, by, order }) {
  const isDown = to.y > from.y;
  const side = isDown ? 0 : (BOX_WIDTH / 2) * (from.x > to.x ? -1 : 1);
  const x1 = from.x + side, y1 = from.y + (isDown ? BOX_HEIGHT : BOX_HEIGHT / 2), x2 = to.x + side, y2 = to.y + (isDown ? 0 : BOX_HEIGHT / 2);
  const bend = isDown ? 0 : 26 * Math.sign(side);
  const path = isDown ? `M${x1} ${y1} C${x1} ${y1 + 24} ${x2} ${y2 - 24} ${x2} ${y2}` : `M${x1} ${y1} C${x1 + bend} ${y1} ${x2 + bend} ${y2} ${x2} ${y2}`;
  return html`<g class="edge"><path d=${path} marker-end="url(#arrow)" /><text x=${(x1 + x2) / 2 + bend * 0.75} y=${(y1 + y2) / 2 + (order % 2 ? 10 : -2)} text-anchor="middle">${by}</text></g>`;
}

export function SceneGraph({ scenes, edges, onPick }) {
  if (!scenes.length) return html`<${Empty}>No scenes yet.<//>`;
  const { places, width, height } = layOut(scenes, edges);
  const anywhere = edges.filter(edge => edge.from === EVERYWHERE && places[edge.to]);
  const drawn = edges.filter(edge => places[edge.from] && places[edge.to] && edge.from !== EVERYWHERE);
  const short = text => (text.length > 14 ? `${text.slice(0, 13)}…` : text);
  return html`
    <div class="graph" tabindex="0" role="region" aria-label="Graph of the scenes">
      <svg viewBox=${`0 0 ${width} ${height}`} width=${width} height=${height} role="group" aria-label=${`${scenes.length} scenes`}>
        <defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0 L8 4 L0 8 z" /></marker></defs>
        ${drawn.map((edge, order) => html`<${Edge} from=${places[edge.from]} to=${places[edge.to]} by=${edge.by} order=${order} />`)}
        ${Object.values(places).map(({ scene, x, y }, index) => html`
          <g class=${index ? "scene" : "scene start"} role="button" tabindex="0" aria-label=${`Scene ${scene.id || "main"}, line ${scene.line}`} onClick=${() => onPick(scene.line)} onKeyDown=${event => { if (event.key === "Enter") onPick(scene.line); }}>
            <title>${scene.text}</title><rect x=${x - BOX_WIDTH / 2} y=${y} width=${BOX_WIDTH} height=${BOX_HEIGHT} rx="8" /><text x=${x} y=${y + 21} text-anchor="middle">${short(scene.id || "main")}</text>
          </g>`)}
      </svg>
    </div>
    ${anywhere.length > 0 && html`<p class="hint">From everywhere: ${anywhere.map(edge => `${edge.to} (${edge.by})`).join(", ")}</p>`}`;
}
