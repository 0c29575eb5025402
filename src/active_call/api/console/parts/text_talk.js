// Tests a playbook by typing: lines to the agent, its answers with latencies, scene and variables.

import { attempt, client } from "../api.js";
import { html, Problem, useEffect, useRef, useState } from "../ui.js";
import { hear, NOTHING } from "./conversation.js";
import { Transcript } from "./transcript.js";
import { Variables } from "./variables.js";

const ROUTE = "/api/console/talks";
const ask = (path, json, method = "POST") => attempt(() => client.request(path, method === "POST" ? { json } : { method }).then(response => response.json()));

/** `content`: the current playbook. */
export function TextTalk({ content, isOk }) {
  const [talk, setTalk] = useState(null);
  const [state, setState] = useState(NOTHING);
  const [line, setLine] = useState("");
  const [isBusy, setBusy] = useState(false);
  const [problem, setProblem] = useState("");
  const input = useRef(null), open = useRef("");
  const leave = () => { if (open.current) ask(`${ROUTE}/${open.current}`, null, "DELETE").catch(() => {}); open.current = ""; };
  useEffect(() => leave, []);
  const answered = async work => {
    setBusy(true);
    setProblem("");
    try {
      const told = await work();
      open.current = told.over ? "" : told.id;
      setTalk(told);
      setState(old => told.events.reduce(hear, old));
    } catch (error) { setProblem(error.message); }
    setBusy(false);
    input.current?.focus();
  };
  const begin = () => { leave(); setState(NOTHING); answered(() => ask(ROUTE, { content })); };
  const send = event => {
    event.preventDefault();
    const said = line.trim();
    if (!said || isBusy) return;
    setLine("");
    answered(() => ask(`${ROUTE}/${talk.id}`, /^#[0-9*#A-D]+$/i.test(said) ? { digits: said.slice(1) } : { text: said }));
  };
  const isOpen = talk && !talk.over;
  return html`
    <div class="row"><button onClick=${begin} disabled=${!isOk || isBusy}>${isOpen ? "Begin again by text" : "Try it by text"}</button>
      ${isBusy && html`<span class="hint" role="status">the agent answers …</span>`}${talk?.over && html`<span class="hint" role="status">the call is over</span>`}</div>
    <${Problem} text=${problem} />
    ${talk && html`
      <div class="split"><div class="grow"><${Transcript} state=${state} isLive />
        <form class="toolbar" onSubmit=${send}>
          <label class="field grow"><span>The caller says</span>
            <input ref=${input} placeholder="#5 presses a key" value=${line} onInput=${event => setLine(event.currentTarget.value)} disabled=${!isOpen} /></label>
          <button disabled=${!isOpen || isBusy}>Say</button>
        </form></div>
        <div class="side"><p class="hint">Scene: ${talk.scene || "none"}</p><${Variables} variables=${talk.variables} /></div></div>`}`;
}
