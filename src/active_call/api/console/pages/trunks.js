// Trunks and accounts: their state, the last refusal, and how a call would be handled.

import { get, useLoaded } from "../api.js";
import { Badge, Empty, Facts, Field, html, Page, Problem, Select, Table, useEffect, useState } from "../ui.js";

const LOOK_EVERY_MS = 5000;

function stateKind(state) {
  if (/^(reachable|registered)/.test(state)) return "good";
  return /^(failed|unreachable)/.test(state) ? "bad" : "";
}

function Asking() {
  const [question, setQuestion] = useState({ ip: "", to: "", transport: "udp" });
  const [answer, setAnswer] = useState(null);
  const [problem, setProblem] = useState("");
  const set = key => event => setQuestion(old => ({ ...old, [key]: event.currentTarget ? event.currentTarget.value : event }));
  const ask = async event => {
    event.preventDefault();
    setProblem("");
    try { setAnswer(await get(`/api/explain?${new URLSearchParams(question)}`)); } catch (error) { setAnswer(null); setProblem(error.message); }
  };
  return html`
    <section class="card" aria-labelledby="asking">
      <h2 id="asking">What would happen to a call?</h2>
      <form class="toolbar" onSubmit=${ask}>
        <${Field} label="From IP address" value=${question.ip} onInput=${set("ip")} required placeholder="203.0.113.9" />
        <${Field} label="To number" value=${question.to} onInput=${set("to")} placeholder="+18005551234" />
        <${Select} label="Over" value=${question.transport} options=${["udp", "tcp", "tls", "ws", "wss"].map(name => [name, name])} onChange=${set("transport")} />
        <button>Ask</button>
      </form>
      <${Problem} text=${problem} />
      ${answer && html`
        <p aria-live="polite"><${Badge} kind=${answer.allowed ? "good" : "bad"}>${answer.allowed ? "let in" : "refused"}<//> ${answer.because}</p>
        <${Facts} pairs=${[["Answer", answer.reply], ["Trunk", answer.trunk], ["Sound", answer.media], ["Limits", answer.limits], ["Taken by", answer.handler], ["Notes", (answer.notes ?? []).join("; ")]]} />`}
    </section>`;
}

export function TrunksPage() {
  const { value, error, reload } = useLoaded(() => get("/api/console/trunks"), []);
  useEffect(() => {
    const timer = setInterval(reload, LOOK_EVERY_MS);
    return () => clearInterval(timer);
  }, []);
  const badge = state => html`<${Badge} kind=${stateKind(state)}>${state}<//>`;
  const trunks = (value?.trunks ?? []).map(trunk => [
    trunk.name, badge(trunk.state), trunk.server || "inbound only", `${trunk.calls}${trunk.maxCalls ? ` of ${trunk.maxCalls}` : ""}`, trunk.srtp,
    trunk.allow.length ? `${trunk.allow.slice(0, 4).join(", ")}${trunk.allow.length > 4 ? ` and ${trunk.allow.length - 4} more` : ""}` : "",
  ]);
  const accounts = (value?.accounts ?? []).map(account => [account.name, badge(account.state), account.lastRefusal || "none", account.server, account.username]);
  const refusals = Object.entries(value?.refusals ?? {});
  return html`
    <${Page} title="Trunks and registrations">
      <${Problem} text=${error} />
      <h2>Trunks</h2>
      ${value && (trunks.length ? html`<${Table} label="Trunks" columns=${["Name", "State", "Server", "Calls", "SRTP", "May call in"]} rows=${trunks} />` : html`<${Empty}>No [[trunks]] entry: anybody may call in.<//>`)}
      <h2>Registrations</h2>
      ${value && (accounts.length ? html`<${Table} label="Registrations" columns=${["Account", "State", "Last refusal", "Server", "User"]} rows=${accounts} />` : html`<${Empty}>No accounts.<//>`)}
      ${refusals.length > 0 && html`<h2>Refused since the start</h2><${Facts} pairs=${refusals.map(([rule, n]) => [rule.replaceAll("_", " "), n])} />`}
      <${Asking} />
    <//>`;
}
