"""The local recogniser for machines without Moonshine: PocketSphinx from its wheel. It selects one of the playbook's expected phrases.

Speech and phrases enter; the phrase as the playbook wrote it leaves, or an empty text for other speech. English only.
Without phrases it takes dictation, poorly. The decoding happens in the engine process (`pocketsphinx_engine`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from importlib.util import find_spec

from active_call.base.ended_tasks import cancel_and_wait
from active_call.base.errors import ConfigError, ProviderError
from active_call.contract.options import AsrOption
from active_call.providers.asr import pocketsphinx_dictation, pocketsphinx_engine
from active_call.providers.asr.utterances import MAX_WAIT_S, Transcript, Utterance, UtteranceRecognition
from active_call.providers.declaration import ProviderDeclaration
from active_call.providers.guarding.guard import Guard, Limits
from active_call.providers.services import LocalEngines, Services
from active_call.providers.speech_to_text import RecognitionEvent, SpeechToTextCapabilities

logger = logging.getLogger(__name__)

NAME = "pocketsphinx"
LIMITS = Limits(first_result_s=8.0)


DECLARATION = ProviderDeclaration(
    kind="asr",
    name="pocketsphinx",
    title="PocketSphinx, listed phrases in English on this machine",
    capabilities=SpeechToTextCapabilities(languages=("en",), free_speech=False, phrases=True, between_speech=False),
    transport="local",
    documentation="https://github.com/cmusphinx/pocketsphinx",
    options=(),
    package="active-call[local]",
    notes="It recognises the phrases of a playbook; it is poor at free speech.",
)


def create(option: AsrOption, services: Services) -> PocketsphinxSpeechToText:
    """The adapter. `option.extra["phrases"]` are expected from the start. Raises ConfigError for another language than English."""
    if find_spec("pocketsphinx") is None:
        raise ConfigError("asr.provider", "'pocketsphinx' needs the Python package 'pocketsphinx': pip install 'active-call[local]'")
    check_language(option.language)
    phrases = option.extra.get("phrases", [])
    if not isinstance(phrases, list) or not all(isinstance(phrase, str) for phrase in phrases):
        raise ConfigError("asr.extra.phrases", "a list of phrases")
    return PocketsphinxSpeechToText(phrases, services)


def check_language(language: str | None) -> None:
    """Raise ConfigError unless the engine supports `language`; None and `auto` mean English here."""
    if language and language.lower() != "auto" and not language.lower().startswith("en"):
        raise ConfigError("asr.language", f"'pocketsphinx' knows English only, not {language!r}; choose another asr.provider")


class PocketsphinxSpeechToText:
    """PocketSphinx as a `SpeechToText`."""

    name = NAME
    capabilities = SpeechToTextCapabilities(languages=("en",), free_speech=False, phrases=True, between_speech=False)
    """It recognises the playbook's phrases; it understands free speech badly."""

    def __init__(self, phrases: Sequence[str], services: Services) -> None:
        self._phrases = tuple(phrases)
        self._local = services.local
        self._guard = Guard(NAME, services.world, LIMITS)

    def open(self, on_event: Callable[[RecognitionEvent], None], *, language: str | None = None) -> PocketsphinxRecognition:
        check_language(language)
        recognition = PocketsphinxRecognition(self._local, self._guard, on_event)
        if self._phrases:
            recognition.expect_phrases(self._phrases)
        return recognition

    async def warm(self) -> None:
        """Start the engine process and load its models."""
        await self._local.run(pocketsphinx_engine.prepare, self._phrases)

    async def close(self) -> None:
        """Does nothing: the process belongs to the engine pool."""


class PocketsphinxRecognition(UtteranceRecognition):
    """One caller. Each utterance is decoded with the phrases that were expected when it ended."""

    def __init__(self, local: LocalEngines, guard: Guard, on_event: Callable[[RecognitionEvent], None]) -> None:
        super().__init__(self._decode, on_event)
        self._local = local
        self._guard = guard
        self._phrases: tuple[str, ...] = ()
        self._preparing: asyncio.Task[None] | None = None
        self._has_warned = False

    def expect_phrases(self, phrases: Sequence[str]) -> None:
        """Use `phrases` from now on, and compile their grammar while the agent still speaks."""
        if tuple(phrases) == self._phrases:
            return
        self._phrases = tuple(phrases)
        if self._preparing is not None:
            self._preparing.cancel()
        if self._phrases:
            self._preparing = asyncio.get_running_loop().create_task(self._prepare(self._phrases), name="grammar")

    async def close(self) -> None:
        if self._preparing is not None:
            await cancel_and_wait(self._preparing)
        await super().close()

    async def _prepare(self, phrases: tuple[str, ...]) -> None:
        """Compile in advance. A failure is only logged: the utterance that needs the grammar compiles again and reports the error."""
        try:
            unpronounceable = await self._local.run(pocketsphinx_engine.prepare, phrases)
        except ProviderError as error:
            logger.warning("grammar not prepared", extra={"provider": NAME, "reason": error.reason})
            return
        if unpronounceable:
            logger.warning("phrases left out: words that cannot be pronounced", extra={"provider": NAME, "words": unpronounceable})

    async def _decode(self, utterance: Utterance) -> Transcript:
        phrases = self._phrases
        if not phrases:
            return await self._dictate(utterance)
        text, confidence = await self._guard.call(
            lambda: self._local.run(pocketsphinx_engine.recognise, utterance.pcm, phrases, max_wait_s=MAX_WAIT_S)
        )
        return Transcript(text, confidence)

    async def _dictate(self, utterance: Utterance) -> Transcript:
        if not self._has_warned:
            self._has_warned = True
            logger.warning(
                "no phrases are expected, so this is poor dictation; give some or choose another asr.provider", extra={"provider": NAME}
            )
        return Transcript(
            await self._guard.call(lambda: self._local.run(pocketsphinx_dictation.dictate, utterance.pcm, max_wait_s=MAX_WAIT_S))
        )
