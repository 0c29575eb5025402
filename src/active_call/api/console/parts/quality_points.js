// The quality of a call over time as lines of a chart. Pure, imports nothing.

const number = value => typeof value === "number";

/** The values of a sample that are drawn: how, the minimal range, and the unit. */
export const LINES = [
  { name: "Loss", unit: "%", least: 5, of: sample => { const due = sample.received + (sample.lost ?? 0); return due ? (100 * ((sample.lost ?? 0) + (sample.late ?? 0))) / due : null; } },
  { name: "Loss at the other side", unit: "%", least: 5, of: sample => sample.peerLossPercent ?? null },
  { name: "Jitter", unit: "ms", least: 20, of: sample => sample.jitterMs ?? 0 },
  { name: "Round trip", unit: "ms", least: 100, of: sample => sample.roundTripMs ?? null },
  { name: "MOS (estimate)", unit: "", lowest: 1, least: 4.5, of: sample => sample.mos ?? null },
];

/**
 * The lines for a record's samples, each `{name, unit, worst, best, parts}`: points `[x, y]` from 0 to 1, y upwards, split where
 * values are missing. Lines without any value are left out.
 */
export function linesOf(samples) {
  const first = samples[0]?.timestamp ?? 0, span = Math.max(1, (samples.at(-1)?.timestamp ?? 0) - first);
  return LINES.map(line => {
    const values = samples.map(line.of), known = values.filter(number);
    if (!known.length) return null;
    const low = line.lowest ?? 0, high = Math.max(line.least, ...known), parts = [];
    values.forEach((value, index) => {
      if (!number(value)) return;
      if (!index || !number(values[index - 1])) parts.push([]);
      parts.at(-1).push([(samples[index].timestamp - first) / span, (value - low) / (high - low)]);
    });
    const [least, most] = [Math.min(...known), Math.max(...known)];
    return { name: line.name, unit: line.unit, worst: line.lowest ? least : most, best: line.lowest ? most : least, parts };
  }).filter(Boolean);
}
