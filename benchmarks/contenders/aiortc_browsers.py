"""Browsers' calls in aiortc: Opus both ways, DTLS-SRTP and ICE on loopback. What is heard is decoded, and goes nowhere.

Reads `{"offers", "speech"}`, says `{"answers"}`; on every line, says how many frames were heard since the line before.
"""

from __future__ import annotations

import asyncio
import fractions
import time

import aioice.ice
import av
import numpy as np
from aiortc import AudioStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from common import FRAME_SAMPLES, RATE_HZ, listen, say, speech_frames

aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["127.0.0.1"]


class Speech(AudioStreamTrack):
    """The speech, paced as aiortc's own AudioStreamTrack is."""

    def __init__(self, frames: np.ndarray, first: int) -> None:
        super().__init__()
        self._frames, self._next = frames, first
        self._began, self._pts = 0.0, -FRAME_SAMPLES

    async def recv(self) -> av.AudioFrame:
        if self._pts < 0:
            self._began = time.time()
        self._pts += FRAME_SAMPLES
        await asyncio.sleep(self._began + self._pts / RATE_HZ - time.time())
        frame = av.AudioFrame.from_ndarray(self._frames[self._next % len(self._frames)][None], format="s16", layout="mono")
        self._next += 1
        frame.pts, frame.sample_rate, frame.time_base = self._pts, RATE_HZ, fractions.Fraction(1, RATE_HZ)
        return frame


class Call:
    """One call."""

    def __init__(self, frames: np.ndarray, index: int) -> None:
        self.connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.connection.addTrack(Speech(frames, index * 50))
        self.connection.on("track", self._on_track)
        self.n_received = 0
        self.tasks: list[asyncio.Task[None]] = []

    def _on_track(self, track: MediaStreamTrack) -> None:
        self.tasks.append(asyncio.ensure_future(self._hear(track)))

    async def _hear(self, track: MediaStreamTrack) -> None:
        while True:
            try:
                await track.recv()
            except MediaStreamError:
                return
            self.n_received += 1

    async def answer(self, offer: str) -> str:
        await self.connection.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        await self.connection.setLocalDescription(await self.connection.createAnswer())
        return self.connection.localDescription.sdp


async def main() -> None:
    loop = asyncio.get_running_loop()
    task = listen()
    frames = speech_frames(task["speech"])
    calls = [Call(frames, index) for index in range(len(task["offers"]))]
    say({"answers": [await call.answer(offer) for call, offer in zip(calls, task["offers"], strict=True)]})
    told = 0
    while True:
        await loop.run_in_executor(None, listen)
        heard = sum(call.n_received for call in calls)
        say({"heard": heard - told})
        told = heard


asyncio.run(main())
