"""How the phone receives sound: every datagram with its time of arrival, and the timeline that a listener would have heard.

Enters: datagrams of one socket. Leaves: a timeline of samples placed by RTP timestamp, and figures about the stream: gaps, repeats, jumps,
markers, arrival against the 20 ms grid. Arrival times are the kernel's (SO_TIMESTAMPNS), so that a busy interpreter on our side is not held
against the other. It must not know the program's own RTP. RFC 3550, RFC 3551, RFC 4733.
"""

from __future__ import annotations

import itertools
import socket
import struct
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pylibsrtp

from active_call.testing.phone.rtp import MediaPlan, srtp_session
from active_call.testing.sound import audio
from active_call.testing.sound.audio import FRAME_SAMPLES, RATE_HZ, VOICED_LEVEL, Pcm

_SO_TIMESTAMPNS = getattr(socket, "SO_TIMESTAMPNS", 35)
_MAX_JUMP_SAMPLES = 60 * RATE_HZ
"""A timestamp further away than this starts a new timeline (a sender that restarted)."""


@dataclass(frozen=True, slots=True)
class Heard:
    """One RTP packet of sound: arrival in monotonic seconds, header fields, level (root mean square)."""

    at: float
    sequence: int
    timestamp: int
    marker: bool
    ssrc: int
    payload: bytes
    level: float


@dataclass(frozen=True, slots=True)
class StreamFigures:
    """What the receiving side counted. `jitter_*` is arrival against the 20 ms grid of the earliest packet, in milliseconds."""

    packets: int
    lost: int
    repeated_sequence: int
    out_of_order: int
    timestamp_gaps: int
    repeated_frames: int
    markers: int
    ssrcs: int
    rejected: int
    unknown_payload_types: int
    rtcp_packets: int
    jitter_p50_ms: float
    jitter_p99_ms: float
    jitter_max_ms: float

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


