"""Recognition by Deepgram's Flux (`/v2/listen`), which detects and reports ends of turns.

Wire: https://developers.deepgram.com/reference/speech-to-text/listen-flux. Sound goes as binary frames (80 ms are recommended), `TurnInfo`
comes with the events StartOfTurn, Update, EagerEndOfTurn, TurnResumed and EndOfTurn; `ForceEndTurn` ends the open turn at once, `Configure`
changes thresholds and keyterms. A fatal error comes as `Error`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from active_call.base.errors import ProviderError
from active_call.contract.options import AsrOption
from active_call.providers.accounts.deepgram import BASE_URL, NAME, SOURCE, headers_of
from active_call.providers.asr.segments import Segment
from active_call.providers.asr.vendors.sound_format import TELEPHONE_MULAW, WIDE, SoundFormat, chosen_format
from active_call.providers.asr.vendors.streaming import StreamingRecognition, StreamingSpeechToText
from active_call.providers.asr.vendors.vendor_options import number_in, terms_of
from active_call.providers.asr.vendors.wire import Address, Message, Setup
from active_call.providers.credentials import find_key, find_url, without_secrets
from active_call.providers.json_values import mappings, number, text, write_object
from active_call.providers.services import Services
from active_call.providers.speech_to_text import SpeechToTextCapabilities, TurnChange
from active_call.providers.vendor_parameters import base_language, with_parameters

PATH: Final = "/v2/listen"
ENGLISH: Final = "flux-general-en"
MULTILINGUAL: Final = "flux-general-multi"
MAX_TERMS: Final = 100
MAX_CHARS_OF_TERMS: Final = 1_000
"""As for Nova."""
CAPABILITIES: Final = SpeechToTextCapabilities(partials=True, words=True, turn_events=True, sample_rates=(8_000, 16_000), phrases=True)
_CHANGES: Final = {
    "StartOfTurn": TurnChange.STARTED,
    "EagerEndOfTurn": TurnChange.EAGER_END,
    "TurnResumed": TurnChange.RESUMED,
    "EndOfTurn": TurnChange.ENDED,
}


def is_flux(model: str | None) -> bool:
    """Whether `model` is a Flux model; `flux` alone leaves the choice to the language."""
    return bool(model) and str(model).startswith("flux")


def create(option: AsrOption, services: Services) -> StreamingSpeechToText:
    """The adapter. Raises ConfigError without a key, and for thresholds that Flux refuses."""
    url = find_url("asr", option.endpoint, BASE_URL + PATH)
    key = find_key("asr", option.secret_key, url, SOURCE, services.environment)
    number_in(option, "eot_threshold", 0.5, 1.0)
    number_in(option, "eager_eot_threshold", 0.3, 0.9)
    number_in(option, "eot_timeout_ms", 500, 60_000)
    sound = chosen_format(option, WIDE, TELEPHONE_MULAW, SoundFormat(8_000))
    return StreamingSpeechToText(FluxRecognition, CAPABILITIES, services, Setup(option, url, key, sound))


class FluxRecognition(StreamingRecognition):
    """One caller."""

    provider = NAME
    packet_ms = 80
    waits_for_ready = True
    ends_by_itself = True

    async def address(self) -> Address:
        option = self._option
        model, language = str(option.model_type), base_language(self._language)
        if model == "flux":
            model = ENGLISH if language in (None, "en") else MULTILINGUAL
        parameters: dict[str, Any] = {
            "model": model,
            "encoding": self._sound.encoding,
            "sample_rate": self._sound.rate_hz,
            "eot_timeout_ms": option.endpointing,
            "keyterm": self.first_terms(),
            "language_hint": language if model == MULTILINGUAL else None,
        }
        return Address(with_parameters(self._url, parameters, option.extra), headers_of(self._key), secrets=(self._key,))

    def new_terms(self, terms: Sequence[str]) -> Message:
        return write_object({"type": "Configure", "keyterms": terms})

    def terms(self) -> list[str]:
        return terms_of(self._option, self._phrases, MAX_TERMS, in_all=MAX_CHARS_OF_TERMS)

    def finalize(self) -> Sequence[Message]:
        return ('{"type":"ForceEndTurn"}',)

    def closing(self) -> Sequence[Message]:
        return ('{"type":"CloseStream"}',)

    def handle(self, message: Mapping[str, Any]) -> None:
        match message.get("type"):
            case "Connected":
                self.note_ready()
            case "TurnInfo":
                self._handle_turn(message)
            case "Error":
                code = text(message.get("code"))
                reason = without_secrets(f"{code}: {text(message.get('description'))}", self._secrets)
                raise ProviderError(NAME, reason, retryable=code.startswith(("INTERNAL", "NET", "RATE")))
            case _:
                pass

    def _handle_turn(self, message: Mapping[str, Any]) -> None:
        start = self.sample_at(number(message.get("audio_window_start")))
        end = max(start, self.sample_at(number(message.get("audio_window_end"))))
        transcript = text(message.get("transcript"))
        told = mappings(message.get("words"))
        confidences = [value for word in told if (value := number(word.get("confidence"))) is not None]
        confidence = sum(confidences) / len(confidences) if confidences else None
        words = tuple(
            self.word(text(word.get("word")), number(word.get("start")), number(word.get("end")), number(word.get("confidence")))
            for word in told
            if number(word.get("start")) is not None
        )
        segment = Segment(transcript, start, end, confidence, words)
        change = _CHANGES.get(text(message.get("event")))
        if change is TurnChange.ENDED:
            self.note_turn_final(segment)
        elif transcript:
            self.note_interim(segment)
        if change is not None:
            sureness = number(message.get("end_of_turn_confidence"))
            self.note_turn(change, start if change is TurnChange.STARTED else end, text=transcript, confidence=sureness)
