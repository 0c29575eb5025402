"""The sound of a trunk's call: a media gateway that jumps, wraps, pauses and changes its source as carriers' do.

Enters: sockets, keys, the peer's m-line. Leaves: RTP and RTCP, and violations of the peer's stream. It must not know SIP. RFC 3550, 3551,
3711 (rollover), 4733.
"""

from __future__ import annotations

import itertools
import secrets
import socket
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from active_call.testing.phone.receiver import AudioReceiver, Heard
from active_call.testing.phone.rtp import AudioSender, MediaPlan
from active_call.testing.sound.audio import LAWS

if TYPE_CHECKING:
    from active_call.testing.trunk.descriptions import Media
    from active_call.testing.trunk.judging import Judge

_LONG_GAP_S = 1.0
"""Silence on the wire after which a gateway plays comfort noise."""
_WRAP_AT = 65_536 - 25
"""A first sequence number half a second before the rollover."""


class GatewaySender(AudioSender):
    """A sender whose stream can change as gateways change theirs."""

    def wrap_soon(self) -> None:
        """Let the sequence number, and with SRTP the rollover counter, wrap within half a second. Before `start`."""
        self._sequence = _WRAP_AT

    def jump(self) -> None:
        """A new SSRC, sequence and timestamp, as when a gateway hands over from ringback to the callee."""
        with self._idle:
            self._ssrc = secrets.randbits(32)
            self._sequence = secrets.randbits(15)
            self._timestamp = secrets.randbits(31)
            self._marker = True

    def speak_from(self, ip: str) -> None:
        """Continue from another address of the carrier."""
        other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        other.bind((ip, 0))
        with self._idle:
            self._rtp = other

    def release(self, original: socket.socket) -> None:
        """Close the socket of `speak_from`, if there is one."""
        if self._rtp is not original:
            self._rtp.close()


class Sound:
    """Both directions of one call's sound, from the answer on. `wraps` begins just before the sequence number wraps."""

    def __init__(self, rtp: socket.socket, rtcp: socket.socket, key: bytes, media: Media, *, wraps: bool = False) -> None:
        codec = next((one for one in media.types if one in LAWS), 0)
        events = next((one for one, text in media.maps.items() if text.lower() == "telephone-event/8000"), -1)
        theirs = media.crypto[0][2] if media.crypto else b""
        plan = MediaPlan((media.address, media.port), codec, events, key if theirs else b"", theirs)
        self._rtp = rtp
        self.sender, self.receiver = GatewaySender(rtp, rtcp, plan), AudioReceiver(rtp, rtcp, plan)
        if wraps:
            self.sender.wrap_soon()
        self.receiver.start()
        self.sender.start()

    def redirect(self, media: Media) -> None:
        """Send to where the peer's new description says."""
        self.sender.redirect((media.address, media.port))

    def stop_sending(self) -> None:
        """Stop sending."""
        self.sender.is_silent = True

    def close(self) -> None:
        """End both threads."""
        self.sender.stop()
        self.receiver.stop()
        self.sender.release(self._rtp)

    def judge(self, judge: Judge) -> None:
        """Record violations of the peer's stream: markers inside speech, long gaps, no packets at all."""
        packets = list(self.receiver.packets)
        if not packets:
            judge.add_violation("rtp-destination", "no RTP came where our description says")
            return
        markers = sum(one.marker for one in packets)
        if markers > 2 + len(packets) / 10:
            judge.add_violation("rtp-marker", f"{markers} of {len(packets)} packets have the marker")
        for before, after in _pairs(packets):
            if after - before > _LONG_GAP_S:
                judge.add_violation("rtp-silence", f"nothing came for {after - before:.1f} s")


def _pairs(packets: Sequence[Heard]) -> Iterator[tuple[float, float]]:
    return itertools.pairwise(one.at for one in packets)
