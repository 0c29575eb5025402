// The console: navigation, the token, and the current page.

import { get, onTokenNeeded, useToken } from "./api.js";
import { dateTime } from "./format.js";
import { CallPage } from "./pages/call.js";
import { LivePage } from "./pages/live.js";
import { PlacePage } from "./pages/place.js";
import { PlaybooksPage } from "./pages/playbooks.js";
import { RecordsPage } from "./pages/records.js";
import { SettingsPage } from "./pages/settings.js";
import { TalkPage } from "./pages/talk.js";
import { TrunksPage } from "./pages/trunks.js";
import { Badge, html, render, useEffect, useRef, useRoute, useState } from "./ui.js";

const PAGES = [
  ["talk", "Talk", TalkPage],
  ["live", "Live calls", LivePage],
  ["records", "Records", RecordsPage],
  ["place", "Place a call", PlacePage],
  ["playbooks", "Playbooks", PlaybooksPage],
  ["trunks", "Trunks", TrunksPage],
  ["settings", "Settings", SettingsPage],
];
const HEALTH_EVERY_MS = 5000;
const UNREACHABLE = "not reachable";

function useHealth() {
  const [health, setHealth] = useState(null);
  useEffect(() => {
    const look = () => get("/health").then(setHealth, () => setHealth({ status: UNREACHABLE }));
    look();
    const timer = setInterval(look, HEALTH_EVERY_MS);
    return () => clearInterval(timer);
  }, []);
  return health;
}

function Health({ health }) {
  if (!health) return null;
  const kind = health.status === "ok" ? "good" : health.status === UNREACHABLE ? "bad" : "warn";
  return html`<div class="health">
    <${Badge} kind=${kind}>${health.status}<//>
    ${health.version && html`<span>${health.calls} ${health.calls === 1 ? "call" : "calls"} · ${health.version}</span>`}
  </div>`;
}

function Access({ wasWrong, onDone }) {
  const input = useRef(null);
  useEffect(() => input.current.focus(), []);
  const enter = event => {
    event.preventDefault();
    useToken(input.current.value.trim());
    onDone();
  };
  return html`
    <main class="access">
      <h1>active-call</h1>
      <form onSubmit=${enter} autocomplete="off">
        <label class="field"><span>Token of this server</span>
          <input ref=${input} type="password" autocomplete="off" required aria-describedby="token-hint" />
          <small id="token-hint">The value of <code>http_token</code>. It stays in this tab.</small>
        </label>
        ${wasWrong && html`<p class="problem" role="alert">This token is wrong.</p>`}
        <button class="main">Enter</button>
      </form>
    </main>`;
}

function App() {
  const [asked, setAsked] = useState(null);
  const health = useHealth();
  const [name = "talk", ...rest] = useRoute();
  useEffect(() => onTokenNeeded(wasWrong => setAsked(old => ({ wasWrong: wasWrong || Boolean(old?.wasWrong) }))), []);
  const known = PAGES.find(([key]) => key === (name === "call" ? "records" : name)) ?? PAGES[0];
  const Shown = name === "call" ? CallPage : known[2];
  const nav = useRef(null);
  useEffect(() => {
    const show = () => nav.current?.querySelector("[aria-current]")?.scrollIntoView({ inline: "center", block: "nearest" });
    show();
    addEventListener("resize", show); // a phone that is turned
    return () => removeEventListener("resize", show);
  }, [known[0], Boolean(asked)]);
  if (asked) return html`<${Access} wasWrong=${asked.wasWrong} onDone=${() => setAsked(null)} />`;
  const skip = event => { event.preventDefault(); document.getElementById("content").focus(); };
  return html`
    <a class="skip" href="#content" onClick=${skip}>Skip to the page</a>
    <header>
      <a class="brand" href="#/talk">active-call</a>
      <nav aria-label="Pages" ref=${nav}>
        ${PAGES.map(([key, title]) => html`<a href=${`#/${key}`} aria-current=${key === known[0] ? "page" : undefined}>${title}</a>`)}
        <a href="/docs">API</a>
      </nav>
      <${Health} health=${health} />
    </header>
    <main id="content" tabindex="-1">
      ${health?.status === UNREACHABLE && html`<p class="problem" role="alert">The server cannot be reached. This page tries again every ${HEALTH_EVERY_MS / 1000} seconds.</p>`}
      ${health?.problems?.length > 0 && html`<${Troubles} problems=${health.problems} />`}
      <${Shown} key=${[name, ...rest].join("/")} parts=${rest} health=${health} />
    </main>`;
}

function Troubles({ problems }) {
  const text = problem => (`${problem.part}: ${problem.reason} (since ${dateTime(problem.since)})`);
  return html`<details class="troubles"><summary>${problems.length} ${problems.length === 1 ? "thing does" : "things do"} not work</summary>
    <ul>${problems.map(problem => html`<li>${text(problem)}</li>`)}</ul></details>`;
}

const app = document.getElementById("app");
app.replaceChildren();
render(html`<${App} />`, app);
