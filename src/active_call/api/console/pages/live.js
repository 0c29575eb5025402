// The live calls: parties, duration, scene; and one of them in full, with its controls.

import { attempt, client, useLiveCalls } from "../api.js";
import { bookName, clock, length, parties } from "../format.js";
import { hear, NOTHING } from "../parts/conversation.js";
import { listenTo } from "../parts/listening.js";
import { useBrowserCall } from "../parts/browser_call.js";
import { Meter } from "../parts/meter.js";
import { Transcript } from "../parts/transcript.js";
import { Variables } from "../parts/variables.js";
import { Badge, Empty, Facts, Field, html, Page, Problem, Table, useEffect, useNow, useRef, useState } from "../ui.js";

const KINDS = { answered: "good", ringing: "warn" };

function since(call, now) {
  return length((now - Date.parse(call.answeredAt ?? call.startedAt)) / 1000);
}

/** The conversation of a live call, from its beginning as far as the server stores it. */
function useFollowed(id) {
  const [talk, setTalk] = useState(NOTHING);
  const [isOver, setOver] = useState(false);
  const [problem, setProblem] = useState("");
  useEffect(() => {
    const stop = new AbortController();
    (async () => {
      try {
        for await (const event of client.events(id, { since: 0, signal: stop.signal })) setTalk(old => hear(old, event));
      } catch (error) {
        if (error.status !== 404) setProblem(error.message);
      }
      if (!stop.signal.aborted) setOver(true);
    })();
    return () => stop.abort();
  }, [id]);
  return { talk, isOver, problem };
}

const WAYS = [["say", "Say to the caller", "Say", "One moment, please."], ["whisper", "Whisper to the agent", "Whisper", "Offer the refund."], ["transfer", "Transfer to", "Transfer", "Number or sip: address"]];
const COMMANDS = {
  // Texts on behalf of the agent are also sent to the transcript and the model.
  say: text => [{ command: "tts", text }, { command: "history", speaker: "agent", text }],
  whisper: text => [{ command: "history", speaker: "supervisor", text }],
  transfer: callee => [{ command: "refer", callee }],
};

/** One line with a send button: to the caller, to the agent, or as a target. */
function Order({ way, label, button, placeholder, isOver, order }) {
  const [text, setText] = useState("");
  const send = event => {
    event.preventDefault();
    order(COMMANDS[way](text)).then(isDone => isDone && setText(""));
  };
  return html`<form onSubmit=${send}>
    <${Field} label=${label} value=${text} onInput=${event => setText(event.currentTarget.value)} required maxlength="2000" placeholder=${placeholder} autocomplete="off" />
    <button disabled=${isOver}>${button}</button>
  </form>`;
}

function Doings({ id, isOver }) {
  const [isOnHold, setOnHold] = useState(false);
  const [stopListening, setStop] = useState(null);
  const [problem, setProblem] = useState("");
  useEffect(() => () => stopListening?.(), [stopListening]);
  const order = async commands => {
    setProblem("");
    try {
      for (const command of commands) await attempt(() => client.command(id, command));
      return true;
    } catch (error) {
      setProblem(error.message);
      return false;
    }
  };
  const hold = () => order([{ command: isOnHold ? "unhold" : "hold" }]).then(isDone => isDone && setOnHold(!isOnHold));
  const listen = async () => {
    setProblem("");
    if (stopListening) { stopListening(); setStop(null); return; }
    const stop = await listenTo(id, setProblem);
    setStop(() => stop);
  };
  const hangUp = () => attempt(() => client.hangup(id)).catch(error => setProblem(error.message));
  return html`
    <section class="card controls" aria-label="Actions">
      <div class="row">
        <button onClick=${listen} disabled=${isOver} aria-pressed=${Boolean(stopListening)}>${stopListening ? "Stop listening" : "Listen in"}</button>
        <button onClick=${hold} disabled=${isOver} aria-pressed=${isOnHold}>${isOnHold ? "Off hold" : "Hold"}</button>
        <button class="danger" onClick=${hangUp} disabled=${isOver}>Hang up</button>
      </div>
      ${WAYS.map(([way, label, button, placeholder]) => html`<${Order} way=${way} label=${label} button=${button} placeholder=${placeholder} isOver=${isOver} order=${order} />`)}
      <${Problem} text=${problem} />
    </section>`;
}

