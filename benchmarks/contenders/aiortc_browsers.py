"""Browsers' calls in aiortc: Opus both ways, DTLS-SRTP and ICE on loopback. Received sound is decoded and dropped.

Reads `{"offers", "speech"}`, says `{"answers"}`; on every line, reports how many frames were received since the previous line.
"""

from __future__ import annotations

import asyncio

import numpy as np
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from aiortc_parts import Speech
from common import listen, say, speech_frames


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
