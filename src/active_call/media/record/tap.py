"""The recorder's tap in the tick: the received and sent frames of all recorded streams, in one piece per rate.

Frames come from `ReceivePipeline` and `SendPipeline`. Stereo pieces go to the `Recorder`: caller left, our sound right, both from the same
tick.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from active_call.base.pcm import FRAME_MS, samples_in
from active_call.codec.resample import Upsampler8to16
from active_call.media.receive.pipeline import ReceivePipeline
from active_call.media.record.recorder import FLUSH_MS, Recorder
from active_call.media.send.conversion import Conversion
from active_call.media.send.mixer import Samples
from active_call.media.send.pipeline import SendPipeline
from active_call.media.worker.slots import Stream

RATES_HZ = (8000, 16_000)


class RecordingTap:
    """All recorded streams. Call `regroup` after any change, and `run` once per tick after both halves."""

    def __init__(self, recorder: Recorder, hearing: ReceivePipeline, sending: SendPipeline, capacity: int) -> None:
        self._recorder = recorder
        self._hearing = hearing
        self._sending = sending
        self._upsampler = Upsampler8to16(capacity)
        self._conversions: dict[int, Conversion] = {}
        """By recording: conversion of sent sound whose rate is not 8 kHz."""
        self._paused: set[int] = set()
        """Recordings that currently get silence."""
        self._next_tick = 0
        self._streams: dict[int, list[Stream]] = {rate_hz: [] for rate_hz in RATES_HZ}

    def begin(self, stream: Stream, path: str, rate_hz: int, flush_ms: int = FLUSH_MS) -> None:
        """Record `stream` from the next tick on; an existing recording is finished first. Raises ValueError for an unsupported rate.

        The file name extension selects the format (`record.files`). `flush_ms` is the flush interval of the file.
        """
        if rate_hz not in RATES_HZ:
            raise ValueError(f"cannot record at {rate_hz} Hz")
        self.end(stream)
        self._upsampler.reset(stream.slot)
        stream.recording = self._recorder.begin(stream.number, path, rate_hz, flush_ms)
        stream.recording_rate_hz = rate_hz

    def end(self, stream: Stream) -> None:
        """Finish the stream's recording, if any, with the last tick that was handed over."""
        if stream.recording:
            self._recorder.end(stream.recording, self._next_tick)
            self._conversions.pop(stream.recording, None)
            self._paused.discard(stream.recording)
            stream.recording = 0

    def pause(self, stream: Stream, paused: bool) -> None:
        """Record silence on both channels (while a card number is spoken), or continue. Time continues, and both channels stay aligned."""
        if paused and stream.recording:
            self._paused.add(stream.recording)
        else:
            self._paused.discard(stream.recording)

    def regroup(self, streams: list[Stream]) -> None:
        """Update the set of recorded streams."""
        for rate_hz in RATES_HZ:
            self._streams[rate_hz] = [stream for stream in streams if self._is_written(stream, rate_hz)]

    def _is_written(self, stream: Stream, rate_hz: int) -> bool:
        return stream.recording_rate_hz == rate_hz and self._recorder.is_open(stream.recording)

    def run(self, tick: int) -> None:
        """Hand the frames of `tick` to the recorder."""
        self._next_tick = tick + 1
        for rate_hz, streams in self._streams.items():
            if streams:
                data = self._stereo(streams, rate_hz).tobytes()
                self._recorder.write(tick, tuple([stream.recording for stream in streams]), data)

    def _stereo(self, streams: list[Stream], rate_hz: int) -> NDArray[np.int16]:
        """The stereo frames, (recordings, samples, 2) int16."""
        n = samples_in(FRAME_MS, rate_hz)
        stereo = np.zeros((len(streams), n, 2), np.int16)
        narrow = np.zeros((len(streams), samples_in(FRAME_MS, 8000)), np.int16)
        is_narrow = np.zeros(len(streams), np.bool_)
        for row, stream in enumerate(streams):
            if stream.recording in self._paused:
                is_narrow[row] = stream.rate_hz == 8000
                continue
            heard = self._hearing.heard(stream.number, rate_hz)
            if heard is not None:
                stereo[row, :, 0] = heard
            sent = self._sending.sent(stream.number)
            if stream.rate_hz == 8000:
                is_narrow[row] = True
                if sent is not None:
                    narrow[row] = sent
            elif sent is not None:
                stereo[row, :, 1] = self._converted(stream, sent, rate_hz)
        if rate_hz == 8000:
            stereo[is_narrow, :, 1] = narrow[is_narrow]
        else:
            slots = np.array([stream.slot for stream in streams], np.intp)[is_narrow]
            stereo[is_narrow, :, 1] = self._upsampler.process_pcm(narrow[is_narrow], slots)
        return stereo

    def _converted(self, stream: Stream, sent: Samples, rate_hz: int) -> Samples:
        if stream.rate_hz == rate_hz:
            return sent
        conversion = self._conversions.get(stream.recording)
        if conversion is None:
            conversion = self._conversions[stream.recording] = Conversion(stream.rate_hz, rate_hz)
        return conversion.process(sent)
