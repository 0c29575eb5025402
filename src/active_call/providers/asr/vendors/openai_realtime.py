"""Recognition by OpenAI's realtime transcription: a Realtime session of type `transcription`, one utterance at a time.

Wire: https://developers.openai.com/api/docs/guides/realtime-transcription. `session.update` comes first; sound goes as base64 in
`input_audio_buffer.append`. `input_audio_buffer.commit` ends an utterance and makes it an item, whose text comes in `delta` events
and as `completed` or `failed`. The vendor's own turn detection is off; only utterances are sent, because sound is billed. A session
ends after an hour; the supervisor opens the next one. Options: `model`, `language`, `keyterms` (as prompt), `samplerate` 8000 for
µ-law.
"""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from active_call.base.errors import ConfigError, ProviderError
from active_call.contract.options import AsrOption
from active_call.providers.asr.openai import prompt_of
from active_call.providers.asr.segments import Segment
from active_call.providers.asr.vendors.sound_format import TELEPHONE_MULAW, SoundFormat, chosen_format
from active_call.providers.asr.vendors.streaming import StreamingRecognition, StreamingSpeechToText
from active_call.providers.asr.vendors.vendor_options import one_of, terms_of
from active_call.providers.asr.vendors.wire import Address, Message, Setup
from active_call.providers.credentials import KeySource, find_key, find_url, without_secrets
from active_call.providers.declaration import DeclaredOption, ProviderDeclaration
from active_call.providers.json_values import mapping, text, write_object
from active_call.providers.services import Services
from active_call.providers.speech_to_text import RecognitionEvent, SpeechToTextCapabilities
from active_call.providers.vendor_parameters import base_language

NAME: Final = "openai-realtime"
URL: Final = "wss://api.openai.com/v1/realtime"
DEFAULT_MODEL: Final = "gpt-4o-transcribe"
SOURCE: Final = KeySource("OpenAI", ("OPENAI_API_KEY",), "https://platform.openai.com/api-keys", ("openai.com",))
CAPABILITIES: Final = SpeechToTextCapabilities(partials=True, sample_rates=(8_000, 24_000, 16_000), phrases=True)
WIDE_24K: Final = SoundFormat(24_000)
MAX_TERMS: Final = 100
EMPTY: Final = "input_audio_buffer_commit_empty"
"""The error code for an utterance of less than 100 ms."""
FATAL_CODES: Final = frozenset({"invalid_api_key", "insufficient_quota", "model_not_found", "session_expired"})

DECLARATION: Final = ProviderDeclaration(
    kind="asr",
    name=NAME,
    title="OpenAI realtime transcription",
    capabilities=CAPABILITIES,
    transport="WebSocket",
    documentation="https://developers.openai.com/api/docs/guides/realtime-transcription",
    prices="https://openai.com/api/pricing",
    keys=SOURCE.variables,
    key_page=SOURCE.key_page,
    base_url=URL,
    default_model=DEFAULT_MODEL,
    options=(
        DeclaredOption(
            "model",
            "gpt-4o-transcribe, gpt-4o-mini-transcribe, gpt-live-transcribe (partial texts), whisper-1",
            DEFAULT_MODEL,
            is_latency_knob=True,
        ),
        DeclaredOption("language", "ISO 639-1; none: detected"),
        DeclaredOption("keyterms", "expected words, sent as prompt"),
        DeclaredOption("samplerate", "8000 sends µ-law, so that the vendor does not resample", "24000"),
        DeclaredOption("extra.noise_reduction", "near_field, far_field or none", "none"),
    ),
    notes="Only gpt-live-transcribe gives partial texts; the other models give them after the end of an utterance.",
)


