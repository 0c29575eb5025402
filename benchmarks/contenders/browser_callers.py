"""Browsers for `browsers.py`: aiortc sets up the connections, with Opus; then prepared packets are sent, and arrivals are counted.

Reads `{"calls", "speech"}`, says `{"offers"}`, reads `{"answers"}`, says `{"connected"}`, sends from then on, and on every line says
`{"sent", "received", "late_ms"}` since the previous line.
"""

from __future__ import annotations

import asyncio
import fractions
import struct
import time

import av
import numpy as np
from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpSender
from aiortc.codecs.opus import OpusEncoder
from aiortc_parts import Offering
from common import listen, say, speech_frames

FRAME_S = 0.02
OPUS_TICKS = 960


class Browser(Offering):
    """One browser."""

    def __init__(self, index: int, payloads: list[bytes]) -> None:
        self.connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        transceiver = self.connection.addTransceiver("audio", direction="sendrecv")
        transceiver.setCodecPreferences([c for c in RTCRtpSender.getCapabilities("audio").codecs if c.mimeType == "audio/opus"])
        self._sender = transceiver.sender
        self._payloads, self._index, self._n_sent = payloads, index, 0
        self.n_received = 0

    async def _note(self, data: bytes, arrival_time_ms: int) -> None:
        self.n_received += 1

    async def send(self) -> None:
        n = self._n_sent
        payload = self._payloads[(n + self._index * 37) % len(self._payloads)]
        header = struct.pack("!BBHII", 0x80, 96, n & 0xFFFF, n * OPUS_TICKS & 0xFFFFFFFF, self._sender._ssrc)
        self._n_sent += 1
        await self._sender.transport._send_rtp(header + payload)


def opus_payloads(path: str) -> list[bytes]:
    """The speech, as 20 ms packets."""
    encoder, payloads = OpusEncoder(), []
    for index, frame in enumerate(speech_frames(path)):
        wide = np.repeat(frame, 6)[None].repeat(2, axis=0).T.reshape(1, -1).copy()
        sound = av.AudioFrame.from_ndarray(wide, format="s16", layout="stereo")
        sound.sample_rate, sound.pts, sound.time_base = 48_000, index * OPUS_TICKS, fractions.Fraction(1, 48_000)
        payloads += encoder.encode(sound)[0]
    return payloads


async def main() -> None:
    loop = asyncio.get_running_loop()
    task = listen()
    payloads = opus_payloads(task["speech"])
    browsers = [Browser(index, payloads) for index in range(task["calls"])]
    say({"offers": [await browser.offer() for browser in browsers]})
    answers = listen()["answers"]
    await asyncio.gather(*(browser.accept(answer) for browser, answer in zip(browsers, answers, strict=True)))
    say({"connected": True})
    asked: asyncio.Future[object] = loop.run_in_executor(None, listen)
    begun, sent, late_s, told = time.monotonic(), 0, 0.0, (0, 0)
    while True:
        await asyncio.sleep(0.002)
        now = time.monotonic()
        due = int((now - begun) / FRAME_S * len(browsers))
        late_s = max(late_s, (due - sent) * FRAME_S / len(browsers))
        while sent < due:
            await browsers[sent % len(browsers)].send()
            sent += 1
        if asked.done():
            received = sum(browser.n_received for browser in browsers)
            say({"sent": sent - told[0], "received": received - told[1], "late_ms": late_s * 1000})
            late_s, told = 0.0, (sent, received)
            asked = loop.run_in_executor(None, listen)


asyncio.run(main())
