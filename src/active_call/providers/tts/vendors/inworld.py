"""Synthesis by Inworld, streamed as lines of JSON.

Wire: https://docs.inworld.ai/api-reference/ttsAPI/texttospeech/synthesize-speech-stream. Each piece of sound has a WAV header and word
times. Options: `speaker` (Ashley), `model` (inworld-tts-1.5-mini), `speed` 0.5 to 1.5, `samplerate`; `secret_key` (INWORLD_API_KEY) is the
Base64 credential of the portal; `extra` is sent as further fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from active_call.contract.options import TtsOption
from active_call.providers.credentials import KeySource, find_key, find_url
from active_call.providers.declaration import DeclaredOption, ProviderDeclaration
from active_call.providers.json_values import mapping, text
from active_call.providers.services import Services
from active_call.providers.text_to_speech import SpeechChunk, TextToSpeechCapabilities
from active_call.providers.tts.vendors.http_speech import HttpTextToSpeech, SpeechRequest
from active_call.providers.tts.vendors.vendor_voice import rate_in, sound_in, speed_in, without_wav_header, words_in
from active_call.providers.tts.vendors.wish import Wish

NAME: Final = "inworld"
BASE_URL: Final = "https://api.inworld.ai"
PATH: Final = "/tts/v1/voice:stream"
SOURCE: Final = KeySource("Inworld", ("INWORLD_API_KEY",), "https://platform.inworld.ai", ("inworld.ai",))
DEFAULT_MODEL: Final = "inworld-tts-1.5-mini"
DEFAULT_VOICE: Final = "Ashley"
RATES: Final = (8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)

DECLARATION: Final = ProviderDeclaration(
    kind="tts",
    name=NAME,
    title="Inworld TTS",
    capabilities=TextToSpeechCapabilities(16_000, word_times=True),
    transport="HTTP",
    documentation="https://docs.inworld.ai/api-reference/ttsAPI/texttospeech/synthesize-speech-stream",
    prices="https://inworld.ai/pricing",
    keys=SOURCE.variables,
    key_page=SOURCE.key_page,
    base_url=BASE_URL,
    default_model=DEFAULT_MODEL,
    options=(
        DeclaredOption("speaker", "the name of a voice", DEFAULT_VOICE),
        DeclaredOption("model", "inworld-tts-1.5-mini is faster, -max sounds better", DEFAULT_MODEL, is_latency_knob=True),
        DeclaredOption("speed", "0.5 to 1.5", "1.0"),
        DeclaredOption("samplerate", "8000 to 48000", "16000"),
        DeclaredOption("extra.*", "any other field of a request, such as temperature"),
    ),
)


def create(option: TtsOption, services: Services) -> InworldTextToSpeech:
    """The adapter. Raises ConfigError without a key."""
    url = find_url("tts", option.endpoint, BASE_URL + PATH)
    return InworldTextToSpeech(option, services, url, find_key("tts", option.secret_key, url, SOURCE, services.environment))


class InworldTextToSpeech(HttpTextToSpeech):
    """Inworld as a `TextToSpeech`."""

    name = NAME
    answer = "lines"

    def __init__(self, option: TtsOption, services: Services, url: str, key: str) -> None:
        super().__init__(services, rate_in(option, RATES, 16_000), (key,))
        self.endpoint = url
        self._option = option
        self._key = key

    @property
    def capabilities(self) -> TextToSpeechCapabilities:
        return TextToSpeechCapabilities(self.rate_hz, word_times=True)

    def request(self, wish: Wish) -> SpeechRequest:
        option = self._option
        sound: dict[str, Any] = {"audioEncoding": "LINEAR16", "sampleRateHertz": self.rate_hz}
        if (speed := speed_in(option, wish.speed, 0.5, 1.5)) is not None:
            sound["speakingRate"] = speed
        body = {
            "text": wish.text,
            "voiceId": wish.speaker or option.speaker or DEFAULT_VOICE,
            "modelId": option.model or DEFAULT_MODEL,
            "audioConfig": sound,
            "timestampType": "WORD",
            **option.extra,
        }
        return SpeechRequest(self.endpoint, body, {"Authorization": f"Basic {self._key}"} if self._key else {})

    def read(self, answer: Mapping[str, Any]) -> SpeechChunk:
        if error := mapping(answer.get("error")):
            raise self.fail(text(error.get("message")) or "an error without a reason", retryable=True)
        result = mapping(answer.get("result"))
        words = mapping(mapping(result.get("timestampInfo")).get("wordAlignment"))
        pcm = without_wav_header(sound_in(NAME, result.get("audioContent"))) if result.get("audioContent") else b""
        return SpeechChunk(pcm, words_in(words, "words", "wordStartTimeSeconds", "wordEndTimeSeconds"))
