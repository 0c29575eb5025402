"""Shared by aiortc's calls and their callers: paced speech, hosts on loopback only, and the offering side of a connection."""

from __future__ import annotations

import asyncio
import fractions
import time

import aioice.ice
import av
import numpy as np
from aiortc import AudioStreamTrack, RTCPeerConnection, RTCSessionDescription
from common import FRAME_SAMPLES, RATE_HZ

aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["127.0.0.1"]


class Speech(AudioStreamTrack):
    """The speech, paced like aiortc's own AudioStreamTrack."""

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


class Offering:
    """The offering side. Received sound goes to `_note`, as it comes from the network."""

    connection: RTCPeerConnection

    async def offer(self) -> str:
        await self.connection.setLocalDescription(await self.connection.createOffer())
        return self.connection.localDescription.sdp

    async def accept(self, answer: str) -> None:
        await self.connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        while self.connection.connectionState != "connected":
            await asyncio.sleep(0.05)
        self.connection.getSenders()[0].transport._handle_rtp_data = self._note

    async def _note(self, data: bytes, arrival_time_ms: int) -> None:
        raise NotImplementedError
