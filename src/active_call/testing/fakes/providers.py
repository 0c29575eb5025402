"""Providers for tests of whole calls: deterministic, in memory, scripted by the test; they use no clock unless told to wait.

The synthesiser makes tones as long as the text, the recogniser says what the script has for each utterance, the responder answers with the
script's replies. All of them record their requests.
"""

from __future__ import annotations

import asyncio
import json
import math
import struct
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from active_call.base.errors import ActiveCallError, ConfigError
from active_call.base.pcm import BYTES_PER_SAMPLE, LISTEN_RATE_HZ, samples_in
from active_call.base.trust import NO_TRUST, Trust
from active_call.providers.base import (
    ChatModel,
    Failed,
    Final,
    Partial,
    RecognitionEvent,
    ReplyRequest,
    SpeechToText,
    SpeechToTextCapabilities,
    TextToSpeech,
)
from active_call.providers.chat import ChatEvent, ChatModelCapabilities, Finished, ToolCallDelta
from active_call.providers.llm.text_only import TextOnlyChatModel
from active_call.providers.realtime_model import RealtimeModel
from active_call.providers.selection import Selection
from active_call.providers.tts.whole_text import WholeTextToSpeech
from active_call.providers.turn.judge import TurnJudge

TONE_HZ = 400
TONE_LEVEL = 8_000


@dataclass(frozen=True, slots=True)
class ToolUse:
    """A reply in which the model calls a tool, after it has said `text`."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    text: str = ""


Reply = str | Sequence[str] | Exception | ToolUse | Callable[[ReplyRequest], str | Sequence[str]]
"""A reply's text (yielded word by word), its pieces, an error to raise at once, a tool to call, or a function of the request."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """One request to the fake synthesiser."""

    text: str
    speaker: str | None
    speed: float | None


class FakeSynthesiser(WholeTextToSpeech):
    """Tones of `ms_per_char` for each character, in pieces of `piece_ms`. `failures` maps texts to errors to raise.

    `spoken` holds the requests, `n_abandoned` counts those whose iterator was closed before its end.
    """

    name = "fake"

    def __init__(self, *, rate_hz: int = LISTEN_RATE_HZ, ms_per_char: float = 50.0, piece_ms: int = 100, delay_s: float = 0.0) -> None:
        self.rate_hz = rate_hz
        self.ms_per_char = ms_per_char
        self.piece_ms = piece_ms
        self.delay_s = delay_s
        self.failures: dict[str, Exception] = {}
        self.spoken: list[Spoken] = []
        self.n_abandoned = 0
        self.is_closed = False

    def duration_ms(self, text: str, speed: float | None = None) -> float:
        """How long the sound of `text` is."""
        return len(text) * self.ms_per_char / (speed or 1.0)

    async def synthesise(self, text: str, *, speaker: str | None = None, speed: float | None = None) -> AsyncIterator[bytes]:
        self.spoken.append(Spoken(text, speaker, speed))
        await asyncio.sleep(self.delay_s)
        if text in self.failures:
            raise self.failures[text]
        sound = tone(samples_in(self.duration_ms(text, speed), self.rate_hz), self.rate_hz)
        piece_bytes = samples_in(self.piece_ms, self.rate_hz) * BYTES_PER_SAMPLE
        is_whole = False
        try:
            for start in range(0, len(sound), piece_bytes):
                yield sound[start : start + piece_bytes]
                await asyncio.sleep(0)
            is_whole = True
        finally:
            self.n_abandoned += not is_whole

    async def close(self) -> None:
        self.is_closed = True


class FakeRecogniser:
    """Answers the utterances of all its recognitions with the texts of `script`, in turn; empty when the script has run out.

    An error in the script becomes `Failed`. `recognitions` holds every recognition started, the newest last.
    """

    name = "fake"
    capabilities = SpeechToTextCapabilities(partials=True, phrases=True)

    def __init__(self, script: Iterable[str | ActiveCallError] = ()) -> None:
        self.script: deque[str | ActiveCallError] = deque(script)
        self.recognitions: list[FakeRecognition] = []
        self.is_closed = False

    def open(self, on_event: Callable[[RecognitionEvent], None], *, language: str | None = None) -> FakeRecognition:
        recognition = FakeRecognition(self.script, on_event, language)
        self.recognitions.append(recognition)
        return recognition

    async def close(self) -> None:
        self.is_closed = True


class FakeRecognition:
    """One caller: records what arrives; finals come from the loop, after `end_utterance` has returned.

    With `is_held`, ends are not answered until the test calls `answer`. `say_partial` gives an interim result of the open utterance.
    """

    def __init__(
        self,
        script: deque[str | ActiveCallError],
        on_event: Callable[[RecognitionEvent], None],
        language: str | None,
    ) -> None:
        self.language = language
        self.phrases: tuple[str, ...] = ()
        self.pushed_samples = 0
        self.ended: list[int] = []
        self.cancelled: list[int] = []
        self.is_closed = False
        self.is_held = False
        self._script = script
        self._on_event = on_event
        self._started: dict[int, int] = {}
        self._ends: dict[int, tuple[int, int]] = {}

    def push_audio(self, pcm: bytes, sample: int) -> None:
        self.pushed_samples += len(pcm) // BYTES_PER_SAMPLE

    def start_utterance(self, index: int, sample: int) -> None:
        self._started[index] = sample

    def end_utterance(self, index: int, sample: int) -> None:
        self.ended.append(index)
        self._ends[index] = (self._started.pop(index, sample), sample)
        if not self.is_held:
            asyncio.get_running_loop().call_soon(self.answer, index)

    def cancel_utterance(self, index: int) -> None:
        self.cancelled.append(index)
        self._started.pop(index, None)
        self._ends.pop(index, None)

    def expect_phrases(self, phrases: Sequence[str]) -> None:
        self.phrases = tuple(phrases)

    def say_partial(self, text: str, index: int) -> None:
        """An interim result of the utterance `index`, which must be open."""
        start = self._started[index]
        self._on_event(Partial(text, index, start, start))

    def answer(self, index: int, text: str | ActiveCallError | None = None) -> None:
        """End the utterance `index` with `text`, or with what the script has next. Nothing happens for one cancelled or answered."""
        span = self._ends.pop(index, None)
        if span is None or self.is_closed:
            return
        result = text if text is not None else self._script.popleft() if self._script else ""
        if isinstance(result, Exception):
            self._on_event(Failed(result, index))
        else:
            self._on_event(Final(result, index, span[0], span[1], 0.9))

    async def close(self) -> None:
        self.is_closed = True


