"""Recognition by OpenAI's transcription API, or any server that speaks it (Groq, vLLM, speaches, whisper.cpp …): one POST an utterance.

Speech enters as a WAV of 16 kHz, text leaves. API: `POST {base}/audio/transcriptions`, multipart. Expected phrases go along as `prompt`.
Options: `model` (whisper-1), `language`, `endpoint` (base URL), `api_key`; `extra` is sent as further form fields.
"""

from __future__ import annotations

import io
import wave
from collections.abc import Callable, Sequence

import httpx

from active_call.base.errors import ProviderError
from active_call.base.pcm import BYTES_PER_SAMPLE, LISTEN_RATE_HZ
from active_call.contract.options import AsrOption
from active_call.providers.asr.utterances import Transcript, Utterance, UtteranceRecognition
from active_call.providers.guarding.guard import Guard, Limits
from active_call.providers.http import EXCERPT_CHARS, check_status
from active_call.providers.openai_settings import Server, find_server
from active_call.providers.services import Services
from active_call.providers.speech_to_text import RecognitionEvent, SpeechToTextCapabilities

NAME = "openai"
DEFAULT_MODEL = "whisper-1"
LIMITS = Limits(first_result_s=10.0, attempts=2)
MAX_PROMPT_CHARS = 800
"""The API heeds the last 224 tokens of a prompt."""


def create(option: AsrOption, services: Services) -> OpenAiSpeechToText:
    """The adapter. Raises ConfigError without a key for OpenAI itself."""
    return OpenAiSpeechToText(option, find_server("asr", option.endpoint, option.secret_key, services.environment), services)


class OpenAiSpeechToText:
    """A transcription API as a `SpeechToText`."""

    name = NAME
    capabilities = SpeechToTextCapabilities(phrases=True)

    def __init__(self, option: AsrOption, server: Server, services: Services) -> None:
        self._http = services.http
        self._server = server
        self._language = option.language
        self._fields = {"model": option.model_type or DEFAULT_MODEL, **{key: str(value) for key, value in option.extra.items()}}
        self._guard = Guard(NAME, services.world, LIMITS)

    def open(self, on_event: Callable[[RecognitionEvent], None], *, language: str | None = None) -> OpenAiRecognition:
        return OpenAiRecognition(self, on_event, language or self._language)

    async def transcribe(self, pcm: bytes, language: str | None, phrases: Sequence[str]) -> str:
        """The text of `pcm` (s16le, 16 kHz). Raises ProviderError."""
        return await self._guard.call(lambda: self._ask(pcm, language, phrases))

    async def close(self) -> None:
        """Nothing is held: the HTTP client belongs to the server."""

    async def _ask(self, pcm: bytes, language: str | None, phrases: Sequence[str]) -> str:
        fields = dict(self._fields, response_format="json")
        if language and language != "auto":
            fields["language"] = language.replace("_", "-").partition("-")[0].lower()
        if phrases:
            fields.setdefault("prompt", prompt_of(phrases))
        response = await self._http.post(
            f"{self._server.base_url}/audio/transcriptions",
            headers=self._server.headers,
            data=fields,
            files={"file": ("speech.wav", wav(pcm), "audio/wav")},
            timeout=httpx.Timeout(LIMITS.first_result_s),
        )
        await check_status(NAME, response)
        return _transcript_in(response)


class OpenAiRecognition(UtteranceRecognition):
    """One caller."""

    def __init__(self, engine: OpenAiSpeechToText, on_event: Callable[[RecognitionEvent], None], language: str | None) -> None:
        super().__init__(self._transcribe_one, on_event)
        self._engine = engine
        self._language = language
        self._phrases: tuple[str, ...] = ()

    def expect_phrases(self, phrases: Sequence[str]) -> None:
        """Hint the model at `phrases` from now on."""
        self._phrases = tuple(phrases)

    async def _transcribe_one(self, utterance: Utterance) -> Transcript:
        return Transcript(await self._engine.transcribe(utterance.pcm, self._language, self._phrases))


def _transcript_in(response: httpx.Response) -> str:
    """The text of a transcription; none where the server has understood nothing. Raises ProviderError."""
    try:
        answer = response.json()
    except (ValueError, RecursionError) as error:
        raise ProviderError(NAME, "the transcription is not JSON", retryable=True) from error
    if not isinstance(answer, dict) or "text" not in answer:
        raise ProviderError(NAME, f"the transcription is not a JSON object with `text`: {str(answer)[:EXCERPT_CHARS]}")
    text = answer["text"]
    if not isinstance(text, str | None):
        raise ProviderError(NAME, f"the transcription's `text` is no text, but {type(text).__name__}")
    return (text or "").strip()


def wav(pcm: bytes) -> bytes:
    """`pcm` (s16le, 16 kHz, mono) as a WAV file."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(BYTES_PER_SAMPLE)
        file.setframerate(LISTEN_RATE_HZ)
        file.writeframes(pcm)
    return buffer.getvalue()


def prompt_of(phrases: Sequence[str]) -> str:
    """`phrases` as text that a caller may well have said before; as many as fit."""
    prompt = ""
    for phrase in phrases:
        longer = f"{prompt} {phrase.strip().rstrip('.')}.".strip()
        if len(longer) > MAX_PROMPT_CHARS:
            break
        prompt = longer
    return prompt
