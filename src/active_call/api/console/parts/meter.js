// The level of a MediaStream as a bar.

import { html, useEffect, useRef } from "../ui.js";

let context = null;

/** The page's one AudioContext; browsers allow sound after the first click. */
export function audioContext() {
  context ??= new AudioContext();
  if (context.state === "suspended") context.resume().catch(() => {});
  return context;
}

const FLOOR_DB = -60;

/** `stream` may be null: then the meter shows silence. */
export function Meter({ stream, label }) {
  const bar = useRef(null);
  useEffect(() => {
    if (!stream) return undefined;
    const analyser = new AnalyserNode(audioContext(), { fftSize: 1024 });
    let source = null, frame = 0, shown = 0;
    const samples = new Float32Array(analyser.fftSize);
    const connect = () => {
      if (source || !stream.getAudioTracks().length) return;
      source = audioContext().createMediaStreamSource(stream);
      source.connect(analyser);
    };
    const draw = () => {
      connect();
      analyser.getFloatTimeDomainData(samples);
      const db = 10 * Math.log10(samples.reduce((sum, sample) => sum + sample * sample, 1e-12) / samples.length);
      shown = Math.max(Math.min(1, Math.max(0, 1 - db / FLOOR_DB)), shown * 0.9);
      if (bar.current) {
        bar.current.style.transform = `scaleX(${shown})`;
        bar.current.parentElement.setAttribute("aria-valuenow", Math.round(shown * 100));
      }
      frame = requestAnimationFrame(draw);
    };
    draw();
    return () => { cancelAnimationFrame(frame); source?.disconnect(); };
  }, [stream]);
  return html`<div class="meter"><span>${label}</span><span class="track" role="meter" aria-label=${label} aria-valuemin="0" aria-valuemax="100" aria-valuenow="0"><span class="level" ref=${bar}></span></span></div>`;
}
