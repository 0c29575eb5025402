"""The callers of `aiortc_calls`: aiortc sets up the connections; then prepared packets are sent, and only arrivals are noted.

Reads `{"calls", "payloads", "n_packets"}`, says `{"offers"}`, reads `{"answers"}`, says `{"connected"}`, starts at `{"start_at"}`, says
`{"sent"}` at the end, and on `{"from", "until"}` reports arrivals: per caller [time, RTP timestamp] within it.
"""

from __future__ import annotations

import asyncio
import struct
import sys
import time
from pathlib import Path

from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpSender
from aiortc_parts import Offering
from common import FRAME_SAMPLES, listen, say

FRAME_S = 0.02


class Caller(Offering):
    """One caller."""

    def __init__(self, index: int, payload: bytes) -> None:
        self.connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        transceiver = self.connection.addTransceiver("audio", direction="sendrecv")
        transceiver.setCodecPreferences([c for c in RTCRtpSender.getCapabilities("audio").codecs if c.mimeType == "audio/PCMU"])
        self._sender = transceiver.sender
        self._payloads = [payload[at : at + FRAME_SAMPLES] for at in range(0, len(payload), FRAME_SAMPLES)]
        self._index = index
        self._n_sent = 0
        self.arrivals: list[tuple[float, int]] = []

    async def _note(self, data: bytes, arrival_time_ms: int) -> None:
        self.arrivals.append((time.monotonic(), struct.unpack_from("!I", data, 4)[0]))

    async def send(self) -> None:
        n = self._n_sent
        payload = self._payloads[(n + self._index * 37) % len(self._payloads)]
        header = struct.pack("!BBHII", 0x80, 0, n & 0xFFFF, n * FRAME_SAMPLES & 0xFFFFFFFF, self._sender._ssrc)
        self._n_sent += 1
        await self._sender.transport._send_rtp(header + payload)


async def main() -> None:
    loop = asyncio.get_running_loop()
    task = listen()
    payload = Path(task["payloads"]).read_bytes()
    callers = [Caller(index, payload) for index in range(task["calls"])]
    say({"offers": [await caller.offer() for caller in callers]})
    answers = listen()["answers"]
    await asyncio.gather(*(caller.accept(answer) for caller, answer in zip(callers, answers, strict=True)))
    say({"connected": True})
    start_at = listen()["start_at"]
    total, sent, late_s = task["n_packets"] * len(callers), 0, 0.0
    while sent < total:
        await asyncio.sleep(0.001)
        now = time.monotonic()
        due = min(int((now - start_at) / FRAME_S * len(callers)), total)
        if sent < due:
            late_s = max(late_s, now - start_at - sent * FRAME_S / len(callers))
        while sent < due:
            await callers[sent % len(callers)].send()
            sent += 1
    say({"sent": sent, "late_ms": late_s * 1000})
    line = await loop.run_in_executor(None, listen)
    inside = [[one for one in caller.arrivals if line["from"] <= one[0] < line["until"]] for caller in callers]
    say({"arrivals": inside})
    sys.stdin.readline()


asyncio.run(main())
