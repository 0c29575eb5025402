// The variables of a call.

import { value } from "../format.js";
import { Facts, html } from "../ui.js";

/** Variables of a playbook; values set by a tool or a caller are shown as text. */
export function Variables({ variables }) {
  const pairs = Object.entries(variables ?? {}).map(([name, item]) => [name, value(item)]);
  return pairs.length ? html`<details><summary>${pairs.length} variables</summary><${Facts} pairs=${pairs} /></details>` : null;
}
