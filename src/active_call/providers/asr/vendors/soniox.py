"""Recognition by Soniox, which sends tokens that become final one by one.

Wire: https://soniox.com/docs/api-reference/stt/websocket-api. The configuration comes first as JSON, then sound as binary frames; a
response holds the tokens that are final now and those that are not yet. The token `<end>` ends a turn as the vendor detects it, `<fin>`
answers `finalize`. The key goes in the handshake. Options: `model`, `language` (and `extra.language_hints`), `keyterms`, `endpointing`;
`extra` is sent as further fields of the configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from active_call.base.errors import ProviderError
from active_call.contract.options import AsrOption
from active_call.providers.asr.segments import Segment
from active_call.providers.asr.vendors.sound_format import TELEPHONE_MULAW, WIDE, SoundFormat, chosen_format
from active_call.providers.asr.vendors.streaming import StreamingRecognition, StreamingSpeechToText
from active_call.providers.asr.vendors.vendor_options import terms_of
from active_call.providers.asr.vendors.wire import Address, Message, Setup
from active_call.providers.credentials import KeySource, find_key, find_url, without_secrets
from active_call.providers.declaration import DeclaredOption, ProviderDeclaration
from active_call.providers.http import RETRYABLE_STATUS
from active_call.providers.json_values import mappings, number, text, write_object
from active_call.providers.services import Services
from active_call.providers.speech_to_text import RecognitionEvent, SpeechToTextCapabilities, TurnChange, Word
from active_call.providers.vendor_parameters import OURS, base_language

NAME: Final = "soniox"
URL: Final = "wss://stt-rt.soniox.com/transcribe-websocket"
DEFAULT_MODEL: Final = "stt-rt-v5"
SOURCE: Final = KeySource("Soniox", ("SONIOX_API_KEY",), "https://console.soniox.com", ("soniox.com",))
CAPABILITIES: Final = SpeechToTextCapabilities(partials=True, words=True, turn_events=True, sample_rates=(8_000, 16_000), phrases=True)
MAX_TERMS: Final = 200
MAX_TOKENS: Final = 4_000
"""The most tokens of one turn."""
END: Final = "<end>"

DECLARATION: Final = ProviderDeclaration(
    kind="asr",
    name=NAME,
    title="Soniox",
    capabilities=CAPABILITIES,
    transport="WebSocket",
    documentation="https://soniox.com/docs/api-reference/stt/websocket-api",
    prices="https://soniox.com/pricing",
    keys=SOURCE.variables,
    key_page=SOURCE.key_page,
    base_url=URL,
    default_model=DEFAULT_MODEL,
    options=(
        DeclaredOption("model", "the realtime model", DEFAULT_MODEL),
        DeclaredOption("language", "a hint; the vendor understands 60 languages, also mixed"),
        DeclaredOption("keyterms", "expected words, sent as context"),
        DeclaredOption("endpointing", "ms: the longest delay until the vendor ends a turn (500 to 3000)", is_latency_knob=True),
        DeclaredOption("extra.enable_endpoint_detection", "the vendor's own turn detection", "true"),
        DeclaredOption("samplerate", "8000 with extra.encoding: mulaw sends µ-law", "16000"),
    ),
)


def create(option: AsrOption, services: Services) -> StreamingSpeechToText:
    """The adapter. Raises ConfigError without a key."""
    url = find_url("asr", option.endpoint, URL)
    key = find_key("asr", option.secret_key, url, SOURCE, services.environment)
    sound = chosen_format(option, WIDE, TELEPHONE_MULAW, SoundFormat(8_000))
    return StreamingSpeechToText(SonioxRecognition, CAPABILITIES, services, Setup(option, url, key, sound))


class SonioxRecognition(StreamingRecognition):
    """One caller."""

    provider = NAME
    packet_ms = 100
    keepalive_s = 10.0

    def __init__(self, services: Services, setup: Setup, on_event: Callable[[RecognitionEvent], None], language: str | None) -> None:
        super().__init__(services, setup, on_event, language)
        self._final: list[Mapping[str, Any]] = []
        """The final tokens of the open turn."""

    async def address(self) -> Address:
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        return Address(self._url, headers, secrets=(self._key,))

    def opening(self) -> Sequence[Message]:
        option = self._option
        config: dict[str, Any] = {
            "model": option.model_type or DEFAULT_MODEL,
            "audio_format": "mulaw" if self._sound.is_mulaw else "pcm_s16le",
            "sample_rate": self._sound.rate_hz,
            "num_channels": 1,
            "enable_endpoint_detection": True,
        }
        if language := base_language(self._language):
            config["language_hints"] = [language]
        if terms := terms_of(option, self._phrases, MAX_TERMS):
            config["context"] = {"terms": terms}
        if option.endpointing is not None:
            config["max_endpoint_delay_ms"] = min(3_000, max(500, round(option.endpointing)))
        config.update({key: value for key, value in option.extra.items() if key not in OURS})
        return (write_object(config),)

    def finalize(self) -> Sequence[Message]:
        return ('{"type":"finalize"}',)

    def keepalive(self) -> Message:
        return '{"type":"keepalive"}'

    def closing(self) -> Sequence[Message]:
        return (b"",)

    def handle(self, message: Mapping[str, Any]) -> None:
        code = number(message.get("error_code"))
        if code is not None or message.get("error_message"):
            reason = without_secrets(f"{code or 0:g}: {text(message.get('error_message')) or 'no explanation'}", self._secrets)
            raise ProviderError(NAME, reason, retryable=code is None or int(code) in RETRYABLE_STATUS)
        pending: list[Mapping[str, Any]] = []
        for token in mappings(message.get("tokens")):
            match text(token.get("text")):
                case "<end>":
                    self._end_turn(TurnChange.ENDED)
                case "<fin>":
                    self._end_turn(None)
                    self.note_finished()
                case _ if token.get("is_final") is True:
                    if not self._final and not self._turn_is_open:
                        self.note_turn(TurnChange.STARTED, self.sample_at(_seconds(token.get("start_ms"))))
                    self._final = [*self._final, token][-MAX_TOKENS:]
                case _:
                    pending.append(token)
        if (self._final or pending) and message.get("tokens"):
            self.note_interim(self._segment([*self._final, *pending]))

    def _end_turn(self, change: TurnChange | None) -> None:
        """The final tokens so far form a segment. Without a `change` the vendor was asked to end it."""
        segment = self._segment(self._final)
        self._final = []
        if segment.text:
            self.note_final(segment)
        if change is not None:
            self.note_turn(change, segment.end_sample or 0, text=segment.text)
        self._turn_is_open = False

    def _segment(self, tokens: Sequence[Mapping[str, Any]]) -> Segment:
        transcript = "".join(text(token.get("text")) for token in tokens)
        confidences = [value for token in tokens if (value := number(token.get("confidence"))) is not None]
        words = self._words(tokens)
        start, end = (words[0].start_sample, words[-1].end_sample) if words else (None, None)
        return Segment(transcript.strip(), start, end, sum(confidences) / len(confidences) if confidences else None, words)

    def _words(self, tokens: Sequence[Mapping[str, Any]]) -> tuple[Word, ...]:
        """Tokens are pieces of words; one that begins with a space begins a word."""
        words: list[Word] = []
        for token in tokens:
            piece = text(token.get("text"))
            if not piece.strip():
                continue
            word = self.word(piece.strip(), _seconds(token.get("start_ms")), _seconds(token.get("end_ms")), number(token.get("confidence")))
            if words and not piece.startswith(" "):
                before = words.pop()
                known = [value for value in (before.confidence, word.confidence) if value is not None]
                word = Word(before.text + word.text, before.start_sample, word.end_sample, min(known) if known else None)
            words.append(word)
        return tuple(words)


def _seconds(milliseconds: Any) -> float | None:
    value = number(milliseconds)
    return None if value is None else value / 1000
