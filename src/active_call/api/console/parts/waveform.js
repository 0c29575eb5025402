// A recording as two tracks, caller above and agent below, with marks for what was said; a click plays from there. For keyboard and screen
// readers the words of the transcript do the same.

import { length } from "../format.js";
import { html, useEffect, useRef, useState } from "../ui.js";
import { audioContext } from "./meter.js";

const COLUMNS = 1200;
const MAX_DECODED_BYTES = 64 * 1024 * 1024;

/** The loudest sample of each column, per track, 0 to 1. */
function peaksOf(buffer) {
  return Array.from({ length: Math.min(2, buffer.numberOfChannels) }, (_, track) => {
    const samples = buffer.getChannelData(track), step = samples.length / COLUMNS;
    return Float32Array.from({ length: COLUMNS }, (__, column) => {
      let loudest = 0;
      for (let at = Math.floor(column * step); at < (column + 1) * step; at += 1) loudest = Math.max(loudest, Math.abs(samples[at] ?? 0));
      return loudest;
    });
  });
}

function draw(canvas, peaks, share) {
  const style = getComputedStyle(canvas), context = canvas.getContext("2d");
  const { width, height } = canvas, lane = height / peaks.length;
  context.clearRect(0, 0, width, height);
  peaks.forEach((track, index) => {
    const colour = style.getPropertyValue(index ? "--agent" : "--caller");
    track.forEach((peak, column) => {
      const tall = Math.max(1, peak * lane * 0.95);
      context.globalAlpha = column / COLUMNS <= share ? 1 : 0.6;
      context.fillStyle = colour;
      context.fillRect((column * width) / COLUMNS, lane * index + (lane - tall) / 2, Math.max(1, width / COLUMNS - 0.5), tall);
    });
  });
  context.globalAlpha = 1;
}

/** `sound`: a Blob. `marks`: `{at, text, kind}` in seconds. `player.current` becomes a function that plays from a second on. */
export function Waveform({ sound, marks, player }) {
  const canvas = useRef(null), audio = useRef(null);
  const [url, setUrl] = useState("");
  const [peaks, setPeaks] = useState(null);
  const [at, setAt] = useState(0);
  const [whole, setWhole] = useState(0);
  useEffect(() => {
    const made = URL.createObjectURL(sound);
    let isWanted = true;
    setUrl(made);
    if (sound.size <= MAX_DECODED_BYTES) {
      sound.arrayBuffer().then(bytes => audioContext().decodeAudioData(bytes)).then(buffer => {
        if (!isWanted) return;
        setWhole(buffer.duration);
        setPeaks(peaksOf(buffer));
      }, () => {});
    }
    return () => { isWanted = false; URL.revokeObjectURL(made); };
  }, [sound]);
  useEffect(() => {
    const again = () => { if (peaks) draw(canvas.current, peaks, whole ? at / whole : 0); };
    const theme = matchMedia("(prefers-color-scheme: dark)");
    again();
    theme.addEventListener("change", again);
    return () => theme.removeEventListener("change", again);
  }, [peaks, at, whole]);
  const playFrom = second => {
    audio.current.currentTime = Math.max(0, second);
    audio.current.play().catch(() => {});
  };
  player.current = playFrom;
  const seek = event => {
    const box = event.currentTarget.getBoundingClientRect();
    playFrom(((event.clientX - box.left) / box.width) * whole);
  };
  return html`
    <div class="waveform">
      ${peaks && html`
        <div class="tracks">
          <span class="name caller">Caller</span><span class="name agent">Agent</span>
          <canvas ref=${canvas} width=${COLUMNS} height="140" onClick=${seek} aria-hidden="true"></canvas>
          ${marks.filter(mark => mark.at <= whole).map(mark => html`<span class=${`mark ${mark.kind}`} style=${{ left: `${(mark.at / whole) * 100}%` }} title=${`${length(mark.at)} ${mark.text}`} aria-hidden="true"></span>`)}
          <span class="cursor" style=${{ left: `${whole ? (at / whole) * 100 : 0}%` }}></span>
        </div>`}
      <audio ref=${audio} controls src=${url || undefined} onTimeUpdate=${event => setAt(event.currentTarget.currentTime)} onLoadedMetadata=${event => setWhole(old => old || event.currentTarget.duration)}></audio>
    </div>`;
}
