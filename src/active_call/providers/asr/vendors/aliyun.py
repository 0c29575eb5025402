"""Recognition by Alibaba Cloud's DashScope (Model Studio): Paraformer, Fun-ASR and Gummy in real time.

Wire: https://www.alibabacloud.com/help/en/model-studio/paraformer-client-events and …/paraformer-server-events. `run-task` begins a task,
`task-started` confirms it; sound goes as binary frames, `result-generated` holds the sentence so far; `finish-task` ends the task, and
`task-finished` confirms that all results were sent. An utterance is ended by the end of its task; the next task begins on the same
connection. Options: `model`, `language` (a hint), `endpointing`, `samplerate`; `extra` is merged into the task's parameters
(`vocabulary_id`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from active_call.base.pcm import LISTEN_RATE_HZ
from active_call.contract.options import AsrOption
from active_call.providers.accounts.dashscope import NAME, SOURCE, URL, headers_of, task_error
from active_call.providers.asr.segments import Segment
from active_call.providers.asr.vendors.sound_format import WIDE, SoundFormat, chosen_format
from active_call.providers.asr.vendors.streaming import StreamingRecognition, StreamingSpeechToText
from active_call.providers.asr.vendors.wire import Address, Last, Message, Setup
from active_call.providers.credentials import find_key, find_url
from active_call.providers.declaration import DeclaredOption, ProviderDeclaration
from active_call.providers.json_values import mapping, mappings, number, text, write_object
from active_call.providers.services import Services
from active_call.providers.speech_to_text import RecognitionEvent, SpeechToTextCapabilities, Word
from active_call.providers.vendor_parameters import OURS, base_language

DEFAULT_MODEL: Final = "paraformer-realtime-v2"
TELEPHONE_MODEL: Final = "paraformer-realtime-8k-v2"
CAPABILITIES: Final = SpeechToTextCapabilities(partials=True, words=True, sample_rates=(8_000, 16_000))

DECLARATION: Final = ProviderDeclaration(
    kind="asr",
    name=NAME,
    title="Alibaba Cloud DashScope (Paraformer, Fun-ASR, Gummy)",
    capabilities=CAPABILITIES,
    transport="WebSocket",
    documentation="https://www.alibabacloud.com/help/en/model-studio/paraformer-client-events",
    prices="https://www.alibabacloud.com/help/en/model-studio/model-pricing",
    keys=SOURCE.variables,
    key_page=SOURCE.key_page,
    base_url=URL,
    default_model=DEFAULT_MODEL,
    aliases=("dashscope",),
    options=(
        DeclaredOption("model", "paraformer-realtime-v2, paraformer-realtime-8k-v2, fun-asr-realtime, gummy-realtime-v1", DEFAULT_MODEL),
        DeclaredOption("language", "a hint: zh, en, ja, yue, ko, de, fr, ru"),
        DeclaredOption("endpointing", "ms of silence after which a sentence ends, 200 to 6000", "800"),
        DeclaredOption("samplerate", "8000 chooses the telephone model", "16000"),
        DeclaredOption("extra.vocabulary_id", "a vocabulary of expected words, created in the console"),
        DeclaredOption("extra.*", "any other parameter of the task"),
    ),
    notes="Outside China, set baseUrl to wss://dashscope-intl.aliyuncs.com, which has its own keys.",
)


def create(option: AsrOption, services: Services) -> StreamingSpeechToText:
    """The adapter. Raises ConfigError without a key."""
    url = find_url("asr", option.endpoint, URL)
    key = find_key("asr", option.secret_key, url, SOURCE, services.environment)
    sound = chosen_format(option, WIDE, SoundFormat(8_000))
    return StreamingSpeechToText(DashScopeRecognition, CAPABILITIES, services, Setup(option, url, key, sound))


class DashScopeRecognition(StreamingRecognition):
    """One caller: one connection, one task after the other."""

    provider = NAME
    packet_ms = 100
    waits_for_ready = True
    answer_s = 2.5

    def __init__(self, services: Services, setup: Setup, on_event: Callable[[RecognitionEvent], None], language: str | None) -> None:
        super().__init__(services, setup, on_event, language)
        self._task_id = ""
        self._starts: deque[int] = deque([0])
        """The start of the running task and of the waiting ones, in samples sent: the vendor counts each task's sound from zero."""

    async def address(self) -> Address:
        return Address(self._url, headers_of(self._key), secrets=(self._key,))

    def opening(self) -> Sequence[Message]:
        return (self._run_task(),)

    def _run_task(self) -> str:
        option = self._option
        self._task_id = self._services.world.randomness.uuid()
        parameters: dict[str, Any] = {"format": "pcm", "sample_rate": self._sound.rate_hz, "heartbeat": True}
        if language := base_language(self._language):
            parameters["language_hints"] = [language]
        if option.endpointing is not None:
            parameters["max_sentence_silence"] = min(6_000, max(200, round(option.endpointing)))
        parameters.update({key: value for key, value in option.extra.items() if key not in OURS})
        model = option.model_type or (TELEPHONE_MODEL if self._sound.rate_hz == 8_000 else DEFAULT_MODEL)
        payload = {
            "task_group": "audio",
            "task": "asr",
            "function": "recognition",
            "model": model,
            "parameters": parameters,
            "input": {},
        }
        return write_object({"header": {"action": "run-task", "task_id": self._task_id, "streaming": "duplex"}, "payload": payload})

    def finalize(self) -> Sequence[Last]:
        self._starts.append(self._sent)
        return (Last('{"header":{"action":"finish-task","task_id":"TASK","streaming":"duplex"},"payload":{"input":{}}}'),)

    def _take_next(self) -> Message:
        message = super()._take_next()
        return message.replace('"TASK"', f'"{self._task_id}"') if isinstance(message, str) else message

    def handle(self, message: Mapping[str, Any]) -> None:
        header, payload = mapping(message.get("header")), mapping(message.get("payload"))
        match header.get("event"):
            case "task-started":
                self.note_ready()
            case "result-generated":
                output = mapping(payload.get("output"))
                self._handle_sentence(mapping(output.get("sentence")) or mapping(output.get("transcription")))
            case "task-finished":
                self.note_finished()
                if len(self._starts) > 1:
                    self._starts.popleft()
                self.send_now(self._run_task())
            case "task-failed":
                raise task_error(message, self._secrets)
            case _:
                pass

    def _handle_sentence(self, sentence: Mapping[str, Any]) -> None:
        transcript = text(sentence.get("text"))
        if sentence.get("heartbeat") is True or not transcript:
            return
        words = tuple(
            Word(f"{text(word.get('text'))}{text(word.get('punctuation'))}".strip(), start, max(start, self._at(word.get("end_time"))))
            for word in mappings(sentence.get("words"))
            for start in (self._at(word.get("begin_time")),)
        )
        start = self._at(sentence.get("begin_time"))
        end = words[-1].end_sample if words else self._at(sentence.get("end_time"))
        segment = Segment(transcript, start, max(start, end), None, words)
        is_end = sentence.get("sentence_end")
        if is_end is True or (is_end is None and number(sentence.get("end_time")) is not None):
            self.note_final(segment)
        else:
            self.note_interim(segment)

    def _at(self, milliseconds: Any) -> int:
        """The call's sample for a time in the running task."""
        return max(0, self.to_sample(self._starts[0] + (number(milliseconds) or 0.0) * LISTEN_RATE_HZ / 1000))
