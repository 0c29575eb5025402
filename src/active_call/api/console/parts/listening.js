// Listens to a live call: the caller on the left, the agent on the right, from the samples of a socket.

import { client } from "../api.js";
import { audioContext } from "./meter.js";

const RATE_HZ = 16000;
const CHANNELS = 2;
const AHEAD_S = 0.15;
const LATEST_S = 1;

/** Returns a function that stops it. `onProblem` is called with the reason when listening ends. */
export function listenTo(id, onProblem) {
  const context = audioContext();
  const query = client.token ? `?${new URLSearchParams({ token: client.token })}` : "";
  const socket = new WebSocket(`${client.url.replace(/^http/, "ws")}/listen/${encodeURIComponent(id)}${query}`);
  socket.binaryType = "arraybuffer";
  let at = 0, hasOpened = false, isWanted = true;
  socket.onopen = () => { hasOpened = true; };
  socket.onmessage = ({ data }) => {
    const samples = new Int16Array(data);
    if (samples.length < CHANNELS) return;
    const buffer = new AudioBuffer({ length: samples.length / CHANNELS, numberOfChannels: CHANNELS, sampleRate: RATE_HZ });
    for (let channel = 0; channel < CHANNELS; channel += 1) {
      const side = buffer.getChannelData(channel);
      for (let index = 0; index < side.length; index += 1) side[index] = samples[index * CHANNELS + channel] / 32768;
    }
    const now = context.currentTime;
    if (at < now || at > now + LATEST_S) at = now + AHEAD_S;
    const source = new AudioBufferSourceNode(context, { buffer });
    source.connect(context.destination);
    source.start(at);
    at += buffer.duration;
  };
  socket.onclose = ({ code, reason }) => {
    if (isWanted && !hasOpened) onProblem("The sound of this call is not available.");
    else if (isWanted && code !== 1000) onProblem(reason || "The sound was interrupted.");
  };
  return () => {
    isWanted = false;
    socket.close(1000);
  };
}
