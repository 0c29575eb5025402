"""Synthesis by Google Cloud Text-to-Speech over its REST API: the whole sound of a text at once (its streaming is gRPC only).

Wire: https://cloud.google.com/text-to-speech/docs/reference/rest/v1/text/synthesize. Options: `speaker` (en-US-Chirp3-HD-Achernar), `speed`
0.25 to 2, `language`, `samplerate`; `secret_key` (GOOGLE_API_KEY) is an API key; `extra` is merged into `audioConfig`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from active_call.contract.options import TtsOption
from active_call.providers.credentials import KeySource, find_key, find_url
from active_call.providers.declaration import DeclaredOption, ProviderDeclaration
from active_call.providers.services import Services
from active_call.providers.text_to_speech import SpeechChunk, TextToSpeechCapabilities
from active_call.providers.tts.vendors.http_speech import HttpTextToSpeech, SpeechRequest
from active_call.providers.tts.vendors.spoken_text import SpokenText
from active_call.providers.tts.vendors.vendor_voice import sound_in, speed_in, without_wav_header
from active_call.providers.vendor_parameters import tag_of

NAME: Final = "google"
BASE_URL: Final = "https://texttospeech.googleapis.com"
PATH: Final = "/v1/text:synthesize"
SOURCE: Final = KeySource("Google Cloud", ("GOOGLE_API_KEY",), "https://console.cloud.google.com/apis/credentials", ("googleapis.com",))
DEFAULT_VOICE: Final = "en-US-Chirp3-HD-Achernar"
RATES: Final = (8_000, 16_000, 22_050, 24_000, 44_100, 48_000)

CAPABILITIES: Final = TextToSpeechCapabilities(24_000)

DECLARATION: Final = ProviderDeclaration(
    kind="tts",
    name=NAME,
    title="Google Cloud Text-to-Speech",
    capabilities=CAPABILITIES,
    transport="HTTP",
    documentation="https://cloud.google.com/text-to-speech/docs/reference/rest/v1/text/synthesize",
    prices="https://cloud.google.com/text-to-speech/pricing",
    keys=SOURCE.variables,
    key_page=SOURCE.key_page,
    base_url=BASE_URL,
    default_model=DEFAULT_VOICE,
    options=(
        DeclaredOption("speaker", "the name of a voice", DEFAULT_VOICE),
        DeclaredOption("language", "a BCP 47 tag", "that of the voice"),
        DeclaredOption("speed", "0.25 to 2", "1.0"),
        DeclaredOption("samplerate", "8000 to 48000", "24000"),
    ),
    notes="The sound arrives when the whole text is finished, so sentences are requested one by one.",
)


def create(option: TtsOption, services: Services) -> GoogleTextToSpeech:
    """The adapter. Raises ConfigError without a key."""
    url = find_url("tts", option.endpoint, BASE_URL + PATH)
    return GoogleTextToSpeech(option, services, url, find_key("tts", option.secret_key, url, SOURCE, services.environment))


def family_of(voice: str) -> str:
    """The family of a voice, which determines its price: `chirp3-hd` for `en-US-Chirp3-HD-Achernar`."""
    return "-".join(voice.lower().split("-")[2:-1])


class GoogleTextToSpeech(HttpTextToSpeech):
    """Google's REST API as a `TextToSpeech`."""

    name = NAME
    can = CAPABILITIES
    rates = RATES
    answer = "object"

    def __init__(self, option: TtsOption, services: Services, url: str, key: str) -> None:
        super().__init__(option, services, url, key)
        self.model = family_of(option.speaker or option.model or DEFAULT_VOICE)
        """The model name for billing."""

    def request(self, spoken: SpokenText) -> SpeechRequest:
        option = self._option
        voice = spoken.speaker or option.speaker or option.model or DEFAULT_VOICE
        sound: dict[str, Any] = {"audioEncoding": "LINEAR16", "sampleRateHertz": self.rate_hz}
        if (speed := speed_in(option, spoken.speed, 0.25, 2.0)) is not None:
            sound["speakingRate"] = speed
        language = tag_of(option.language) or "-".join(voice.split("-")[:2])
        body = {
            "input": {"text": spoken.text},
            "voice": {"languageCode": language, "name": voice},
            "audioConfig": {**sound, **option.extra},
        }
        return SpeechRequest(self.endpoint, body, {"X-Goog-Api-Key": self._key} if self._key else {})

    def read(self, answer: Mapping[str, Any]) -> SpeechChunk:
        return SpeechChunk(without_wav_header(sound_in(NAME, answer.get("audioContent"))))
