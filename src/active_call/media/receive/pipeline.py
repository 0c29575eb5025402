"""The receiving half of a tick: one frame of each caller, decoded, resampled and analysed in one batch.

Frames come from the jitter buffers and from fed audio. Speech events and the caller's sound leave as reports. The recorder and bridges can
read the frames of a tick until the next one. Samples are counted at 16 kHz from the first frame after the peer's first packet, one frame
per tick. Missing frames are silence, so that samples count time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from active_call.base.pcm import FRAME_MS, LISTEN_RATE_HZ
from active_call.codec import g711
from active_call.codec.conceal import Concealer
from active_call.codec.resample import Downsampler16to8
from active_call.codec.table import PCMA
from active_call.media.detect.inband import InbandDetectors
from active_call.media.detect.own_echo import WINDOW as ECHO_WINDOW_SAMPLES
from active_call.media.detect.pauses import PauseWatch
from active_call.media.detect.prosody import SPAN_SAMPLES, prosody_of
from active_call.media.detect.speech import N_PHASES, Detection, SpeechDetector
from active_call.media.enhance.pipeline import EnhancePipeline
from active_call.media.link.messages import CallerAudio, Link, Listen, PauseHeard, SpeechEnded, SpeechStarted
from active_call.media.receive.columns import ReceiveColumns
from active_call.media.receive.echo_gate import EchoGate
from active_call.media.receive.leg import Leg
from active_call.media.receive.tick_frames import TickFrames
from active_call.media.send.mixer import Samples
from active_call.media.send.packet_batch import FRAME_SAMPLES, Slots
from active_call.media.worker.slots import Stream

WIDE_SAMPLES: Final = 320
"""20 ms at 16 kHz."""
BULK_TICKS: Final = 5
"""Sound is forwarded in pieces of 100 ms, and at once when speech starts or ends."""
KEPT_TICKS: Final = 60
"""Sound stored for a stream that forwards only speech: what precedes the start of speech, or the pause before it."""
AFTER_SPEECH_TICKS: Final = 25
"""How long sound is forwarded after the end of speech was reported: recognisers need 0.4 s after the last voiced packet."""
DUE_TOGETHER: Final = 64
"""This many streams have their chunks for the voice detector in the same ticks, so that its weights are loaded for all of them at once. A
process with more streams has them in other ticks as well, so that no tick has much more work than the others.
"""
_ALWAYS: Final = np.iinfo(np.int64).max
_NEVER: Final = -1

_FRAME_S: Final = FRAME_MS / 1000
_FULL_SCALE: Final = np.float32(32768)
_NARROW_RATE_HZ: Final = 8000
_SILENCE: Final = np.array([silence[0] for silence in g711.SILENCE], np.uint8)
"""The silence byte, indexed by whether it is A-law."""

Seconds = NDArray[np.float64]


class FrameSource(Protocol):
    """A stream's frames, one per tick."""

    @property
    def rate_hz(self) -> int:
        """Sample rate of the frames: 8000 or 16000. It changes only before a `regroup`."""
        ...

    @property
    def is_batched(self) -> bool:
        """Whether the frames are G.711 and stored in the jitter table."""
        ...

    def pop(self) -> Samples | None:
        """The frame of this tick, None if there is none."""
        ...

    def skip(self) -> None:
        """Skip the frame of a tick in which it is not needed."""
        ...


class StreamInput(Protocol):
    """The received sound of one stream: `leg.Leg`, or `fed_audio.FedAudio` without RTP."""

    @property
    def sound(self) -> FrameSource:
        """The source of the frames."""
        ...

    def arrival_of_frame(self, now: float) -> float:
        """When the last popped frame arrived."""
        ...


class OnOnset(Protocol):
    """Called for the streams of `watch_onset`."""

    def __call__(self, stream: Stream, now: float, *, is_onset: bool, is_sure: bool) -> None:
        """The caller may have started to speak (`is_sure`: has), or (not `is_onset`) has not after all."""
        ...


_Sources = list[tuple[Stream, StreamInput]]


