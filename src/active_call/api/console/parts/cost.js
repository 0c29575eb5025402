// The usage and cost of a call: a line for each engine, and the sum.

import { Empty, html, Table } from "../ui.js";

/** `cachedInputTokens` as `cached input tokens`. */
const words = unit => unit.replace(/[A-Z]/g, char => ` ${char.toLowerCase()}`);
const money = (amount, currency) => `${amount.toFixed(4)} ${currency}`;

/** The sum as one text; empty if nothing was used. */
export function total(cost) {
  if (!cost) return "";
  const sum = cost.total === undefined ? "no price is known" : money(cost.total, cost.currency);
  return sum + (cost.estimated ? " (estimated)" : "") + (cost.complete || cost.total === undefined ? "" : `, without ${cost.unpriced.join(", ")}`);
}

export function Cost({ usage, cost }) {
  if (!cost) return html`<${Empty}>Nothing was used that costs anything.<//>`;
  const rows = (usage ?? []).map(row => [
    row.kind,
    `${row.provider} ${row.model ?? ""}`,
    Object.entries(row.units).map(([unit, amount]) => `${amount.toLocaleString()} ${words(unit)}`).join(", ") + (row.estimated ? " (estimated)" : ""),
    row.cost === undefined ? "no price" : money(row.cost, cost.currency),
  ]);
  return html`<p>${total(cost)}</p><${Table} label="Usage and cost" columns=${["Kind", "By", "Used", "Cost"]} rows=${rows} />`;
}
