"""Synthesis by Hume Octave at 48 kHz: a whole text by HTTP, streamed as lines of JSON; a text that is being written over a WebSocket.

Wires: https://dev.hume.ai/reference/text-to-speech-tts/synthesize-json-streaming and …/stream-input. On the WebSocket each clause goes as
`text` and a `flush`; `close` asks for the rest, and the vendor then closes the connection. Sound comes in snippets with their texts: their
letters are counted to find the end of a clause. Options: `speaker` (the name of a voice in Hume's library,
or an id), `speed` 0.5 to 2, `emotion` (acting instructions); `secret_key` (HUME_API_KEY); `extra` is sent as further fields.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from msgspec import field
from msgspec.structs import replace

from active_call.base.errors import ProviderError
from active_call.contract.options import TtsOption
from active_call.providers.credentials import KeySource, find_key, find_url, without_secrets
from active_call.providers.declaration import DeclaredOption, ProviderDeclaration
from active_call.providers.json_values import read_object, text, write_object
from active_call.providers.services import Services
from active_call.providers.speech.written_text import WholeOrWritten
from active_call.providers.text_to_speech import SpeechChunk, SynthesisStream, TextToSpeechCapabilities
from active_call.providers.tts.vendors.http_speech import HttpTextToSpeech, SpeechRequest
from active_call.providers.tts.vendors.socket_speech import SocketTextToSpeech
from active_call.providers.tts.vendors.spelling import Spelling
from active_call.providers.tts.vendors.spoken_text import Message, SpokenText, VoiceAddress
from active_call.providers.tts.vendors.vendor_voice import sound_in, speed_in, without_wav_header
from active_call.providers.vendor_parameters import with_parameters

NAME: Final = "hume"
BASE_URL: Final = "https://api.hume.ai"
PATH: Final = "/v0/tts/stream/json"
RATE_HZ: Final = 48_000
SOURCE: Final = KeySource("Hume", ("HUME_API_KEY",), "https://platform.hume.ai/settings/keys", ("hume.ai",))
DEFAULT_VOICE: Final = "Ava Song"

CAPABILITIES: Final = TextToSpeechCapabilities(RATE_HZ, streaming_text=True, emotions=True)
SOCKET_PARAMETERS: Final = frozenset({"version", "context_generation_id", "instant_mode"})
"""The keys of `extra` that the WebSocket takes as parameters."""
SOCKET_PATH: Final = "/v0/tts/stream/input"

DECLARATION: Final = ProviderDeclaration(
    kind="tts",
    name=NAME,
    title="Hume Octave",
    capabilities=CAPABILITIES,
    transport="HTTP",
    documentation="https://dev.hume.ai/reference/text-to-speech-tts/synthesize-json-streaming",
    prices="https://www.hume.ai/pricing",
    keys=SOURCE.variables,
    key_page=SOURCE.key_page,
    base_url=BASE_URL,
    default_model=DEFAULT_VOICE,
    options=(
        DeclaredOption("speaker", "the name of a voice in Hume's library, or an id of your own", DEFAULT_VOICE),
        DeclaredOption("speed", "0.5 to 2", "1.0"),
        DeclaredOption("emotion", "how to say it, in words"),
        DeclaredOption("extra.instant_mode", "true: starts sooner, and costs more", "true", is_latency_knob=True),
    ),
    notes="A text that is being written goes over a WebSocket, each clause at once, if baseUrl has no path of its own.",
)


def create(option: TtsOption, services: Services) -> HumeTextToSpeech:
    """The adapter. Raises ConfigError without a key."""
    url = find_url("tts", option.endpoint, BASE_URL + PATH)
    return HumeTextToSpeech(option, services, url, find_key("tts", option.secret_key, url, SOURCE, services.environment))


class HumeTextToSpeech(HttpTextToSpeech):
    """Octave as a `TextToSpeech`."""

    name = NAME
    can = CAPABILITIES
    answer = "lines"

    def __init__(self, option: TtsOption, services: Services, url: str, key: str) -> None:
        super().__init__(option, services, url, key)
        path = urlsplit(url).path
        self._socket = HumeSocket(option, services, url.replace("http", "ws", 1).removesuffix(PATH) + SOCKET_PATH, key)
        self._can_stream = path == PATH
        """An address with another path is not Hume's own, and has no WebSocket that we know."""

    @property
    def capabilities(self) -> TextToSpeechCapabilities:
        return replace(self.can, streaming_text=self._can_stream)

    def open(self, *, speaker: str | None = None, speed: float | None = None) -> SynthesisStream:
        def whole() -> SynthesisStream:
            return super(HumeTextToSpeech, self).open(speaker=speaker, speed=speed)

        return WholeOrWritten(whole, lambda: self._socket.open(speaker=speaker, speed=speed)) if self._can_stream else whole()

    async def connect_ahead(self) -> None:
        """Open a connection for the next whole text, and one for the next text that is being written."""
        await asyncio.gather(super().connect_ahead(), self._socket.connect_ahead() if self._can_stream else asyncio.sleep(0))

    async def close(self) -> None:
        """Close the kept WebSockets."""
        await self._socket.close()

    def request(self, spoken: SpokenText) -> SpeechRequest:
        option, said = self._option, utterance(self._option, spoken, spoken.text)
        body = {"utterances": [said], "format": {"type": "pcm"}, "strip_headers": True, "instant_mode": True, **option.extra}
        return SpeechRequest(self.endpoint, body, {"X-Hume-Api-Key": self._key} if self._key else {})

    def read(self, answer: Mapping[str, Any]) -> SpeechChunk:
        if reason := text(answer.get("error")) or (text(answer.get("message")) if "audio" not in answer else ""):
            raise self.fail(reason, retryable=True)
        return SpeechChunk(without_wav_header(sound_in(NAME, answer.get("audio"))) if answer.get("audio") else b"")


