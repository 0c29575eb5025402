"""Ends a call whose budget is spent: the agent stops, a final sentence is spoken, and the call is hung up.

The sentence is synthesised when most of the budget is used, so that it can be played at once and costs nothing more. If nothing can be
spoken (before the answer, without a voice), the call is ended at once; a sentence that takes too long is not waited for.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from contextlib import aclosing
from typing import Final

from active_call.agent.reply.speakable import as_pronounced
from active_call.base.errors import ActiveCallError
from active_call.call.ports import CallPorts, HangUp
from active_call.call.shared_state import CallState
from active_call.call.state import Phase
from active_call.contract import commands, events
from active_call.providers.base import TextToSpeech, speech_of

SAY: Final = "I am sorry, I have to end this call now. Goodbye."
PLAY_ID: Final = "budget"
SPOKEN_S: Final = 20.0
"""The time limit for the sentence, including its synthesis."""
CAUSE: Final = "budget"


class LastSentence:
    """See the module. `voice` caches its sentences."""

    def __init__(
        self,
        state: CallState,
        ports: CallPorts,
        perform: Callable[[commands.Command], object],
        hang_up: HangUp,
        end_agent: Callable[[], object],
        voice: Callable[[], TextToSpeech | None],
    ) -> None:
        self._state = state
        self._ports = ports
        self._perform = perform
        self._hang_up = hang_up
        self._end_agent = end_agent
        self._voice = voice
        self._why = ""

    def prepare(self) -> None:
        """The budget is almost spent."""
        voice = self._voice()
        if self._say and voice is not None and self._state.facts.phase is Phase.ANSWERED:
            self._ports.spawn(_synthesise_ahead(voice, self._say), "last sentence")

    def begin(self, why: str) -> None:
        """The budget is spent. A second call does nothing."""
        if self._why or self._state.facts.phase is Phase.ENDED:
            return
        self._why = why
        self._ports.emit(events.Error(sender="budget", error=why))
        self._end_agent()
        if self._state.facts.phase is not Phase.ANSWERED or not self._say:
            self._end()
            return
        self._perform(commands.Tts(text=self._say, play_id=PLAY_ID))
        self._ports.spawn(self._end_in_time(), "budget")

    def observe(self, event: events.Event) -> None:
        """An event of the call: the sentence was spoken, or failed."""
        if not self._why or event.refer:
            return
        match event:
            case events.TrackEnd(play_id=play_id) | events.Interruption(play_id=play_id) if play_id == PLAY_ID:
                self._end()
            case events.Error(sender="tts"):
                self._end()
            case _:
                pass

    @property
    def _say(self) -> str:
        budget = self._state.option.budget
        return SAY if budget is None or budget.say is None else budget.say.strip()

    async def _end_in_time(self) -> None:
        await asyncio.sleep(SPOKEN_S)
        self._end()

    def _end(self) -> None:
        if self._state.facts.phase is not Phase.ENDED:
            self._hang_up(by="system", cause=CAUSE, reason=self._why)


async def _synthesise_ahead(voice: TextToSpeech, text: str) -> None:
    """Synthesise the sentence into the voice's cache. A failure is reported when the sentence is needed."""
    with contextlib.suppress(ActiveCallError):
        async with aclosing(speech_of(voice, as_pronounced(text) or text)) as chunks:
            async for _ in chunks:
                pass
