"""Calls by text, with the real agent and language model; the caller's words are typed, and the agent's are printed.

A playbook, typed lines and digits enter; the events of a call leave. Leg, stream and the two speech engines are stand-ins that take no
time. `active-call chat` and the console's "try it by text" use it.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from msgspec.structs import replace

from active_call.agent.playbook.scenes import Playbook
from active_call.base.errors import ConfigError
from active_call.base.trust import Trust
from active_call.call.call import Call
from active_call.call.dependencies import CallDependencies, EngineSource
from active_call.call.opening.routing import Accepted, IncomingCall
from active_call.contract import events
from active_call.contract.options import AsrOption, CallOption, EouOption, RealtimeOption, TtsOption
from active_call.providers.base import ChatModel, RealtimeModel, RecognitionEvent, SpeechToTextCapabilities
from active_call.providers.base import Final as FinalWords
from active_call.providers.selection import Selection
from active_call.providers.settings import LlmSettings
from active_call.providers.tts.whole_text import WholeTextToSpeech
from active_call.providers.turn.judge import TurnJudge
from active_call.store.records import CallRecord, OpenCall
from active_call.testing.fakes.call import FakeLeg

AT_ONCE: Final = CallOption(eou=EouOption(type="fixed", timeout=50))
"""The end of a line ends the caller's turn."""
PATIENCE_S: Final = 120.0
SETTLED_S: Final = 0.4
"""If nothing is said for this long, it is the caller's turn to type."""
CLOSING_S: Final = 5.0


class _TypedWords:
    """Returns the typed text as recognised."""

    name = "typed"
    capabilities = SpeechToTextCapabilities(free_speech=True)

    def __init__(self) -> None:
        self.typed: deque[str] = deque()

    def open(self, on_event: Callable[[RecognitionEvent], None], *, language: str | None = None) -> _Utterances:
        return _Utterances(self, on_event)

    async def close(self) -> None: ...


class _Utterances:
    def __init__(self, words: _TypedWords, on_event: Callable[[RecognitionEvent], None]) -> None:
        self._words, self._on_event = words, on_event
        self._begun: dict[int, int] = {}

    def push_audio(self, pcm: bytes, sample: int) -> None: ...

    def start_utterance(self, index: int, sample: int) -> None:
        self._begun[index] = sample

    def end_utterance(self, index: int, sample: int) -> None:
        text = self._words.typed.popleft() if self._words.typed else ""
        self._on_event(FinalWords(text, index, self._begun.pop(index, sample), sample, 1.0))

    def cancel_utterance(self, index: int) -> None: ...

    def expect_phrases(self, phrases: Sequence[str]) -> None: ...

    async def close(self) -> None: ...


class _PrintedVoice(WholeTextToSpeech):
    """Returns a short sound for each text."""

    name = "printed"
    rate_hz = 8000

    async def synthesise(self, text: str, *, speaker: str | None = None, speed: float | None = None) -> AsyncIterator[bytes]:
        yield b"\1\0" * 320

    async def close(self) -> None: ...


@dataclass
class _TextEngines:
    """The engines of one text call: typed words, printed voice, and the playbook's model."""

    engines: EngineSource
    words: _TypedWords = field(default_factory=_TypedWords)
    voice: _PrintedVoice = field(default_factory=_PrintedVoice)

    def get_recogniser(self, option: AsrOption, trust: Trust | None = None) -> _TypedWords:
        return self.words

    def get_synthesiser(self, option: TtsOption, trust: Trust | None = None) -> _PrintedVoice:
        return self.voice

    def get_responder(self, option: LlmSettings, trust: Trust) -> ChatModel:
        return self.engines.get_responder(option, trust)

    def get_realtime(self, option: RealtimeOption, trust: Trust | None = None) -> RealtimeModel:
        """Raises ConfigError: a speech-to-speech model takes sound. The call then uses the playbook's language model."""
        raise ConfigError("realtime.provider", "a call by text has no sound for a speech-to-speech model")

    def get_turn_judge(self, model: str | None) -> TurnJudge:
        return self.engines.get_turn_judge(model)

    def selection(self, *_: object) -> tuple[Selection, ...]:
        return (Selection("asr", self.words.name, "a call by text"), Selection("tts", self.voice.name, "a call by text"))


class NoRecords:
    """Accepts the records of calls, and stores none."""

    def begin(self, call: OpenCall) -> None: ...

    def update(self, call: OpenCall) -> None: ...

    def write(self, record: CallRecord) -> None: ...


@dataclass
class _Always:
    playbook: Playbook

    async def route(self, call: IncomingCall) -> Accepted:
        return Accepted(self.playbook)


class TextCall:
    """One text call, which begins at once. `on_event` gets each event; `says` and `presses` return when the agent has answered.

    `dependencies` are those of any call, without what would outlast this one (records, recordings, reports).
    """

    def __init__(self, playbook: Playbook, dependencies: CallDependencies, on_event: Callable[[events.Event], None], caller: str) -> None:
        engines = _TextEngines(dependencies.engines)
        own = replace(dependencies, engines=engines, records=NoRecords(), recording=None, posthooks=None)
        self._words = engines.words
        self._leg = FakeLeg(caller=caller, callee="sip:agent@text")
        self._call = Call("s.text", self._leg, own, direction="inbound", option=AT_ONCE, router=_Always(playbook))  # type: ignore[arg-type]
        self._last_at = time.monotonic()
        self._call.watch(on_event)
        self._call.watch(lambda _: self._touch())
        self._running = asyncio.get_running_loop().create_task(self._call.run(), name="call by text")

    def _touch(self) -> None:
        self._last_at = time.monotonic()

    async def says(self, text: str) -> None:
        """The caller says `text`."""
        self._words.typed.append(text)
        self._touch()
        await self._leg.speak(0.08)
        await self.settled()

    async def presses(self, digits: str) -> None:
        """The caller presses keys."""
        for digit in digits:
            self._leg.signal(digit)
        self._touch()
        await self.settled()

    async def settled(self) -> None:
        """Return when no speech or answer is pending, or the call has ended."""
        deadline = time.monotonic() + PATIENCE_S
        while not self.is_over and time.monotonic() < deadline:
            agent = self._call.state.agent
            is_busy = self._call.parts.speech_output.is_speaking or self._call.parts.speech_input.is_busy
            if not is_busy and time.monotonic() - self._last_at > SETTLED_S and agent is not None and not agent.is_answering:
                return
            await asyncio.sleep(0.02)

    @property
    def is_over(self) -> bool:
        """The agent has hung up, or the call has failed."""
        return self._call.parts.own_leg.ended is not None or self._running.done()

    @property
    def scene(self) -> str:
        """The id of the conversation's current scene."""
        return self._call.state.agent.scene if self._call.state.agent is not None else ""

    def variables(self) -> dict[str, Any]:
        """The variables of the call."""
        return dict(self._call.state.facts.variables)

    async def close(self) -> None:
        """Hang up, and wait a limited time for the call's end. May be called again."""
        self._leg.end("caller", "remote_bye")
        await asyncio.wait((self._running,), timeout=CLOSING_S)
        self._running.cancel()
