"use strict";
// Whatever callers, models and carriers have said is only ever put into the page as text: nothing here makes HTML of it.

const KEY = "active-call token";
const el = id => document.getElementById(id);
const time = s => s ? new Date(s).toLocaleTimeString() : "";

function make(name, properties, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(properties || {})) {
    if (key === "class") node.className = value; else if (key.startsWith("on")) node.addEventListener(key.slice(2), value); else node.setAttribute(key, value);
  }
  node.append(...children.map(child => child instanceof Node ? child : document.createTextNode(child ?? "")));
  return node;
}

function table(head, rows) {
  return make("table", {}, make("tr", {}, ...head.map(text => make("th", {}, text))), ...rows);
}

class Refused extends Error {}

async function ask(path, options = {}) {
  const token = sessionStorage.getItem(KEY);
  const headers = { ...(options.headers || {}), ...(token ? { Authorization: `Bearer ${token}` } : {}) };
  const response = await fetch(path, { ...options, headers, cache: "no-store", credentials: "omit" });
  if (response.status === 401) {
    sessionStorage.removeItem(KEY);
    askForToken(token ? "That token is not the right one." : "");
    throw new Refused();
  }
  if (!response.ok) {
    const told = await response.json().catch(() => ({}));
    throw new Error(`${path}: ${response.status} ${told.error || ""}`);
  }
  return response;
}

const get = async path => (await ask(path)).json();

function askForToken(reason) {
  el("access").hidden = false;
  el("calls").hidden = true;
  el("refused").textContent = reason;
}

el("access").addEventListener("submit", event => {
  event.preventDefault();
  sessionStorage.setItem(KEY, el("token").value.trim());
  el("token").value = "";
  el("access").hidden = true;
  el("calls").hidden = false;
  refresh();
});

function showHealth(health) {
  const parts = [make("span", { class: health.status === "ok" ? "ok" : "bad" }, health.status)];
  if ("calls" in health) parts.push(` · ${health.calls} call${health.calls === 1 ? "" : "s"} · version ${health.version}`);
  for (const media of health.media || []) {
    const state = media.alive ? `${media.streams} streams, tick late p99 ${(media.tick_late_ms_p99 ?? 0).toFixed(1)} ms` : "down";
    parts.push(` · media ${media.index}: ${state}`);
  }
  el("health").replaceChildren(...parts);
}

function liveRow(call) {
  const hangUp = make("button", { onclick: event => { event.stopPropagation(); kill(call.id); } }, "hang up");
  const cells = [time(call.startTime ?? call.createdTime), call.direction, call["cs.option"].caller, call["cs.option"].callee, call.playbook, hangUp];
  return pick(() => watch(call.id), cells);
}

function recordRow(record) {
  const seconds = Number(record.duration ?? 0).toFixed(1);
  return pick(() => show(record.id), [time(record.date), record.direction, record.status, seconds, record.caller, record.callee]);
}

function pick(action, cells) {
  const onkeydown = event => { if (event.key === "Enter" && event.target.tagName === "TR") action(); };
  return make("tr", { tabindex: "0", onclick: action, onkeydown }, ...cells.map(cell => make("td", {}, cell)));
}

async function refresh() {
  if (!el("access").hidden) return;
  try {
    showHealth(await get("/health"));
    const live = (await get("/list")).active_calls;
    const head = ["started", "direction", "caller", "callee", "playbook", ""];
    el("live").replaceChildren(live.length ? table(head, live.map(liveRow)) : "No call is up.");
    const answer = await get("/api/records?limit=30");
    const records = Array.isArray(answer) ? answer : answer.records || answer.items || [];
    const columns = ["started", "direction", "status", "seconds", "caller", "callee"];
    el("records").replaceChildren(records.length ? table(columns, records.map(recordRow)) : "None yet.");
  } catch (error) {
    if (!(error instanceof Refused)) el("health").replaceChildren(make("span", { class: "bad" }, error.message));
  }
}

async function kill(id) {
  try {
    await ask(`/call/${encodeURIComponent(id)}`, { method: "DELETE" });
  } catch (error) {
    if (!(error instanceof Refused)) alert(error.message);
  }
  refresh();
}

// -- one finished call

let sound = null;

async function show(id) {
  const record = await get(`/api/records/${encodeURIComponent(id)}`);
  const end = `${record.direction} ${record.status}, ended by ${record.hangupBy} (${record.hangupReason}${record.sipCode ? ", SIP " + record.sipCode : ""})`;
  const parts = [make("h2", {}, `Call ${id}`), make("p", { class: "dim" }, end)];
  if (record.error) parts.push(make("p", { class: "bad" }, record.error));
  const turns = record.turns || [];
  parts.push(...turns.map(turnLine));
  if (!turns.length) parts.push(make("p", { class: "dim" }, "Nothing was said."));
  if (record.recording) parts.push(make("p", {}, make("button", { onclick: event => listen(id, event.target) }, "listen to the recording")));
  parts.push(make("details", {}, make("summary", {}, "the whole record"), make("pre", {}, JSON.stringify(record, null, 2))));
  el("detail").replaceChildren(...parts);
  el("detail").scrollIntoView({ behavior: "smooth" });
}

function turnLine(turn) {
  const line = make("p", { class: turn.speaker === "agent" ? "agent" : "" }, make("span", { class: "who" }, turn.speaker), ` ${turn.text}`);
  if (turn.latencyMs) line.append(make("span", { class: "dim" }, ` ${Math.round(turn.latencyMs)} ms`));
  if (turn.interrupted) line.append(make("span", { class: "dim" }, " (interrupted)"));
  return line;
}

async function listen(id, button) {
  const data = await (await ask(`/api/records/${encodeURIComponent(id)}/recording`)).blob();
  if (sound) URL.revokeObjectURL(sound);
  sound = URL.createObjectURL(data);
  button.replaceWith(make("audio", { controls: "", src: sound }));
}

// -- the events of one live call

let watching = null;

async function watch(id) {
  if (watching) watching.abort();
  const mine = watching = new AbortController();
  const lines = make("pre", {});
  el("watch").replaceChildren(make("h2", {}, `Events of ${id}`), lines);
  try {
    const response = await ask(`/events/${encodeURIComponent(id)}`, { signal: mine.signal });
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (let step = await reader.read(); !step.done; step = await reader.read()) {
      const blocks = (rest + step.value).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) {
        const data = block.split("\n").filter(line => line.startsWith("data:")).map(line => line.slice(5).trim()).join("\n");
        if (data) lines.append(`${data}\n`);
      }
    }
    lines.append("(over)\n");
  } catch (error) {
    if (!mine.signal.aborted && !(error instanceof Refused)) lines.append(`${error.message}\n`);
  }
}

refresh();
setInterval(refresh, 2000);
