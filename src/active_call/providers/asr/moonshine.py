"""The default local recogniser for English: Moonshine, from the wheel `moonshine-voice`, which includes its `tiny-en` model.

Speech enters; partial and final texts leave, with punctuation, numbers often as digits. Recognition is free: the playbook's expected
phrases are compared with the result, and replace it only if the model rates them nearly as likely (`expected_phrases`). The computing
happens in engine processes (`moonshine_engine`), up to one for each core, shared by all calls.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

from active_call.base.errors import ConfigError
from active_call.contract.options import AsrOption
from active_call.providers.asr import moonshine_engine
from active_call.providers.asr.partials import PartialRecognition
from active_call.providers.asr.utterances import MAX_WAIT_S, Transcript
from active_call.providers.declaration import ProviderDeclaration
from active_call.providers.guarding.guard import Guard, Limits
from active_call.providers.services import Services
from active_call.providers.speech_to_text import RecognitionEvent, SpeechToTextCapabilities

NAME = "moonshine"
LIMITS = Limits(first_result_s=8.0)
"""A minute of speech takes 2.5 s on an idle core."""


DECLARATION = ProviderDeclaration(
    kind="asr",
    name="moonshine",
    title="Moonshine, free English speech on this machine",
    capabilities=SpeechToTextCapabilities(languages=("en",), partials=True, phrases=True, between_speech=False),
    transport="local",
    documentation="https://github.com/moonshine-ai/moonshine",
    options=(),
    package="active-call[local]",
    notes="The English model is part of the package.",
)


def create(option: AsrOption, services: Services) -> MoonshineSpeechToText:
    """The adapter. Raises ConfigError for another language than English, and when the model or ONNX Runtime is not installed."""
    check_language(option.language)
    if moonshine_engine.model_folder() is None or find_spec("onnxruntime") is None:
        raise ConfigError("asr.provider", "'moonshine' needs its model and ONNX Runtime: pip install 'active-call[local]'")
    return MoonshineSpeechToText(services)


def is_english(language: str | None) -> bool:
    """None and `auto` mean English here."""
    return not language or language.lower() == "auto" or language.lower().replace("_", "-").partition("-")[0] == "en"


def check_language(language: str | None) -> None:
    """Raise ConfigError unless the engine understands `language`."""
    if not is_english(language):
        raise ConfigError(
            "asr.language", f"'moonshine' knows English only, not {language!r}; choose another asr.provider (active-call models list)"
        )


class MoonshineSpeechToText:
    """Moonshine as a `SpeechToText`."""

    name = NAME
    capabilities = SpeechToTextCapabilities(languages=("en",), partials=True, between_speech=False)
    """The tiny model reports no word times."""

    def __init__(self, services: Services) -> None:
        self._local = services.local
        self._local.use_all_cores(moonshine_engine.__name__, moonshine_engine.warm)
        self._guard = Guard(NAME, services.world, LIMITS)

    def open(self, on_event: Callable[[RecognitionEvent], None], *, language: str | None = None) -> PartialRecognition:
        check_language(language)
        sure = moonshine_engine.SURE_CONFIDENCE
        again, draft, rate = self._transcribe_again, self._draft, self._rate
        return PartialRecognition(self._transcribe, on_event, sure_confidence=sure, transcribe_again=again, draft=draft, rate=rate)

    async def warm(self) -> None:
        """Start the first engine process and load its model."""
        await self._local.run(moonshine_engine.warm)

    async def close(self) -> None:
        """Does nothing: the processes belong to the engine pool."""

    async def _transcribe(self, pcm: bytes, background: bool, phrases: tuple[str, ...]) -> Transcript:
        if background:  # not guarded: a refusal is not a failure of the engine
            text, confidence, is_clear = await self._local.run(moonshine_engine.forecast, pcm, phrases, background=True)
            return Transcript(text, confidence, is_clear=is_clear)
        run = self._local.run
        return Transcript(*await self._guard.call(lambda: run(moonshine_engine.transcribe, pcm, phrases, True, max_wait_s=MAX_WAIT_S)))

    async def _transcribe_again(self, pcm: bytes, phrases: tuple[str, ...]) -> Transcript:
        run = self._local.run
        return Transcript(*await self._guard.call(lambda: run(moonshine_engine.transcribe_again, pcm, phrases, max_wait_s=MAX_WAIT_S)))

    async def _draft(self, pcm: bytes, phrases: tuple[str, ...]) -> Transcript:
        return Transcript(*await self._local.run(moonshine_engine.draft, pcm, phrases, background=True))

    async def _rate(self, pcm: bytes, texts: tuple[str, ...]) -> tuple[float, ...]:
        return tuple(await self._local.run(moonshine_engine.rate, pcm, texts, background=True))
