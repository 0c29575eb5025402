// Talk to a playbook from this page: microphone and loudspeaker are the telephone.

import { devices } from "/client.js";
import { client, useLiveCalls, useLoaded } from "../api.js";
import { deviceError, length } from "../format.js";
import { useBrowserCall } from "../parts/browser_call.js";
import { Dialpad } from "../parts/dialpad.js";
import { Meter } from "../parts/meter.js";
import { Transcript } from "../parts/transcript.js";
import { Variables } from "../parts/variables.js";
import { Legend } from "../parts/waterfall.js";
import { Badge, Facts, html, Page, Problem, Select, useEffect, useNow, useRef, useState } from "../ui.js";

const YOU = { caller: "You", agent: "Agent" };

function useDevices(isCalling) {
  const [found, setFound] = useState({ microphones: [], speakers: [] });
  useEffect(() => {
    const look = () => devices().then(setFound, () => {});
    look();
    navigator.mediaDevices?.addEventListener("devicechange", look);
    return () => navigator.mediaDevices?.removeEventListener("devicechange", look);
  }, [isCalling]);
  return found;
}

function useQuality(call, isUp) {
  const [quality, setQuality] = useState(null);
  useEffect(() => {
    if (!call || !isUp) return undefined;
    const timer = setInterval(() => call.quality().then(setQuality, () => {}), 1000);
    return () => clearInterval(timer);
  }, [call, isUp]);
  return quality;
}

/** Meters, mute, devices, keypad and figures of a connected call. */
export function CallControls({ line, begunAt }) {
  const { call, phase, media, hangUp } = line;
  const isUp = phase === "up";
  const [isMuted, setMuted] = useState(false);
  const [digits, setDigits] = useState("");
  const [problem, setProblem] = useState("");
  const quality = useQuality(call, isUp);
  const found = useDevices(isUp);
  const now = useNow();
  const until = useRef(now); // the time stands still when the call is over
  if (phase !== "over") until.current = now;
  const mute = () => { call.mute(!isMuted); setMuted(!isMuted); };
  const press = digit => {
    try { call.dtmf(digit); setDigits(old => (old + digit).slice(-20)); } catch (error) { setProblem(error.message); }
  };
  const choose = work => id => work(id).catch(error => setProblem(deviceError(error)));
  const choices = (list, name) => list.map((one, index) => [one.id, one.label || `${name} ${index + 1}`]);
  return html`
    <section class="card controls" aria-label="Call">
      <div class="row"><${Badge} kind=${isUp ? "good" : ""}>${isUp ? (media === "connected" || !media ? "connected" : media) : phase}<//>
        <span class="timer">${length((until.current - begunAt) / 1000)}</span></div>
      <${Meter} stream=${isUp && !isMuted ? call.microphone : null} label="You" />
      <${Meter} stream=${isUp ? call.sound : null} label="Agent" />
      ${media === "blocked" && html`<button onClick=${() => call.audio.play()}>Play the agent's sound</button>`}
      <div class="row">
        <button onClick=${mute} disabled=${!isUp} aria-pressed=${isMuted}>${isMuted ? "Unmute" : "Mute"}</button>
        <button class="danger" onClick=${hangUp} disabled=${!isUp}>Hang up</button>
      </div>
      <${Dialpad} onDigit=${press} isOff=${!isUp} />
      <p class="digits" aria-live="polite">${digits}</p>
      <${Problem} text=${problem} />
      ${found.microphones.length > 1 && html`<${Select} label="Microphone" value=${call.microphone?.getAudioTracks()[0]?.getSettings().deviceId ?? ""} options=${choices(found.microphones, "Microphone")} onChange=${choose(id => call.setMicrophone(id))} disabled=${!isUp} />`}
      ${found.speakers.length > 1 && html`<${Select} label="Loudspeaker" value=${call.audio.sinkId || "default"} options=${choices(found.speakers, "Loudspeaker")} onChange=${choose(id => call.setSpeaker(id))} disabled=${!isUp} />`}
      ${quality && html`<${Facts} pairs=${[["Codec", quality.codec], ["Round trip", quality.roundTripMs && `${quality.roundTripMs.toFixed(0)} ms`], ["Jitter", quality.jitterMs !== undefined && `${quality.jitterMs.toFixed(0)} ms`], ["Lost", quality.lostPackets !== undefined && `${quality.lostPackets} of ${quality.packets}`]]} />`}
    </section>`;
}

function Scene({ id }) {
  const { calls } = useLiveCalls();
  const mine = calls?.find(call => call.id === id);
  if (!mine) return null;
  return html`<section class="card" aria-label="Agent"><${Facts} pairs=${[["Scene", mine.scene]]} /><${Variables} variables=${mine.variables} /></section>`;
}

export function TalkPage({ parts }) {
  const books = useLoaded(() => client.playbooks(), []);
  const [chosen, setChosen] = useState(parts[0] ?? "");
  const [begunAt, setBegunAt] = useState(0);
  const line = useBrowserCall();
  const isBusy = line.phase === "calling" || line.phase === "up";
  const playbook = chosen || books.value?.[0]?.name || "";
  const begin = more => {
    setBegunAt(Date.now());
    line.begin({ playbook, ...more });
  };
  const start = event => {
    event.preventDefault();
    begin();
  };
  return html`
    <${Page} title="Talk to an agent">
      <form class="toolbar" onSubmit=${start}>
        <${Select} label="Playbook" value=${playbook} options=${(books.value ?? []).map(book => [book.name, book.name])} onChange=${setChosen} disabled=${isBusy} />
        <button class="main call" disabled=${isBusy || !playbook}>${line.phase === "calling" ? "Calling …" : line.phase === "up" ? "In a call" : "Call"}</button>
        ${line.call && line.phase === "over" && html`<a class="button" href=${`#/call/${encodeURIComponent(line.call.id)}`}>Open the call</a>`}
      </form>
      <${Problem} text=${line.problem || books.error} />
      ${line.lacksMicrophone && html`<p><button onClick=${() => begin({ microphone: false })}>Call without a microphone</button> <span class="hint">You hear the agent, and your keypad works.</span></p>`}
      ${books.value?.length === 0 && html`<p class="empty">There are no playbooks yet. <a href="#/playbooks">Write one.</a></p>`}
      ${line.phase === "idle" ? html`<p class="hint">The agent answers in this page. Your browser asks for the microphone; headphones give the best sound.</p>` : html`
        <div class="split">
          <section class="card grow" aria-label="Conversation"><${Transcript} state=${line.talk} names=${YOU} isLive /><${Legend} /></section>
          <div class="side">${line.call && html`<${CallControls} key=${line.call.id} line=${line} begunAt=${begunAt} />`}${line.phase === "up" && html`<${Scene} id=${line.call?.id} />`}</div>
        </div>`}
    <//>`;
}
