"""Recognition by ElevenLabs' Scribe realtime, one utterance at a time.

Wire: https://elevenlabs.io/docs/api-reference/speech-to-text/v-1-speech-to-text-realtime. Sound goes as base64 in `input_audio_chunk`,
with `commit` at the end of an utterance; `partial_transcript` comes during speech, `committed_transcript_with_timestamps` after the
commit. Errors are messages of their own kinds. Only utterances are sent, because sound is billed. Options: `model`, `language`,
`keyterms`, `samplerate` 8000 for µ-law; `extra` is sent as further parameters.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
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
from active_call.providers.json_values import mappings, number, text
from active_call.providers.services import Services
from active_call.providers.speech_to_text import SpeechToTextCapabilities
from active_call.providers.vendor_parameters import base_language, with_parameters

NAME: Final = "elevenlabs"
URL: Final = "wss://api.elevenlabs.io/v1/speech-to-text/realtime"
DEFAULT_MODEL: Final = "scribe_v2_realtime"
SOURCE: Final = KeySource(
    "ElevenLabs", ("ELEVENLABS_API_KEY", "ELEVEN_API_KEY"), "https://elevenlabs.io/app/settings/api-keys", ("elevenlabs.io",)
)
CAPABILITIES: Final = SpeechToTextCapabilities(partials=True, words=True, sample_rates=(8_000, 16_000), phrases=True)
MAX_TERMS: Final = 50
MAX_TERM_CHARS: Final = 20
MAX_TERM_WORDS: Final = 5
"""https://elevenlabs.io/docs/eleven-api/guides/how-to/speech-to-text/batch/keyterm-prompting; the words as for the other models."""
RETRYABLE: Final = frozenset(
    {
        "rate_limited", "queue_overflow", "resource_exhausted", "session_time_limit_exceeded", "transcriber_error", "error",
        "insufficient_audio_activity",
    }
)  # fmt: skip
"""Kinds of error after which another connection may work."""
REFUSALS: Final = frozenset({"auth_error", "quota_exceeded", "unaccepted_terms", "input_error", "chunk_size_exceeded"})

DECLARATION: Final = ProviderDeclaration(
    kind="asr",
    name=NAME,
    title="ElevenLabs Scribe realtime",
    capabilities=CAPABILITIES,
    transport="WebSocket",
    documentation="https://elevenlabs.io/docs/api-reference/speech-to-text/v-1-speech-to-text-realtime",
    prices="https://elevenlabs.io/pricing/api",
    keys=SOURCE.variables,
    key_page=SOURCE.key_page,
    base_url=URL,
    default_model=DEFAULT_MODEL,
    options=(
        DeclaredOption("model", "the realtime model", DEFAULT_MODEL),
        DeclaredOption("language", "ISO 639-1; none: detected"),
        DeclaredOption("keyterms", "expected words, 50 at most; longer ones than 20 characters are left out; they cost extra"),
        DeclaredOption("samplerate", "8000 with extra.encoding: mulaw sends µ-law", "16000"),
        DeclaredOption("extra.*", "any other parameter of the API, such as enable_logging"),
    ),
    notes="This server commits each utterance at its end, so the vendor's pause settings have no effect.",
)


def create(option: AsrOption, services: Services) -> StreamingSpeechToText:
    """The adapter. Raises ConfigError without a key."""
    url = find_url("asr", option.endpoint, URL)
    key = find_key("asr", option.secret_key, url, SOURCE, services.environment)
    sound = chosen_format(option, WIDE, TELEPHONE_MULAW, SoundFormat(8_000))
    return StreamingSpeechToText(ScribeRecognition, CAPABILITIES, services, Setup(option, url, key, sound))


class ScribeRecognition(StreamingRecognition):
    """One caller."""

    provider = NAME
    packet_ms = 100
    waits_for_ready = True
    only_utterances = True
    answer_s = 2.5

    async def address(self) -> Address:
        option = self._option
        parameters: dict[str, Any] = {
            "model_id": option.model_type or DEFAULT_MODEL,
            "audio_format": "ulaw_8000" if self._sound.is_mulaw else f"pcm_{self._sound.rate_hz}",
            "language_code": base_language(self._language),
            "commit_strategy": "manual",
            "include_timestamps": True,
            "keyterms": terms_of(option, self._phrases, MAX_TERMS, max_chars=MAX_TERM_CHARS, max_words=MAX_TERM_WORDS),
        }
        headers = {"xi-api-key": self._key} if self._key else {}
        return Address(with_parameters(self._url, parameters, option.extra), headers, secrets=(self._key,))

    def packet(self, sound: bytes) -> Message:
        return self._chunk(base64.b64encode(sound).decode(), commit=False)

    def finalize(self) -> Sequence[Message]:
        return (self._chunk("", commit=True),)

    def _chunk(self, audio: str, *, commit: bool) -> str:
        ends = "true" if commit else "false"
        return f'{{"message_type":"input_audio_chunk","audio_base_64":"{audio}","commit":{ends},"sample_rate":{self._sound.rate_hz}}}'

    def handle(self, message: Mapping[str, Any]) -> None:
        kind = text(message.get("message_type"))
        match kind:
            case "session_started":
                self.note_ready()
            case "partial_transcript":
                if transcript := text(message.get("text")):
                    self.note_interim(Segment(transcript))
            case "committed_transcript_with_timestamps":
                self._handle_committed(message)
            case "commit_throttled":  # too little sound for a word
                self.note_finished()
            case _ if kind in RETRYABLE or kind in REFUSALS:
                reason = without_secrets(text(message.get("error")) or text(message.get("message")), self._secrets)
                raise ProviderError(NAME, f"{kind}: {reason or 'no explanation'}", retryable=kind in RETRYABLE)
            case _:
                pass

    def _handle_committed(self, message: Mapping[str, Any]) -> None:
        told = [word for word in mappings(message.get("words")) if word.get("type", "word") == "word"]
        words = tuple(self.word(text(word.get("text")), number(word.get("start")), number(word.get("end"))) for word in told)
        start, end = (words[0].start_sample, words[-1].end_sample) if words else (None, None)
        self.note_final(Segment(text(message.get("text")), start, end, None, words))
        self.note_finished()
