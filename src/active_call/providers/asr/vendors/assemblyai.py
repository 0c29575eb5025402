"""Recognition by AssemblyAI's Universal-Streaming (v3), which detects and reports ends of turns.

Wire: https://www.assemblyai.com/docs/api-reference/streaming and …/docs/streaming/message-sequence. Sound goes as binary frames of 50
to 1,000 ms; `Turn` messages hold the turn so far, the last one with `end_of_turn`; `ForceEndpoint` ends the open turn at once. An error
is an `Error` message, then the close code (…/docs/streaming/common-session-errors-and-closures). Options: `model`, `language`,
`keyterms`, `endpointing` (the longest silence in a turn); `extra` is sent as further parameters.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from websockets.exceptions import ConnectionClosed

from active_call.base.errors import ProviderError
from active_call.contract.options import AsrOption
from active_call.providers.asr.segments import Segment
from active_call.providers.asr.vendors.sound_format import TELEPHONE_MULAW, WIDE, SoundFormat, chosen_format
from active_call.providers.asr.vendors.streaming import StreamingRecognition, StreamingSpeechToText
from active_call.providers.asr.vendors.vendor_options import number_in, terms_of
from active_call.providers.asr.vendors.wire import Address, Message, Setup
from active_call.providers.credentials import KeySource, find_key, find_url, without_secrets
from active_call.providers.declaration import DeclaredOption, ProviderDeclaration
from active_call.providers.http import EXCERPT_CHARS
from active_call.providers.json_values import mappings, number, text, write_object
from active_call.providers.services import Services
from active_call.providers.speech_to_text import RecognitionEvent, SpeechToTextCapabilities, TurnChange
from active_call.providers.vendor_parameters import base_language, with_parameters

NAME: Final = "assemblyai"
URL: Final = "wss://streaming.assemblyai.com/v3/ws"
ENGLISH: Final = "universal-streaming-english"
MULTILINGUAL: Final = "universal-streaming-multilingual"
SOURCE: Final = KeySource("AssemblyAI", ("ASSEMBLYAI_API_KEY",), "https://www.assemblyai.com/dashboard/api-keys", ("assemblyai.com",))
CAPABILITIES: Final = SpeechToTextCapabilities(partials=True, words=True, turn_events=True, sample_rates=(8_000, 16_000), phrases=True)
MAX_TERMS: Final = 100
MAX_TERM_CHARS: Final = 50
REFUSALS: Final = frozenset({1008, 4001, 4002, 4003, 4100, 4101, 3006, 3007})
"""Codes of errors that a new connection would get again: key, funds, terms, input."""
PASSING: Final = ("too many concurrent sessions", "transmission rate exceeded")
"""Reasons with such a code after which a new connection may work."""

DECLARATION: Final = ProviderDeclaration(
    kind="asr",
    name=NAME,
    title="AssemblyAI Universal-Streaming",
    capabilities=CAPABILITIES,
    transport="WebSocket",
    documentation="https://www.assemblyai.com/docs/api-reference/streaming",
    prices="https://www.assemblyai.com/pricing",
    keys=SOURCE.variables,
    key_page=SOURCE.key_page,
    base_url=URL,
    default_model=ENGLISH,
    options=(
        DeclaredOption("model", "universal-streaming-english, universal-streaming-multilingual, u3-rt-pro", "by the language"),
        DeclaredOption("language", "other than English: the multilingual model"),
        DeclaredOption("keyterms", "expected words, 100 at most; longer ones than 50 characters are left out"),
        DeclaredOption("endpointing", "ms: the longest silence within a turn", "1280", is_latency_knob=True),
        DeclaredOption("extra.end_of_turn_confidence_threshold", "the confidence that ends a turn", "0.4", is_latency_knob=True),
        DeclaredOption(
            "extra.min_turn_silence", "ms of silence after which it judges whether the turn ends", "by the model", is_latency_knob=True
        ),
        DeclaredOption("extra.format_turns", "punctuated text, which comes later", "false", is_latency_knob=True),
        DeclaredOption("samplerate", "8000 with extra.encoding: mulaw sends µ-law", "16000"),
    ),
    notes="For servers in the EU, set baseUrl to wss://streaming.eu.assemblyai.com.",
)


def create(option: AsrOption, services: Services) -> StreamingSpeechToText:
    """The adapter. Raises ConfigError without a key, and for an invalid threshold."""
    url = find_url("asr", option.endpoint, URL)
    key = find_key("asr", option.secret_key, url, SOURCE, services.environment)
    number_in(option, "end_of_turn_confidence_threshold", 0.0, 1.0)
    sound = chosen_format(option, WIDE, TELEPHONE_MULAW, SoundFormat(8_000))
    return StreamingSpeechToText(AssemblyAiRecognition, CAPABILITIES, services, Setup(option, url, key, sound))


class AssemblyAiRecognition(StreamingRecognition):
    """One caller."""

    provider = NAME
    packet_ms = 60
    min_packet_ms = 50
    waits_for_ready = True
    ends_by_itself = True

    def __init__(self, services: Services, setup: Setup, on_event: Callable[[RecognitionEvent], None], language: str | None) -> None:
        super().__init__(services, setup, on_event, language)
        self._turn_in_progress: float | None = None
        self._last_ended: float | None = None

    async def address(self) -> Address:
        option = self._option
        parameters: dict[str, Any] = {
            "sample_rate": self._sound.rate_hz,
            "encoding": "pcm_mulaw" if self._sound.is_mulaw else "pcm_s16le",
            "speech_model": option.model_type or (ENGLISH if base_language(self._language) in (None, "en") else MULTILINGUAL),
            "max_turn_silence": option.endpointing,
            "keyterms_prompt": json.dumps(terms) if (terms := self.first_terms()) else None,
        }
        headers = {"Authorization": self._key} if self._key else {}
        return Address(with_parameters(self._url, parameters, option.extra), headers, secrets=(self._key,))

    def terms(self) -> list[str]:
        return terms_of(self._option, self._phrases, MAX_TERMS, max_chars=MAX_TERM_CHARS)

    def new_terms(self, terms: Sequence[str]) -> Message:
        return write_object({"type": "UpdateConfiguration", "keyterms_prompt": terms})

    def finalize(self) -> Sequence[Message]:
        return ('{"type":"ForceEndpoint"}',)

    def closing(self) -> Sequence[Message]:
        return ('{"type":"Terminate"}',)

    def closed(self, error: ConnectionClosed) -> ProviderError:
        received = error.rcvd
        if received is None:
            return super().closed(error)
        reason = without_secrets(" ".join(received.reason.split()), self._secrets)[:EXCERPT_CHARS]
        told = f"closed the connection: {received.code} {reason or 'no explanation'}"
        return ProviderError(NAME, told, retryable=_may_pass(received.code, reason))

    def handle(self, message: Mapping[str, Any]) -> None:
        match message.get("type"):
            case "Begin":
                self.note_ready()
            case "Turn":
                self._handle_turn(message)
            case "SpeechStarted":
                milliseconds = number(message.get("timestamp")) or 0.0
                self.note_turn(TurnChange.STARTED, self.sample_at(milliseconds / 1000))
            case "Error":
                reason = without_secrets(text(message.get("error")) or "an error without a reason", self._secrets)
                raise ProviderError(NAME, reason, retryable=_may_pass(number(message.get("error_code")), reason))
            case _:
                pass

    def _handle_turn(self, message: Mapping[str, Any]) -> None:
        order, is_end = number(message.get("turn_order")), message.get("end_of_turn") is True
        if is_end and order is not None and order == self._last_ended:
            return  # the same turn again, with punctuation
        words = tuple(
            self.word(text(word.get("text")), _seconds(word.get("start")), _seconds(word.get("end")), number(word.get("confidence")))
            for word in mappings(message.get("words"))
        )
        transcript = text(message.get("transcript")) or " ".join(word.text for word in words)
        known = [word.confidence for word in words if word.confidence is not None]
        start, end = (words[0].start_sample, words[-1].end_sample) if words else (None, None)
        segment = Segment(transcript, start, end, sum(known) / len(known) if known else None, words)
        if order != self._turn_in_progress and not is_end:
            self._turn_in_progress = order
            self.note_turn(TurnChange.STARTED, start or 0, text=transcript)
        if is_end:
            self._last_ended = order
            self.note_turn_final(segment)
            sureness = number(message.get("end_of_turn_confidence"))
            self.note_turn(TurnChange.ENDED, end or 0, text=transcript, confidence=sureness)
        elif transcript:
            self.note_interim(segment)


def _may_pass(code: float | None, reason: str) -> bool:
    """Whether a new connection may work after an error: the vendor's codes are shared by reasons of both kinds."""
    return code not in REFUSALS or any(known in reason.lower() for known in PASSING)


def _seconds(milliseconds: Any) -> float | None:
    value = number(milliseconds)
    return None if value is None else value / 1000
