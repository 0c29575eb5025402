"""Browsers for `browsers.py`: aiortc sets up the connections, with Opus; then plain sockets send prepared, encrypted packets.

Reads `{"calls", "speech", "seconds"}`, writes `{"offers"}`, reads `{"answers"}`, writes `{"connected"}`, and sends for `seconds`. On every
further input line it writes the figures since the previous line: `sent`, `received`, `late_ms` (p99 of the send delay), `offset_ms` (p50
and p99 of each packet's offset from its stream's 20 ms grid), `wrong` (packets in the sample whose authentication failed).
"""

from __future__ import annotations

import asyncio
import fractions
import gc
import os
import socket
import struct
import time
from typing import Any

import av
import numpy as np
import pylibsrtp
from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpSender
from aiortc.codecs.opus import OpusEncoder
from aiortc_parts import Offering
from common import listen, say, speech_frames

FRAME_S = 0.02
OPUS_TICKS = 960
PAYLOAD_TYPE = 96
LOOKED_AT_EVERY = 50
REPORT_S = 1.0
"""Interval of the receiver reports. Browsers send one in 5 s. Here they come sooner, so that an encoder knows the loss in time."""


class Browser(Offering):
    """One browser. `arrivals`: times and sequence numbers of the received packets."""

    def __init__(self, index: int, payloads: list[bytes]) -> None:
        self.connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        transceiver = self.connection.addTransceiver("audio", direction="sendrecv")
        transceiver.setCodecPreferences([c for c in RTCRtpSender.getCapabilities("audio").codecs if c.mimeType == "audio/opus"])
        self._sender = transceiver.sender
        self._payloads, self._index, self._n_sent = payloads, index, 0
        self._packets: list[bytes] = []
        self.arrivals: list[tuple[float, int]] = []
        self.n_wrong = 0

    async def _note(self, data: bytes, arrival_time_ms: int) -> None:
        """Ignore packets received before `prepare`."""

    def prepare(self, n_packets: int) -> None:
        """Encrypt all packets to send, and handle received packets directly in the socket's protocol."""
        dtls = self._sender.transport
        pair = dtls.transport._connection._nominated[1]
        self._address = pair.remote_addr
        self._socket = socket.socket(fileno=os.dup(pair.protocol.transport.get_extra_info("socket").fileno()))
        self._protect_rtcp, self._their_ssrc, self._highest = dtls._tx_srtp.protect_rtcp, 0, 0
        self._unprotect, protect, plain = dtls._rx_srtp.unprotect, dtls._tx_srtp.protect, pair.protocol.datagram_received
        for n in range(n_packets):
            header = struct.pack("!BBHII", 0x80, PAYLOAD_TYPE, n & 0xFFFF, n * OPUS_TICKS & 0xFFFFFFFF, self._sender._ssrc)
            self._packets.append(protect(header + self._payloads[(n + self._index * 37) % len(self._payloads)]))

        def received(data: bytes, addr: Any) -> None:
            if not 128 <= data[0] <= 191:
                plain(data, addr)
            elif not 64 <= data[1] & 0x7F <= 95:  # RTCP (RFC 5761)
                self._take(data)

        pair.protocol.datagram_received = received

    def _take(self, data: bytes) -> None:
        self._highest, self._their_ssrc = int.from_bytes(data[2:4], "big"), int.from_bytes(data[8:12], "big")
        self.arrivals.append((time.monotonic(), self._highest))
        if len(self.arrivals) % LOOKED_AT_EVERY == 1:
            try:
                self._unprotect(data)
            except pylibsrtp.Error:
                self.n_wrong += 1

    def send(self) -> None:
        """Send the next packet, if any is left."""
        if self._n_sent < len(self._packets):
            self._socket.sendto(self._packets[self._n_sent], self._address)
            self._n_sent += 1

    def report(self) -> None:
        """Send a receiver report without loss, with the name that a compound packet needs (RFC 3550 §6.1)."""
        if self._their_ssrc:
            ours = self._sender._ssrc
            block = struct.pack("!BBHIIIIIII", 0x81, 201, 7, ours, self._their_ssrc, 0, self._highest, 0, 0, 0)
            name = struct.pack("!BBHIBB4s2x", 0x81, 202, 3, ours, 1, 4, b"peer")
            self._socket.sendto(self._protect_rtcp(block + name), self._address)

    def offsets_ms(self) -> np.ndarray:
        """The offsets of the packets since the last call. Clears them."""
        told, self.arrivals = self.arrivals, []
        if len(told) < 10:
            return np.zeros(0)
        at, number = np.array([one for one, _ in told]), np.unwrap(np.array([float(n) for _, n in told]), period=65_536)
        difference = at - number * FRAME_S
        return np.abs(difference - np.median(difference)) * 1000


def opus_payloads(path: str) -> list[bytes]:
    """The speech, as 20 ms packets."""
    encoder, payloads = OpusEncoder(), []
    for index, frame in enumerate(speech_frames(path)):
        wide = np.repeat(frame, 6)[None].repeat(2, axis=0).T.reshape(1, -1).copy()
        sound = av.AudioFrame.from_ndarray(wide, format="s16", layout="stereo")
        sound.sample_rate, sound.pts, sound.time_base = 48_000, index * OPUS_TICKS, fractions.Fraction(1, 48_000)
        payloads += encoder.encode(sound)[0]
    return payloads


def seen(browsers: list[Browser], n_sent: int, late: list[float]) -> dict[str, Any]:
    """The figures since the last call."""
    received, wrong = sum(len(browser.arrivals) for browser in browsers), sum(browser.n_wrong for browser in browsers)
    for browser in browsers:
        browser.n_wrong = 0
    off = np.concatenate([browser.offsets_ms() for browser in browsers])
    p50, p99 = np.percentile(off, (50, 99)).tolist() if len(off) else (0.0, 0.0)
    late_ms = float(np.percentile(late, 99)) * 1000 if late else 0.0
    return {"sent": n_sent, "received": received, "late_ms": late_ms, "offset_ms": {"p50": p50, "p99": p99}, "wrong": wrong}


async def main() -> None:
    loop = asyncio.get_running_loop()
    task = listen()
    payloads = opus_payloads(task["speech"])
    browsers = [Browser(index, payloads) for index in range(task["calls"])]
    say({"offers": [await browser.offer() for browser in browsers]})
    answers = listen()["answers"]
    await asyncio.gather(*(browser.accept(answer) for browser, answer in zip(browsers, answers, strict=True)))
    for browser in browsers:
        browser.prepare(round(task["seconds"] / FRAME_S))
        await asyncio.sleep(0)
    gc.collect()
    gc.disable()  # a collection would count as send delay
    say({"connected": True})
    asked: asyncio.Future[object] = loop.run_in_executor(None, listen)
    begun, sent, told, reported, late = time.monotonic(), 0, 0, 0, []
    while True:
        await asyncio.sleep(0.001)
        now = time.monotonic()
        due = int((now - begun) / FRAME_S * len(browsers)) + 1
        if due > sent:
            late.append(now - begun - sent * FRAME_S / len(browsers))
        while sent < due:
            browsers[sent % len(browsers)].send()
            sent += 1
        while now - begun > reported * REPORT_S / len(browsers):
            browsers[reported % len(browsers)].report()
            reported += 1
        if asked.done():
            say(seen(browsers, sent - told, late))
            late, told = [], sent
            asked = loop.run_in_executor(None, listen)


asyncio.run(main())
