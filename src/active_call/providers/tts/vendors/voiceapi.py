"""Synthesis by a VoiceAPI server (sherpa-onnx behind a WebSocket), which users run themselves.

Wire: https://github.com/ruzhila/voiceapi. The address carries the voice, the speed and the rate; a text goes, sound comes as binary frames,
then a JSON object with its length. A connection speaks one text. Options: `endpoint` (VOICEAPI_ENDPOINT, else
http://localhost:8000), `speaker` (a number; VOICEAPI_SPEAKER_ID), `speed`, `samplerate`; `extra` is sent as further parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from active_call.base.errors import ConfigError, ProviderError
from active_call.contract.options import TtsOption
from active_call.providers.credentials import find_url
from active_call.providers.declaration import DeclaredOption, ProviderDeclaration
from active_call.providers.json_values import number, read_object, text
from active_call.providers.services import Services
from active_call.providers.text_to_speech import SpeechChunk, TextToSpeechCapabilities
from active_call.providers.tts.vendors.socket_speech import SocketTextToSpeech
from active_call.providers.tts.vendors.spoken_text import Message, SpokenText, VoiceAddress
from active_call.providers.tts.vendors.vendor_voice import speed_in
from active_call.providers.vendor_parameters import with_parameters

NAME: Final = "voiceapi"
URL: Final = "ws://localhost:8000/tts"
URL_VARIABLE: Final = "VOICEAPI_ENDPOINT"
SPEAKER_VARIABLE: Final = "VOICEAPI_SPEAKER_ID"
RATES: Final = (8_000, 16_000, 22_050, 24_000, 44_100, 48_000)
PIECE_BYTES: Final = 3_200

CAPABILITIES: Final = TextToSpeechCapabilities(16_000)

DECLARATION: Final = ProviderDeclaration(
    kind="tts",
    name=NAME,
    title="A VoiceAPI server of one's own",
    capabilities=CAPABILITIES,
    transport="WebSocket",
    documentation="https://github.com/ruzhila/voiceapi",
    prices="https://github.com/ruzhila/voiceapi",
    base_url=URL,
    options=(
        DeclaredOption("endpoint", f"the server; else {URL_VARIABLE} in the environment", "http://localhost:8000"),
        DeclaredOption("speaker", f"the number of a voice; else {SPEAKER_VARIABLE}", "0"),
        DeclaredOption("speed", "0.5 to 2", "1.0"),
        DeclaredOption("samplerate", "8000 to 48000", "16000"),
    ),
    notes="It needs no key.",
)


def create(option: TtsOption, services: Services) -> VoiceApiTextToSpeech:
    """The adapter. Raises ConfigError for an invalid address, and for a voice that is not a number."""
    url = find_url("tts", option.endpoint or services.environment.get(URL_VARIABLE) or None, URL)
    speaker = option.speaker or services.environment.get(SPEAKER_VARIABLE) or "0"
    if not speaker.isdecimal():
        raise ConfigError("tts.speaker", f"expected the number of a voice, found {speaker!r}")
    return VoiceApiTextToSpeech(option, services, url, speaker)


class VoiceApiTextToSpeech(SocketTextToSpeech):
    """A VoiceAPI server as a `TextToSpeech`."""

    name = NAME
    can = CAPABILITIES
    rates = RATES
    keeps_s = 0.0

    def __init__(self, option: TtsOption, services: Services, url: str, speaker: str) -> None:
        super().__init__(option, services, url)
        self._speaker = speaker

    def address(self, spoken: SpokenText) -> VoiceAddress:
        speaker = spoken.speaker or self._speaker
        if not speaker.isdecimal():
            raise ProviderError(NAME, f"voices are numbers; asked for {speaker!r}")
        speed = speed_in(self._option, spoken.speed, 0.5, 2.0)
        parameters = {"samplerate": self.rate_hz, "sid": speaker, "speed": speed or 1.0, "chunk_size": PIECE_BYTES, "split": False}
        key = self._option.secret_key
        headers = (("Authorization", f"Bearer {key}"),) if key else ()
        return VoiceAddress(with_parameters(self.endpoint, parameters, self._option.extra), headers, (key,) if key else ())

    def ask(self, spoken: SpokenText) -> Sequence[Message]:
        return (spoken.text,)

    def read(self, message: Message, spoken: SpokenText) -> SpeechChunk | None:
        if isinstance(message, bytes):
            return SpeechChunk(message)
        event = read_object(NAME, message)
        if reason := text(event.get("error")):
            raise ProviderError(NAME, reason, retryable=True)
        progress = number(event.get("progress"))
        return None if progress is None or progress >= 1 else SpeechChunk(b"")
