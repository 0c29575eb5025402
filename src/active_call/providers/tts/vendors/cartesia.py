"""Synthesis by Cartesia Sonic: one context for each text, several texts on one connection.

Wire: https://docs.cartesia.ai/api-reference/tts/websocket. For streamed text the clauses go one by one into the text's context:
https://docs.cartesia.ai/api-reference/tts/working-with-web-sockets/contexts, and …/context-flushing-and-flush-i-ds. Options: `speaker` (a
voice id), `model` (sonic-3), `speed` 0.6 to 1.5, `emotion`, `language`, `samplerate`; `extra` is sent as further fields of the request,
except `cartesia_version`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from active_call.base.errors import ProviderError
from active_call.contract.options import TtsOption
from active_call.providers.credentials import KeySource, find_key, find_url, without_secrets
from active_call.providers.declaration import DeclaredOption, ProviderDeclaration
from active_call.providers.http import RETRYABLE_STATUS
from active_call.providers.json_values import mapping, merged, read_object, text, write_object
from active_call.providers.services import Services
from active_call.providers.text_to_speech import SpeechChunk, TextToSpeechCapabilities
from active_call.providers.tts.vendors.socket_speech import SocketTextToSpeech, parameters_in
from active_call.providers.tts.vendors.spoken_text import Message, SpokenText, VoiceAddress
from active_call.providers.tts.vendors.vendor_voice import sound_in, speed_in, words_in
from active_call.providers.vendor_parameters import base_language, with_parameters

NAME: Final = "cartesia"
BASE_URL: Final = "wss://api.cartesia.ai"
PATH: Final = "/tts/websocket"
API_VERSION: Final = "2025-04-16"
SOURCE: Final = KeySource("Cartesia", ("CARTESIA_API_KEY",), "https://play.cartesia.ai/keys", ("cartesia.ai",))
DEFAULT_MODEL: Final = "sonic-3"
DEFAULT_VOICE: Final = "f786b574-daa5-4673-aa0c-cbe3e8534c02"
RATES: Final = (8_000, 16_000, 22_050, 24_000, 44_100, 48_000)
CAPABILITIES: Final = TextToSpeechCapabilities(16_000, streaming_text=True, word_times=True, emotions=True)

DECLARATION: Final = ProviderDeclaration(
    kind="tts",
    name=NAME,
    title="Cartesia Sonic",
    capabilities=CAPABILITIES,
    transport="WebSocket",
    documentation="https://docs.cartesia.ai/api-reference/tts/websocket",
    prices="https://cartesia.ai/pricing",
    keys=SOURCE.variables,
    key_page=SOURCE.key_page,
    base_url=BASE_URL,
    default_model=DEFAULT_MODEL,
    options=(
        DeclaredOption("speaker", "the id of a voice", DEFAULT_VOICE),
        DeclaredOption(
            "model", "sonic-3, sonic-3.5 (natural, takes no speed and emotion), sonic-turbo", DEFAULT_MODEL, is_latency_knob=True
        ),
        DeclaredOption("speed", "0.6 to 1.5", "1.0"),
        DeclaredOption("emotion", "a name from the vendor's list, for sonic-3"),
        DeclaredOption("samplerate", "8000 to 48000", "16000"),
        DeclaredOption("extra.*", "any other field of a request, such as pronunciation_dict_id; cartesia_version is the API's date"),
    ),
)


def create(option: TtsOption, services: Services) -> CartesiaTextToSpeech:
    """The adapter. Raises ConfigError without a key."""
    url = find_url("tts", option.endpoint, BASE_URL + PATH)
    return CartesiaTextToSpeech(option, services, url, find_key("tts", option.secret_key, url, SOURCE, services.environment))


class CartesiaTextToSpeech(SocketTextToSpeech):
    """Sonic as a `TextToSpeech`."""

    name = NAME
    can = CAPABILITIES
    rates = RATES
    keeps_s = 60.0  # the vendor closes after five minutes
    takes_written_text = True
    context_idle_s = 0.7  # the vendor forgets a context a second after its last sound

    def address(self, spoken: SpokenText) -> VoiceAddress:
        version = str(self._option.extra.get("cartesia_version", API_VERSION))
        headers = (("X-API-Key", self._key),) if self._key else ()
        return VoiceAddress(with_parameters(self.endpoint, {"cartesia_version": version}, {}), headers, (self._key,))

    def ask(self, spoken: SpokenText) -> Sequence[Message]:
        return (self._order(spoken, spoken.text, goes_on=False),)

    def say(self, spoken: SpokenText, clause: str) -> Sequence[Message]:
        """The clause, and a flush, which is a separate message without text."""
        return (self._order(spoken, clause.rstrip() + " ", goes_on=True), self._order(spoken, "", goes_on=True, flush=True))

    def finish(self, spoken: SpokenText) -> Sequence[Message]:
        return (self._order(spoken, "", goes_on=False),)

    def _order(self, spoken: SpokenText, transcript: str, *, goes_on: bool, flush: bool = False) -> str:
        option = self._option
        request: dict[str, Any] = {
            "model_id": option.model or DEFAULT_MODEL,
            "transcript": transcript,
            "voice": {"mode": "id", "id": spoken.speaker or option.speaker or DEFAULT_VOICE},
            "language": base_language(option.language) or "en",
            "context_id": spoken.id,
            "output_format": {"container": "raw", "encoding": "pcm_s16le", "sample_rate": self.rate_hz},
            "add_timestamps": True,
            "continue": goes_on,
        }
        generation: dict[str, Any] = {}
        if (speed := speed_in(option, spoken.speed, 0.6, 1.5)) is not None:
            generation["speed"] = speed
        if option.emotion:
            generation["emotion"] = option.emotion
        if generation:
            request["generation_config"] = generation
        if flush:
            request["flush"] = True
        return write_object(merged(request, parameters_in(option.extra, "cartesia_version")))

    def abandon(self, spoken: SpokenText) -> Sequence[Message]:
        return (write_object({"context_id": spoken.id, "cancel": True}),)

    def read(self, message: Message, spoken: SpokenText) -> SpeechChunk | None:
        event = read_object(NAME, message)
        if event.get("type") == "error" and text(event.get("context_id")) in ("", spoken.id):
            reason = text(event.get("error")) or text(event.get("message")) or text(event.get("title")) or "an error without a reason"
            raise ProviderError(NAME, without_secrets(reason, (self._key,)), retryable=event.get("status_code") in RETRYABLE_STATUS)
        if text(event.get("context_id")) != spoken.id:
            return SpeechChunk(b"")
        match event.get("type"):
            case "chunk":
                return SpeechChunk(sound_in(NAME, event.get("data")))
            case "timestamps":
                return SpeechChunk(b"", words_in(mapping(event.get("word_timestamps")), "words", "start", "end"))
            case "flush_done":
                return SpeechChunk(b"", ends_flush=True)
            case "done":
                return None
            case _:
                return SpeechChunk(b"")
