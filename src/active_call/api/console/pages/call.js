// One ended call: a plain account, the recording with synchronised words, signalling, latencies, sound, tools.

import { attempt, client, get, useLoaded } from "../api.js";
import { bookName, dateTime, length, ms, parties } from "../format.js";
import { hear, NOTHING, told } from "../parts/conversation.js";
import { Cost, total } from "../parts/cost.js";
import { Ladder } from "../parts/ladder.js";
import { Quality } from "../parts/quality.js";
import { Transcript } from "../parts/transcript.js";
import { Legend } from "../parts/waterfall.js";
import { Variables } from "../parts/variables.js";
import { Waveform } from "../parts/waveform.js";
import { Badge, Empty, Facts, html, Page, Problem, Table, useMemo, useRef, useState } from "../ui.js";

const KINDS = { answered: "good", failed: "bad", crashed: "bad", rejected: "warn" };
const SIDES = new Set(["caller", "agent"]);
const LEVELS = { good: "good", problem: "bad", note: "" };
const LEVEL_WORDS = { good: "fine", problem: "fault", note: "note" };

/** The conversation in the record: its turns, and the events between them. */
function conversationOf(record) {
  const between = record.events
    .filter(event => !["addHistory", "turn", "asrDelta", "asrFinal", "speaking", "silence", "trackStart", "trackEnd", "interruption"].includes(event.event))
    .filter(event => event.refer || told(event))
    .reduce(hear, NOTHING).lines;
  const said = (record.turns ?? []).map(turn => !SIDES.has(turn.speaker) ? { kind: "event", text: `${turn.speaker}: ${turn.text}`, at: Date.parse(turn.at) } : ({
    kind: "said", speaker: turn.speaker, text: turn.text, at: Date.parse(turn.at), isInterrupted: turn.interrupted,
    turn: turn.latencyMs === undefined ? null : { latency: turn.latencyMs, waits: turn.waits ?? [], marks: turn.marksMs ?? {} },
  }));
  const lines = [...between, ...said].sort((a, b) => a.at - b.at).map((line, key) => ({ ...line, key }));
  return { ...NOTHING, lines };
}

function Explained({ id }) {
  const { value: remarks, error } = useLoaded(() => get(`/api/console/explain/${encodeURIComponent(id)}`), [id]);
  return html`
    <section class="card" aria-labelledby="explained">
      <h2 id="explained">What happened</h2>
      <${Problem} text=${error} />
      <ul class="remarks">${(remarks ?? []).map(remark => html`<li><${Badge} kind=${LEVELS[remark.level]}>${LEVEL_WORDS[remark.level]}<//> <span>${remark.text}</span></li>`)}</ul>
    </section>`;
}

function Recording({ record, id, lines, player }) {
  const [sound, setSound] = useState(null);
  const [problem, setProblem] = useState("");
  const load = async () => {
    setProblem("");
    try { setSound(await attempt(() => client.recording(id))); } catch (error) { setProblem(error.message); }
  };
  if (!record.recording) return html`<p class="hint">${record.recordingError || "This call was not recorded."}</p>`;
  const begin = Date.parse(record.answerTime ?? record.startTime);
  const marks = lines.filter(line => line.at >= begin).map(line => ({ at: (line.at - begin) / 1000, text: line.text, kind: line.kind === "event" ? "event" : line.speaker }));
  return html`
    ${sound ? html`<${Waveform} sound=${sound} marks=${marks} player=${player} />` : html`<button class="main" onClick=${load}>Load the recording</button>`}
    <${Problem} text=${problem} />`;
}

function Sound({ media }) {
  const has = key => media[key] !== undefined && media[key] >= 0;
  const total = (media.packets_received ?? 0) + (media.packets_lost ?? 0);
  return html`<${Facts} pairs=${[
    ["Codec", media.codec], ["Packets sent", media.packets_sent], ["Packets received", media.packets_received],
    ["Lost", total ? `${media.packets_lost} (${((100 * media.packets_lost) / total).toFixed(1)} %)` : undefined],
    ["Too late", media.packets_late], ["Jitter", has("jitter_ms") ? ms(media.jitter_ms) : undefined],
    ["Round trip", has("round_trip_ms") ? ms(media.round_trip_ms) : undefined], ["MOS (estimate)", has("mos") ? media.mos.toFixed(2) : undefined],
  ]} />`;
}

function Tools({ events }) {
  const calls = events.filter(event => event.event === "functionCall");
  if (!calls.length) return html`<${Empty}>The agent called no tools.<//>`;
  return html`<${Table} label="Tool calls" columns=${["At", "Tool", "Arguments"]} rows=${calls.map(call => [dateTime(call.timestamp), call.name, html`<code>${call.arguments}</code>`])} />`;
}

function Whole({ record, id }) {
  const conversation = useMemo(() => conversationOf(record), [record]);
  const player = useRef(null);
  const begin = Date.parse(record.answerTime ?? record.startTime);
  const hearFrom = line => player.current?.((line.at - begin) / 1000);
  return html`
    <section class="card" aria-label="Facts">
      <div class="row"><${Badge} kind=${KINDS[record.status]}>${record.status}<//> <span>${dateTime(record.startTime)}</span> <span class="timer">${length(record.durationS)}</span></div>
      <${Facts} pairs=${[
        ["Direction", record.direction], ["From", record.caller], ["To", record.callee], ["Trunk", record.trunk], ["Playbook", bookName(record.playbook)],
        ["Ended by", record.hangupBy], ["Reason", record.hangupReason], ["SIP", record.sipCode], ["Cost", total(record.cost) || undefined],
        ...Object.entries(record.engines ?? {}).map(([section, engine]) => [section.toUpperCase(), `${engine.provider ?? ""} ${engine.name ?? ""}`]),
      ]} /><${Variables} variables=${record.variables} />
    </section>
    <${Explained} id=${id} />
    <section class="card" aria-labelledby="heard"><h2 id="heard">Conversation</h2>
      <${Recording} record=${record} id=${id} lines=${conversation.lines} player=${player} />
      <${Transcript} state=${conversation} onPick=${record.recording ? hearFrom : undefined} />
      <${Legend} />
    </section>
    <div class="columns">
      <section class="card" aria-labelledby="sip"><h2 id="sip">Signalling</h2><${Ladder} record=${record} /></section>
      <section class="card" aria-labelledby="sound"><h2 id="sound">Sound</h2>
        <${Sound} media=${record.media ?? {}} />
        <h3>Over time</h3><${Quality} samples=${record.quality} />
        <h2>Tools</h2><${Tools} events=${record.events} />
        <h2>Cost</h2><${Cost} usage=${record.usage} cost=${record.cost} /></section>
    </div>
    <details class="card"><summary>The complete record</summary><pre tabindex="0">${JSON.stringify(record, null, 2)}</pre></details>`;
}

export function CallPage({ parts }) {
  const [id] = parts;
  const { value: record, error } = useLoaded(() => get(`/api/records/${encodeURIComponent(id)}`), [id]);
  const title = record ? parties(record) : "Call";
  return html`
    <${Page} title=${title} aside=${html`<a class="button" href="#/records">All records</a>`}>
      <${Problem} text=${error && `${error}. The record of a call that has just ended may take a moment.`} />
      ${record && html`<${Whole} record=${record} id=${id} />`}
    <//>`;
}
