"""Recognition by Gladia's live API (v2).

Wire: https://docs.gladia.io/api-reference/v2/live/init. `POST /v2/live` with the session's settings returns the address of a WebSocket;
sound goes there as binary frames, `transcript` messages come with or without `is_final`, along with `speech_start` and `speech_end`;
`stop_recording` ends the session. The vendor ends segments only by its own pause detection. Options: `model`, `language`, `keyterms`,
`endpointing`; `extra` is merged into the settings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import httpx

from active_call.base.errors import ProviderError
from active_call.contract.options import AsrOption
from active_call.providers.asr.segments import Segment
from active_call.providers.asr.vendors.sound_format import TELEPHONE_MULAW, WIDE, SoundFormat, chosen_format
from active_call.providers.asr.vendors.streaming import StreamingRecognition, StreamingSpeechToText
from active_call.providers.asr.vendors.vendor_options import terms_of
from active_call.providers.asr.vendors.wire import Address, Message, Setup
from active_call.providers.credentials import KeySource, find_key, find_url, without_secrets
from active_call.providers.declaration import DeclaredOption, ProviderDeclaration
from active_call.providers.guarding.guard import as_provider_error
from active_call.providers.http import post, status_error
from active_call.providers.json_values import mapping, mappings, merged, number, read_object, text
from active_call.providers.services import Services
from active_call.providers.speech_to_text import SpeechToTextCapabilities, TurnChange
from active_call.providers.vendor_parameters import OURS, base_language

NAME: Final = "gladia"
URL: Final = "https://api.gladia.io/v2/live"
DEFAULT_MODEL: Final = "solaria-1"
SOURCE: Final = KeySource("Gladia", ("GLADIA_API_KEY",), "https://app.gladia.io/apikeys", ("gladia.io",))
CAPABILITIES: Final = SpeechToTextCapabilities(partials=True, words=True, turn_events=True, sample_rates=(8_000, 16_000), phrases=True)
DEFAULT_PAUSE_S: Final = 0.2
"""Shorter than the pause after which the voice detector ends an utterance, so that the final text has arrived by then."""
START_S: Final = 4.0
MAX_TERMS: Final = 200

DECLARATION: Final = ProviderDeclaration(
    kind="asr",
    name=NAME,
    title="Gladia live",
    capabilities=CAPABILITIES,
    transport="WebSocket",
    documentation="https://docs.gladia.io/api-reference/v2/live/init",
    prices="https://www.gladia.io/pricing",
    keys=SOURCE.variables,
    key_page=SOURCE.key_page,
    base_url=URL,
    default_model=DEFAULT_MODEL,
    options=(
        DeclaredOption("model", "the live model", DEFAULT_MODEL),
        DeclaredOption("language", "ISO 639-1; none: detected"),
        DeclaredOption("keyterms", "custom vocabulary"),
        DeclaredOption("endpointing", "ms of silence after which a segment ends (10 to 10000)", "200", is_latency_knob=True),
        DeclaredOption("extra.*", "any other setting of a session, such as region or pre_processing"),
        DeclaredOption("samplerate", "8000 with extra.encoding: mulaw sends µ-law", "16000"),
    ),
    notes="The session is requested by HTTP first, which costs a round trip when the call begins.",
)


def create(option: AsrOption, services: Services) -> StreamingSpeechToText:
    """The adapter. Raises ConfigError without a key."""
    url = find_url("asr", option.endpoint, URL)
    key = find_key("asr", option.secret_key, url, SOURCE, services.environment)
    sound = chosen_format(option, WIDE, TELEPHONE_MULAW, SoundFormat(8_000))
    return StreamingSpeechToText(GladiaRecognition, CAPABILITIES, services, Setup(option, url, key, sound))


class GladiaRecognition(StreamingRecognition):
    """One caller."""

    provider = NAME
    packet_ms = 100
    ends_by_itself = True

    async def address(self) -> Address:
        headers = {"X-Gladia-Key": self._key} if self._key else {}
        try:
            response = await post(NAME, self._services.http, self._url, json=self._settings(), headers=headers, timeout=START_S)
        except httpx.HTTPError as error:
            raise as_provider_error(NAME, error, START_S) from None
        if not response.is_success:
            raise status_error(NAME, response.status_code, without_secrets(response.text, (self._key,)))
        url = text(read_object(NAME, response.content).get("url"))
        if not url.startswith(("ws://", "wss://")):
            raise ProviderError(NAME, "the response has no WebSocket URL", retryable=True)
        token = url.rpartition("token=")[2]
        return Address(url, secrets=(self._key, token))

    def _settings(self) -> Mapping[str, Any]:
        option, sound = self._option, self._sound
        settings: dict[str, Any] = {
            "model": option.model_type or DEFAULT_MODEL,
            "encoding": "wav/ulaw" if sound.is_mulaw else "wav/pcm",
            "bit_depth": 8 if sound.is_mulaw else 16,
            "sample_rate": sound.rate_hz,
            "channels": 1,
            "endpointing": DEFAULT_PAUSE_S if option.endpointing is None else min(10.0, max(0.01, option.endpointing / 1000)),
            "messages_config": {
                "receive_partial_transcripts": option.interim is not False,
                "receive_final_transcripts": True,
                "receive_speech_events": True,
                "receive_acknowledgments": False,
                "receive_lifecycle_events": False,
                "receive_pre_processing_events": False,
                "receive_realtime_processing_events": False,
                "receive_post_processing_events": False,
                "receive_errors": True,
            },
        }
        if language := base_language(self._language):
            settings["language_config"] = {"languages": [language], "code_switching": False}
        if terms := terms_of(option, self._phrases, MAX_TERMS):
            settings["realtime_processing"] = {"custom_vocabulary": True, "custom_vocabulary_config": {"vocabulary": terms}}
        return merged(settings, {key: value for key, value in option.extra.items() if key not in OURS})

    def closing(self) -> Sequence[Message]:
        return ('{"type":"stop_recording"}',)

    def handle(self, message: Mapping[str, Any]) -> None:
        data = mapping(message.get("data"))
        match message.get("type"):
            case "transcript":
                segment = self._segment(mapping(data.get("utterance")))
                if data.get("is_final") is True:
                    self.note_turn_final(segment)
                elif segment.text:
                    self.note_interim(segment)
            case "speech_start":
                self.note_turn(TurnChange.STARTED, self.sample_at(number(data.get("time"))))
            case "speech_end":
                self._turn_is_open = False  # the text comes later; the vendor detects pauses here, not turns
            case "error":
                error = mapping(message.get("error"))
                status = number(error.get("status_code")) or 500
                reason = text(error.get("message")) or text(error.get("exception")) or "no explanation"
                raise ProviderError(NAME, without_secrets(reason, self._secrets), retryable=status >= 500 or status == 429)
            case _:
                pass

    def _segment(self, utterance: Mapping[str, Any]) -> Segment:
        words = tuple(
            self.word(text(word.get("word")).strip(), number(word.get("start")), number(word.get("end")), number(word.get("confidence")))
            for word in mappings(utterance.get("words"))
        )
        start = self.sample_at(number(utterance.get("start")))
        end = max(start, self.sample_at(number(utterance.get("end"))))
        return Segment(text(utterance.get("text")).strip(), start, end, number(utterance.get("confidence")), words)
