"""Recognition by Azure's Speech service over its WebSocket, one turn for each utterance.

Wire: https://learn.microsoft.com/azure/ai-services/speech-service (the protocol of
https://learn.microsoft.com/previous-versions/azure/cognitive-services/Speech-Service/API-Reference-REST/websocketprotocol, which the
vendor's SDKs speak). Text messages have headers and a JSON body, binary ones a length, headers and sound. A turn begins with the header
of a WAV file and ends with an empty message; `speech.hypothesis` and `speech.phrase` come, `turn.end` confirms that all results were sent.
The SDK is a large native library with threads of its own, so it is not used. Options: `extra.region` (or `baseUrl`), `language`,
`keyterms` (phrase list).
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from active_call.base.errors import ConfigError, ProviderError
from active_call.base.pcm import LISTEN_RATE_HZ
from active_call.base.version import __version__
from active_call.contract.options import AsrOption
from active_call.providers.asr.segments import Segment
from active_call.providers.asr.vendors.sound_format import TELEPHONE_MULAW, WIDE, SoundFormat, chosen_format
from active_call.providers.asr.vendors.streaming import StreamingRecognition, StreamingSpeechToText
from active_call.providers.asr.vendors.vendor_options import terms_of
from active_call.providers.asr.vendors.wire import Address, Message, Setup
from active_call.providers.credentials import KeySource, find_key, find_url
from active_call.providers.declaration import DeclaredOption, ProviderDeclaration
from active_call.providers.json_values import mapping, mappings, number, read_object, text, write_object
from active_call.providers.services import Services
from active_call.providers.speech_to_text import RecognitionEvent, SpeechToTextCapabilities, Word
from active_call.providers.vendor_parameters import regional_tag, with_parameters

NAME: Final = "azure"
HOST: Final = "stt.speech.microsoft.com"
PATH: Final = "/speech/recognition/conversation/cognitiveservices/v1"
DEFAULT_LANGUAGE: Final = "en-US"
REGION_VARIABLES: Final = ("AZURE_SPEECH_REGION", "SPEECH_REGION")
SOURCE: Final = KeySource(
    "Azure Speech", ("AZURE_SPEECH_KEY", "SPEECH_KEY"), "https://portal.azure.com",
    ("microsoft.com", "azure.com", "azure.cn", "azure.us"),
)  # fmt: skip
CAPABILITIES: Final = SpeechToTextCapabilities(partials=True, words=True, sample_rates=(8_000, 16_000), phrases=True)
TICKS_PER_S: Final = 10_000_000
MAX_TERMS: Final = 500
_FORMAT_TAGS: Final = {False: (1, 16), True: (7, 8)}
"""WAVE format tag and bits of a sample (RFC 2361): PCM, or µ-law."""

DECLARATION: Final = ProviderDeclaration(
    kind="asr",
    name=NAME,
    title="Azure Speech",
    capabilities=CAPABILITIES,
    transport="WebSocket",
    documentation="https://learn.microsoft.com/azure/ai-services/speech-service/speech-to-text",
    prices="https://azure.microsoft.com/pricing/details/cognitive-services/speech-services",
    keys=SOURCE.variables,
    key_page=SOURCE.key_page,
    base_url=f"wss://REGION.{HOST}",
    options=(
        DeclaredOption("extra.region", f"the resource's region, such as westeurope; else {REGION_VARIABLES[0]} in the environment"),
        DeclaredOption("language", "a BCP 47 tag", DEFAULT_LANGUAGE),
        DeclaredOption("keyterms", "expected words, sent as a phrase list"),
        DeclaredOption("model", "the endpoint id of a custom model"),
        DeclaredOption("samplerate", "8000 with extra.encoding: mulaw sends µ-law", "16000"),
        DeclaredOption("extra.*", "any other query parameter, such as profanity"),
    ),
)


def create(option: AsrOption, services: Services) -> StreamingSpeechToText:
    """The adapter. Raises ConfigError without a key, and without a region."""
    environment = services.environment
    region = option.extra.get("region") or next((environment[name] for name in REGION_VARIABLES if environment.get(name)), None)
    if not option.endpoint and not (isinstance(region, str) and region.isalnum()):
        reason = f"missing: the region of the Speech resource, such as westeurope; or {REGION_VARIABLES[0]} in the environment"
        raise ConfigError("asr.extra.region", reason)
    url = find_url("asr", option.endpoint, f"wss://{region or 'westeurope'}.{HOST}{PATH}")
    key = find_key("asr", option.secret_key, url, SOURCE, environment)
    sound = chosen_format(option, WIDE, TELEPHONE_MULAW, SoundFormat(8_000))
    return StreamingSpeechToText(AzureRecognition, CAPABILITIES, services, Setup(option, url, key, sound))


class AzureRecognition(StreamingRecognition):
    """One caller: one connection, and one vendor turn for each utterance."""

    provider = NAME
    packet_ms = 100
    only_utterances = True
    answer_s = 3.0

    def __init__(self, services: Services, setup: Setup, on_event: Callable[[RecognitionEvent], None], language: str | None) -> None:
        super().__init__(services, setup, on_event, language)
        self._request = ""
        """The id of the turn being sent; empty between utterances."""
        self._base = 0
        self._turns: deque[tuple[str, int]] = deque()
        """The turns that the vendor has not ended, each with the number of samples sent before it."""

    async def address(self) -> Address:
        option = self._option
        parameters: dict[str, Any] = {
            "language": regional_tag(self._language, DEFAULT_LANGUAGE),
            "format": "detailed",
            "wordLevelTimestamps": True,
            "cid": option.model_type,
        }
        headers = {"X-ConnectionId": self._new_id()}
        if self._key:
            headers["Ocp-Apim-Subscription-Key"] = self._key
        extra = {key: value for key, value in option.extra.items() if key != "region"}
        return Address(with_parameters(self._url, parameters, extra), headers, secrets=(self._key,))

    def opening(self) -> Sequence[Message]:
        system = {"name": "active-call", "version": __version__, "build": "python", "lang": "Python"}
        source = {"connectivity": "Unknown", "manufacturer": "", "model": "", "type": "Stream"}
        config = {"context": {"system": system, "os": {"platform": "Linux", "name": "", "version": ""}, "audio": {"source": source}}}
        return (self._text("speech.config", self._new_id(), config),)

    def start_utterance(self, index: int, sample: int) -> None:
        if not self._n_open:
            self._base = self._sent
        super().start_utterance(index, sample)

    def packet(self, sound: bytes) -> Message:
        if not self._request:
            self._begin_turn()
        return self._audio(sound)

    def finalize(self) -> Sequence[Message]:
        if not self._request:
            self._begin_turn()
        last, self._request = self._audio(b""), ""
        return (last,)

    def _begin_turn(self) -> None:
        self._request = self._new_id()
        self._turns.append((self._request, self._base))
        if terms := terms_of(self._option, self._phrases, MAX_TERMS):
            group = {"Type": "Generic", "Items": [{"Text": term} for term in terms]}
            self.send(self._text("speech.context", self._request, {"dgi": {"Groups": [group]}}))
        self.send(self._audio(_wav_header(self._sound)))

    def _new_id(self) -> str:
        return self._services.world.randomness.uuid().replace("-", "")

    def _head(self, path: str, request: str, kind: str) -> str:
        at = self._services.world.clock.utc_now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return f"Path: {path}\r\nX-RequestId: {request}\r\nX-Timestamp: {at}\r\nContent-Type: {kind}\r\n"

    def _text(self, path: str, request: str, body: Mapping[str, Any]) -> str:
        return f"{self._head(path, request, 'application/json')}\r\n{write_object(body)}"

    def _audio(self, sound: bytes) -> bytes:
        head = self._head("audio", self._request, "audio/x-wav").encode()
        return struct.pack(">H", len(head)) + head + sound

    def read(self, message: Message) -> Mapping[str, Any]:
        """The headers in lower case, and the body as `body`."""
        if isinstance(message, bytes):
            return {}
        head, separator, body = message.partition("\r\n\r\n")
        if not separator:
            return {"body": read_object(NAME, message)}
        pairs = (line.partition(":") for line in head.split("\r\n"))
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        return {**headers, "body": read_object(NAME, body) if body.strip() else {}}

    def handle(self, message: Mapping[str, Any]) -> None:
        body, request = mapping(message.get("body")), text(message.get("x-requestid")).lower()
        base = next((base for turn, base in self._turns if turn == request), None)
        if base is None:
            return
        match text(message.get("path")).lower():
            case "speech.hypothesis":
                if transcript := text(body.get("Text")):
                    self.note_interim(Segment(transcript, *self._span(body, base)))
            case "speech.phrase":
                self._handle_phrase(body, base)
            case "turn.end":
                while self._turns and self._turns.popleft()[0] != request:
                    pass
                self.note_finished()
            case _:
                pass

    def _handle_phrase(self, body: Mapping[str, Any], base: int) -> None:
        status = text(body.get("RecognitionStatus"))
        if status == "Error":
            raise ProviderError(NAME, "the recognition of an utterance failed", retryable=True)
        if status != "Success":
            return
        best = next(iter(mappings(body.get("NBest"))), {})
        words = tuple(Word(text(word.get("Word")), *self._span(word, base)) for word in mappings(best.get("Words")))
        transcript = text(best.get("Display")) or text(body.get("DisplayText"))
        self.note_final(Segment(transcript, *self._span(body, base), number(best.get("Confidence")), words))

    def _span(self, body: Mapping[str, Any], base: int) -> tuple[int, int]:
        """The position of a result with an offset and a duration in units of 100 ns, counted from the turn's first sample."""
        offset_s = (number(body.get("Offset")) or 0.0) / TICKS_PER_S
        end_s = offset_s + (number(body.get("Duration")) or 0.0) / TICKS_PER_S
        start = max(0, self.to_sample(base + offset_s * LISTEN_RATE_HZ))
        return start, max(start, self.to_sample(base + end_s * LISTEN_RATE_HZ))


def _wav_header(form: SoundFormat) -> bytes:
    """The header of a WAV file of unknown length: its lengths are zero."""
    tag, bits = _FORMAT_TAGS[form.is_mulaw]
    layout = struct.pack("<HHIIHH", tag, 1, form.rate_hz, form.bytes_per_s, bits // 8, bits)
    return b"RIFF" + struct.pack("<I", 0) + b"WAVEfmt " + struct.pack("<I", len(layout)) + layout + b"data" + struct.pack("<I", 0)
