"""The first half of a tick: what plays becomes packets, and they leave.

Plays enter through `wake`; packets leave through the legs, reports about plays through `PlayReports`. All streams are encoded and get their
headers in one batch, then one short loop protects and sends, always in the order of the slots, so that each stream keeps its phase.
Streams that cannot share the loop (telephone events under way, packets longer than a tick) follow it one by one.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from active_call.base.pcm import FRAME_MS
from active_call.base.world import Clock
from active_call.media.batch import FRAME_SAMPLES, PACKET_BYTES, SendBatch, Slots
from active_call.media.detect import energy_voiced
from active_call.media.leg import Leg
from active_call.media.mixer import Samples
from active_call.media.play_reports import PlayReports
from active_call.media.slots import Stream
from active_call.media.sources import Mark
from active_call.rtp.packet import pack_header
from active_call.rtp.srtp import Place, SrtpSession

MAX_FRAMES_PER_PACKET: Final = 3

_Departure = tuple[Leg, SrtpSession | None, Place, memoryview]
"""A stream of the common loop: its packet is protected in its place and then sent as the view shows it."""
_Marked = list[tuple[Stream, list[Mark]]]


class Sending:
    """All streams that send. `regroup` after any change of who does or how; `run` once per tick."""

    def __init__(self, batch: SendBatch, reports: PlayReports, clock: Clock) -> None:
        self._batch = batch
        self._reports = reports
        self._clock = clock
        self._playing: dict[int, Stream] = {}
        self._row_of: dict[int, int] = {}
        self._slots: Slots = np.zeros(0, np.intp)
        self._departures: list[_Departure] = []
        self._alone: list[tuple[int, Stream, Leg]] = []
        self._pending: dict[int, bytes] = {}
        self._pcm: Samples = np.zeros((0, FRAME_SAMPLES), np.int16)
        self.is_stale = False
        """A stream has returned to the common loop; regroup before the next tick."""

    def regroup(self, streams: list[Stream]) -> None:
        """Take over who sends now. `streams` is in the order of the slots."""
        together: list[Stream] = []
        alone: list[Stream] = []
        unsent: list[Stream] = []
        for stream in streams:
            if stream.is_sending:
                group = unsent if stream.leg is None else alone if _is_alone(stream.leg) else together
                group.append(stream)
        rows = together + alone + unsent
        self._slots = np.array([stream.slot for stream in rows], np.intp)
        self._row_of = {stream.number: row for row, stream in enumerate(rows)}
        self._departures = [self._departure(row, stream.leg) for row, stream in enumerate(together) if stream.leg is not None]
        self._alone = [(row, stream, stream.leg) for row, stream in enumerate(alone, len(together)) if stream.leg is not None]
        self.is_stale = False

    def _departure(self, row: int, leg: Leg) -> _Departure:
        srtp = leg.srtp_out
        tag_bytes = srtp.tag_bytes if srtp is not None else 0
        return leg, srtp, self._batch.place(row), self._batch.packet(row, PACKET_BYTES + tag_bytes)

    def wake(self, stream: Stream) -> None:
        """Something was queued for `stream` or stopped: read it from the next tick on."""
        self._playing[stream.number] = stream

    def forget(self, stream: Stream) -> None:
        """The stream is closed."""
        self._playing.pop(stream.number, None)
        self._pending.pop(stream.number, None)
        self._reports.forget(stream.number)

    def sent(self, number: int) -> Samples | None:
        """The 160 samples that the last `run` sent for a stream, None when it does not send. Valid until the next `run`."""
        row = self._row_of.get(number)
        return None if row is None or row >= len(self._pcm) else self._pcm[row]

    def run(self, tick: int) -> None:
        """Send the packets of `tick`."""
        slots = self._slots
        pcm = self._pcm = self._batch.silent_rows(len(slots))
        marked = self._read_plays(pcm) if self._playing else []
        muted = self._batch.muted[slots]
        if muted.any():
            pcm[muted] = 0
        payload = self._batch.build(slots, pcm, tick, len(self._departures))
        begun_at = self._clock.now()
        self._send_together()
        ended_at = self._clock.now()
        for row, stream, leg in self._alone:
            self._send_alone(stream, leg, payload[row].tobytes(), tick)
        if marked or self._reports.awaiting_voice:
            self._report(marked, pcm, begun_at, (ended_at - begun_at) / max(len(self._departures), 1))

    def _read_plays(self, pcm: Samples) -> _Marked:
        marked: _Marked = []
        n_together = len(self._departures)
        for number, stream in list(self._playing.items()):
            row = self._row_of.get(number)
            if row is None or (row >= n_together and stream.leg is not None and not stream.leg.digits_out.is_idle):
                continue  # on hold, or digits are going out: the plays stand still
            plays = stream.plays
            if plays.read(pcm[row]):
                continue
            marks = plays.take_marks()
            if marks:
                marked.append((stream, marks))
            if plays.is_idle:
                del self._playing[number]
        return marked

    def _send_together(self) -> None:
        for leg, srtp, place, packet in self._departures:
            try:
                if srtp is not None:
                    srtp.protect_in(place, PACKET_BYTES)
                leg.sendto(packet, leg.destination)
            except OSError:
                leg.send_errors += 1

    def _send_alone(self, stream: Stream, leg: Leg, payload: bytes, tick: int) -> None:
        config = leg.config
        if config is None:
            return
        batch, slot = self._batch, stream.slot
        timestamp = batch.timestamp(slot, tick)
        event = leg.digits_out.next_packet(timestamp)
        if event is not None:
            sequence = batch.take_sequence(slot, len(event.payload))
            header = pack_header(config.send_event_type, event.marker, sequence, event.timestamp, int(batch.ssrc[slot]))
            leg.send(header + event.payload)
            return
        pending = self._pending.pop(stream.number, b"") + payload
        n_frames = frames_per_packet(config.ptime_ms)
        if len(pending) < n_frames * FRAME_SAMPLES:
            self._pending[stream.number] = pending
            return
        first = (timestamp - len(pending) + FRAME_SAMPLES) & 0xFFFFFFFF
        sequence = batch.take_sequence(slot, len(pending))
        header = pack_header(config.send_payload_type, bool(batch.marker[slot]), sequence, first, int(batch.ssrc[slot]))
        batch.marker[slot] = False
        leg.send(header + pending)
        if not _is_alone(leg):
            self.is_stale = True

    def _report(self, marked: _Marked, pcm: Samples, begun_at: float, packet_s: float) -> None:
        """Find out which frames of interest were voiced, and report; a packet's departure follows from its place in the loop."""
        reports = self._reports
        marks_of = {stream.number: marks for stream, marks in marked}
        numbers = {number for number in reports.awaiting_voice if number in self._playing and number in self._row_of}
        numbers.update(marks_of)
        if not numbers:
            return
        ordered = sorted(numbers)
        rows = [self._row_of[number] for number in ordered]
        voiced = energy_voiced(pcm[rows])
        for number, row, is_voiced in zip(ordered, rows, voiced.tolist(), strict=True):
            reports.take(number, marks_of.get(number, []), begun_at + (row + 1) * packet_s, voiced=is_voiced)

    def report_stopped(self, stream: Stream, now: float) -> None:
        """Tell at once of plays that were stopped without anything left to send."""
        marks = stream.plays.take_marks()
        if marks:
            self._reports.take(stream.number, marks, now, voiced=False)


def frames_per_packet(ptime_ms: int) -> int:
    """How many 20 ms frames a packet holds when the peer prefers `ptime_ms`: whole frames, at least one (RFC 8866 section 6.4: a wish)."""
    return min(max(ptime_ms // FRAME_MS, 1), MAX_FRAMES_PER_PACKET)


def _is_alone(leg: Leg) -> bool:
    config = leg.config
    return not leg.digits_out.is_idle or (config is not None and frames_per_packet(config.ptime_ms) > 1)
