"""Recognition by Google Cloud Speech-to-Text, one POST for each utterance.

Wire: https://cloud.google.com/speech-to-text/docs/reference/rest/v1/speech/recognize. Google streams by gRPC only, which would bring
grpcio (some 10 MB of compiled code) and a thread pool for one vendor; its REST method takes up to a minute of sound, which an utterance
never exceeds, and answers in one piece. Options: `model`, `language`, `keyterms`; `extra` is merged into `config`.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import httpx

from active_call.base.errors import ProviderError
from active_call.base.pcm import LISTEN_RATE_HZ
from active_call.contract.options import AsrOption
from active_call.providers.asr.utterances import TimedWord, Transcript, Utterance, UtteranceRecognition
from active_call.providers.asr.vendors.vendor_options import terms_of
from active_call.providers.credentials import KeySource, find_key, find_url, without_secrets
from active_call.providers.declaration import DeclaredOption, ProviderDeclaration
from active_call.providers.guarding.guard import Guard, Limits
from active_call.providers.http import post, status_error
from active_call.providers.json_values import mappings, number, read_object, text
from active_call.providers.services import Services
from active_call.providers.speech_to_text import RecognitionEvent, SpeechToTextCapabilities
from active_call.providers.vendor_parameters import regional_tag

NAME: Final = "google"
URL: Final = "https://speech.googleapis.com/v1/speech:recognize"
DEFAULT_MODEL: Final = "latest_short"
DEFAULT_LANGUAGE: Final = "en-US"
SOURCE: Final = KeySource(
    "Google", ("GOOGLE_SPEECH_API_KEY", "GOOGLE_API_KEY"), "https://console.cloud.google.com/apis/credentials", ("googleapis.com",)
)
CAPABILITIES: Final = SpeechToTextCapabilities(words=True, phrases=True, between_speech=False)
LIMITS: Final = Limits(first_result_s=10.0)
MAX_TERMS: Final = 500
MAX_BYTES: Final = 59 * 2 * LISTEN_RATE_HZ
"""The method accepts less than a minute; of a longer utterance the end is sent."""
EXCERPT_CHARS: Final = 200

DECLARATION: Final = ProviderDeclaration(
    kind="asr",
    name=NAME,
    title="Google Cloud Speech-to-Text",
    capabilities=CAPABILITIES,
    transport="HTTP",
    documentation="https://cloud.google.com/speech-to-text/docs/reference/rest/v1/speech/recognize",
    prices="https://cloud.google.com/speech-to-text/pricing",
    keys=SOURCE.variables,
    key_page=SOURCE.key_page,
    base_url=URL,
    default_model=DEFAULT_MODEL,
    options=(
        DeclaredOption("model", "latest_short, latest_long, telephony, …", DEFAULT_MODEL, is_latency_knob=True),
        DeclaredOption("language", "a BCP 47 tag", DEFAULT_LANGUAGE),
        DeclaredOption("keyterms", "expected words, sent as speechContexts"),
        DeclaredOption("extra.*", "any other field of RecognitionConfig"),
    ),
    notes="One request per utterance, because Google streams only over gRPC.",
)


def create(option: AsrOption, services: Services) -> GoogleSpeechToText:
    """The adapter. Raises ConfigError without a key."""
    url = find_url("asr", option.endpoint, URL)
    return GoogleSpeechToText(option, url, find_key("asr", option.secret_key, url, SOURCE, services.environment), services)


class GoogleSpeechToText:
    """Google's REST recognition as a `SpeechToText`."""

    name = NAME
    capabilities = CAPABILITIES

    def __init__(self, option: AsrOption, url: str, key: str, services: Services) -> None:
        self._option = option
        self._url = url
        self._key = key
        self._http = services.http
        self._guard = Guard(NAME, services.world, LIMITS)

    def open(self, on_event: Callable[[RecognitionEvent], None], *, language: str | None = None) -> GoogleRecognition:
        return GoogleRecognition(self, on_event, regional_tag(language or self._option.language, DEFAULT_LANGUAGE))

    async def transcribe(self, pcm: bytes, language: str, phrases: Sequence[str]) -> Transcript:
        """The words in `pcm` (s16le, 16 kHz). Raises ProviderError."""
        return await self._guard.call(lambda: self._ask(pcm, language, phrases))

    async def close(self) -> None:
        """Does nothing: the HTTP client belongs to the server."""

    async def _ask(self, pcm: bytes, language: str, phrases: Sequence[str]) -> Transcript:
        config: dict[str, Any] = {
            "encoding": "LINEAR16",
            "sampleRateHertz": LISTEN_RATE_HZ,
            "languageCode": language,
            "model": self._option.model_type or DEFAULT_MODEL,
            "enableAutomaticPunctuation": True,
            "enableWordTimeOffsets": True,
            "enableWordConfidence": True,
        }
        if terms := terms_of(self._option, phrases, MAX_TERMS):
            config["speechContexts"] = [{"phrases": terms}]
        config.update(self._option.extra)
        response = await post(
            NAME,
            self._http,
            self._url,
            headers={"X-Goog-Api-Key": self._key} if self._key else {},
            json={"config": config, "audio": {"content": base64.b64encode(pcm[-MAX_BYTES:]).decode()}},
            timeout=httpx.Timeout(LIMITS.first_result_s),
        )
        if not response.is_success:
            raise status_error(NAME, response.status_code, without_secrets(response.text, (self._key,)))
        return _transcript_in(read_object(NAME, response.content))


class GoogleRecognition(UtteranceRecognition):
    """One caller."""

    def __init__(self, engine: GoogleSpeechToText, on_event: Callable[[RecognitionEvent], None], language: str) -> None:
        super().__init__(self._transcribe_one, on_event)
        self._engine = engine
        self._language = language
        self._phrases: tuple[str, ...] = ()

    def expect_phrases(self, phrases: Sequence[str]) -> None:
        """Pass `phrases` to the model as hints from now on."""
        self._phrases = tuple(phrases)

    async def _transcribe_one(self, utterance: Utterance) -> Transcript:
        return await self._engine.transcribe(utterance.pcm, self._language, self._phrases)


def _transcript_in(answer: Mapping[str, Any]) -> Transcript:
    """The best alternative of every result, joined. Raises ProviderError for an answer of another shape."""
    if not isinstance(answer.get("results", []), list):
        raise ProviderError(NAME, f"`results` is not a list: {str(answer)[:EXCERPT_CHARS]}")
    best = [next(iter(mappings(result.get("alternatives"))), {}) for result in mappings(answer.get("results"))]
    words = tuple(
        TimedWord(text(word.get("word")), start_s, end_s)
        for alternative in best
        for word in mappings(alternative.get("words"))
        if (start_s := _seconds(word.get("startTime", "0s"))) is not None and (end_s := _seconds(word.get("endTime"))) is not None
    )
    known = [value for alternative in best if (value := number(alternative.get("confidence"))) is not None]
    transcript = " ".join(part for alternative in best if (part := text(alternative.get("transcript")).strip()))
    return Transcript(transcript, sum(known) / len(known) if known else None, words)


def _seconds(value: Any) -> float | None:
    """A duration as protobuf writes it in JSON: `1.300s`."""
    try:
        return float(text(value).removesuffix("s"))
    except ValueError:
        return None
