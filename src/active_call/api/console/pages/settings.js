// The current settings, and the source of each value.

import { get, useLoaded } from "../api.js";
import { Field, html, Page, Problem, Table, useState } from "../ui.js";

export function SettingsPage() {
  const { value, error } = useLoaded(() => get("/api/console/settings"), []);
  const [words, setWords] = useState("");
  const [isChangedOnly, setChangedOnly] = useState(false);
  const wanted = words.toLowerCase();
  const rows = (value ?? [])
    .filter(row => !isChangedOnly || row.origin !== "default")
    .filter(row => `${row.key} ${row.value} ${row.origin}`.toLowerCase().includes(wanted))
    .map(row => [html`<code>${row.key}</code>`, row.value || html`<span class="dim">not set</span>`, row.origin === "default" ? html`<span class="dim">default</span>` : row.origin]);
  return html`
    <${Page} title="Settings" aside=${value && html`<span class="count">${rows.length}</span>`}>
      <form class="toolbar" role="search" onSubmit=${event => event.preventDefault()}>
        <${Field} label="Search" type="search" value=${words} onInput=${event => setWords(event.currentTarget.value)} placeholder="rtp, tts, secret …" />
        <label class="check"><input type="checkbox" checked=${isChangedOnly} onChange=${event => setChangedOnly(event.currentTarget.checked)} /> Only changed settings</label>
      </form>
      <p class="hint">To change a setting, edit the config file and send the server SIGHUP, or restart it. Secrets are never shown.</p>
      <${Problem} text=${error} />
      ${value && html`<${Table} label="Settings" columns=${["Key", "Value", "Comes from"]} rows=${rows} />`}
    <//>`;
}
