"""The sending half of a tick: plays become packets, and the packets are sent.

`wake` announces plays. Packets leave through the legs, reports about plays through `PlayReports`. All streams are encoded and packetised in
one batch. Then one short loop protects and sends, always in the order of the slots, so that each stream keeps its phase. Streams with Opus
follow in a batch of their own (`opus_batch`). Streams that cannot be batched (outgoing telephone events, packets longer or shorter than a
tick, other codecs) follow one by one, each with a `Packetizer`.

Every stream has a frame of 20 ms at the rate of its plays, which is filled in each tick.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np

from active_call.base.pcm import FRAME_MS, samples_in
from active_call.base.world import Clock
from active_call.codec.libopus import OpusError
from active_call.codec.table import OPUS
from active_call.media.detect.speech import energy_voiced
from active_call.media.link.messages import StartAmbience
from active_call.media.receive.leg import Leg
from active_call.media.ring.sending import RingSender
from active_call.media.send.ambience import Ambience
from active_call.media.send.bridging import Bridges
from active_call.media.send.conversion import Conversion
from active_call.media.send.mixer import Samples
from active_call.media.send.opus_batch import OpusBatch, is_opus_batched
from active_call.media.send.packet_batch import FRAME_SAMPLES, SendBatch, Slots
from active_call.media.send.packetizer import Packetizer, packet_ms
from active_call.media.send.play_queue import Mark
from active_call.media.send.play_reports import PlayReports
from active_call.media.send.prefetch import Prefetch
from active_call.media.send.sender import PacketSender
from active_call.media.worker.slots import Stream

_BATCH_RATE_HZ: Final = 8000

_Marked = list[tuple[Stream, list[Mark]]]
_Unread = tuple[Stream, Prefetch | None, Samples]
"""A stream whose frame must be read from its plays, where to read ahead, and the frame."""


class _Single:
    """A stream that is sent individually: its frame at the rate of its plays, and the packetizer at the codec's rate."""

    __slots__ = ("_conversion", "frame", "leg", "packets", "stream")

    def __init__(self, stream: Stream, leg: Leg, batch: SendBatch) -> None:
        self.stream = stream
        self.leg = leg
        self.packets = Packetizer(stream.slot, leg, batch)
        self._conversion: Conversion | None = None
        self.frame: Samples = self.packets.frame
        self.fit()

    def fit(self) -> None:
        """Follow a change of codec."""
        self.packets.fit()
        rates = self.stream.rate_hz, self.leg.send_codec.sample_rate_hz
        if rates[0] == rates[1]:
            self._conversion = None
            self.frame = self.packets.frame
        elif self._conversion is None or self._conversion.rates != rates:
            self._conversion = Conversion(*rates)
            self.frame = np.zeros(samples_in(FRAME_MS, rates[0]), np.int16)

    def send(self, tick: int, *, muted: bool) -> None:
        if muted:
            self.frame.fill(0)
        if self._conversion is not None:
            self.packets.frame[:] = self._conversion.process(self.frame)
        self.packets.send(tick)


