"""How the phone sends sound: one RTP packet every 20 ms, for as long as the call lasts, from a thread of its own.

Enters: samples to say, digits to press, the peer's address, payload types and keys. Leaves: datagrams, and the record of what was sent
when. It must not know SIP, nor the program's own RTP. RFC 3550 (packets, sender reports), RFC 3551 (marker), RFC 4733 (digits, 2.5.1),
RFC 3711 and 4568 through libsrtp.
"""

from __future__ import annotations

import secrets
import socket
import struct
import threading
import time
from collections import deque
from dataclasses import dataclass

import numpy as np
import pylibsrtp

from active_call.testing.sound import audio
from active_call.testing.sound.audio import FRAME_SAMPLES, VOICED_LEVEL, Pcm

FRAME_S = 0.02
ALIGNED_FRAMES = 8
"""160 ms: the least time that holds whole frames of 20 ms and whole pieces of 32 ms."""
_DIGITS = "0123456789*#ABCD"  # RFC 4733 table 3: the index is the event
_EVENT_VOLUME = 10  # -10 dBm0
_END_PACKETS = 3  # RFC 4733 section 2.5.1.4
_REPORT_INTERVAL_S = 5.0  # RFC 3550 section 6.2


@dataclass(frozen=True, slots=True)
class MediaPlan:
    """What offer and answer agreed on, as the phone needs it. `event_type` -1: no digits; empty keys: plain RTP."""

    remote: tuple[str, int]
    payload_type: int
    event_type: int
    send_key: bytes = b""
    receive_key: bytes = b""


@dataclass(frozen=True, slots=True)
class Said:
    """One packet that went out: when (monotonic seconds), and its samples if it was sound."""

    at: float
    pcm: Pcm | None


def srtp_session(key: bytes, *, outbound: bool) -> pylibsrtp.Session:
    """A libsrtp session of AES_CM_128_HMAC_SHA1_80 for a 30-byte master key and salt."""
    direction = pylibsrtp.Policy.SSRC_ANY_OUTBOUND if outbound else pylibsrtp.Policy.SSRC_ANY_INBOUND
    return pylibsrtp.Session(pylibsrtp.Policy(key=key, ssrc_type=direction, srtp_profile=pylibsrtp.Policy.SRTP_PROFILE_AES128_CM_SHA1_80))


def bind_pair(local_ip: str) -> tuple[socket.socket, socket.socket]:
    """An even UDP port for RTP and the next one for RTCP (RFC 3550 section 11)."""
    for _ in range(200):
        rtp = socket.socket(socket.AF_INET6 if ":" in local_ip else socket.AF_INET, socket.SOCK_DGRAM)
        rtcp = socket.socket(rtp.family, socket.SOCK_DGRAM)
        try:
            rtp.bind((local_ip, 0))
            port = rtp.getsockname()[1]
            if port % 2 == 0:
                rtcp.bind((local_ip, port + 1))
                return rtp, rtcp
        except OSError:
            pass
        rtp.close()
        rtcp.close()
    raise OSError(f"no free pair of ports on {local_ip}")


