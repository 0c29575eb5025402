"""The path of the caller's sound to a call, without sockets: G.711, then the receiving half of the media process, tick by tick.

8 kHz samples enter, in virtual time; what the media process reports to the call leaves (speech, pauses, the sound at 16 kHz). Between two
things that are said there is the noise of the line.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import numpy as np

from active_call.media.link.messages import Link, Listen
from active_call.media.receive.columns import ReceiveColumns
from active_call.media.receive.fed_audio import FedAudio
from active_call.media.receive.pipeline import ReceivePipeline
from active_call.media.worker.slots import Stream
from active_call.testing.sound.audio import FRAME_SAMPLES, MULAW, RATE_HZ, Pcm

TICK_S = FRAME_SAMPLES / RATE_HZ
_NUMBER, _SLOT = 1, 0


class Line:
    """One caller's line. `background` is repeated under all that is said; `report` gets what the media process would report to the call."""

    def __init__(self, report: Callable[[Link], None], background: Pcm) -> None:
        self._fed = FedAudio(_NUMBER, RATE_HZ, lambda started: None)
        self._pipeline = ReceivePipeline(ReceiveColumns(1), 1, report, report)
        self._pipeline.begin_stream(_SLOT)
        self._stream = Stream(_NUMBER, _SLOT, None, None, RATE_HZ, self._fed)
        self._background = background.astype(np.int32)
        self._said: Pcm = np.zeros(0, np.int16)
        self._n_said = 0
        self._n_ticks = 0
        self._is_listening = False

    def listen(self, order: Listen) -> None:
        """Do what the call orders: detect speech, forward sound."""
        self._pipeline.listen(self._stream, order)
        self._pipeline.regroup([self._stream])
        self._is_listening = True

    def give(self, pcm: Pcm) -> None:
        """Say `pcm` from the next tick on."""
        self._said, self._n_said = pcm, 0

    async def say(self, pcm: Pcm) -> tuple[float, float]:
        """Say `pcm`; returns when it is said: when its first sample came in, and its last one, by the loop's clock."""
        self.give(pcm)
        began = self._next_tick_at() - TICK_S
        while self._n_said < len(self._said):
            await asyncio.sleep(TICK_S)
        return began, began + len(pcm) / RATE_HZ

    async def run(self) -> None:
        """Send until cancelled."""
        loop = asyncio.get_running_loop()
        self._started_at = loop.time()
        while True:
            await asyncio.sleep(self._next_tick_at() - loop.time())
            self.tick(loop.time())

    def _next_tick_at(self) -> float:
        return self._started_at + (self._n_ticks + 1) * TICK_S

    def tick(self, now: float) -> None:
        """Send the next 20 ms, at `now`; whoever does not `run` the line calls this."""
        self._n_ticks += 1
        self._fed.feed(MULAW.decode(MULAW.encode(self._frame())).tobytes(), now)
        if self._n_ticks == 1:
            self._pipeline.regroup([self._stream])
        if self._is_listening:
            self._pipeline.run(self._n_ticks, now)

    def _frame(self) -> Pcm:
        first = self._n_ticks * FRAME_SAMPLES % max(len(self._background) - FRAME_SAMPLES, 1)
        frame = self._background[first : first + FRAME_SAMPLES].copy()
        voice = self._said[self._n_said : self._n_said + FRAME_SAMPLES]
        frame[: len(voice)] += voice
        self._n_said += FRAME_SAMPLES
        sent: Pcm = np.clip(frame, -32768, 32767).astype(np.int16)
        return sent