class AudioReceiver:
    """Receives until `stop`."""

    def __init__(self, rtp: socket.socket, rtcp: socket.socket, plan: MediaPlan) -> None:
        self._rtp, self._rtcp, self._plan = rtp, rtcp, plan
        self._law = audio.LAWS[plan.payload_type]
        # One session for each thread: pylibsrtp works in a buffer of the session, without the interpreter's lock.
        self._srtp = srtp_session(plan.receive_key, outbound=False) if plan.receive_key else None
        self._srtcp = srtp_session(plan.receive_key, outbound=False) if plan.receive_key else None
        self._stopping = threading.Event()
        self._to_monotonic = time.monotonic() - time.time()
        self.packets: list[Heard] = []
        self.voiced_at: list[float] = []
        """When each packet with speech arrived: the talker, live."""
        self.digits: list[str] = []
        self.counts: Counter[str] = Counter()
        self._last_digit_timestamp = -1
        for sock in (rtp, rtcp):
            sock.settimeout(0.2)
        try:
            rtp.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        except OSError:
            self.counts["no_kernel_timestamps"] += 1
        self._threads = [
            threading.Thread(target=self._run, name="phone-receiver", daemon=True),
            threading.Thread(target=self._run_rtcp, name="phone-receiver-rtcp", daemon=True),
        ]

    def start(self) -> None:
        """Start receiving, including what is already in the socket."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop receiving."""
        self._stopping.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(2)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                packet, ancillary, _, _ = self._rtp.recvmsg(2048, 128)
            except TimeoutError:
                continue
            except OSError:
                if self._stopping.wait(0.02):
                    return
                continue
            self._take(packet, self._arrival(ancillary))

    def _run_rtcp(self) -> None:
        while not self._stopping.is_set():
            try:
                packet = self._rtcp.recv(2048)
            except OSError:
                continue
            try:
                plain = self._srtcp.unprotect_rtcp(packet) if self._srtcp else packet
            except pylibsrtp.Error:
                self.counts["rtcp_rejected"] += 1
                continue
            good = len(plain) >= 8 and plain[0] >> 6 == 2 and plain[1] in (200, 201)
            self.counts["rtcp" if good else "rtcp_malformed"] += 1

    def _arrival(self, ancillary: list[tuple[int, int, bytes]]) -> float:
        for level, kind, value in ancillary:
            if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS and len(value) >= 16:
                seconds, nanoseconds = struct.unpack("@qq", value[:16])
                return float(seconds + nanoseconds / 1e9 + self._to_monotonic)
        return time.monotonic()

    def _take(self, packet: bytes, at: float) -> None:
        try:
            plain = self._srtp.unprotect(packet) if self._srtp else packet
        except pylibsrtp.Error:
            self.counts["rejected"] += 1
            return
        if len(plain) < 12 or plain[0] >> 6 != 2:
            self.counts["malformed"] += 1
            return
        flags, second, sequence, timestamp, ssrc = struct.unpack("!BBHII", plain[:12])
        start = 12 + 4 * (flags & 0x0F)
        if flags & 0x10:
            start += 4 + 4 * int.from_bytes(plain[start + 2 : start + 4], "big")
        payload = plain[start : len(plain) - (plain[-1] if flags & 0x20 else 0)]
        payload_type = second & 0x7F
        if payload_type == self._plan.payload_type:
            level = float(np.sqrt((self._law.decode(payload).astype(np.float64) ** 2).mean())) if payload else 0.0
            if level > VOICED_LEVEL:
                self.voiced_at.append(at)
            self.packets.append(Heard(at, sequence, timestamp, bool(second & 0x80), ssrc, payload, level))
        elif payload_type == self._plan.event_type and len(payload) >= 4:
            if timestamp != self._last_digit_timestamp:
                self._last_digit_timestamp = timestamp
                self.digits.append("0123456789*#ABCD"[payload[0] & 0x0F])
        else:
            self.counts["unknown_payload_type"] += 1

    def _placed(self) -> list[tuple[float, Heard]]:
        """Each packet with the monotonic time at which a listener hears it: its timestamp, reckoned from the earliest arrival of its
        stretch, so that a packet that came late does not move the others."""
        placed: list[tuple[float, Heard]] = []
        stretch: list[tuple[float, Heard]] = []
        reference: Heard | None = None
        elapsed = 0
        for packet in list(self.packets):
            step = 0
            if reference is not None:
                step = (packet.timestamp - reference.timestamp + 0x80000000) % 0x100000000 - 0x80000000
            if reference is None or packet.ssrc != reference.ssrc or abs(step) > _MAX_JUMP_SAMPLES:
                placed += _anchored(stretch)
                stretch, elapsed, step = [], 0, 0
            elapsed += step
            stretch.append((elapsed / RATE_HZ, packet))
            reference = packet
        return placed + _anchored(stretch)

    def timeline(self, epoch: float) -> Pcm:
        """What was heard, sample 0 at `epoch` (monotonic seconds); silence where nothing was sent."""
        placed = self._placed()
        if not placed:
            return np.zeros(0, dtype=np.int16)
        end = max(when + len(packet.payload) / RATE_HZ for when, packet in placed)
        pcm = np.zeros(max(round((end - epoch) * RATE_HZ), 0) + 2, dtype=np.int16)
        for when, packet in placed:
            start = round((when - epoch) * RATE_HZ)
            if start >= 0:
                pcm[start : start + len(packet.payload)] = self._law.decode(packet.payload)
        return pcm

    def figures(self) -> StreamFigures:
        """The statistics of the stream; call it after the call."""
        packets = list(self.packets)
        steps = [(after.sequence - before.sequence + 0x8000) % 0x10000 - 0x8000 for before, after in _neighbours(packets)]
        frames = [(after.timestamp - before.timestamp) % 0x100000000 for before, after in _neighbours(packets)]
        repeats = sum(
            after.payload == before.payload and after.level > VOICED_LEVEL and len(set(after.payload)) > 8
            for before, after in _neighbours(packets)
        )
        late = np.array([(packet.at - when) * 1000 for when, packet in self._placed()] or [0.0])
        return StreamFigures(
            packets=len(packets),
            lost=sum(step - 1 for step in steps if step > 1),
            repeated_sequence=sum(step == 0 for step in steps),
            out_of_order=sum(step < 0 for step in steps),
            timestamp_gaps=sum(step == 1 and frame != FRAME_SAMPLES for step, frame in zip(steps, frames, strict=True)),
            repeated_frames=int(repeats),
            markers=sum(packet.marker for packet in packets),
            ssrcs=len({packet.ssrc for packet in packets}),
            rejected=self.counts["rejected"] + self.counts["malformed"],
            unknown_payload_types=self.counts["unknown_payload_type"],
            rtcp_packets=self.counts["rtcp"],
            jitter_p50_ms=round(float(np.percentile(late, 50)), 2),
            jitter_p99_ms=round(float(np.percentile(late, 99)), 2),
            jitter_max_ms=round(float(late.max()), 2),
        )


def _neighbours(packets: list[Heard]) -> list[tuple[Heard, Heard]]:
    """Each packet and the next of the same source."""
    return [(before, after) for before, after in itertools.pairwise(packets) if before.ssrc == after.ssrc]


def _anchored(stretch: list[tuple[float, Heard]]) -> list[tuple[float, Heard]]:
    if not stretch:
        return []
    anchor = min(packet.at - offset for offset, packet in stretch)
    return [(anchor + offset, packet) for offset, packet in stretch]
