// Telephone keys. The keyboard's keys also work while the pad has the focus.

import { html } from "../ui.js";

const KEYS = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "*", "0", "#"];

export function Dialpad({ onDigit, isOff = false }) {
  const pressed = event => { if (KEYS.includes(event.key) && !isOff) onDigit(event.key); };
  return html`<div class="dialpad" role="group" aria-label="Keypad" onKeyDown=${pressed}>
    ${KEYS.map(key => html`<button type="button" disabled=${isOff} onClick=${() => onDigit(key)}>${key}</button>`)}
  </div>`;
}
