"""Synthesis by Inworld over its bidirectional WebSocket: one context per text, several texts on a connection.

Wire: https://docs.inworld.ai/api-reference/ttsAPI/texttospeech/synthesize-speech-websocket. `create` opens a context, `send_text` and
`flush_context` send a clause, `close_context` ends the text. Each `audioChunk` has sound with a WAV header, and word times relative to the
flush. `flushCompleted` ends a clause, `contextClosed` the text. Options: `speaker` (Ashley), `model` (inworld-tts-1.5-mini), `speed` 0.5 to
1.5, `samplerate`; `secret_key` (INWORLD_API_KEY) is the Base64 credential of the portal; `extra` is added to the settings of the context.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from active_call.base.errors import ProviderError
from active_call.contract.options import TtsOption
from active_call.providers.credentials import KeySource, find_key, find_url, without_secrets
from active_call.providers.declaration import DeclaredOption, ProviderDeclaration
from active_call.providers.json_values import mapping, merged, number, read_object, text, write_object
from active_call.providers.services import Services
from active_call.providers.text_to_speech import SpeechChunk, TextToSpeechCapabilities
from active_call.providers.tts.vendors.socket_speech import SocketTextToSpeech
from active_call.providers.tts.vendors.spoken_text import Message, SpokenText, VoiceAddress
from active_call.providers.tts.vendors.vendor_voice import sound_in, speed_in, without_wav_header, words_in

NAME: Final = "inworld"
BASE_URL: Final = "wss://api.inworld.ai"
PATH: Final = "/tts/v1/voice:streamBidirectional"
SOURCE: Final = KeySource("Inworld", ("INWORLD_API_KEY",), "https://platform.inworld.ai", ("inworld.ai",))
DEFAULT_MODEL: Final = "inworld-tts-1.5-mini"
DEFAULT_VOICE: Final = "Ashley"
RATES: Final = (8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
MAX_TEXT_CHARS: Final = 1_000
"""The limit of one message; longer texts are split."""
REFUSED_FOR_GOOD: Final = frozenset({3, 5, 7, 16})
"""gRPC codes that are not retryable: invalid argument, not found, permission denied, unauthenticated."""
CAPABILITIES: Final = TextToSpeechCapabilities(16_000, streaming_text=True, word_times=True)

DECLARATION: Final = ProviderDeclaration(
    kind="tts",
    name=NAME,
    title="Inworld TTS",
    capabilities=CAPABILITIES,
    transport="WebSocket",
    documentation="https://docs.inworld.ai/api-reference/ttsAPI/texttospeech/synthesize-speech-websocket",
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
        DeclaredOption("extra.*", "any other setting of a context, such as temperature"),
    ),
)


def create(option: TtsOption, services: Services) -> InworldTextToSpeech:
    """The adapter. Raises ConfigError without a key."""
    url = find_url("tts", option.endpoint, BASE_URL + PATH)
    return InworldTextToSpeech(option, services, url, find_key("tts", option.secret_key, url, SOURCE, services.environment))


class InworldTextToSpeech(SocketTextToSpeech):
    """Inworld as a `TextToSpeech`."""

    name = NAME
    can = CAPABILITIES
    rates = RATES
    takes_written_text = True
    times_of_clause = True

    def address(self, spoken: SpokenText) -> VoiceAddress:
        return VoiceAddress(self.endpoint, (("Authorization", f"Basic {self._key}"),) if self._key else (), (self._key,))

    def ask(self, spoken: SpokenText) -> Sequence[Message]:
        return (*self.begin(spoken), *self.say(spoken, spoken.text), *self.finish(spoken))

    def begin(self, spoken: SpokenText) -> Sequence[Message]:
        option = self._option
        sound: dict[str, Any] = {"audioEncoding": "LINEAR16", "sampleRateHertz": self.rate_hz}
        if (speed := speed_in(option, spoken.speed, 0.5, 1.5)) is not None:
            sound["speakingRate"] = speed
        settings = {
            "voiceId": spoken.speaker or option.speaker or DEFAULT_VOICE,
            "modelId": option.model or DEFAULT_MODEL,
            "audioConfig": sound,
            "timestampType": "WORD",
            "autoMode": False,  # otherwise the vendor also flushes by itself, and reports `flushCompleted` for each
        }
        return (write_object({"create": merged(settings, option.extra), "contextId": spoken.id}),)

    def say(self, spoken: SpokenText, clause: str) -> Sequence[Message]:
        said = clause.rstrip() + " "
        parts = [said[start : start + MAX_TEXT_CHARS] for start in range(0, len(said), MAX_TEXT_CHARS)]
        return (
            *(write_object({"send_text": {"text": part}, "contextId": spoken.id}) for part in parts),
            write_object({"flush_context": {}, "contextId": spoken.id}),
        )

    def finish(self, spoken: SpokenText) -> Sequence[Message]:
        return (write_object({"close_context": {}, "contextId": spoken.id}),)

    def abandon(self, spoken: SpokenText) -> Sequence[Message]:
        """Close the context; `read` ignores its remaining messages. The close of a whole text's context was sent with the text."""
        return () if spoken.text else self.finish(spoken)

    def read(self, message: Message, spoken: SpokenText) -> SpeechChunk | None:
        event = read_object(NAME, message)
        result = mapping(event.get("result"))
        of = text(result.get("contextId"))
        status = mapping(event.get("error")) or mapping(result.get("status"))
        if (code := number(status.get("code"))) and of in ("", spoken.id):
            reason = without_secrets(text(status.get("message")) or "an error without a reason", (self._key,))
            raise ProviderError(NAME, reason, retryable=int(code) not in REFUSED_FOR_GOOD)
        if of != spoken.id:
            return SpeechChunk(b"")
        if "contextClosed" in result:
            return None
        if "flushCompleted" in result:
            return SpeechChunk(b"", ends_flush=True)
        return _sound_of(mapping(result.get("audioChunk")))


def _sound_of(chunk: Mapping[str, Any]) -> SpeechChunk:
    """The sound and the words of an `audioChunk`."""
    words = mapping(mapping(chunk.get("timestampInfo")).get("wordAlignment"))
    pcm = without_wav_header(sound_in(NAME, chunk.get("audioContent"))) if chunk.get("audioContent") else b""
    return SpeechChunk(pcm, words_in(words, "words", "wordStartTimeSeconds", "wordEndTimeSeconds"))
