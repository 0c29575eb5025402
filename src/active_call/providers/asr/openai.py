"""Recognition by OpenAI's transcription API, or any server that speaks it (Groq, vLLM, speaches, whisper.cpp …): one POST for each
utterance.

Speech enters as a WAV of 16 kHz, text leaves. API: `POST {base}/audio/transcriptions`, multipart. Expected phrases go along as
`prompt`. Options: `model` (whisper-1), `language`, `keyterms`, `endpoint` (base URL), `api_key`; `extra` is sent as further form
fields. With `extra.response_format: verbose_json` the words come with their times, if the model reports them
(https://platform.openai.com/docs/api-reference/audio).
"""

from __future__ import annotations

import io
import math
import wave
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx

from active_call.base.errors import ProviderError
from active_call.base.pcm import BYTES_PER_SAMPLE, LISTEN_RATE_HZ
from active_call.contract.options import AsrOption
from active_call.providers import json_values
from active_call.providers.asr.utterances import TimedWord, Transcript, Utterance, UtteranceRecognition
from active_call.providers.asr.vendors.vendor_options import terms_of
from active_call.providers.credentials import without_secrets
from active_call.providers.declaration import DeclaredOption, ProviderDeclaration
from active_call.providers.guarding.guard import Guard, Limits
from active_call.providers.http import EXCERPT_CHARS, post, status_error
from active_call.providers.openai_settings import Server, find_server
from active_call.providers.services import Services
from active_call.providers.speech_to_text import RecognitionEvent, SpeechToTextCapabilities

NAME = "openai"
DEFAULT_MODEL = "whisper-1"
LIMITS = Limits(first_result_s=10.0, attempts=2)
MAX_TERMS = 200
MAX_PROMPT_CHARS = 800
"""The API uses the last 224 tokens of a prompt."""


PLAIN, TIMED = "json", "verbose_json"

DECLARATION = ProviderDeclaration(
    kind="asr",
    name=NAME,
    title="OpenAI transcription, and servers with its protocol",
    capabilities=SpeechToTextCapabilities(phrases=True, between_speech=False),
    transport="HTTP",
    documentation="https://platform.openai.com/docs/api-reference/audio/createTranscription",
    prices="https://openai.com/api/pricing",
    keys=("OPENAI_API_KEY",),
    key_page="https://platform.openai.com/api-keys",
    base_url="https://api.openai.com/v1",
    default_model=DEFAULT_MODEL,
    options=(
        DeclaredOption("model", "whisper-1, gpt-4o-transcribe, gpt-4o-mini-transcribe, or a model of the server", DEFAULT_MODEL, True),
        DeclaredOption("language", "ISO 639-1; none: detected"),
        DeclaredOption("keyterms", "expected words, sent as prompt"),
        DeclaredOption("extra.response_format", "verbose_json: words with times (whisper-1)", PLAIN),
        DeclaredOption("extra.*", "any other form field, such as temperature"),
    ),
    notes="One request per utterance; openai-realtime streams.",
)


def create(option: AsrOption, services: Services) -> OpenAiSpeechToText:
    """The adapter. Raises ConfigError without a key for OpenAI itself."""
    return OpenAiSpeechToText(option, find_server("asr", option.endpoint, option.secret_key, services.environment), services)


