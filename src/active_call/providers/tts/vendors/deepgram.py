"""Synthesis by Deepgram Aura.

Wire: https://developers.deepgram.com/reference/text-to-speech/speak-streaming. `Speak` and `Flush` go, binary sound comes, then `Flushed`;
`Clear` cancels a text and is answered by `Cleared`. Options: `speaker` or `model` (aura-2-thalia-en), `samplerate`; `extra` is sent as
further parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from weakref import WeakKeyDictionary

from websockets.asyncio.client import ClientConnection

from active_call.base.errors import ProviderError
from active_call.contract.options import TtsOption
from active_call.providers.accounts.deepgram import BASE_URL, NAME, SOURCE, headers_of
from active_call.providers.credentials import find_key, find_url, without_secrets
from active_call.providers.declaration import DeclaredOption, ProviderDeclaration
from active_call.providers.json_values import read_object, text, write_object
from active_call.providers.services import Services
from active_call.providers.text_to_speech import SpeechChunk, TextToSpeechCapabilities
from active_call.providers.tts.vendors.socket_speech import SocketTextToSpeech
from active_call.providers.tts.vendors.spoken_text import Message, SpokenText, VoiceAddress
from active_call.providers.vendor_parameters import with_parameters

DEFAULT_VOICE: Final = "aura-2-thalia-en"
PATH: Final = "/v1/speak"
REFUSALS: Final = ("flush", "length", "limit")
"""Warnings after which the text is not spoken: more than 20 flushes in a minute of one connection
(https://developers.deepgram.com/docs/tts-ws-flush), or a text that is too long."""
MAX_TEXTS: Final = 12
"""Of one connection."""
RATES: Final = (8_000, 16_000, 24_000, 32_000, 48_000)

CAPABILITIES: Final = TextToSpeechCapabilities(24_000, streaming_text=True)

DECLARATION: Final = ProviderDeclaration(
    kind="tts",
    name=NAME,
    title="Deepgram Aura",
    capabilities=CAPABILITIES,
    transport="WebSocket",
    documentation="https://developers.deepgram.com/reference/text-to-speech/speak-streaming",
    prices="https://deepgram.com/pricing",
    keys=SOURCE.variables,
    key_page=SOURCE.key_page,
    base_url=BASE_URL,
    default_model=DEFAULT_VOICE,
    options=(
        DeclaredOption("speaker", "the voice, which is also the model", DEFAULT_VOICE),
        DeclaredOption("samplerate", "8000 to 48000; a lower rate arrives sooner", "24000", is_latency_knob=True),
        DeclaredOption("extra.*", "any other parameter of the API"),
    ),
)


def create(option: TtsOption, services: Services) -> DeepgramTextToSpeech:
    """The adapter. Raises ConfigError without a key."""
    url = find_url("tts", option.endpoint, BASE_URL + PATH)
    return DeepgramTextToSpeech(option, services, url, find_key("tts", option.secret_key, url, SOURCE, services.environment))


class DeepgramTextToSpeech(SocketTextToSpeech):
    """Aura as a `TextToSpeech`."""

    name = NAME
    can = CAPABILITIES
    rates = RATES
    takes_written_text = True
    has_contexts = False

    def __init__(self, option: TtsOption, services: Services, url: str, key: str) -> None:
        super().__init__(option, services, url, key)
        self.model = "aura-2" if (option.speaker or option.model or DEFAULT_VOICE).startswith("aura-2") else "aura-1"
        """The model name for billing, taken from the voice name."""
        self._n_texts: WeakKeyDictionary[ClientConnection, int] = WeakKeyDictionary()

    async def prepare(self, socket: ClientConnection, spoken: SpokenText) -> None:
        self._n_texts[socket] = self._n_texts.get(socket, 0) + 1

    def keep(self, address: VoiceAddress, socket: ClientConnection) -> None:
        """A connection is used for a limited number of texts, so that it stays within the vendor's limit of flushes a minute."""
        if self._n_texts.get(socket, 0) < MAX_TEXTS:
            super().keep(address, socket)
        else:
            self.close_later(socket)

    def address(self, spoken: SpokenText) -> VoiceAddress:
        voice = spoken.speaker or self._option.speaker or self._option.model or DEFAULT_VOICE
        parameters = {"model": voice, "encoding": "linear16", "sample_rate": self.rate_hz}
        url = with_parameters(self.endpoint, parameters, self._option.extra)
        return VoiceAddress(url, tuple(headers_of(self._key).items()), (self._key,))

    def ask(self, spoken: SpokenText) -> Sequence[Message]:
        return (write_object({"type": "Speak", "text": spoken.text}), '{"type":"Flush"}')

    def say(self, spoken: SpokenText, clause: str) -> Sequence[Message]:
        return (write_object({"type": "Speak", "text": clause}), '{"type":"Flush"}')

    def read(self, message: Message, spoken: SpokenText) -> SpeechChunk | None:
        if isinstance(message, bytes):
            return SpeechChunk(message)
        event = read_object(NAME, message)
        match event.get("type"):
            case "Flushed":
                return None
            case "Warning" if any(word in str(event).lower() for word in REFUSALS):
                reason = f"{text(event.get('code'))} {text(event.get('description'))}".strip()
                raise ProviderError(NAME, without_secrets(reason, (self._key,)), retryable="flush" in reason.lower())
            case "Error":
                reason = text(event.get("description")) or text(event.get("err_msg")) or "an error without a reason"
                raise ProviderError(NAME, without_secrets(reason, (self._key,)), retryable=True)
            case _:
                return SpeechChunk(b"")