class ReceivePipeline:
    """All streams whose caller's sound is needed. Call `regroup` after any change in that set, and `run` once per tick.

    The rows of a tick: first the streams with G.711, decoded in one batch; then those decoded individually at 8 kHz; then those at 16 kHz.
    All rows at 8 kHz are resampled to 16 kHz in one batch, if anything needs that.
    """

    def __init__(self, intake: ReceiveColumns, capacity: int, emit: Callable[[Link], None], emit_audio: Callable[[Link], None]) -> None:
        self._intake = intake
        self._emit = emit
        self._emit_audio = emit_audio
        self.is_stale = False
        """A stream has returned to the batch: regroup before the next tick."""
        self.on_failed: Callable[[int, Exception], None] = _raise
        """Called for each stream whose sound cannot be obtained. The others continue."""
        self.on_onset: OnOnset = _ignore_onset
        self.on_speech: Callable[[Stream], None] = lambda stream: None
        """Called for each start of speech, after its report."""
        self._concealer = Concealer(capacity, 8000)
        self.enhance = EnhancePipeline(capacity)
        """Improves sound for detection and recognition. Recordings and bridges get the original."""
        self.inband = InbandDetectors(capacity, emit)
        """In-band digits and tones."""
        self._frames = TickFrames(capacity)
        self._detector = SpeechDetector(capacity)
        self._narrow_detector = SpeechDetector(capacity, _NARROW_RATE_HZ, is_gated=True)
        self._pauses = PauseWatch(capacity)
        self._gate = EchoGate(capacity)
        self.echo = self._gate.echo
        """Needs the frames that are sent in each tick."""
        self._watched: Slots = np.zeros(0, np.intp)
        """Rows whose pauses are reported."""
        self._downsampler = Downsampler16to8(capacity)
        """For the analysed sound. `TickFrames` has its own, because the sound for bridges and recordings is not improved."""
        self._n_heard: NDArray[np.int64] = np.zeros(capacity, np.int64)
        self._detect_from: NDArray[np.int64] = np.zeros(capacity, np.int64)
        self._bulk: NDArray[np.int16] = np.zeros((capacity, KEPT_TICKS, WIDE_SAMPLES), np.int16)
        """The last frames of each forwarding slot; frame n is at position n modulo the length."""
        self._bulk_end: NDArray[np.intp] = np.zeros(capacity, np.intp)
        """The number of the next frame."""
        self._bulk_ticks: NDArray[np.intp] = np.zeros(capacity, np.intp)
        """How many of the last frames wait to be forwarded."""
        self._forwards_until: NDArray[np.int64] = np.full(capacity, _ALWAYS, np.int64)
        """The last tick in which sound is forwarded. After it sound is only stored."""
        self._tick = 0
        self._stream_of: dict[int, Stream] = {}
        self._together: Slots = np.zeros(0, np.intp)
        """Slots whose G.711 is decoded in the batch: the first rows."""
        self._narrow_sources: _Sources = []
        self._wide_sources: _Sources = []
        """Streams that are decoded individually, in the order of their rows."""
        self._is_alaw: NDArray[np.bool_] = np.zeros(0, np.bool_)
        self._unheard: list[StreamInput] = []
        self._unheard_together: Slots = np.zeros(0, np.intp)
        self._slots: Slots = np.zeros(0, np.intp)
        self._started: Slots = np.zeros(0, np.intp)
        self._judged_wide: Slots = np.zeros(0, np.intp)
        self._judged_narrow: Slots = np.zeros(0, np.intp)
        """Rows in which speech is detected, for either rate."""
        self._forwarding: NDArray[np.bool_] = np.zeros(0, np.bool_)
        self._row_of: dict[int, int] = {}
        self._enhanced: NDArray[np.float32] | None = None
        """The frames of all rows at 16 kHz in [-1, 1) if any stream was improved: this is analysed and forwarded."""

    def warm_up(self) -> None:
        """Call the numeric libraries once, so that the first call does not wait for their initialisation."""
        slots = np.arange(min(2, len(self._n_heard)))
        for _ in range(2):
            wide = _as_float(self._frames.warm_up(slots))
            self._detector.push(wide, slots, np.zeros(len(slots)))
            self._narrow_detector.push(self._downsampler.process(wide, slots), slots, np.zeros(len(slots)))
        prosody_of(np.zeros((1, SPAN_SAMPLES), np.float32))
        for slot in slots.tolist():
            self._frames.reset(slot)
            self._downsampler.reset(slot)
            self._detector.reset(slot)
            self._narrow_detector.reset(slot)

    def watch_onset(self, stream: Stream, voiced_ms: int | None) -> None:
        """Make `on_onset` report the caller's voice after `voiced_ms`, possibly before it is confirmed. None: stop."""
        for detector in (self._detector, self._narrow_detector):
            detector.watch_onset(stream.slot, voiced_ms)

    def begin_stream(self, slot: int) -> None:
        """Reset `slot` for a new stream."""
        self._concealer.begin(slot)
        self.enhance.use(slot, denoise=False, gain=None)
        self.inband.forget(slot)
        self._frames.reset(slot)
        self._downsampler.reset(slot)
        self._gate.begin(slot)
        self._n_heard[slot] = 0
        self._bulk_ticks[slot] = 0
        self._forwards_until[slot] = _ALWAYS

    def listen(self, stream: Stream, order: Listen) -> None:
        """Apply an order. If detection stays on, its state is kept. Waiting sound is forwarded first."""
        before, slot = stream.listen, stream.slot
        if before.forward_audio and not order.forward_audio:
            if self._forwards_until[slot] >= self._tick:
                self._forward_bulk(stream)
            self._bulk_ticks[slot] = 0
        is_only_speech = order.only_speech and order.detect
        if is_only_speech is not (before.only_speech and before.detect):
            is_speaking = before.detect and self._detector_of(stream).is_speaking(slot)
            self._forwards_until[slot] = _NEVER if is_only_speech and not is_speaking else _ALWAYS
            self._bulk_ticks[slot] = min(self._bulk_ticks[slot], BULK_TICKS)
        if order.detect:
            settings = (order.threshold, order.min_speech_ms, order.silence_ms)
            for detector in (self._detector, self._narrow_detector):
                if before.detect:
                    detector.configure(stream.slot, *settings)
                else:
                    detector.reset(stream.slot, *settings)
            if order.pauses and not (before.detect and before.pauses):
                self._pauses.begin(stream.slot)
            if not before.detect:
                self._gate.begin(slot)
                self._detect_from[stream.slot] = self._n_heard[stream.slot]
                stream.is_judged_narrow = None
        stream.listen = order

    def regroup(self, streams: list[Stream]) -> None:
        """Update the set of streams whose sound is needed. `streams` is in the order of the slots."""
        together: list[tuple[Stream, Leg]] = []
        alone: _Sources = []
        self._unheard, unheard_together = [], []
        started = [stream for stream in streams if stream.has_started]
        for stream in started:
            leg, fed = stream.leg, stream.fed
            if leg is not None and leg.is_g711_in:
                if stream.is_heard:
                    together.append((stream, leg))
                else:
                    unheard_together.append(stream.slot)
            elif (source := leg or fed) is not None:
                if stream.is_heard:
                    alone.append((stream, source))
                else:
                    self._unheard.append(source)
        self._narrow_sources = [each for each in alone if each[1].sound.rate_hz != LISTEN_RATE_HZ]
        self._wide_sources = [each for each in alone if each[1].sound.rate_hz == LISTEN_RATE_HZ]
        self._unheard_together = np.array(unheard_together, np.intp)
        heard = [stream for stream, _ in together] + [stream for stream, _ in self._narrow_sources + self._wide_sources]
        self._stream_of = {stream.slot: stream for stream in heard}
        self._together = np.array([stream.slot for stream, _ in together], np.intp)
        self._is_alaw = np.array([leg.sound.codec is PCMA for _, leg in together], np.bool_)
        self._slots = np.array([stream.slot for stream in heard], np.intp)
        self._started = np.array([stream.slot for stream in started], np.intp)
        self._regroup_judged(heard)
        self._forwarding = np.array([stream.listen.forward_audio for stream in heard], np.bool_)
        self._row_of = {stream.number: row for row, stream in enumerate(heard)}
        self.is_stale = False

    def _regroup_judged(self, heard: list[Stream]) -> None:
        """Set the rate at which each stream is analysed: that of its first sound, as long as `Listen` is on. 8 kHz costs a third less."""
        for stream in heard:
            if stream.is_judged_narrow is None and stream.input is not None:
                sound = stream.input.sound
                stream.is_judged_narrow = sound.is_batched or (stream.fed is not None and sound.rate_hz == _NARROW_RATE_HZ)
                self._detector_of(stream).align(stream.slot, stream.slot // DUE_TOGETHER % N_PHASES)
        judged = [(row, stream.is_judged_narrow) for row, stream in enumerate(heard) if stream.listen.detect]
        self._judged_narrow = np.array([row for row, is_narrow in judged if is_narrow], np.intp)
        self._judged_wide = np.array([row for row, is_narrow in judged if not is_narrow], np.intp)
        self._watched = np.array([row for row, stream in enumerate(heard) if stream.listen.detect and stream.listen.pauses], np.intp)

    def heard(self, number: int, rate_hz: int) -> Samples | None:
        """The caller's frame of the last `run` at 8 or 16 kHz, None if there was none. Valid until the next `run`."""
        row = self._row_of.get(number)
        if row is None or row >= len(self._frames):
            return None
        frames = self._frames.all_wide() if rate_hz == LISTEN_RATE_HZ else self._frames.all_narrow()
        frame: Samples = frames[row]
        return frame

    def _detector_of(self, stream: Stream) -> SpeechDetector:
        return self._narrow_detector if stream.is_judged_narrow else self._detector

    def run(self, tick: int, now: float) -> None:
        """Take the frame of `tick` from every started stream."""
        self._tick = tick
        self._skip_unheard()
        if len(self._slots):
            arrivals = self._take_frames(now)
            if not self.inband.is_idle:
                self.inband.run(self._frames.all_narrow(), self._slots, self._number_in, now)
            self._enhanced = None if self.enhance.is_idle else self.enhance.process(_as_float(self._frames.all_wide()), self._slots)
            self._judge(tick, now, arrivals)
        self._n_heard[self._started] += WIDE_SAMPLES

    def _take_frames(self, now: float) -> Seconds:
        """Get the due frames of all rows. Returns when each arrived."""
        narrow, arrivals = self._decode(now)
        wide: Samples = np.zeros((0, WIDE_SAMPLES), np.int16)
        if self._narrow_sources:
            frames, arrived = self._pop_each(self._narrow_sources, FRAME_SAMPLES, now)
            narrow, arrivals = np.concatenate((narrow, frames)), np.concatenate((arrivals, arrived))
        if self._wide_sources:
            wide, arrived = self._pop_each(self._wide_sources, WIDE_SAMPLES, now)
            arrivals = np.concatenate((arrivals, arrived))
        self._frames.put(narrow, wide, self._slots)
        return arrivals

    def _pop_each(self, sources: _Sources, n_samples: int, now: float) -> tuple[Samples, Seconds]:
        """The frames of individually decoded streams, and when each arrived. Missing frames are silence."""
        frames = np.zeros((len(sources), n_samples), np.int16)
        arrived = np.full(len(sources), now)
        for row, (stream, source) in enumerate(sources):
            try:
                frame = source.sound.pop()
                if frame is not None:
                    frames[row] = frame
            except Exception as error:  # noqa: BLE001 (contains errors)
                self.on_failed(stream.number, error)
            arrived[row] = source.arrival_of_frame(now)
            self.is_stale = self.is_stale or source.sound.is_batched
        return frames, arrived

    def _skip_unheard(self) -> None:
        """Skip the frame of streams whose sound is not needed."""
        if len(self._unheard_together):
            self._intake.jitter.pop(self._unheard_together)
        for source in self._unheard:
            source.sound.skip()

    def _number_in(self, slot: int) -> int:
        return self._stream_of[slot].number

    def _wide_sound(self, rows: Slots) -> NDArray[np.float32]:
        """The sound of these ascending rows at 16 kHz, as it is analysed."""
        if self._enhanced is not None:
            return self._enhanced[rows]
        n_narrow = len(self._frames.narrow)
        return _as_float(self._frames.wide[rows - n_narrow] if rows[0] >= n_narrow else self._frames.all_wide()[rows])

    def _decode(self, now: float) -> tuple[Samples, Seconds]:
        """The frames of the batch, and when each arrived: the arrival of the last packet minus the frames still buffered."""
        intake, slots = self._intake, self._together
        if not len(slots):
            return np.zeros((0, FRAME_SAMPLES), np.int16), np.zeros(0)
        payload, is_there = intake.jitter.pop(slots)
        lost = ~is_there
        if lost.any():
            payload[lost] = _SILENCE[self._is_alaw[lost].view(np.uint8), None]
        narrow = g711.decode(payload, self._is_alaw)
        self._concealer.process(narrow, slots, lost)
        return narrow, np.where(is_there, intake.last_arrival[slots] - _FRAME_S * intake.jitter.depth[slots], now)

    def _judge(self, tick: int, now: float, at: Seconds) -> None:
        if self._forwarding.any():
            self._collect(tick)
        wide, narrow = self._judged_wide, self._judged_narrow
        detections: list[Detection] = []
        if len(narrow):
            detections += self._narrow_detector.push(self._narrow_sound(narrow), self._slots[narrow], at[narrow])
        if len(wide):
            detections += self._detector.push(self._wide_sound(wide), self._slots[wide], at[wide])
        if len(self._watched):
            self._store_watched()
        self._report_onsets(detections, tick, now)
        for slot in self._gate.held_by(detections, tick, self._recent_sound):
            self.on_onset(self._stream_of[slot], now, is_onset=False, is_sure=False)
        for detection in (*detections, *self._gate.late_starts(tick, now, self._recent_sound, self._end_of)):
            self._report(detection, now)
        if len(self._watched):
            self._report_pauses()

    def _report_onsets(self, detections: list[Detection], tick: int, now: float) -> None:
        for detector in (self._narrow_detector, self._detector):
            for slot, is_onset in detector.take_onsets():
                if is_onset and self._gate.is_echo(slot, tick, self._recent_sound):
                    continue
                is_new = any(detection.started and detection.slot == slot for detection in detections)
                self.on_onset(self._stream_of[slot], now, is_onset=is_onset, is_sure=detector.is_speaking(slot) and not is_new)

    def _recent_sound(self, slot: int) -> Samples | None:
        """The last sound of a watched stream at 8 kHz."""
        stream = self._stream_of.get(slot)
        if stream is None or not (stream.listen.detect and stream.listen.pauses):
            return None
        return self._pauses.recent(slot, int(self._n_heard[slot]), ECHO_WINDOW_SAMPLES)

    def _end_of(self, slot: int) -> int:
        return int(self._n_heard[slot]) + WIDE_SAMPLES - int(self._detect_from[slot])

    def _store_watched(self) -> None:
        """Store the sound of the streams whose pauses are reported."""
        rows = self._watched
        slots = self._slots[rows]
        n_heard = self._n_heard[slots]
        as_it_came = rows[rows < len(self._frames.narrow)]
        frames = self._frames.narrow[as_it_came]
        if len(as_it_came) < len(rows):
            wide = self._frames.wide[rows[len(as_it_came) :] - len(self._frames.narrow)].astype(np.int32)
            frames = np.concatenate((frames, ((wide[:, 0::2] + wide[:, 1::2]) // 2).astype(np.int16)))
        self._pauses.push(frames, slots, n_heard)

    def _report_pauses(self) -> None:
        """Report the pauses that are due."""
        slots = self._slots[self._watched]
        for pause in self._pauses.take(slots, self._n_heard[slots] + WIDE_SAMPLES):
            stream = self._stream_of[pause.slot]
            probability = self._detector_of(stream).voice_probability(pause.slot)
            sound = (pause.energy_db, pause.prosody.pitch_change_st, pause.prosody.final_lengthening)
            self._emit(PauseHeard(stream.number, pause.since, pause.silence_ms, probability, *sound))

    def _narrow_sound(self, rows: Slots) -> NDArray[np.float32]:
        """The sound of these ascending rows at 8 kHz, as it is analysed: the original, unless it is improved or has another rate now."""
        as_it_came = rows[rows < len(self._frames.narrow)] if self._enhanced is None else rows[:0]
        frames = self._frames.narrow if len(as_it_came) == len(self._frames.narrow) else self._frames.narrow[as_it_came]
        sound = _as_float(frames)
        others = rows[len(as_it_came) :]
        if not len(others):
            return sound
        return np.concatenate((sound, self._downsampler.process(self._wide_sound(others), self._slots[others])))

    def _forwarded(self) -> Samples:
        if self._enhanced is None:
            return self._frames.all_wide()
        samples: Samples = np.clip(self._enhanced * _FULL_SCALE, -_FULL_SCALE, _FULL_SCALE - 1).astype(np.int16)
        return samples

    def _collect(self, tick: int) -> None:
        """Append this tick's sound to the sound that waits to be forwarded. The streams' pieces are spread over the ticks."""
        slots = self._slots[self._forwarding]
        end = self._bulk_end[slots]
        sound = self._forwarded()
        self._bulk[slots, end % KEPT_TICKS] = sound if len(slots) == len(sound) else sound[self._forwarding]
        self._bulk_end[slots] = end + 1
        waiting = np.minimum(self._bulk_ticks[slots] + 1, KEPT_TICKS)
        self._bulk_ticks[slots] = waiting
        due = (waiting >= BULK_TICKS) | ((slots + tick) % BULK_TICKS == 0)
        due &= self._forwards_until[slots] >= tick
        for slot in slots[due].tolist():
            self._forward_bulk(self._stream_of[slot], ahead=WIDE_SAMPLES)

    def _forward_bulk(self, stream: Stream, *, ahead: int = 0) -> None:
        """Forward the waiting sound. `ahead`: samples of the current tick that `_n_heard` does not include yet."""
        slot = stream.slot
        n_ticks = int(self._bulk_ticks[slot])
        if n_ticks:
            first = int(self._n_heard[slot]) + ahead - n_ticks * WIDE_SAMPLES
            end = int(self._bulk_end[slot]) % KEPT_TICKS
            begin = end - n_ticks
            frames = self._bulk[slot, max(begin, 0) : end].tobytes()
            if begin < 0:
                frames = self._bulk[slot, begin:].tobytes() + frames
            self._emit_audio(CallerAudio(stream.number, first, frames))
            self._bulk_ticks[slot] = 0

    def _report(self, detection: Detection, now: float) -> None:
        stream = self._stream_of[detection.slot]
        if stream.listen.only_speech:
            self._forwards_until[detection.slot] = _ALWAYS if detection.started else self._tick + AFTER_SPEECH_TICKS
        if stream.listen.forward_audio:
            self._forward_bulk(stream, ahead=WIDE_SAMPLES)
        sample = int(self._detect_from[detection.slot]) + detection.sample
        if detection.started:
            self._pauses.speech_began(detection.slot)
            self._emit(SpeechStarted(stream.number, detection.at, sample, now, float(detection.confidence)))
            self.on_speech(stream)
        else:
            if stream.listen.pauses:
                self._pauses.speech_ended(detection.slot, sample, detection.at)
            self._emit(SpeechEnded(stream.number, detection.at, sample, now, int(detection.duration_ms)))


def _ignore_onset(stream: Stream, now: float, *, is_onset: bool, is_sure: bool) -> None:
    """Default of `on_onset`."""


def _as_float(samples: Samples) -> NDArray[np.float32]:
    """Convert to [-1, 1)."""
    sound: NDArray[np.float32] = np.multiply(samples, 1 / _FULL_SCALE, dtype=np.float32)
    return sound


def _raise(number: int, error: Exception) -> None:
    """Default of `on_failed`."""
    del number
    raise error
