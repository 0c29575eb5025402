"""The three interfaces behind which every engine and vendor stands: recogniser, synthesiser, responder.

An adapter is one file with a `create(settings, services)` function, found by entry point (`active_call.asr`, `.tts`, `.llm`).
It raises ConfigError for settings it cannot use and ProviderError for everything that goes wrong later, and never blocks the loop.
Sound is s16le mono.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import httpx

from active_call.base.world import World


@dataclass(frozen=True, slots=True)
class Recognised:
    """What a recogniser makes of speech. Times are 16 kHz sample numbers of the call's caller audio.

    `final` ends utterance `index`; an empty final text means that nothing could be made of the speech. `confidence` 0 to 1, if known.
    """

    text: str
    final: bool
    index: int
    start_sample: int
    end_sample: int
    confidence: float | None = None


class Recognition(Protocol):
    """Recognition of one caller. All methods return at once; results come by the callback given at the start, on the loop.

    Engines that segment by our voice detector get `start_utterance` … `push_audio` … `end_utterance`; streaming vendors may ignore the
    two and listen to all. Every `end_utterance` is followed by exactly one final (or one error).
    """

    def push_audio(self, pcm: bytes, sample: int) -> None:
        """16 kHz sound beginning at `sample`. Called all the time, in speech and between."""
        ...

    def start_utterance(self, index: int, sample: int) -> None:
        """Speech has begun at `sample`, which lies a little back in what was pushed."""
        ...

    def end_utterance(self, index: int, sample: int) -> None:
        """The utterance is over at `sample`."""
        ...

    def cancel_utterance(self, index: int) -> None:
        """No result for this utterance is wanted after all."""
        ...

    def expect_phrases(self, phrases: Sequence[str]) -> None:
        """What the caller may well say now (scene changes call this again): a grammar for some, a hint for others, nothing to most."""
        ...

    async def close(self) -> None:
        """Free everything. No callback after this returns."""
        ...


class SpeechToText(Protocol):
    """A configured recognition engine."""

    name: str

    def start(
        self,
        on_result: Callable[[Recognised], None],
        on_error: Callable[[Exception], None],
        *,
        language: str | None = None,
    ) -> Recognition: ...

    async def close(self) -> None: ...


class TextToSpeech(Protocol):
    """A configured synthesis engine. `rate_hz` is the rate of what it yields."""

    name: str
    rate_hz: int

    def synthesise(self, text: str, *, speaker: str | None = None, speed: float | None = None) -> AsyncIterator[bytes]:
        """Yield the sound of `text` as it is made, in pieces of any (even) length. Closing the iterator abandons the rest."""
        ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One message to a model: `role` is system, user, assistant or tool."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class ReplyRequest:
    """What a responder answers. `scene` is the name of the current scene, for logs."""

    messages: tuple[ChatMessage, ...]
    scene: str = ""
    temperature: float | None = None
    max_tokens: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    on_progress: Callable[[], None] = lambda: None
    """To be called when the vendor is at work and has no text yet: a model that thinks is not one that is gone."""


class ChatModel(Protocol):
    """A language model, or something that stands in for one."""

    name: str

    def respond(self, request: ReplyRequest) -> AsyncIterator[str]:
        """Yield the reply's text as it comes, tags included. Closing the iterator abandons the rest."""
        ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Services:
    """What an adapter may use of the house. `local` runs CPU-heavy work in the named engine process, off the loop."""

    world: World
    http: httpx.AsyncClient
    local: LocalEngines
    environment: Mapping[str, str]
    new_http: Callable[[], httpx.AsyncClient] | None = None
    """Makes a client like `http` for an adapter whose SDK closes the one that it is given."""


class LocalEngines(Protocol):
    """Processes for engines that compute on this machine; started on first use."""

    async def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a module-level function in the engine process and return its (picklable) result. Raises ProviderError if it dies."""
        ...

    async def close(self) -> None: ...