class FakeResponder(TextOnlyChatModel):
    """Answers with the replies of `script`, in turn; a request too many gets an empty reply.

    `requests` holds what was asked; `n_abandoned` counts iterators closed before their end. `first_delay_s` and `delay_s` are waited
    before the first and every further piece.
    """

    name = "fake"
    capabilities = ChatModelCapabilities(tools=True)

    def __init__(self, script: Iterable[Reply] = (), *, first_delay_s: float = 0.0, delay_s: float = 0.0) -> None:
        self.script: deque[Reply] = deque(script)
        self.first_delay_s = first_delay_s
        self.delay_s = delay_s
        self.requests: list[ReplyRequest] = []
        self.n_tools_used = 0
        self.n_abandoned = 0
        self.is_closed = False

    async def reply(self, request: ReplyRequest) -> AsyncGenerator[ChatEvent, None]:
        use = self.script[0] if self.script else None
        if isinstance(use, ToolUse):
            self.script[0] = use.text
        async with aclosing(super().reply(request)) as text:
            async for event in text:
                yield event
        if isinstance(use, ToolUse):
            self.n_tools_used += 1
            yield ToolCallDelta(0, json.dumps(dict(use.arguments)), f"call-{self.n_tools_used}", use.name)
            yield Finished("tool_calls")

    async def respond(self, request: ReplyRequest) -> AsyncIterator[str]:
        self.requests.append(request)
        reply = self.script.popleft() if self.script else ""
        assert not isinstance(reply, ToolUse)
        is_whole = False
        try:
            await asyncio.sleep(self.first_delay_s)
            if isinstance(reply, Exception):
                is_whole = True
                raise reply
            for i, piece in enumerate(_pieces(reply(request) if callable(reply) else reply)):
                await asyncio.sleep(self.delay_s if i else 0)
                yield piece
            is_whole = True
        finally:
            self.n_abandoned += not is_whole

    async def close(self) -> None:
        self.is_closed = True


@dataclass(slots=True)
class FakeEngines:
    """Replaces `registry.Engines`: returns the same instances for any options; `asked` holds the options."""

    recogniser: SpeechToText = field(default_factory=FakeRecogniser)
    synthesiser: TextToSpeech = field(default_factory=FakeSynthesiser)
    responder: ChatModel = field(default_factory=FakeResponder)
    realtime: RealtimeModel | None = None
    """None: no speech-to-speech model is installed."""
    asked: list[Any] = field(default_factory=list)

    def get_recogniser(self, option: Any, trust: Trust = NO_TRUST) -> SpeechToText:
        self.asked.append(option)
        return self.recogniser

    def get_synthesiser(self, option: Any, trust: Trust = NO_TRUST) -> TextToSpeech:
        self.asked.append(option)
        return self.synthesiser

    def get_responder(self, settings: Any, trust: Trust = NO_TRUST) -> ChatModel:
        self.asked.append(settings)
        return self.responder

    def get_realtime(self, option: Any, trust: Trust = NO_TRUST) -> RealtimeModel:
        self.asked.append(option)
        if self.realtime is None:
            raise ConfigError("realtime.provider", "no speech-to-speech model is installed here")
        return self.realtime

    def get_turn_judge(self, model: str | None) -> TurnJudge:
        raise ConfigError("eou.type", "no turn model is installed here")

    def selection(self, asr: Any, tts: Any, llm: Any, trust: Trust = NO_TRUST) -> tuple[Selection, ...]:
        sections = ("asr", "tts") if llm is None else ("asr", "tts", "llm")
        return tuple(Selection(section, "fake", "a test") for section in sections)

    async def warm(self) -> None:
        """Nothing to load."""

    async def close(self) -> None:
        for engine in (self.recogniser, self.synthesiser, self.responder):
            await engine.close()
        if self.realtime is not None:
            await self.realtime.close()


def tone(n_samples: int, rate_hz: int) -> bytes:
    """`n_samples` of a steady tone, s16le."""
    step = 2 * math.pi * TONE_HZ / rate_hz
    return struct.pack(f"<{n_samples}h", *(round(TONE_LEVEL * math.sin(step * i)) for i in range(n_samples)))


def _pieces(reply: str | Sequence[str]) -> list[str]:
    """A text as words with their spaces, so that the pieces join to the text again; pieces as they are."""
    if not isinstance(reply, str):
        return list(reply)
    words = reply.split(" ")
    return [word + " " for word in words[:-1]] + [word for word in words[-1:] if word]
