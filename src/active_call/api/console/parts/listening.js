// Listen in on a live call: both sides, caller left and agent right, out of the sound that a socket brings.

import { client } from "../api.js";
import { audioContext } from "./meter.js";

const RATE_HZ = 16000;
const AHEAD_S = 0.15;
const LATEST_S = 1;
const CALLER = 1;

/** Gives a function that ends it. `onProblem` is told why nothing can be heard. */
export async function listenTo(id, onProblem) {
  const context = audioContext();
  const query = new URLSearchParams({ id, detach: "true", subscribe: "true", ...(client.token ? { token: client.token } : {}) });
  const socket = new WebSocket(`${client.url.replace(/^http/, "ws")}/call/sip?${query}`);
  socket.binaryType = "arraybuffer";
  const sides = [0, 1].map(side => ({ panner: new StereoPannerNode(context, { pan: side === CALLER ? -0.7 : 0.7 }), at: 0 }));
  sides.forEach(({ panner }) => panner.connect(context.destination));
  socket.onmessage = ({ data }) => {
    if (typeof data === "string" || data.byteLength < 3) return;
    const side = sides[new Uint8Array(data, 0, 1)[0] === CALLER ? 1 : 0];
    const samples = Float32Array.from(new Int16Array(data.slice(1)), sample => sample / 32768);
    const now = context.currentTime;
    if (side.at < now || side.at > now + LATEST_S) side.at = now + AHEAD_S;
    const buffer = new AudioBuffer({ length: samples.length, sampleRate: RATE_HZ });
    buffer.copyToChannel(samples, 0);
    const source = new AudioBufferSourceNode(context, { buffer });
    source.connect(side.panner);
    source.start(side.at);
    side.at += buffer.duration;
  };
  socket.onerror = () => onProblem("The sound of the call cannot be had.");
  return () => {
    socket.close(1000);
    sides.forEach(({ panner }) => panner.disconnect());
  };
}
