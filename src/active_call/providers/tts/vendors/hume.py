"""Synthesis by Hume Octave, streamed as lines of JSON, at 48 kHz.

Wire: https://dev.hume.ai/reference/text-to-speech-tts/synthesize-json-streaming. Options: `speaker` (the name of a voice in Hume's library,
or an id), `speed` 0.5 to 2, `emotion` (acting instructions); `secret_key` (HUME_API_KEY); `extra` is sent as further fields.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from active_call.contract.options import TtsOption
from active_call.providers.credentials import KeySource, find_key, find_url
from active_call.providers.declaration import DeclaredOption, ProviderDeclaration
from active_call.providers.json_values import text
from active_call.providers.services import Services
from active_call.providers.text_to_speech import SpeechChunk, TextToSpeechCapabilities
from active_call.providers.tts.vendors.http_speech import HttpTextToSpeech, SpeechRequest
from active_call.providers.tts.vendors.spoken_text import SpokenText
from active_call.providers.tts.vendors.vendor_voice import sound_in, speed_in, without_wav_header

NAME: Final = "hume"
BASE_URL: Final = "https://api.hume.ai"
PATH: Final = "/v0/tts/stream/json"
RATE_HZ: Final = 48_000
SOURCE: Final = KeySource("Hume", ("HUME_API_KEY",), "https://platform.hume.ai/settings/keys", ("hume.ai",))
DEFAULT_VOICE: Final = "Ava Song"

CAPABILITIES: Final = TextToSpeechCapabilities(RATE_HZ, emotions=True)

DECLARATION: Final = ProviderDeclaration(
    kind="tts",
    name=NAME,
    title="Hume Octave",
    capabilities=CAPABILITIES,
    transport="HTTP",
    documentation="https://dev.hume.ai/reference/text-to-speech-tts/synthesize-json-streaming",
    prices="https://www.hume.ai/pricing",
    keys=SOURCE.variables,
    key_page=SOURCE.key_page,
    base_url=BASE_URL,
    default_model=DEFAULT_VOICE,
    options=(
        DeclaredOption("speaker", "the name of a voice in Hume's library, or an id of your own", DEFAULT_VOICE),
        DeclaredOption("speed", "0.5 to 2", "1.0"),
        DeclaredOption("emotion", "how to say it, in words"),
        DeclaredOption("extra.instant_mode", "true: starts sooner, and costs more", "true", is_latency_knob=True),
    ),
)


def create(option: TtsOption, services: Services) -> HumeTextToSpeech:
    """The adapter. Raises ConfigError without a key."""
    url = find_url("tts", option.endpoint, BASE_URL + PATH)
    return HumeTextToSpeech(option, services, url, find_key("tts", option.secret_key, url, SOURCE, services.environment))


class HumeTextToSpeech(HttpTextToSpeech):
    """Octave as a `TextToSpeech`."""

    name = NAME
    can = CAPABILITIES
    answer = "lines"

    def request(self, spoken: SpokenText) -> SpeechRequest:
        option = self._option
        voice = spoken.speaker or option.speaker or DEFAULT_VOICE
        is_id = re.fullmatch(r"[0-9a-f]{8}-[0-9a-f-]{27}", voice) is not None
        said: dict[str, Any] = {"text": spoken.text, "voice": {"id": voice} if is_id else {"name": voice, "provider": "HUME_AI"}}
        if option.emotion:
            said["description"] = option.emotion
        if (speed := speed_in(option, spoken.speed, 0.5, 2.0)) is not None:
            said["speed"] = speed
        body = {"utterances": [said], "format": {"type": "pcm"}, "strip_headers": True, "instant_mode": True, **option.extra}
        return SpeechRequest(self.endpoint, body, {"X-Hume-Api-Key": self._key} if self._key else {})

    def read(self, answer: Mapping[str, Any]) -> SpeechChunk:
        if reason := text(answer.get("error")) or (text(answer.get("message")) if "audio" not in answer else ""):
            raise self.fail(reason, retryable=True)
        return SpeechChunk(without_wav_header(sound_in(NAME, answer.get("audio"))) if answer.get("audio") else b"")