def create(option: AsrOption, services: Services) -> StreamingSpeechToText:
    """The adapter. Raises ConfigError without a key."""
    url = find_url("asr", option.endpoint, URL)
    key = find_key("asr", option.secret_key, url, SOURCE, services.environment)
    one_of(option, "noise_reduction", ("near_field", "far_field", "none"), "none")
    unknown = set(option.extra) - {"noise_reduction", "encoding"}
    if unknown:
        raise ConfigError(f"asr.extra.{min(unknown)}", "unknown here; known: noise_reduction, encoding")
    sound = chosen_format(option, WIDE_24K, TELEPHONE_MULAW)
    return StreamingSpeechToText(OpenAiRealtimeRecognition, CAPABILITIES, services, Setup(option, url, key, sound))


class OpenAiRealtimeRecognition(StreamingRecognition):
    """One caller."""

    provider = NAME
    waits_for_ready = True
    only_utterances = True
    answer_s = 3.0

    def __init__(self, services: Services, setup: Setup, on_event: Callable[[RecognitionEvent], None], language: str | None) -> None:
        super().__init__(services, setup, on_event, language)
        self._items: deque[str] = deque()
        """Committed and not finished, in order."""
        self._told: dict[str, str] = {}
        self._ended: dict[str, str] = {}
        """The texts of items that finished before an earlier one."""

    async def address(self) -> Address:
        sign = "&" if "?" in self._url else "?"
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        return Address(f"{self._url}{sign}intent=transcription", headers, secrets=(self._key,))

    def opening(self) -> Sequence[Message]:
        option = self._option
        transcription: dict[str, Any] = {"model": option.model_type or DEFAULT_MODEL}
        if language := base_language(self._language):
            transcription["language"] = language
        if prompt := prompt_of(terms_of(option, self._phrases, MAX_TERMS)):
            transcription["prompt"] = prompt
        form = {"type": "audio/pcmu"} if self._sound.is_mulaw else {"type": "audio/pcm", "rate": self._sound.rate_hz}
        sound: dict[str, Any] = {"format": form, "transcription": transcription, "turn_detection": None}
        if option.extra.get("noise_reduction") in ("near_field", "far_field"):
            sound["noise_reduction"] = {"type": option.extra["noise_reduction"]}
        return (write_object({"type": "session.update", "session": {"type": "transcription", "audio": {"input": sound}}}),)

    def packet(self, sound: bytes) -> Message:
        return '{"type":"input_audio_buffer.append","audio":"' + base64.b64encode(sound).decode() + '"}'

    def finalize(self) -> Sequence[Message]:
        return ('{"type":"input_audio_buffer.commit"}',)

    def handle(self, message: Mapping[str, Any]) -> None:
        item = text(message.get("item_id"))
        match message.get("type"):
            case "session.updated":
                self.note_ready()
            case "input_audio_buffer.committed":
                self._items.append(item)
            case "conversation.item.input_audio_transcription.delta":
                self._told[item] = self._told.get(item, "") + text(message.get("delta"))
                if not self._items or self._items[0] == item:
                    self.note_interim(Segment(self._told[item]))
            case "conversation.item.input_audio_transcription.completed":
                self._end_item(item, text(message.get("transcript")))
            case "conversation.item.input_audio_transcription.failed":
                self._end_item(item, self._told.get(item, ""))
            case "error":
                self._handle_error(mapping(message.get("error")))
            case _:
                pass

    def _end_item(self, item: str, transcript: str) -> None:
        """Answer the utterances in spoken order, whatever the order of their texts."""
        self._told.pop(item, None)
        if item not in self._items:
            return
        self._ended[item] = transcript
        while self._items and self._items[0] in self._ended:
            self.note_final(Segment(self._ended.pop(self._items.popleft())))
            self.note_finished()

    def _handle_error(self, error: Mapping[str, Any]) -> None:
        code = text(error.get("code"))
        if code == EMPTY:
            self.note_finished()
            return
        reason = without_secrets(f"{code or text(error.get('type'))}: {text(error.get('message'))}", self._secrets)
        is_final = code in FATAL_CODES - {"session_expired"} or text(error.get("type")) == "invalid_request_error"
        raise ProviderError(NAME, reason, retryable=not is_final)
