"""A call as an RTCPeerConnection of aiortc: PCMU, DTLS-SRTP and ICE on loopback; received sound goes to 16 kHz and one ONNX session a call.

Reads `{"offers", "speech"}`, says `{"answers"}`, and reports its figures on the next line.
"""

from __future__ import annotations

import asyncio
import sys

import av
import numpy as np
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from aiortc_parts import Speech
from common import Silero, leave, listen, own_figures, say, silero_path, speech_frames


class Call:
    """One call."""

    def __init__(self, frames: np.ndarray, index: int, model: str) -> None:
        self.connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.connection.addTrack(Speech(frames, index * 50))
        self.connection.on("track", self._on_track)
        self.silero = Silero(model)
        self.n_received = 0
        self.tasks: list[asyncio.Task[None]] = []

    def _on_track(self, track: MediaStreamTrack) -> None:
        self.tasks.append(asyncio.ensure_future(self._hear(track)))

    async def _hear(self, track: MediaStreamTrack) -> None:
        resampler = av.AudioResampler(format="s16", layout="mono", rate=16_000)
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            self.n_received += 1
            for wide in resampler.resample(frame):
                self.silero.push(wide.to_ndarray()[0])

    async def answer(self, offer: str) -> str:
        await self.connection.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        await self.connection.setLocalDescription(await self.connection.createAnswer())
        return self.connection.localDescription.sdp


async def main() -> None:
    loop = asyncio.get_running_loop()
    task = listen()
    frames, model = speech_frames(task["speech"]), str(silero_path())
    calls = [Call(frames, index, model) for index in range(len(task["offers"]))]
    say({"answers": [await call.answer(offer) for call, offer in zip(calls, task["offers"], strict=True)]})
    await loop.run_in_executor(None, sys.stdin.readline)
    sums = {"received": sum(call.n_received for call in calls), "speech": sum(call.silero.n_speech for call in calls)}
    say(sums | own_figures())
    leave()


asyncio.run(main())
