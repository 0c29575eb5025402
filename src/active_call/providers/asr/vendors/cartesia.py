"""Recognition by Cartesia's Ink, which detects and reports ends of turns.

Wire: https://docs.cartesia.ai/api-reference/stt/turns/websocket. Sound goes as binary frames; `turn.start`, `turn.update`,
`turn.eager_end`, `turn.resume` and `turn.end` come, each but the first with the whole text of the turn; `{"type": "close"}` ends the
connection. No message ends a turn, so an utterance that the vendor has not ended in time is answered with its text so far.
Options: `model`, `language`, `keyterms` (https://docs.cartesia.ai/use-the-api/stt/keyterms; they cannot be changed later), `samplerate`;
`extra` is sent as further parameters.
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
from active_call.providers.json_values import number, text
from active_call.providers.services import Services
from active_call.providers.speech_to_text import RecognitionEvent, SpeechToTextCapabilities, TurnChange
from active_call.providers.vendor_parameters import base_language, with_parameters

NAME: Final = "cartesia"
URL: Final = "wss://api.cartesia.ai/stt/turns/websocket"
VERSION: Final = "2026-03-01"
DEFAULT_MODEL: Final = "ink-2"
SOURCE: Final = KeySource("Cartesia", ("CARTESIA_API_KEY",), "https://play.cartesia.ai/keys", ("cartesia.ai",))
CAPABILITIES: Final = SpeechToTextCapabilities(partials=True, turn_events=True, sample_rates=(8_000, 16_000), phrases=True)
MAX_TERMS: Final = 100
MAX_CHARS_OF_TERMS: Final = 1_200
_CHANGES: Final = {
    "turn.start": TurnChange.STARTED,
    "turn.eager_end": TurnChange.EAGER_END,
    "turn.resume": TurnChange.RESUMED,
    "turn.end": TurnChange.ENDED,
}

DECLARATION: Final = ProviderDeclaration(
    kind="asr",
    name=NAME,
    title="Cartesia Ink",
    capabilities=CAPABILITIES,
    transport="WebSocket",
    documentation="https://docs.cartesia.ai/api-reference/stt/turns/websocket",
    prices="https://cartesia.ai/pricing",
    keys=SOURCE.variables,
    key_page=SOURCE.key_page,
    base_url=URL,
    default_model=DEFAULT_MODEL,
    options=(
        DeclaredOption("model", "the realtime model", DEFAULT_MODEL),
        DeclaredOption("language", "ISO 639-1, if the model has several languages"),
        DeclaredOption("keyterms", "expected words, 100 at most, of 1200 characters together; set when a call begins"),
        DeclaredOption("samplerate", "8000 with extra.encoding: mulaw sends µ-law", "16000"),
        DeclaredOption("extra.turn_end_threshold", "the confidence that ends a turn; a lower value is stricter", is_latency_knob=True),
        DeclaredOption("extra.turn_eager_end_threshold", "the confidence to prepare a reply", is_latency_knob=True),
        DeclaredOption("extra.turn_end_timeout_ms", "silence that ends a turn in any case", is_latency_knob=True),
    ),
)


def create(option: AsrOption, services: Services) -> StreamingSpeechToText:
    """The adapter. Raises ConfigError without a key."""
    url = find_url("asr", option.endpoint, URL)
    key = find_key("asr", option.secret_key, url, SOURCE, services.environment)
    sound = chosen_format(option, WIDE, TELEPHONE_MULAW, SoundFormat(8_000))
    return StreamingSpeechToText(InkRecognition, CAPABILITIES, services, Setup(option, url, key, sound))


class InkRecognition(StreamingRecognition):
    """One caller."""

    provider = NAME
    ends_by_itself = True
    answer_s = 1.0
    """The vendor cannot be asked to finish earlier."""

    def __init__(self, services: Services, setup: Setup, on_event: Callable[[RecognitionEvent], None], language: str | None) -> None:
        super().__init__(services, setup, on_event, language)
        self._turn_from = 0
        self._transcript = ""
        """The open turn's text."""
        self._answered = ""
        """The part of it that was given to earlier utterances."""

    async def address(self) -> Address:
        option = self._option
        parameters: dict[str, Any] = {
            "model": option.model_type or DEFAULT_MODEL,
            "encoding": "pcm_mulaw" if self._sound.is_mulaw else "pcm_s16le",
            "sample_rate": self._sound.rate_hz,
            "language": base_language(self._language),
            "keyterm": terms_of(option, self._phrases, MAX_TERMS, in_all=MAX_CHARS_OF_TERMS),
        }
        headers = {"Cartesia-Version": VERSION}
        if self._key:
            headers["X-API-Key"] = self._key
        return Address(with_parameters(self._url, parameters, option.extra), headers, secrets=(self._key,))

    def closing(self) -> Sequence[Message]:
        return ('{"type":"close"}',)

    def handle(self, message: Mapping[str, Any]) -> None:
        kind = text(message.get("type"))
        if kind.startswith("turn."):
            self._handle_turn(kind, text(message.get("transcript")))
            return
        match kind:
            case "error":
                status = number(message.get("status_code"))
                reason = text(message.get("message")) or text(message.get("title")) or text(message.get("error")) or "no explanation"
                is_final = status is not None and status not in RETRYABLE_STATUS
                raise ProviderError(NAME, without_secrets(reason, self._secrets), retryable=not is_final)
            case _:
                pass

    def _handle_turn(self, kind: str, transcript: str) -> None:
        if kind == "turn.start":
            self._turn_from, self._transcript, self._answered = self._sent_sample, "", ""
        else:
            self._transcript = transcript or self._transcript
        rest = self._transcript.removeprefix(self._answered)
        segment = Segment(rest, self._turn_from, self._sent_sample)
        if kind == "turn.end":
            self._turn_is_open = False
            self.note_turn_final(segment)
            self._answered = self._transcript = ""
            self._turn_from = self._sent_sample
        elif rest and kind in ("turn.update", "turn.eager_end"):
            self.note_interim(segment)
        if change := _CHANGES.get(kind):
            self.note_turn(change, self._sent_sample, text=rest)

    def cancel_utterance(self, index: int) -> None:
        super().cancel_utterance(index)
        self._note_answered()

    def _answer(self, utterance: Any) -> None:
        super()._answer(utterance)
        self._note_answered()

    def _note_answered(self) -> None:
        """The turn continues after its text was used for an answer: do not send that text again."""
        if self._transcript:
            self._answered, self._turn_from = self._transcript, self._sent_sample

    @property
    def _sent_sample(self) -> int:
        """The end of the sent sound: the vendor reports no times."""
        return self.to_sample(self._sent)