class AudioSender:
    """Sends sound until `stop`. `say` and `press` queue; in between there is the faint noise of a line."""

    def __init__(self, rtp: socket.socket, rtcp: socket.socket, plan: MediaPlan) -> None:
        self._rtp, self._rtcp, self._plan = rtp, rtcp, plan
        self._law = audio.LAWS[plan.payload_type]
        self._srtp = srtp_session(plan.send_key, outbound=True) if plan.send_key else None
        self._ssrc = secrets.randbits(32)
        self._sequence = secrets.randbits(15)
        self._timestamp = secrets.randbits(31)
        self.background = audio.noise(FRAME_SAMPLES * 50, seed=self._ssrc & 0xFFFF)
        """Background sound under all speech, repeated; whole frames."""
        self._n_frames = 0
        """Frames since the beginning of the stream."""
        self._background_from = 0
        """The frame with which the background began."""
        self._sound: deque[Pcm] = deque()
        self._digits: deque[str] = deque()
        self._event: tuple[str, int, int] | None = None  # digit, timestamp of its start, packets sent
        self._idle = threading.Condition()
        self._stopping = threading.Event()
        self._marker = True
        self._octets = 0
        self.sent: list[Said] = []
        self.late_ms: list[float] = []
        """How late each packet went out against the 20 ms grid: the judge's own fault, reported with the figures."""
        self.is_silent = False
        """True: send nothing at all (the call has ended, or its caller vanishes)."""
        self._thread = threading.Thread(target=self._run, name="phone-sender", daemon=True)

    def start(self) -> None:
        """Start sending."""
        self._thread.start()

    def stop(self) -> None:
        """Stop sending; returns when the thread has ended."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(2)

    def redirect(self, remote: tuple[str, int]) -> None:
        """Send to another address from now on (re-INVITE)."""
        plan = self._plan
        self._plan = MediaPlan(remote, plan.payload_type, plan.event_type, plan.send_key, plan.receive_key)

    def say(self, pcm: Pcm, *, aligned: bool = False) -> int:
        """Queue sound; whole frames, the last one filled with silence. Returns the place of its first frame in `sent`.

        `aligned`: it begins at a multiple of `ALIGNED_FRAMES` of the stream, and the background begins anew with it. So the same sound
        reaches a far end that works in pieces of 32 ms as the same pieces, with the same noise, in every call.
        """
        padded = np.concatenate((pcm, audio.silence(20)))[: -(-len(pcm) // FRAME_SAMPLES) * FRAME_SAMPLES]
        with self._idle:
            frames = list(padded.reshape(-1, FRAME_SAMPLES))
            if aligned and not self._sound:
                wait = -self._n_frames % ALIGNED_FRAMES
                self._background_from = self._n_frames + wait
                frames = [audio.silence(20)] * wait + frames
            first = self._n_frames + len(self._sound) + len(frames) - len(padded) // FRAME_SAMPLES
            self._sound.extend(frames)
        return first

    def press(self, digit: str) -> None:
        """Queue a digit of 160 ms. Raises ValueError if it is not a digit, or the peer accepts none."""
        if digit not in _DIGITS or len(digit) != 1:
            raise ValueError(f"not a telephone digit: {digit!r}")
        if self._plan.event_type < 0:
            raise ValueError("telephone-event was not agreed on")
        with self._idle:
            self._digits.append(digit)

    def wait_idle(self, timeout_s: float) -> bool:
        """Whether all that was queued went out within the time."""
        with self._idle:
            return self._idle.wait_for(lambda: not (self._sound or self._digits or self._event), timeout_s)

    def _run(self) -> None:
        due = time.monotonic()
        report_due = due + 0.5
        while not self._stopping.is_set():
            delay = due - time.monotonic()
            if delay > 0:
                time.sleep(delay)
            self.late_ms.append((time.monotonic() - due) * 1000)
            with self._idle:
                self._send_frame()
                self._idle.notify_all()
            if due >= report_due:
                self._send_report()
                report_due += _REPORT_INTERVAL_S
            due += FRAME_S

    def _send_frame(self) -> None:
        if self._event is None and self._digits and not self._sound:
            self._event = (self._digits.popleft(), self._timestamp, 0)
        if self._event is not None:
            self._send_event(*self._event)
        else:
            offset = (self._n_frames - self._background_from) * FRAME_SAMPLES % len(self.background)
            frame = self.background[offset : offset + FRAME_SAMPLES]
            if self._sound:
                frame = audio.add(frame, self._sound.popleft())
            self._send(self._plan.payload_type, self._timestamp, self._law.encode(frame), marker=self._marker)
            self._marker = False
            self.sent.append(Said(time.monotonic(), frame))
        self._n_frames += 1
        self._timestamp += FRAME_SAMPLES

    def _send_event(self, digit: str, started: int, n_sent: int) -> None:
        """One packet of a digit: the timestamp stays, the duration grows, the end is sent three times."""
        n_growing = 8
        ends = n_sent >= n_growing
        duration = FRAME_SAMPLES * (min(n_sent, n_growing - 1) + 1)
        payload = struct.pack("!BBH", _DIGITS.index(digit), (0x80 if ends else 0) | _EVENT_VOLUME, duration)
        self._send(self._plan.event_type, started, payload, marker=n_sent == 0)
        self.sent.append(Said(time.monotonic(), None))
        self._event = (digit, started, n_sent + 1) if n_sent + 1 < n_growing + _END_PACKETS else None

    def _send(self, payload_type: int, timestamp: int, payload: bytes, *, marker: bool) -> None:
        header = struct.pack(
            "!BBHII", 0x80, payload_type | (0x80 if marker else 0), self._sequence & 0xFFFF, timestamp & 0xFFFFFFFF, self._ssrc
        )
        self._sequence += 1
        self._octets += len(payload)
        if self.is_silent:
            return
        packet = header + payload
        self._transmit(self._rtp, self._srtp.protect(packet) if self._srtp else packet, self._plan.remote)

    def _send_report(self) -> None:
        """A sender report and a source description in one datagram (RFC 3550 sections 6.1, 6.4.1, 6.5)."""
        ntp = time.time() + 2_208_988_800
        report = struct.pack("!BBHI", 0x80, 200, 6, self._ssrc) + struct.pack(
            "!IIIII", int(ntp), int((ntp % 1) * (1 << 32)), self._timestamp & 0xFFFFFFFF, len(self.sent), self._octets & 0xFFFFFFFF
        )
        name = b"phone@invalid"
        item = struct.pack("!BB", 1, len(name)) + name + b"\0"
        item += b"\0" * (-len(item) % 4)
        compound = report + struct.pack("!BBHI", 0x81, 202, 1 + len(item) // 4, self._ssrc) + item
        if self.is_silent:
            return
        host, port = self._plan.remote
        self._transmit(self._rtcp, self._srtp.protect_rtcp(compound) if self._srtp else compound, (host, port + 1))

    @staticmethod
    def _transmit(sock: socket.socket, packet: bytes, remote: tuple[str, int]) -> None:
        try:
            sock.sendto(packet, remote)
        except OSError:
            return  # the peer's port is gone, or ours is being closed: the SIP side says how the call ended

    def voiced_after(self, at: float) -> list[float]:
        """When each packet with speech left the phone, from a moment on."""
        found: list[float] = []
        for packet in reversed(list(self.sent)):
            if packet.at < at:
                break
            if packet.pcm is not None and audio.frame_levels(packet.pcm)[0] > VOICED_LEVEL:
                found.append(packet.at)
        return found[::-1]

    def timeline(self, epoch: float) -> Pcm:
        """What was said, sample 0 at `epoch` (monotonic seconds), each packet where it left the phone."""
        sent = list(self.sent)
        if not sent:
            return np.zeros(0, dtype=np.int16)
        first = round((sent[0].at - epoch) * audio.RATE_HZ)
        pcm = np.zeros(max(first, 0) + len(sent) * FRAME_SAMPLES, dtype=np.int16)
        for index, packet in enumerate(sent):
            if packet.pcm is not None:
                start = first + index * FRAME_SAMPLES
                if start >= 0:
                    pcm[start : start + FRAME_SAMPLES] = packet.pcm
        return pcm
