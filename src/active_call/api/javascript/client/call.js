// One call of the server, followed and controlled by a socket. Part of /client.js.

/** The waits before attempts to connect, in ms; the last one repeats. */
export const RETRY_MS = [250, 500, 1000, 2000, 4000, 8000];

/** This many consecutive sockets that do not open, while the server responds, count as a refusal. */
const MAX_REFUSALS = 10;

/** Functions by event name. A listener that throws does not affect others. */
class Listeners {
  #byName = new Map();

  on(name, listener) {
    const all = this.#byName.get(name) ?? new Set();
    this.#byName.set(name, all.add(listener));
    return () => all.delete(listener);
  }

  tell(name, value) {
    for (const listener of [...(this.#byName.get(name) ?? []), ...(this.#byName.get("*") ?? [])]) {
      try { listener(value, name); } catch (error) { console.error(error); }
    }
  }
}

/**
 * One call, by a socket: `on(name, listener)` receives its events, the methods send commands. The socket reconnects with the call's id and the
 * number of the last event, so that none is missed. `state`: `connecting`, `connected`, `reconnecting` or `ended`, reported as `state`.
 */
export class Call {
  #client;
  #listeners = new Listeners();
  #socket = null;
  #waiting = [];
  #since;
  #tries = 0;
  #refusals = 0;
  #timer = 0;
  #path;

  constructor(client, id, { since, path = "/call/sip", connect = true } = {}) {
    this.#client = client;
    this.#since = since;
    this.#path = path;
    this.id = id;
    this.state = "connecting";
    /** The `hangup` event, once the call has ended. */
    this.ended = null;
    /** Resolves with the `hangup` event when the call ends; null if it ended before it could be joined. */
    this.done = new Promise(resolve => { this.resolveDone = resolve; });
    if (connect) this.connect();
  }

  /** Listen to the events of that name (`asrFinal`, `addHistory`, `state` …), or all with `*`. Returns a function that stops it. */
  on(name, listener) { return this.#listeners.on(name, listener); }

  /** The next event of that name for which `matches` is true. Rejects if the call ends before, or after `timeoutMs`. */
  next(name, { matches = () => true, timeoutMs = 30000 } = {}) {
    return new Promise((resolve, reject) => {
      const stop = [];
      const finish = (settle, value) => { clearTimeout(timer); stop.forEach(one => one()); settle(value); };
      const timer = setTimeout(() => finish(reject, new Error(`no ${name} within ${timeoutMs} ms`)), timeoutMs);
      stop.push(this.on(name, event => { if (matches(event)) finish(resolve, event); }));
      if (name !== "hangup") stop.push(this.on("hangup", () => finish(reject, new Error(`the call has ended before ${name}`))));
    });
  }

  /** Send a command unchanged. While the socket is disconnected, commands wait for it. */
  send(command, fields = {}) {
    const text = JSON.stringify({ ...fields, command });
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(text);
    else if (this.state !== "ended") this.#waiting.push(text);
  }

  /** Speak. `options`: `playId`, `speaker`, `streaming`, `endOfStream`, `autoHangup` … */
  say(text, options = {}) { this.send("tts", { ...options, text }); }
  /** Play a file, a URL or a tone. */
  play(url, options = {}) { this.send("play", { ...options, url }); }
  /** Stop the current speech or play. */
  interrupt(options = {}) { this.send("interrupt", options); }
  /** Send digits to the other party. */
  dtmf(digits, options = {}) { this.send("dtmf", { ...options, digits }); }
  /** Transfer to a number or a SIP address. */
  transfer(callee, options) { this.send("refer", options ? { callee, options } : { callee }); }
  /** Put the other party on hold, or resume it. */
  hold(on = true) { this.send(on ? "hold" : "unhold"); }
  /** Set a variable of the playbook. */
  setVar(key, value) { this.send("setVar", { key, value }); }
  /** End the call. */
  hangup(reason) { this.send("hangup", reason ? { reason } : {}); }

  /** Stop following. The call continues. */
  leave() {
    clearTimeout(this.#timer);
    this.#setState("ended");
    this.#socket?.close(1000);
  }

  /** Open the socket; automatic, unless the call was created with `connect: false`. */
  connect() {
    const query = new URLSearchParams({ id: this.id, detach: "true" });
    if (this.#since !== undefined) query.set("since", this.#since);
    if (this.#client.token) query.set("token", this.#client.token);
    const socket = new WebSocket(`${this.#client.url.replace(/^http/, "ws")}${this.#path}?${query}`);
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    socket.onopen = () => {
      this.#tries = this.#refusals = 0;
      this.#setState("connected");
      this.#waiting.splice(0).forEach(text => socket.send(text));
      this.#endIfOver();
    };
    socket.onmessage = ({ data }) => {
      if (typeof data === "string") this.#take(JSON.parse(data));
      else this.#listeners.tell("sound", data);
    };
    socket.onclose = () => this.#closed();
  }

  /** For subclasses: notify the listeners. */
  tell(name, value) { this.#listeners.tell(name, value); }

  #take(event) {
    if (event.seq !== undefined) this.#since = event.seq;
    if (/^track(Start|End)$/.test(event.event) && event.playId === undefined) return; // the other party's sound, which is no play
    if (event.event === "hangup" && !event.refer) this.ended = event;
    this.#listeners.tell(event.event, event);
    if (this.ended === event) this.finish();
  }

  #closed() {
    if (this.state === "ended") return;
    this.#setState("reconnecting");
    this.#refusals += 1;
    this.#endIfOver();
    this.#timer = setTimeout(() => this.connect(), RETRY_MS[Math.min(this.#tries++, RETRY_MS.length - 1)]);
  }

  /** A socket that joins no live call gets no message, and a refused one gets no reason: ask whether there is such a call. */
  async #endIfOver() {
    try {
      const calls = await this.#client.calls();
      if (this.#refusals >= MAX_REFUSALS || !calls.some(call => call.id === this.id)) this.finish();
    } catch (error) {
      if (error.status === 401 || error.status === 403) this.finish();
    }
  }

  /** For subclasses: the call has ended. */
  finish() {
    if (this.state === "ended") return;
    this.leave();
    this.resolveDone(this.ended);
  }

  #setState(state) {
    if (this.state === state || this.state === "ended") return;
    this.state = state;
    this.#listeners.tell("state", state);
  }
}
