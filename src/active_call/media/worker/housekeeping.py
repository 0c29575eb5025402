"""What is done for each stream twice a second and at its end: RTCP, quality, watchdog, one-way audio, statistics.

A stream goes in with the tick and the time. RTCP leaves through its leg, reports through `emit`. The caller passes the tick.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from active_call.media.link import messages as link
from active_call.media.link.messages import Link
from active_call.media.receive.leg import Leg
from active_call.media.receive.rtcp import RtcpSession, Sent
from active_call.media.send.packet_batch import SendBatch
from active_call.media.worker.quality_watch import mos_of_losses
from active_call.media.worker.slots import Stream

AGREED_SILENCE_S: Final = 600.0
"""How long a peer with negotiated silence may send nothing at all, not even RTCP. It may listen for long, but it may also be gone."""


class Housekeeping:
    """See the module. Owned by the engine."""

    def __init__(self, batch: SendBatch, emit: Callable[[Link], None]) -> None:
        self._batch = batch
        self._emit = emit

    def run(self, stream: Stream, tick: int, now: float) -> None:
        """Check one stream: RTCP, digits whose end was lost, the watchdog."""
        leg, control = stream.leg, stream.control
        if leg is None or control is None or leg.config is None:
            return
        if now >= control.due_at:
            control.send_report(self.sent(stream, tick), now)
        leg.flush_digits(now)
        self._watch_direction(stream, leg, control, now)
        quality = stream.quality.look(stream.number, leg, control, now)
        if quality is not None:
            self._emit(quality)
        silent_s = now - leg.last_received_at
        limit_s = leg.config.rtp_timeout_s
        if limit_s and leg.is_silent_by_agreement:
            limit_s = max(limit_s, AGREED_SILENCE_S)
        if leg.config.receive and 0 < limit_s <= silent_s:
            if not stream.dead_reported:
                stream.dead_reported = True
                self._emit(link.StreamDead(stream.number, silent_s))
        else:
            stream.dead_reported = False

    def _watch_direction(self, stream: Stream, leg: Leg, control: RtcpSession, now: float) -> None:
        if leg.config is None:
            return
        problems = stream.one_way.look(
            now,
            wanted=leg.config.receive,
            is_silent=leg.is_silent_by_agreement,
            n_received=leg.n_received,
            last_arrival=leg.last_arrival,
            refused=leg.refused,
        )
        fraction_lost = control.take_fraction_lost()
        if fraction_lost >= 0:
            leg.take_reported_loss(fraction_lost)
            problems += stream.one_way.take_report(fraction_lost, int(self._batch.n_packets[stream.slot]))
        for problem in problems:
            self._emit(link.MediaProblem(stream.number, problem.name, problem.detail, problem.over))

    def sent(self, stream: Stream, tick: int) -> Sent:
        """What the stream has sent up to `tick`, for RTCP."""
        slot, batch = stream.slot, self._batch
        timestamp = batch.timestamp(slot, tick)
        return Sent(int(batch.ssrc[slot]), int(batch.n_packets[slot]), int(batch.n_octets[slot]), timestamp)

    def closed(self, stream: Stream) -> link.StreamClosed:
        """The last report about a stream: its statistics."""
        leg, control = stream.leg, stream.control
        if leg is None or control is None:
            return link.StreamClosed(stream.number, 0, 0, 0, 0, 0, 0.0)
        return link.StreamClosed(
            stream.number,
            packets_sent=int(self._batch.n_packets[stream.slot]),
            packets_received=leg.n_received,
            packets_lost=leg.n_lost,
            packets_late=leg.sound.jitter.late,
            packets_dropped=leg.refused.total,
            jitter_ms=leg.reception.jitter_ms if leg.reception else 0.0,
            round_trip_ms=control.round_trip_ms,
            mos=mos_of_losses(leg.losses, leg, control),
            peer_loss_percent=control.peer_loss_percent,
        )