/** The operator's own voice: a call of this page without a playbook, bridged with the call. The agent returns when it ends. */
function Speaking({ id, isOver }) {
  const line = useBrowserCall();
  const isUp = line.phase === "up", isBusy = isUp || line.phase === "calling";
  const begin = async () => {
    const call = await line.begin({});
    if (!call) return;
    await call.next("mediaReady").catch(() => {});
    call.send("bridge", { targetSessionId: id });
  };
  return html`
    <section class="card" aria-label="Your voice">
      <div class="row"><button onClick=${begin} disabled=${isOver || isBusy}>${line.phase === "calling" ? "Connecting …" : "Speak to the caller"}</button>
        ${isUp && html`<button onClick=${line.hangUp}>Give back to the agent</button>`}</div>
      ${isUp && html`<${Meter} stream=${line.call.microphone} label="You" /><${Meter} stream=${line.call.sound} label="Caller" />`}
      <${Problem} text=${line.problem || line.talk.lines.findLast(one => one.isProblem)?.text} />
    </section>`;
}

function OneCall({ id, current }) {
  const now = useNow();
  const last = useRef(current); // a call that is over leaves the list of live calls
  last.current = current ?? last.current;
  const facts = last.current;
  const { talk, isOver, problem } = useFollowed(id);
  return html`
    <${Page} title=${facts ? parties(facts) : `Call ${id}`} aside=${html`<a class="button" href="#/live">All calls</a>`}>
      <${Problem} text=${problem} />
      <div class="split">
        <section class="card grow" aria-label="Conversation"><${Transcript} state=${talk} isLive /></section>
        <div class="side">
          <section class="card" aria-label="State">
            <div class="row"><${Badge} kind=${isOver ? "" : KINDS[facts?.phase]}>${isOver ? "over" : facts?.phase ?? "looking"}<//>
              ${facts && !isOver && html`<span class="timer">${since(facts, now)}</span>`}</div>
            ${facts && html`<${Facts} pairs=${[["Direction", facts.direction], ["Kind", facts.callType], ["Trunk", facts.trunk], ["Playbook", bookName(facts.playbook)], ["Scene", facts.scene]]} /><${Variables} variables=${facts.variables} />`}
            ${isOver && html`<a class="button" href=${`#/call/${encodeURIComponent(id)}`}>Its record</a>`}
          </section>
          <${Doings} id=${id} isOver=${isOver} />
          <${Speaking} id=${id} isOver=${isOver} />
        </div>
      </div>
    <//>`;
}

export function LivePage({ parts }) {
  const { calls, n, error } = useLiveCalls();
  const now = useNow();
  const [id] = parts;
  if (id) return html`<${OneCall} id=${id} current=${calls?.find(call => call.id === id)} />`;
  const rows = (calls ?? []).map(call => [
    html`<a href=${`#/live/${encodeURIComponent(call.id)}`}>${parties(call)}</a>`,
    html`<${Badge} kind=${KINDS[call.phase]}>${call.phase}<//>`,
    since(call, now), clock(call.startedAt), call.direction, bookName(call.playbook), call.scene,
  ]);
  return html`
    <${Page} title="Live calls" aside=${calls && html`<span class="count">${n}</span>`}>
      <${Problem} text=${error} />
      ${calls?.length === 0 && html`<${Empty}>There are no live calls. <a href="#/talk">Talk to an agent</a> or <a href="#/place">place a call</a>.<//>`}
      ${rows.length > 0 && html`<${Table} label="Live calls" columns=${["Call", "State", "For", "Since", "Direction", "Playbook", "Scene"]} rows=${rows} />`}
      ${n > rows.length && rows.length > 0 && html`<p class="hint">The newest ${rows.length} of ${n} are shown.</p>`}
    <//>`;
}
