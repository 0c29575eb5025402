"""RTCP of one stream: reports out about every five seconds, reports in, and the round-trip time.

Datagrams enter through `receive`. Compounds (SR or RR, SDES; BYE at the end) go to the peer's RTCP port, secured like the stream. This
module knows no tick: the caller passes `now` (monotonic) and Unix time. RFC 3550 §6; the interval is jittered over [0.5, 1.5] (§6.3.1).
"""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct

from active_call.base.errors import ParseError
from active_call.base.world import Clock, Randomness
from active_call.media.link.messages import ConfigureRtp
from active_call.media.receive.columns import DATAGRAM_BYTES
from active_call.media.receive.leg import Leg
from active_call.rtp import rtcp

INTERVAL_S: Final = 5.0


class Sent(Struct, frozen=True):
    """What we have sent so far. `rtp_timestamp` is the media clock at the moment of the report."""

    ssrc: int
    n_packets: int
    n_octets: int
    rtp_timestamp: int


class RtcpSession:
    """The RTCP of a leg. `due_at` is the time of the next report."""

    __slots__ = ("_cname", "_leg", "_random", "_ssrc", "_unix_at_zero", "due_at", "fraction_lost", "n_judged", "round_trip_ms", "sum_lost")

    def __init__(self, leg: Leg, ssrc: int, clock: Clock, randomness: Randomness) -> None:
        self._leg = leg
        self._ssrc = ssrc
        self._unix_at_zero = clock.utc_now().timestamp() - clock.now()
        """Unix time at zero of the monotonic clock. Not updated: the round trip must not depend on changes of the system clock."""
        self._random = randomness
        self._cname = randomness.token(12)
        """Short-term persistent and random (RFC 7022 §4.2), so that it does not identify the user."""
        self.round_trip_ms = -1.0
        self.fraction_lost = -1
        """Of 256: loss of our packets in the peer's latest report; -1 if there is none since it was last taken."""
        self.n_judged = 0
        """Number of the peer's reports about our packets."""
        self.sum_lost = 0
        """Sum of their `fraction_lost`."""
        self.due_at = clock.now() + randomness.uniform(0.25, 0.75) * INTERVAL_S

    def send_report(self, sent: Sent, now: float) -> None:
        """Send the due report and set the time of the next one."""
        self.due_at = now + self._random.uniform(0.5, 1.5) * INTERVAL_S
        self._send(self._build(sent, now))

    def send_bye(self, sent: Sent, now: float) -> None:
        """Send a last report with a BYE: this SSRC leaves."""
        self._send(self._build(sent, now) + rtcp.build_goodbye((self._ssrc,)))

    def _ntp_time(self, now: float) -> int:
        return rtcp.ntp_time(self._unix_at_zero + now)

    def _build(self, sent: Sent, now: float) -> bytes:
        reception = self._leg.reception
        blocks = (reception.take_report(now),) if reception is not None else ()
        if not sent.n_packets:
            return rtcp.build_receiver_report(rtcp.ReceiverReport(sent.ssrc, blocks), self._cname)
        report = rtcp.SenderReport(sent.ssrc, self._ntp_time(now), sent.rtp_timestamp, sent.n_packets, sent.n_octets, blocks)
        return rtcp.build_sender_report(report, self._cname)

    def _send(self, compound: bytes) -> None:
        leg = self._leg
        if leg.config is None or not leg.may_report:
            return
        try:
            packet = compound if leg.srtp_out is None else leg.srtp_out.protect_rtcp(compound)
            if leg.config.rtcp_mux:
                leg.sendto(packet, leg.destination)
            else:
                leg.rtcp_socket.sendto(packet, _destination(leg.config, leg.destination))
        except (OSError, OverflowError):
            leg.send_errors += 1

    def receive(self, now: float) -> None:
        """Take one datagram from the RTCP socket, if there is one."""
        try:
            datagram, address = self._leg.rtcp_socket.recvfrom(DATAGRAM_BYTES)
        except OSError:
            return
        self.take(datagram, address, now)

    def take(self, datagram: bytes, address: tuple[Any, ...], now: float) -> None:
        """Take a datagram. One that is not authentic, not from the peer or not RTCP is counted and dropped."""
        leg = self._leg
        compound = datagram if leg.srtp_in is None else leg.srtp_in.unprotect_rtcp(datagram)
        if leg.keys.are_awaited:
            compound = None
        if compound is None or leg.config is None:
            leg.refused.unauthentic += compound is None
            return
        leg.note_source(int.from_bytes(compound[4:8], "big"))
        try:
            packets = rtcp.parse_compound(compound)
        except ParseError:
            leg.refused.malformed += 1
            return
        if leg.srtp_in is None and not _is_from_peer(leg, address, int.from_bytes(compound[4:8], "big")):
            leg.refused.wrong_source += 1
            return
        leg.control_heard_at = now
        leg.take_control_proof(address)
        for packet in packets:
            if isinstance(packet, rtcp.SenderReport | rtcp.ReceiverReport):
                self._take(packet, now, self._ntp_time(now))

    @property
    def peer_loss_percent(self) -> float:
        """Loss of our packets by the peer's reports; -1 without a report."""
        return self.sum_lost * 100 / 256 / self.n_judged if self.n_judged else -1.0

    def take_fraction_lost(self) -> int:
        """The `fraction_lost` of the latest report; returned once."""
        fraction, self.fraction_lost = self.fraction_lost, -1
        return fraction

    def _take(self, report: rtcp.SenderReport | rtcp.ReceiverReport, now: float, arrival_ntp: int) -> None:
        reception = self._leg.reception
        if isinstance(report, rtcp.SenderReport) and reception is not None and reception.ssrc == report.ssrc:
            reception.note_sender_report(report.ntp_time, now)
        for block in report.reports:
            if block.ssrc == self._ssrc:
                round_trip_s = rtcp.round_trip_s(block, arrival_ntp)
                self.fraction_lost = block.fraction_lost
                self.n_judged += 1
                self.sum_lost += block.fraction_lost
                if round_trip_s is not None:
                    self.round_trip_ms = round_trip_s * 1000


def _destination(config: ConfigureRtp, rtp: tuple[str, int]) -> tuple[str, int]:
    """The RTCP address: the signalled one (RFC 3605) if RTP uses the signalled one too, else the RTP port plus one (RFC 3550 §11)."""
    if rtp != (config.remote_ip, config.remote_port):
        return rtp[0], rtp[1] + 1
    return config.remote_rtcp_ip or rtp[0], config.remote_rtcp_port or rtp[1] + 1


def _is_from_peer(leg: Leg, address: tuple[Any, ...], ssrc: int) -> bool:
    """Whether plain RTCP from `address` is the peer's: a signalled address or the address of the accepted source.

    A NAT may map RTCP to any port, so RTCP from the right host is accepted if it has the SSRC of the sound.
    """
    config, source = leg.config, leg.latch.source
    if config is None:
        return False
    rtp = [(config.remote_ip, config.remote_port), *([source] if source is not None else [])]
    known = {*rtp, *((ip, port + 1) for ip, port in rtp)}
    known.add((config.remote_rtcp_ip or config.remote_ip, config.remote_rtcp_port or config.remote_port + 1))
    if address[:2] in known:
        return True
    return leg.reception is not None and ssrc == leg.reception.ssrc and address[0] in {ip for ip, _ in known}
