"""Recognition by Deepgram's streaming API (`/v1/listen`), or by Flux (`deepgram_flux`) for a Flux model.

Wire: https://developers.deepgram.com/reference/speech-to-text/listen-streaming. Sound goes as binary frames, `Results` come. `Finalize`
ends the current speech at once; its answer carries `from_finalize`. Without sound or `KeepAlive` the server closes a connection after
10 s (NET-0001). `Configure` replaces the keyterms of an open stream (https://developers.deepgram.com/docs/configure).
Options: `model`, `language`, `keyterms` (nova-3; `keywords` before), `endpointing`, `interim`; `extra` is sent as further parameters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from active_call.base.errors import ProviderError
from active_call.contract.options import AsrOption
from active_call.providers.accounts.deepgram import BASE_URL, NAME, SOURCE, headers_of
from active_call.providers.asr.segments import Segment
from active_call.providers.asr.vendors import deepgram_flux
from active_call.providers.asr.vendors.sound_format import TELEPHONE_MULAW, WIDE, SoundFormat, chosen_format
from active_call.providers.asr.vendors.streaming import StreamingRecognition, StreamingSpeechToText
from active_call.providers.asr.vendors.vendor_options import terms_of
from active_call.providers.asr.vendors.wire import Address, Message, Setup
from active_call.providers.credentials import find_key, find_url, without_secrets
from active_call.providers.declaration import DeclaredOption, ProviderDeclaration
from active_call.providers.json_values import mapping, mappings, number, text, write_object
from active_call.providers.services import Services
from active_call.providers.speech_to_text import SpeechToTextCapabilities, TurnChange
from active_call.providers.vendor_parameters import tag_of, with_parameters

DEFAULT_MODEL: Final = "nova-3"
PATH: Final = "/v1/listen"
KEEPALIVE_S: Final = 4.0
MAX_TERMS: Final = 100
CONFIGURES_AT: Final = frozenset({"api.deepgram.com"})
"""The servers where an open stream of Nova-3 takes other keyterms; those of other regions do not (…/docs/configure)."""
MAX_CHARS_OF_TERMS: Final = 1_000
"""Of the 500 tokens that all keyterms may have together (https://developers.deepgram.com/docs/keyterm): a token has two letters or more."""
CAPABILITIES: Final = SpeechToTextCapabilities(partials=True, words=True, sample_rates=(8_000, 16_000), phrases=True)

DECLARATION: Final = ProviderDeclaration(
    kind="asr",
    name=NAME,
    title="Deepgram (Nova, and Flux with its turn events)",
    capabilities=SpeechToTextCapabilities(partials=True, words=True, turn_events=True, sample_rates=(8_000, 16_000), phrases=True),
    transport="WebSocket",
    documentation="https://developers.deepgram.com/reference/speech-to-text/listen-streaming",
    prices="https://deepgram.com/pricing",
    keys=SOURCE.variables,
    key_page=SOURCE.key_page,
    base_url=BASE_URL,
    default_model=DEFAULT_MODEL,
    options=(
        DeclaredOption("model", "nova-3, nova-2, …; flux-general-en and flux-general-multi end turns by themselves", DEFAULT_MODEL),
        DeclaredOption("language", "a BCP 47 tag; none: the vendor detects it among several (nova-3: multi)"),
        DeclaredOption("keyterms", "expected words, 100 at most, of 1000 characters together"),
        DeclaredOption("endpointing", "ms of silence after which a segment ends", "10", is_latency_knob=True),
        DeclaredOption("interim", "partial texts", "true"),
        DeclaredOption("samplerate", "8000 with extra.encoding: mulaw sends µ-law, a quarter of the bytes", "16000"),
        DeclaredOption(
            "extra.eot_threshold",
            "Flux: the confidence that ends a turn, 0.5 to 1 (1: only the server ends it)",
            "0.7",
            is_latency_knob=True,
        ),
        DeclaredOption("extra.eager_eot_threshold", "Flux: the confidence to prepare a reply, 0.3 to 0.9", is_latency_knob=True),
        DeclaredOption("extra.eot_timeout_ms", "Flux: silence that ends a turn in any case, 500 to 60000", "5000", is_latency_knob=True),
        DeclaredOption("extra.*", "any other parameter of the API, such as numerals or utterance_end_ms"),
    ),
    notes="Set `baseUrl` for another region.",
)


def create(option: AsrOption, services: Services) -> StreamingSpeechToText:
    """The adapter. Raises ConfigError without a key."""
    if deepgram_flux.is_flux(option.model_type):
        return deepgram_flux.create(option, services)
    url = find_url("asr", option.endpoint, BASE_URL + PATH)
    key = find_key("asr", option.secret_key, url, SOURCE, services.environment)
    sound = chosen_format(option, WIDE, TELEPHONE_MULAW, SoundFormat(8_000))
    return StreamingSpeechToText(DeepgramRecognition, CAPABILITIES, services, Setup(option, url, key, sound))


class DeepgramRecognition(StreamingRecognition):
    """One caller."""

    provider = NAME
    keepalive_s = KEEPALIVE_S

    async def address(self) -> Address:
        option = self._option
        model = option.model_type or DEFAULT_MODEL
        parameters: dict[str, Any] = {
            "model": model,
            "language": tag_of(self._language) or ("multi" if model.startswith("nova-3") else None),
            "encoding": self._sound.encoding,
            "sample_rate": self._sound.rate_hz,
            "channels": 1,
            "interim_results": option.interim is not False,
            "smart_format": True,
            "vad_events": True,
            "endpointing": option.endpointing,
            "keyterm" if model.startswith("nova-3") else "keywords": self.first_terms(),
        }
        url = with_parameters(self._url, parameters, option.extra)
        return Address(url, headers_of(self._key), secrets=(self._key,))

    def terms(self) -> list[str]:
        return terms_of(self._option, self._phrases, MAX_TERMS, in_all=MAX_CHARS_OF_TERMS)

    def new_terms(self, terms: Sequence[str]) -> Message | None:
        takes_them = (self._option.model_type or DEFAULT_MODEL).startswith("nova-3") and urlsplit(self._url).hostname in CONFIGURES_AT
        return write_object({"type": "Configure", "keyterms": terms}) if takes_them else None

    def finalize(self) -> Sequence[Message]:
        return ('{"type":"Finalize"}',)

    def keepalive(self) -> Message:
        return '{"type":"KeepAlive"}'

    def closing(self) -> Sequence[Message]:
        return ('{"type":"CloseStream"}',)

    def handle(self, message: Mapping[str, Any]) -> None:
        match message.get("type"):
            case "Results":
                self._handle_results(message)
            case "SpeechStarted":
                self.note_turn(TurnChange.STARTED, self.sample_at(number(message.get("timestamp"))))
            case "UtteranceEnd":
                self.note_turn(TurnChange.ENDED, self.sample_at(number(message.get("last_word_end"))))
            case "Error":
                reason = text(message.get("description")) or text(message.get("message")) or "an error without a reason"
                raise ProviderError(NAME, without_secrets(reason, self._secrets), retryable=True)
            case _:
                pass

    def _handle_results(self, message: Mapping[str, Any]) -> None:
        best = next(iter(mappings(mapping(message.get("channel")).get("alternatives"))), {})
        start_s, duration_s = number(message.get("start")), number(message.get("duration"))
        words = tuple(
            self.word(
                text(word.get("punctuated_word")) or text(word.get("word")),
                number(word.get("start")),
                number(word.get("end")),
                number(word.get("confidence")),
            )
            for word in mappings(best.get("words"))
        )
        start = words[0].start_sample if words else self.sample_at(start_s)
        end = words[-1].end_sample if words else self.sample_at((start_s or 0.0) + (duration_s or 0.0))
        segment = Segment(text(best.get("transcript")), start, max(start, end), number(best.get("confidence")), words)
        if message.get("is_final") is True:
            self.note_final(segment)
        elif segment.text:
            self.note_interim(segment)
        if message.get("from_finalize") is True:
            self.note_finished()