class OpenAiSpeechToText:
    """A transcription API as a `SpeechToText`. `response_format` is the form of the answer unless the option names one.

    `least_s`: the shortest utterance that the vendor bills.
    """

    def __init__(
        self,
        option: AsrOption,
        server: Server,
        services: Services,
        *,
        name: str = NAME,
        default_model: str = DEFAULT_MODEL,
        response_format: str = PLAIN,
        least_s: float = 0.0,
    ) -> None:
        self.least_s = least_s
        self.name = name
        self._http = services.http
        self._server = server
        self.endpoint = server.base_url
        self._option = option
        self._fields: dict[str, str | list[str]] = {
            "model": option.model_type or default_model,
            "response_format": response_format,
            **{key: str(value) for key, value in option.extra.items()},
        }
        is_timed = self._fields["response_format"] == TIMED
        if is_timed:
            self._fields.setdefault("timestamp_granularities[]", ["word", "segment"])
        self.capabilities = SpeechToTextCapabilities(phrases=True, words=is_timed, between_speech=False)
        self._guard = Guard(name, services.world, LIMITS)

    def open(self, on_event: Callable[[RecognitionEvent], None], *, language: str | None = None) -> OpenAiRecognition:
        return OpenAiRecognition(self, on_event, language or self._option.language)

    async def transcribe(self, pcm: bytes, language: str | None, phrases: Sequence[str]) -> Transcript:
        """The words in `pcm` (s16le, 16 kHz). Raises ProviderError."""
        return await self._guard.call(lambda: self._ask(pcm, language, phrases))

    async def close(self) -> None:
        """Does nothing: the HTTP client belongs to the server."""

    async def _ask(self, pcm: bytes, language: str | None, phrases: Sequence[str]) -> Transcript:
        fields = dict(self._fields)
        if language and language != "auto":
            fields["language"] = language.replace("_", "-").partition("-")[0].lower()
        if terms := terms_of(self._option, phrases, MAX_TERMS):
            fields.setdefault("prompt", prompt_of(terms))
        response = await post(
            self.name,
            self._http,
            f"{self._server.base_url}/audio/transcriptions",
            headers=self._server.headers,
            data=fields,
            files={"file": ("speech.wav", wav(pcm), "audio/wav")},
            timeout=httpx.Timeout(LIMITS.first_result_s),
        )
        if not response.is_success:
            hidden = without_secrets(response.text, (self._server.api_key or "",))
            raise status_error(self.name, response.status_code, hidden)
        return _transcript_in(self.name, response)


class OpenAiRecognition(UtteranceRecognition):
    """One caller."""

    def __init__(self, engine: OpenAiSpeechToText, on_event: Callable[[RecognitionEvent], None], language: str | None) -> None:
        super().__init__(self._transcribe_one, on_event)
        self._engine = engine
        self.least_s = engine.least_s
        self._language = language
        self._phrases: tuple[str, ...] = ()

    def expect_phrases(self, phrases: Sequence[str]) -> None:
        """Pass `phrases` to the model as hints from now on."""
        self._phrases = tuple(phrases)

    async def _transcribe_one(self, utterance: Utterance) -> Transcript:
        return await self._engine.transcribe(utterance.pcm, self._language, self._phrases)


def _transcript_in(provider: str, response: httpx.Response) -> Transcript:
    """A transcription; an empty one if the server understood nothing. Raises ProviderError."""
    try:
        answer = response.json()
    except (ValueError, RecursionError) as error:
        raise ProviderError(provider, "the transcription is not JSON", retryable=True) from error
    if not isinstance(answer, dict) or "text" not in answer:
        raise ProviderError(provider, f"the transcription is not a JSON object with `text`: {str(answer)[:EXCERPT_CHARS]}")
    text = answer["text"]
    if not isinstance(text, str | None):
        raise ProviderError(provider, f"the transcription's `text` is not text but {type(text).__name__}")
    words = tuple(
        TimedWord(json_values.text(word.get("word")).strip(), start_s, end_s)
        for word in json_values.mappings(answer.get("words"))
        if (start_s := json_values.number(word.get("start"))) is not None and (end_s := json_values.number(word.get("end"))) is not None
    )
    return Transcript((text or "").strip(), _confidence_of(json_values.mappings(answer.get("segments"))), words)


def _confidence_of(segments: Sequence[Mapping[str, Any]]) -> float | None:
    """The mean probability of a token over the segments; None if the server does not report it."""
    known = [value for segment in segments if (value := json_values.number(segment.get("avg_logprob"))) is not None]
    return math.exp(min(0.0, sum(known) / len(known))) if known else None


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
    """`phrases` as a prompt text, as many as fit."""
    prompt = ""
    for phrase in phrases:
        longer = f"{prompt} {phrase.strip().rstrip('.')}.".strip()
        if len(longer) > MAX_PROMPT_CHARS:
            break
        prompt = longer
    return prompt
