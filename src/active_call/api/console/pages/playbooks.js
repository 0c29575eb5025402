// Playbooks: an editor that marks mistakes while typing and shows the scenes; a playbook can be tested by voice or by text before it is saved.

import { attempt, client, get, useLoaded } from "../api.js";
import { dateTime } from "../format.js";
import { useBrowserCall } from "../parts/browser_call.js";
import { Editor } from "../parts/editor.js";
import { SceneGraph } from "../parts/scene_graph.js";
import { TextTalk } from "../parts/text_talk.js";
import { Transcript } from "../parts/transcript.js";
import { Badge, Empty, Field, goTo, html, Page, Problem, Table, useEffect, useRef, useState } from "../ui.js";
import { CallControls } from "./talk.js";

const TYPING_MS = 400;
const BEGINNING = `---
llm:
  provider: script
greeting: Hello. How may I help you?
---
# Scene: main

## goodbye
Goodbye. <hangup/>
`;

/** Texts that are not saved, by name: they stay while the console is open, also when another of its pages is shown. */
const drafts = new Map();
addEventListener("beforeunload", event => { if (drafts.size) event.preventDefault(); });

function BookList() {
  const { value, error } = useLoaded(() => client.playbooks(), []);
  const [name, setName] = useState("");
  const make = event => {
    event.preventDefault();
    goTo("playbooks", /\.md$/.test(name) ? name : `${name}.md`);
  };
  const rows = (value ?? []).map(book => [
    html`<a href=${`#/playbooks/${encodeURIComponent(book.name)}`}>${book.name}</a>`, dateTime(book.updated), html`<a href=${`#/talk/${encodeURIComponent(book.name)}`} aria-label=${`Talk to ${book.name}`}>talk</a>`,
  ]);
  return html`
    <${Page} title="Playbooks">
      <${Problem} text=${error} />
      ${value && (rows.length ? html`<${Table} label="Playbooks" columns=${["Name", "Changed", ""]} rows=${rows} />` : html`<${Empty}>There are no playbooks yet.<//>`)}
      <form class="toolbar" onSubmit=${make}>
        <${Field} label="New playbook" value=${name} onInput=${event => setName(event.currentTarget.value)} required pattern="[A-Za-z0-9_\\-]+(\\.md)?" title="Letters, digits, - and _" placeholder="sales.md" />
        <button>Write it</button>
      </form>
    <//>`;
}

/** Findings and scenes of a text, shortly after its last change. */
function useView(text) {
  const [view, setView] = useState(null);
  const [problem, setProblem] = useState("");
  useEffect(() => {
    if (text === undefined) return undefined;
    let isWanted = true;
    const timer = setTimeout(() => {
      const check = client.request("/api/console/playbook", { json: { content: text } }).then(response => response.json());
      attempt(() => check).then(
        found => { if (isWanted) { setView(found); setProblem(""); } },
        error => isWanted && setProblem(error.message),
      );
    }, view ? TYPING_MS : 0);
    return () => { isWanted = false; clearTimeout(timer); };
  }, [text]);
  return { view, problem };
}

function Findings({ findings, onPick }) {
  if (!findings.length) return html`<p class="empty">No mistakes.</p>`;
  return html`<ul class="remarks">${findings.map(found => html`<li>
    <${Badge} kind=${found.level === "error" ? "bad" : "warn"}>${found.level === "error" ? "mistake" : "warning"}<//>
    ${found.line > 0 && html` <button class="link" onClick=${() => onPick(found.line)}>line ${found.line}</button>`} <span>${found.text}</span></li>`)}</ul>`;
}

function TryIt({ text, isOk }) {
  const line = useBrowserCall();
  const [begunAt, setBegunAt] = useState(0);
  const isBusy = line.phase === "calling" || line.phase === "up";
  const start = () => { setBegunAt(Date.now()); line.begin({ content: text }); };
  return html`
    <section class="card" aria-labelledby="try"><h2 id="try">Try it</h2>
      <p class="hint">Tries the text in the editor, saved or not. It may not use files, hosts or tools of its own.</p>
      <button class="main" onClick=${start} disabled=${isBusy || !isOk}>Talk to it</button>
      <${Problem} text=${line.problem} />
      ${line.call && html`<div class="split"><${Transcript} state=${line.talk} isLive /><${CallControls} key=${line.call.id} line=${line} begunAt=${begunAt} /></div>`}
      <${TextTalk} content=${text} isOk=${isOk} />
    </section>`;
}

function Book({ name }) {
  const loaded = useLoaded(async () => {
    const isThere = (await client.playbooks()).some(book => book.name === name);
    return isThere ? (await client.request(`/api/playbooks/${encodeURIComponent(name)}`)).text() : null;
  }, [name]);
  const [text, setText] = useState(undefined);
  const [saved, setSaved] = useState(null);
  const [problem, setProblem] = useState("");
  const editor = useRef(null);
  useEffect(() => {
    if (loaded.value === undefined) return;
    setText(drafts.get(name) ?? loaded.value ?? BEGINNING);
    setSaved(loaded.value);
  }, [loaded.value]);
  const isChanged = text !== undefined && text !== saved;
  const write = given => {
    setText(given);
    if (given === saved) drafts.delete(name); else drafts.set(name, given);
  };
  const { view, problem: checkProblem } = useView(text);
  const save = async () => {
    setProblem("");
    try {
      await attempt(() => client.request(`/api/playbooks/${encodeURIComponent(name)}`, { json: { content: text } }));
      setSaved(text);
      if (drafts.get(name) === text) drafts.delete(name);
    } catch (error) { setProblem(error.message); }
  };
  const saveByKey = event => { if ((event.ctrlKey || event.metaKey) && event.key === "s") { event.preventDefault(); save(); } };
  return html`
    <${Page} title=${name} aside=${html`<a class="button" href="#/playbooks">All playbooks</a>`}>
      <${Problem} text=${loaded.error || problem || checkProblem} />
      ${text !== undefined && html`
        <div class="split" onKeyDown=${saveByKey}>
          <section class="card grow" aria-label="Text">
            <${Editor} text=${text} onChange=${write} findings=${view?.findings ?? []} api=${editor} />
            <div class="row"><button class="main" onClick=${save} disabled=${!isChanged || !view?.ok}>Save</button>
              <span class="hint" aria-live="polite">${isChanged ? "not saved" : "saved"} · Ctrl+S</span></div>
          </section>
          <div class="side">
            <section class="card" aria-labelledby="found"><h2 id="found">Mistakes and warnings</h2><${Findings} findings=${view?.findings ?? []} onPick=${at => editor.current(at)} /></section>
            <section class="card" aria-labelledby="scenes"><h2 id="scenes">Scenes</h2>${view && html`<${SceneGraph} scenes=${view.scenes} edges=${view.edges} onPick=${at => editor.current(at)} />`}</section>
          </div>
        </div>
        <${TryIt} text=${text} isOk=${view?.ok} />`}
    <//>`;
}

export function PlaybooksPage({ parts }) {
  return parts[0] ? html`<${Book} key=${parts[0]} name=${parts[0]} />` : html`<${BookList} />`;
}