class SendPipeline:
    """All sending streams. Call `regroup` after any change of which streams send or how, and `run` once per tick."""

    def __init__(
        self, batch: SendBatch, reports: PlayReports, clock: Clock, ring: RingSender | None = None, opus: OpusBatch | None = None
    ) -> None:
        """`ring` sends the packets of the batch, see `PacketSender`."""
        self.bridges = Bridges()
        """Other streams and music to mix in."""
        self._ambience: dict[int, Ambience] = {}
        """By the rate of the plays."""
        self._batch = batch
        self.opus = OpusBatch(batch) if opus is None else opus
        """The streams with Opus."""
        self._staging = Prefetch(batch.capacity, FRAME_SAMPLES)
        self._together: list[Stream] = []
        """The batched streams, by row."""
        self._reports = reports
        self._clock = clock
        self._playing: dict[int, Stream] = {}
        self._frames: dict[int, Samples] = {}
        self._order: dict[int, int] = {}
        """The position of each stream in the sending order."""
        self._slots: Slots = np.zeros(0, np.intp)
        self._pcm: Samples = batch.rows(0)
        self._departures = PacketSender(batch.memory, ring)
        self._singles: dict[int, _Single] = {}
        self._unsent: list[tuple[Stream, Samples]] = []
        self.on_failed: Callable[[Stream, Exception], None] = _raise
        """Called for each stream that fails while it is processed individually. The others continue."""
        self.is_stale = False
        """A stream has returned to the batch: regroup before the next tick."""

    def regroup(self, streams: list[Stream]) -> None:
        """Update the set of sending streams. `streams` is in the order of the slots."""
        together: list[Stream] = []
        opus: list[Stream] = []
        singles: dict[int, _Single] = {}
        unsent: list[tuple[Stream, Samples]] = []
        for stream in streams:
            if not stream.is_sending:
                continue
            if stream.leg is None:
                unsent.append((stream, np.zeros(samples_in(FRAME_MS, stream.rate_hz), np.int16)))
            elif is_opus_batched(stream, stream.leg):
                opus.append(stream)
            elif _is_single(stream, stream.leg):
                singles[stream.number] = self._single(stream, stream.leg)
            else:
                together.append(stream)
        before, after = {stream.number for stream in self._together}, {stream.number for stream in together}
        for stream in streams:
            if stream.number in before and stream.number not in after:
                self._staging.give_back(stream.slot)
        self._together = together
        self.opus.regroup(opus)
        self._slots = np.array([stream.slot for stream in together], np.intp)
        self._pcm = self._batch.rows(len(together))
        self._departures.regroup([stream.leg for stream in together if stream.leg is not None])
        self._singles, self._unsent = singles, unsent
        self._frames = {stream.number: self._pcm[row] for row, stream in enumerate(together)}
        self._frames |= {stream.number: frame for stream, frame in zip(opus, self.opus.rows, strict=True)}
        self._frames |= {number: single.frame for number, single in singles.items()}
        self._frames |= {stream.number: frame for stream, frame in unsent}
        self._order = {number: place for place, number in enumerate(self._frames)}
        self.is_stale = False

    def _single(self, stream: Stream, leg: Leg) -> _Single:
        single = self._singles.get(stream.number)
        if single is None:
            return _Single(stream, leg, self._batch)
        single.fit()
        return single

    def wake(self, stream: Stream) -> None:
        """Sound was queued for `stream` or stopped: read its plays from the next tick on."""
        self._playing[stream.number] = stream

    def before_change(self, stream: Stream) -> None:
        """The plays of the stream are about to be changed: undo read-ahead, so that they stand after the last sent frame. Plays that stand
        still are read again from the next tick on.
        """
        self._staging.give_back(stream.slot)
        self.opus.prefetch.give_back(stream.slot)
        if not stream.plays.is_idle:
            self.wake(stream)

    def set_ambience(self, stream: Stream, order: StartAmbience) -> None:
        """Start, change or stop the background sound of a stream."""
        self.end_ambience(stream)
        if order.path:
            ambience = self._ambience.get(stream.rate_hz)
            if ambience is None:
                ambience = self._ambience[stream.rate_hz] = Ambience(self._batch.capacity, stream.rate_hz)
            ambience.begin(
                stream.slot,
                order.path,
                order.offset,
                duck_level=order.duck_level,
                normal_level=order.normal_level,
                transition_speed=order.transition_speed,
            )

    def end_ambience(self, stream: Stream) -> None:
        """Stop the background sound of a stream."""
        for ambience in self._ambience.values():
            ambience.end(stream.slot)

    def _mix_ambience(self) -> None:
        narrow = self._ambience.get(_BATCH_RATE_HZ)
        if narrow is not None:
            narrow.mix(self._pcm, self._slots)
        wide = self._ambience.get(OPUS.sample_rate_hz)
        if wide is not None and len(self.opus):
            wide.mix(self.opus.rows, self.opus.slots)
        for stream, frame in [(single.stream, single.frame) for single in self._singles.values()] + self._unsent:
            ambience = self._ambience.get(stream.rate_hz)
            if ambience is not None:
                ambience.mix(frame[None], np.array([stream.slot], np.intp))

    def forget(self, stream: Stream) -> None:
        """Drop the state of a closed stream."""
        self._playing.pop(stream.number, None)
        self._reports.forget(stream.number)

    def sent(self, number: int) -> Samples | None:
        """The frame that the last `run` sent for a stream, at the rate of its plays.

        None if it does not send. Valid until the next `run`.
        """
        return self._frames.get(number)

    def sent_narrow(self) -> Iterator[tuple[Slots, Samples]]:
        """The frames that the last `run` sent, at 8 kHz, with their slots."""
        if len(self._slots):
            yield self._slots, self._pcm
        if len(self.opus):
            yield self.opus.slots, narrowed(self.opus.rows)
        others: dict[int, list[tuple[int, Samples]]] = {}
        for stream, frame in [(single.stream, single.frame) for single in self._singles.values()] + self._unsent:
            others.setdefault(len(frame), []).append((stream.slot, frame))
        for n_samples, frames in others.items():
            if n_samples % FRAME_SAMPLES == 0:
                yield np.array([slot for slot, _ in frames], np.intp), narrowed(np.stack([frame for _, frame in frames]))

    def run(self, tick: int) -> None:
        """Send the packets of `tick`."""
        slots, pcm, opus = self._slots, self._pcm, self.opus
        pcm.fill(0)
        if len(opus):
            opus.rows.fill(0)
        for single in self._singles.values():
            single.frame.fill(0)
        for _, frame in self._unsent:
            frame.fill(0)
        marked = self._read_plays() if self._playing else []
        voiced = self._voiced(marked) if marked or self._reports.awaiting_voice else {}
        self.bridges.mix(self._frames)
        if self._ambience:
            self._mix_ambience()
        muted = self._batch.muted[slots]
        if muted.any():
            pcm[muted] = 0
        if len(opus):
            opus.rows[self._batch.muted[opus.slots]] = 0
        self._batch.build(slots, pcm, tick)
        begun_at = self._clock.now()
        self._departures.send()
        ended_at = self._clock.now()
        for stream in opus.send(tick):
            self.on_failed(stream, OpusError("the sound could not be encoded"))
        self._send_singles(tick)
        if voiced:
            self._report(voiced, marked, begun_at, (ended_at - begun_at) / max(len(self._departures), 1))

    def _read_plays(self) -> _Marked:
        marked: _Marked = []
        for stream, prefetch, frame in self._unread():
            try:
                marks = self._read_play(stream, prefetch, frame)
            except Exception as error:  # noqa: BLE001 (contains errors)
                del self._playing[stream.number]
                self.on_failed(stream, error)
                continue
            if marks:
                marked.append((stream, marks))
        return marked

    def _unread(self) -> list[_Unread]:
        """Fill the frames that were read ahead. Returns the other playing streams, except those on hold and those that send digits:
        their plays wait.
        """
        staging, opus, playing = self._staging, self.opus, self._playing
        together, streams = self._together, opus.streams
        unread: list[_Unread] = [
            (together[row], staging, self._pcm[row])
            for row in staging.take(self._slots, self._pcm)
            if together[row].number in playing  # most of them are paused
        ]
        unread += [
            (streams[row], opus.prefetch, opus.rows[row])
            for row in opus.prefetch.take(opus.slots, opus.rows)
            if streams[row].number in playing
        ]
        others = [(single.stream, single.frame) for single in self._singles.values() if single.leg.digits_out.is_idle] + self._unsent
        unread += [(stream, None, frame) for stream, frame in others if stream.number in playing]
        return unread

    def _read_play(self, stream: Stream, staging: Prefetch | None, frame: Samples) -> list[Mark]:
        plays = stream.plays
        if plays.read(frame):
            if staging is not None:
                staging.stage(stream.slot, plays)
            return []
        marks = plays.take_marks()
        if plays.is_idle or plays.stands_still:
            del self._playing[stream.number]
        return marks

    def _send_singles(self, tick: int) -> None:
        for single in self._singles.values():
            try:
                single.send(tick, muted=bool(self._batch.muted[single.stream.slot]))
            except Exception as error:  # noqa: BLE001 (contains errors)
                self.on_failed(single.stream, error)
                continue
            if is_opus_batched(single.stream, single.leg) or not _is_single(single.stream, single.leg):
                self.is_stale = True
        for stream, frame in self._unsent:
            if self._batch.muted[stream.slot]:
                frame.fill(0)

    def _voiced(self, marked: _Marked) -> dict[int, bool]:
        """Whether the frame just read is audible before mixing, for the streams with a play that waits for its first voiced packet."""
        numbers = {stream.number for stream, _ in marked}
        numbers |= {number for number in self._reports.awaiting_voice if number in self._playing and number in self._frames}
        return {number: bool(energy_voiced(self._frames[number][None])[0]) for number in numbers}

    def _report(self, voiced: dict[int, bool], marked: _Marked, begun_at: float, packet_s: float) -> None:
        """Report on plays. The departure time of a packet follows from its position in the loop."""
        marks_of = {stream.number: marks for stream, marks in marked}
        for number in sorted(voiced, key=lambda each: self._order.get(each, 0)):
            at = begun_at + (min(self._order[number], len(self._departures)) + 1) * packet_s
            rate_hz = len(self._frames[number]) * 1000 // FRAME_MS
            self._reports.take(number, marks_of.get(number, []), at, voiced=voiced[number], rate_hz=rate_hz)

    def report_stopped(self, stream: Stream, now: float) -> None:
        """Report at once on plays that were stopped with nothing left to send."""
        marks = stream.plays.take_marks()
        if marks:
            self._reports.take(stream.number, marks, now, voiced=False, rate_hz=stream.rate_hz)


def narrowed(frames: Samples) -> Samples:
    """Frames of 20 ms in the columns of 8 kHz: the mean of the samples that each stands for.

    Column by column, which takes a fiftieth of the time of NumPy's `mean` over so few samples.
    """
    n_each = frames.shape[1] // FRAME_SAMPLES
    if n_each == 1:
        return frames
    parts = frames.reshape(len(frames), FRAME_SAMPLES, n_each)
    total = parts[:, :, 0].astype(np.float32)
    for column in range(1, n_each):
        total += parts[:, :, column]
    total *= np.float32(1 / n_each)
    narrow: Samples = total.astype(np.int16)
    return narrow


def _raise(stream: Stream, error: Exception) -> None:
    """Default of `on_failed`."""
    del stream
    raise error


def _is_single(stream: Stream, leg: Leg) -> bool:
    config = leg.config
    fits = (
        leg.is_g711_out
        and stream.rate_hz == _BATCH_RATE_HZ
        and config is not None
        and packet_ms(config.ptime_ms, leg.send_codec) == FRAME_MS
    )
    return not (fits and leg.digits_out.is_idle)
