// A text area with line numbers, which marks lines with mistakes.

import { html, useEffect, useRef } from "../ui.js";

/** `api.current` becomes a function that goes to a line. Tab leaves the editor, like any field. */
export function Editor({ text, onChange, findings, api }) {
  const area = useRef(null), gutter = useRef(null);
  const lines = text.split("\n");
  const worst = new Map();
  for (const found of findings) if (worst.get(found.line)?.level !== "error") worst.set(found.line, found);
  const scroll = () => { if (gutter.current && area.current) gutter.current.scrollTop = area.current.scrollTop; };
  useEffect(scroll);
  api.current = line => {
    const at = lines.slice(0, line - 1).join("\n").length + (line > 1 ? 1 : 0);
    area.current.focus();
    area.current.setSelectionRange(at, at + (lines[line - 1]?.length ?? 0));
    area.current.scrollTop = Math.max(0, (line - 5) * parseFloat(getComputedStyle(area.current).lineHeight));
  };
  return html`
    <div class="editor">
      <div class="gutter" ref=${gutter} aria-hidden="true">${lines.map((_, index) => {
        const found = worst.get(index + 1);
        return html`<span class=${found ? found.level : undefined} title=${found?.text}>${index + 1}</span>`;
      })}</div>
      <textarea ref=${area} value=${text} onInput=${event => onChange(event.currentTarget.value)} onScroll=${scroll} wrap="off" spellcheck="false" autocapitalize="off" autocomplete="off"
        aria-label="Playbook" aria-invalid=${findings.some(found => found.level === "error")}></textarea>
    </div>`;
}
