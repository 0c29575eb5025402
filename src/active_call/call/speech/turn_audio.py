"""The sound of the caller's turn so far, for a turn model, and the requests to that model.

The caller's sound, the beginnings of speech and the agent's requests enter; answers leave, posted to the agent. The sound begins half a
second before the turn and is at most as long as the model uses. Speech after a long silence begins another turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from active_call.agent.effects import TurnJudged
from active_call.base.errors import ActiveCallError
from active_call.base.pcm import LISTEN_RATE_HZ
from active_call.call.log import CallLog
from active_call.media.link.messages import CallerAudio
from active_call.providers.turn.judge import JUDGED_S, TurnJudge

BEFORE_S = 0.5
ANOTHER_TURN_S = 3.0
DEADLINE_S = 1.0
"""A later answer would come after the decision."""
_MAX_BYTES = int(2 * LISTEN_RATE_HZ * JUDGED_S)


class TurnAudio:
    """The turn sound of one call. Keeps nothing until `use` sets a model."""

    def __init__(self, spawn: Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]], log: CallLog) -> None:
        self._spawn = spawn
        self._log = log
        self._judge: TurnJudge | None = None
        self._post: Callable[[TurnJudged], None] | None = None
        self._sound = bytearray()
        self._end_sample = 0
        self._turn_sample = 0
        self._silent_since = 0

    def use(self, judge: TurnJudge | None, post: Callable[[TurnJudged], None]) -> None:
        """Ask `judge` from now on, and pass its answers to `post`; None: ask no model."""
        self._judge, self._post = judge, post
        if judge is not None:
            self._spawn(self._warm(judge), "turn judge")

    @property
    def is_used(self) -> bool:
        """A model is used, so the sound must be complete."""
        return self._judge is not None

    def push(self, report: CallerAudio) -> None:
        """More of the caller's sound."""
        if self._judge is None:
            return
        if report.sample != self._end_sample:
            self._sound.clear()  # a gap in the sound, such as a hold
        self._sound += report.pcm
        self._end_sample = report.sample + len(report.pcm) // 2
        if len(self._sound) > 2 * _MAX_BYTES:
            del self._sound[:-_MAX_BYTES]

    def speech_began(self, sample: int) -> None:
        """The caller speaks from `sample` on."""
        if sample - self._silent_since > ANOTHER_TURN_S * LISTEN_RATE_HZ or not self._silent_since:
            self._turn_sample = sample

    def speech_ended(self, sample: int) -> None:
        """The caller is silent from `sample` on."""
        self._silent_since = sample

    def ask(self, question: int) -> None:
        """Ask the model about the sound of the turn so far."""
        if self._judge is not None and self._post is not None:
            self._spawn(self._ask(self._judge, self._post, question, self._turn_so_far()), f"turn {question}")

    def _turn_so_far(self) -> bytes:
        begin = self._turn_sample - int(BEFORE_S * LISTEN_RATE_HZ)
        n_bytes = min(_MAX_BYTES, max(0, 2 * (self._end_sample - begin)), len(self._sound))
        return bytes(self._sound[len(self._sound) - n_bytes :])

    async def _warm(self, judge: TurnJudge) -> None:
        try:
            await judge.warm()
        except ActiveCallError as error:
            self._log.warning("turns are taken without a model of the sound", extra={"fields": {"reason": str(error)}})

    async def _ask(self, judge: TurnJudge, post: Callable[[TurnJudged], None], question: int, pcm: bytes) -> None:
        try:
            async with asyncio.timeout(DEADLINE_S):
                post(TurnJudged(question, await judge.judge(pcm)))
        except (ActiveCallError, TimeoutError) as error:  # the turn ends without its answer
            self._log.warning("turn not judged", extra={"fields": {"reason": str(error) or "no answer in time"}})
