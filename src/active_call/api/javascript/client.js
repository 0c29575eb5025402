// The server's client for web pages: calls with the browser's microphone, and control of any call. An ES module without dependencies.
//
//   import { Client } from "/client.js";
//   const client = new Client();
//   const call = await client.call({ playbook: "sales.md" });
//   call.on("addHistory", line => console.log(line.speaker, line.text));
//
// Text from callers and models must be put into a page by `textContent` only. Types: /client.d.ts; guide: docs/javascript.md.

import { BrowserCall } from "./client/browser_call.js";
import { Call, RETRY_MS } from "./client/call.js";

export { BrowserCall, devices, openMicrophone } from "./client/browser_call.js";
export { Call } from "./client/call.js";

const wait = (ms, signal) => new Promise(done => {
  const timer = setTimeout(done, ms);
  signal?.addEventListener("abort", () => { clearTimeout(timer); done(); }, { once: true });
});

/** A request that the server refused. `status`: the HTTP status; `code`: the server's stable word, such as `no_room`. */
export class ApiError extends Error {
  constructor(message, status, code) {
    super(message);
    this.name = "ApiError";
    this.status = status;
    this.code = code;
  }
}

/** One server. `url`: its address, by default the page's own origin; `token`: its http_token, if it has one. */
export class Client {
  constructor({ url = globalThis.location?.origin ?? "http://localhost:8080", token = "" } = {}) {
    this.url = String(url).replace(/\/+$/, "");
    this.token = token;
  }

  /** Any request. A `json` value becomes the body. Throws ApiError for an error status. */
  async request(path, { json, headers = {}, ...options } = {}) {
    const sent = { ...headers };
    if (this.token) sent.Authorization = `Bearer ${this.token}`;
    if (json !== undefined) {
      sent["Content-Type"] = "application/json";
      options = { method: "POST", ...options, body: JSON.stringify(json) };
    }
    const response = await fetch(this.url + path, { cache: "no-store", credentials: "omit", ...options, headers: sent });
    if (!response.ok) {
      const told = await response.json().catch(() => ({}));
      throw new ApiError(told.error ?? told.status ?? `HTTP status ${response.status}`, response.status, told.code ?? "");
    }
    return response;
  }

  async #get(path) {
    return (await this.request(path)).json();
  }

  /** Live calls, as in `GET /list`. */
  async calls() {
    return (await this.#get("/list")).active_calls;
  }

  /** Place a call to a telephone: `{callee, playbook | content, caller, vars, sip, option, id}`. Returns its session id. */
  async place(wanted) {
    return (await (await this.request("/call", { json: wanted })).json()).session_id;
  }

  /** Send `command` (`{command: "tts", text: "…"}`) to the call with that id. */
  async command(id, command) {
    await this.request(`/command/${encodeURIComponent(id)}`, { json: command });
  }

  /** End the call with that id. False if it has already ended. */
  async hangup(id) {
    try {
      await this.request(`/call/${encodeURIComponent(id)}`, { method: "DELETE" });
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) return false;
      throw error;
    }
    return true;
  }

  /** Ended calls by filters (`caller`, `from`, `q`, `limit` …). Returns `{items, total, next}`; `next` is the query of the next page. */
  async records(filters = {}) {
    const query = filters instanceof URLSearchParams ? filters : new URLSearchParams(Object.entries(filters).filter(([, value]) => value !== "" && value != null));
    const response = await this.request(`/api/records?${query}`);
    const next = /<[^?>]*\?([^>]*)>;\s*rel="next"/.exec(response.headers.get("Link") ?? "");
    return { items: await response.json(), total: Number(response.headers.get("X-Total-Count")), next: next && new URLSearchParams(next[1]) };
  }

  /** The whole record of an ended call. */
  async record(id) {
    return this.#get(`/api/records/${encodeURIComponent(id)}`);
  }

  /** Its recording. */
  async recording(id) {
    return (await this.request(`/api/records/${encodeURIComponent(id)}/recording`)).blob();
  }

  /** The names of the playbooks on the server: `[{name, updated}]`. */
  async playbooks() {
    return this.#get("/api/playbooks");
  }

  /**
   * A stream of server-sent events, reconnected when it breaks. Yields `{name, data, id}`; ends when the server ends it.
   * `isOver`: whether an item was the last one.
   */
  async *stream(path, { signal, since, isOver = () => false } = {}) {
    let last = since, tries = 0;
    while (!signal?.aborted) {
      try {
        const headers = last === undefined ? {} : { "Last-Event-ID": String(last) };
        const response = await this.request(path, { signal, headers });
        for await (const item of parseEventStream(response.body)) {
          tries = 0;
          if (item.id !== undefined) last = item.id;
          yield item;
          if (isOver(item)) return;
        }
      } catch (error) {
        if (signal?.aborted || error instanceof ApiError) {
          if (signal?.aborted || (error.status === 404 && last !== undefined)) return;
          throw error;
        }
      }
      await wait(RETRY_MS[Math.min(tries++, RETRY_MS.length - 1)], signal);
    }
  }

  /** The live events of a call until its end: `for await (const event of client.events(id))`. `since`: start after this number. */
  async *events(id, { signal, since } = {}) {
    const isOver = item => item.data.event === "hangup" && !item.data.refer;
    for await (const { name, data } of this.stream(`/events/${encodeURIComponent(id)}`, { signal, since, isOver })) {
      if (name === "event") yield data;
    }
  }

  /** Join a live call by a socket that reconnects when it breaks: events since `since` (0: all that are stored), commands. */
  follow(id, { since } = {}) {
    return new Call(this, id, { since });
  }

  /**
   * Call from this page: microphone and loudspeaker are the telephone.
   *
   * `playbook` (a name) or `content` (a text) runs the conversation; without one, control the call by commands. `microphone`: a device id, a
   * MediaStream, or `false` for none. `audio`: an `<audio>` element that plays the agent; created if none is given.
   * Throws ApiError if the server refuses, and the errors of `getUserMedia`.
   */
  async call({ playbook, content, vars, option, caller, id, microphone, audio } = {}) {
    const line = await BrowserCall.open(this, { microphone, audio });
    try {
      await line.begin({ playbook, content, vars, option, caller, id });
    } catch (error) {
      line.release();
      throw error;
    }
    return line;
  }
}

/** Reads `text/event-stream`: yields `{name, data, id}` with `data` as JSON. */
async function* parseEventStream(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (let step = await reader.read(); !step.done; step = await reader.read()) {
      const blocks = (rest + step.value).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) {
        const item = { name: "message", data: "", id: undefined };
        for (const text of block.split("\n")) {
          const colon = text.indexOf(":");
          const value = text.slice(colon + 1).replace(/^ /, "");
          if (colon < 1) continue;
          const field = text.slice(0, colon);
          if (field === "event") item.name = value;
          else if (field === "id") item.id = value;
          else if (field === "data") item.data += (item.data ? "\n" : "") + value;
        }
        if (item.data) yield { ...item, data: JSON.parse(item.data) };
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
