"""Recognition by Speechmatics' realtime API.

Wire: https://docs.speechmatics.com/api-ref/realtime-transcription-websocket. `StartRecognition` comes first; sound goes as binary frames
and is acknowledged; `AddPartialTranscript` and `AddTranscript` hold words, `EndOfUtterance` reports a pause of the caller;
`ForceEndOfUtterance` asks for it; `EndOfStream` ends the session. Options: `language`, `model` (`standard` or `enhanced`), `keyterms`,
`endpointing`; `extra` is sent as further fields of `transcription_config`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from active_call.base.errors import ConfigError, ProviderError
from active_call.contract.options import AsrOption
from active_call.providers.asr.segments import Segment
from active_call.providers.asr.vendors.sound_format import TELEPHONE_MULAW, WIDE, SoundFormat, chosen_format
from active_call.providers.asr.vendors.streaming import StreamingRecognition, StreamingSpeechToText
from active_call.providers.asr.vendors.vendor_options import number_in, terms_of
from active_call.providers.asr.vendors.wire import Address, Message, Setup
from active_call.providers.credentials import KeySource, find_key, find_url, without_secrets
from active_call.providers.declaration import DeclaredOption, ProviderDeclaration
from active_call.providers.json_values import mappings, number, text, write_object
from active_call.providers.services import Services
from active_call.providers.speech_to_text import RecognitionEvent, SpeechToTextCapabilities, TurnChange, Word
from active_call.providers.vendor_parameters import OURS, base_language

NAME: Final = "speechmatics"
URL: Final = "wss://eu2.rt.speechmatics.com/v2"
SOURCE: Final = KeySource(
    "Speechmatics", ("SPEECHMATICS_API_KEY",), "https://portal.speechmatics.com/settings/api-keys", ("speechmatics.com",)
)
CAPABILITIES: Final = SpeechToTextCapabilities(partials=True, words=True, turn_events=True, sample_rates=(8_000, 16_000), phrases=True)
DEFAULT_LANGUAGE: Final = "en"
DEFAULT_PAUSE_S: Final = 0.5
MAX_DELAY_S: Final = 1.0
"""The vendor finalises words at most this long after they were spoken; 0.7 is its minimum."""
MAX_TERMS: Final = 1_000
MAX_RESULTS: Final = 4_000
RETRYABLE: Final = frozenset({"internal_error", "job_error", "timelimit_exceeded", "idle_timeout", "session_timeout", "unknown_error"})

DECLARATION: Final = ProviderDeclaration(
    kind="asr",
    name=NAME,
    title="Speechmatics realtime",
    capabilities=CAPABILITIES,
    transport="WebSocket",
    documentation="https://docs.speechmatics.com/api-ref/realtime-transcription-websocket",
    prices="https://www.speechmatics.com/pricing",
    keys=SOURCE.variables,
    key_page=SOURCE.key_page,
    base_url=URL,
    default_model="enhanced",
    options=(
        DeclaredOption("model", "the operating point: standard or enhanced", "enhanced"),
        DeclaredOption("language", "one language", DEFAULT_LANGUAGE),
        DeclaredOption("keyterms", "additional vocabulary"),
        DeclaredOption("endpointing", "ms of silence after which the vendor ends an utterance, up to 2000", "500", is_latency_knob=True),
        DeclaredOption("extra.max_delay", "seconds until a word is final, 0.7 to 4", "1.0", is_latency_knob=True),
        DeclaredOption("samplerate", "8000 with extra.encoding: mulaw sends µ-law", "16000"),
    ),
    notes="For another region, set baseUrl to wss://us.rt.speechmatics.com/v2, or to a server of your own.",
)


def create(option: AsrOption, services: Services) -> StreamingSpeechToText:
    """The adapter. Raises ConfigError without a key, and for values that the vendor rejects."""
    url = find_url("asr", option.endpoint, URL)
    key = find_key("asr", option.secret_key, url, SOURCE, services.environment)
    number_in(option, "max_delay", 0.7, 4.0)
    if option.model_type not in (None, "standard", "enhanced"):
        raise ConfigError("asr.model", f"expected standard or enhanced, found {option.model_type!r}")
    sound = chosen_format(option, WIDE, TELEPHONE_MULAW, SoundFormat(8_000))
    return StreamingSpeechToText(SpeechmaticsRecognition, CAPABILITIES, services, Setup(option, url, key, sound))


class SpeechmaticsRecognition(StreamingRecognition):
    """One caller."""

    provider = NAME
    waits_for_ready = True
    ends_by_itself = True

    def __init__(self, services: Services, setup: Setup, on_event: Callable[[RecognitionEvent], None], language: str | None) -> None:
        super().__init__(services, setup, on_event, language)
        self._results: list[Mapping[str, Any]] = []
        """The final results of the current utterance."""
        self._n_packets = 0

    async def address(self) -> Address:
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        return Address(self._url, headers, secrets=(self._key,))

    def opening(self) -> Sequence[Message]:
        option = self._option
        pause_s = DEFAULT_PAUSE_S if option.endpointing is None else min(2.0, option.endpointing / 1000)
        config: dict[str, Any] = {
            "language": base_language(self._language) or DEFAULT_LANGUAGE,
            "operating_point": option.model_type or "enhanced",
            "enable_partials": option.interim is not False,
            "max_delay": MAX_DELAY_S,
            "conversation_config": {"end_of_utterance_silence_trigger": pause_s},
        }
        if terms := terms_of(option, self._phrases, MAX_TERMS):
            config["additional_vocab"] = [{"content": term} for term in terms]
        config.update({key: value for key, value in option.extra.items() if key not in OURS})
        form = {"type": "raw", "encoding": "mulaw" if self._sound.is_mulaw else "pcm_s16le", "sample_rate": self._sound.rate_hz}
        return (write_object({"message": "StartRecognition", "audio_format": form, "transcription_config": config}),)

    def packet(self, sound: bytes) -> Message:
        self._n_packets += 1
        return sound

    def finalize(self) -> Sequence[Message]:
        return ('{"message":"ForceEndOfUtterance"}',)

    def closing(self) -> Sequence[Message]:
        return (write_object({"message": "EndOfStream", "last_seq_no": self._n_packets}),)

    def handle(self, message: Mapping[str, Any]) -> None:
        match message.get("message"):
            case "RecognitionStarted":
                self.note_ready()
            case "AddPartialTranscript":
                self._report_interim(mappings(message.get("results")))
            case "AddTranscript":
                self._results = [*self._results, *mappings(message.get("results"))][-MAX_RESULTS:]
                self._report_interim([])
            case "EndOfUtterance":
                self._end_utterance()
            case "Error":
                kind = text(message.get("type"))
                reason = without_secrets(f"{kind}: {text(message.get('reason')) or 'no explanation'}", self._secrets)
                raise ProviderError(NAME, reason, retryable=kind in RETRYABLE)
            case _:
                pass

    def _report_interim(self, pending: Sequence[Mapping[str, Any]]) -> None:
        segment = self._segment([*self._results, *pending])
        if segment.text:
            if not self._turn_is_open:
                self.note_turn(TurnChange.STARTED, segment.start_sample or 0, text=segment.text)
            self.note_interim(segment)

    def _end_utterance(self) -> None:
        segment = self._segment(self._results)
        self._results = []
        self.note_turn_final(segment)
        self.note_turn(TurnChange.ENDED, segment.end_sample or self.to_sample(self._sent), text=segment.text)

    def _segment(self, results: Sequence[Mapping[str, Any]]) -> Segment:
        """Words and punctuation as one text; a mark belongs to the word before it."""
        words: list[Word] = []
        for result in results:
            best = next(iter(mappings(result.get("alternatives"))), {})
            content = text(best.get("content"))
            if not content:
                continue
            word = self.word(content, number(result.get("start_time")), number(result.get("end_time")), number(best.get("confidence")))
            if result.get("type") == "punctuation" and words:
                before = words.pop()
                word = Word(before.text + content, before.start_sample, before.end_sample, before.confidence)
            words.append(word)
        known = [word.confidence for word in words if word.confidence is not None]
        start, end = (words[0].start_sample, words[-1].end_sample) if words else (None, None)
        confidence = sum(known) / len(known) if known else None
        return Segment(" ".join(word.text for word in words), start, end, confidence, tuple(words))