def utterance(option: TtsOption, spoken: SpokenText, said: str) -> dict[str, Any]:
    """A text with its voice, as both APIs take it."""
    voice = spoken.speaker or option.speaker or DEFAULT_VOICE
    is_id = re.fullmatch(r"[0-9a-f]{8}-[0-9a-f-]{27}", voice) is not None
    found: dict[str, Any] = {"text": said, "voice": {"id": voice} if is_id else {"name": voice, "provider": "HUME_AI"}}
    if option.emotion:
        found["description"] = option.emotion
    if (speed := speed_in(option, spoken.speed, 0.5, 2.0)) is not None:
        found["speed"] = speed
    return found


class SpeltText(SpokenText, frozen=True):
    """A text that is being written, with what of it has sounded."""

    spelling: Spelling = field(default_factory=Spelling)


class HumeSocket(SocketTextToSpeech):
    """Octave over a WebSocket, for a text that is being written."""

    name = NAME
    can = CAPABILITIES
    takes_written_text = True
    closes_at_end = True

    def new_spoken_text(self, text: str, speaker: str | None, speed: float | None) -> SpokenText:
        return SpeltText(text, self.new_id(), speaker, speed)

    def address(self, spoken: SpokenText) -> VoiceAddress:
        parameters = {"api_key": self._key or None, "format_type": "pcm", "strip_headers": True, "no_binary": True, "instant_mode": True}
        given = {name: value for name, value in self._option.extra.items() if name in SOCKET_PARAMETERS}
        return VoiceAddress(with_parameters(self.endpoint, parameters, given), (), (self._key,))

    def ask(self, spoken: SpokenText) -> Sequence[Message]:
        return (*self.say(spoken, spoken.text), *self.finish(spoken))

    def say(self, spoken: SpokenText, clause: str) -> Sequence[Message]:
        if isinstance(spoken, SpeltText):
            spoken.spelling.add(clause)
        return (write_object(utterance(self._option, spoken, clause.rstrip() + " ")), write_object({"flush": True}))

    def finish(self, spoken: SpokenText) -> Sequence[Message]:
        return (write_object({"close": True}),)

    def read(self, message: Message, spoken: SpokenText) -> SpeechChunk | None:
        event = read_object(NAME, message)
        if event.get("type") == "error" or (reason_of(event) and "audio" not in event):
            reason = without_secrets(reason_of(event) or "an error without a reason", (self._key,))
            raise ProviderError(NAME, reason, retryable="credit" not in reason.lower())
        pcm = without_wav_header(sound_in(NAME, event.get("audio"))) if event.get("audio") else b""
        letters = sum(1 for char in text(event.get("text")) if not char.isspace()) if event.get("is_last_chunk") is True else 0
        return SpeechChunk(pcm, ends_flush=isinstance(spoken, SpeltText) and spoken.spelling.count(letters))


def reason_of(answer: Mapping[str, Any]) -> str:
    """The vendor's words for an error; empty if it is none."""
    return text(answer.get("error")) or text(answer.get("message"))
