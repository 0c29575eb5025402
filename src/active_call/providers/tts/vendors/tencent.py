"""Synthesis by Tencent Cloud: streamed text over a WebSocket (`tencent`), and short texts by the cloud API (`tencent_basic`).

Wires: https://cloud.tencent.com/document/api/1073/108595 (stream_wsv2) and https://cloud.tencent.com/document/product/1073/37995
(TextToVoice). On the WebSocket the address carries every parameter and a signature; `ready` comes, `ACTION_SYNTHESIS` and
`ACTION_COMPLETE` go, sound comes as binary frames, then `final`; each session has its own connection.

The vendor speaks what a line break or one of `。；？！;?!` ends (not `.`) at once and keeps the rest, so a clause of streamed text goes
with a line break. Nothing marks the end of a clause's sound: it is where the subtitles say that its last letter ends; a voice
without subtitles reports only the end of all.

Options: `appId`, `secretId`, `secretKey`, `speaker` (the number of a voice), `speed`, `volume`, `emotion`, `samplerate`; `extra` is sent
as further parameters.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

from msgspec import field as struct_field
from websockets.asyncio.client import ClientConnection

from active_call.base.errors import ConfigError, ProviderError
from active_call.base.pcm import BYTES_PER_SAMPLE
from active_call.contract.options import TtsOption
from active_call.providers.accounts.tencent import APP_ID, KEY_PAGE, KEYS, LIFETIME_S, NAME, TencentAccount, find_account, signed_url
from active_call.providers.credentials import find_url, without_secrets
from active_call.providers.declaration import DeclaredOption, ProviderDeclaration
from active_call.providers.json_values import mapping, mappings, number, read_object, text, write_object
from active_call.providers.services import Services
from active_call.providers.text_to_speech import SpeechChunk, TextToSpeechCapabilities, WordTime
from active_call.providers.tts.vendors.socket_speech import SocketTextToSpeech
from active_call.providers.tts.vendors.spelling import Spelling
from active_call.providers.tts.vendors.spoken_text import Message, SpokenText, VoiceAddress
from active_call.providers.tts.vendors.vendor_voice import speed_in

URL: Final = "wss://tts.cloud.tencent.com/stream_wsv2"
DEFAULT_VOICE: Final = "101001"
RATES: Final = (8_000, 16_000, 24_000)
SPEEDS: Final = ((0.6, -2.0), (0.8, -1.0), (1.0, 0.0), (1.2, 1.0), (1.5, 2.0), (2.5, 6.0))
"""The speed, and the vendor's value for it; values between are interpolated."""
REFUSED_FOR_GOOD: Final = frozenset({10_001, 10_002, 10_003})
"""Permanent error codes: parameters, no account or quota, and the signature."""
CAPABILITIES: Final = TextToSpeechCapabilities(16_000, streaming_text=True, word_times=True, emotions=True)
OPTIONS: Final = (
    DeclaredOption("speaker", "the number of a voice", DEFAULT_VOICE),
    DeclaredOption("speed", "0.6 to 2.5", "1.0"),
    DeclaredOption("volume", "1 to 10", "5"),
    DeclaredOption("emotion", "an emotion of the voice, such as happy"),
    DeclaredOption("samplerate", "8000, 16000, and 24000 with some voices", "16000"),
    DeclaredOption("extra.*", "any other parameter, such as SegmentRate or FastVoiceType"),
)

DECLARATION: Final = ProviderDeclaration(
    kind="tts",
    name=NAME,
    title="Tencent Cloud streaming synthesis",
    capabilities=CAPABILITIES,
    transport="WebSocket",
    documentation="https://cloud.tencent.com/document/api/1073/108595",
    prices="https://cloud.tencent.com/document/product/1073/34112",
    keys=(*KEYS, *APP_ID.variables),
    needs_all_keys=True,
    key_page=KEY_PAGE,
    base_url=URL,
    default_model=DEFAULT_VOICE,
    options=(DeclaredOption("appId, secretId, secretKey", "the account"), *OPTIONS),
)


def create(option: TtsOption, services: Services) -> TencentTextToSpeech:
    """The adapter. Raises ConfigError without the three parts of an account, and for a voice that is not a number."""
    url = find_url("tts", option.endpoint, URL)
    account = find_account("tts", url, services.environment, app_id=option.app_id, secret_id=option.secret_id, secret_key=option.secret_key)
    if not account.app_id.isdecimal():
        raise ConfigError("tts.appId", "expected the number of the account")
    check_voice(option)
    return TencentTextToSpeech(option, services, url, account)


def check_voice(option: TtsOption) -> None:
    """Raises ConfigError for a voice that is not a number."""
    if option.speaker and not option.speaker.isdecimal():
        raise ConfigError("tts.speaker", f"expected the number of a voice, such as {DEFAULT_VOICE}, found {option.speaker!r}")


def voice_settings_of(option: TtsOption, spoken: SpokenText) -> dict[str, Any]:
    """The voice parameters that both APIs share. Raises ProviderError for a voice that is not a number."""
    voice = spoken.speaker or option.speaker or DEFAULT_VOICE
    if not voice.isdecimal():
        raise ProviderError(NAME, f"voices are numbers, such as {DEFAULT_VOICE}; asked for {voice!r}")
    parameters: dict[str, Any] = {"VoiceType": int(voice), "ModelType": 1}
    if (speed := speed_in(option, spoken.speed, SPEEDS[0][0], SPEEDS[-1][0])) is not None:
        parameters["Speed"] = vendor_speed(speed)
    if option.volume is not None:
        parameters["Volume"] = 2 * (option.volume - 5)
    if option.emotion:
        parameters["EmotionCategory"] = option.emotion
    return parameters


def vendor_speed(pace: float) -> float:
    """`pace` (1.0 is normal) on the vendor's scale."""
    for (low, low_value), (high, high_value) in pairwise(SPEEDS):
        if pace <= high:
            return round(low_value + (pace - low) / (high - low) * (high_value - low_value), 2)
    return SPEEDS[-1][1]


def words_of_subtitles(subtitles: Any) -> tuple[WordTime, ...]:
    """Words (for Chinese: characters) with their times."""
    words = []
    for one in mappings(subtitles):
        begin, end = number(one.get("BeginTime")), number(one.get("EndTime"))
        if text(one.get("Text")).strip() and begin is not None and end is not None:
            words.append(WordTime(text(one.get("Text")).strip(), begin, end))
    return tuple(words)


@dataclass(slots=True)
class _Heard:
    """What was spoken of one session."""

    spelling: Spelling = field(default_factory=Spelling)
    _sound_ms: float = 0.0
    _words_end_ms: float = 0.0
    _ends_ms: deque[float] = field(default_factory=deque)
    """Where the sound of complete clauses ends that has not come as a whole."""

    def take_sound(self, ms: float) -> bool:
        """Count sound; returns whether it completes a clause."""
        self._sound_ms += ms
        return self.ends_clause()

    def take_words(self, words: tuple[WordTime, ...]) -> tuple[WordTime, ...]:
        """The words of a sentence with times in the sound of the session; times that go back are read as relative to the sentence."""
        if not words:
            return ()
        if words[0].start_ms + 1 < self._words_end_ms:
            began_ms = self._words_end_ms
            words = tuple(WordTime(word.text, word.start_ms + began_ms, word.end_ms + began_ms) for word in words)
        self._words_end_ms = words[-1].end_ms
        if self.spelling.count(sum(1 for word in words for char in word.text if not char.isspace())):
            self._ends_ms.append(self._words_end_ms)
        return words

    def ends_clause(self) -> bool:
        """Whether the sound of the oldest clause is complete."""
        if not self._ends_ms or self._sound_ms + 1 < self._ends_ms[0]:
            return False
        self._ends_ms.popleft()
        return True


class SessionText(SpokenText, frozen=True):
    """The text of one session, with what of it has sounded."""

    heard: _Heard = struct_field(default_factory=_Heard)


class TencentTextToSpeech(SocketTextToSpeech):
    """The streaming API as a `TextToSpeech`."""

    name = NAME
    can = CAPABILITIES
    rates = RATES
    keeps_s = 0.0
    takes_written_text = True
    context_idle_s = 590.0  # a session without text for ten minutes ends

    def __init__(self, option: TtsOption, services: Services, url: str, account: TencentAccount) -> None:
        super().__init__(option, services, url, account.secret_key)
        self.model = option.speaker or DEFAULT_VOICE
        """For billing: the price depends on the voice."""
        self._account = account
        self._world = services.world

    def new_id(self) -> str:
        """Session ids are UUIDs."""
        return self._world.randomness.uuid()

    def new_spoken_text(self, text: str, speaker: str | None, speed: float | None) -> SpokenText:
        return SessionText(text, self.new_id(), speaker, speed)

    def address(self, spoken: SpokenText) -> VoiceAddress:
        now = int(self._world.clock.utc_now().timestamp())
        parameters = {
            "Action": "TextToStreamAudioWSv2",
            "AppId": int(self._account.app_id),
            "SecretId": self._account.secret_id,
            "Timestamp": now,
            "Expired": now + LIFETIME_S,
            "SessionId": spoken.id,
            "Codec": "pcm",
            "SampleRate": self.rate_hz,
            "EnableSubtitle": True,
            **voice_settings_of(self._option, spoken),
            **self._option.extra,
        }
        url = signed_url(self.endpoint, parameters, self._account.secret_key, before="GET", name="Signature")
        return VoiceAddress(url, (), self._account.secrets)

    async def prepare(self, socket: ClientConnection, spoken: SpokenText) -> None:
        """The vendor accepts text once the session is ready."""
        while True:
            event = self._event(await socket.recv())
            if event.get("ready") == 1:
                return

    def ask(self, spoken: SpokenText) -> Sequence[Message]:
        return (self._order(spoken, "ACTION_SYNTHESIS", spoken.text), *self.finish(spoken))

    def say(self, spoken: SpokenText, clause: str) -> Sequence[Message]:
        if isinstance(spoken, SessionText):
            spoken.heard.spelling.add(clause)
        return (self._order(spoken, "ACTION_SYNTHESIS", clause.rstrip() + "\n"),)

    def finish(self, spoken: SpokenText) -> Sequence[Message]:
        return (self._order(spoken, "ACTION_COMPLETE", ""),)

    def _order(self, spoken: SpokenText, action: str, data: str) -> str:
        return write_object({"session_id": spoken.id, "message_id": self._world.randomness.uuid(), "action": action, "data": data})

    def read(self, message: Message, spoken: SpokenText) -> SpeechChunk | None:
        heard = spoken.heard if isinstance(spoken, SessionText) else _Heard()
        if isinstance(message, bytes):
            return SpeechChunk(message, ends_flush=heard.take_sound(len(message) / BYTES_PER_SAMPLE * 1000 / self.rate_hz))
        event = self._event(message)
        if event.get("final") == 1:
            return None
        words = heard.take_words(words_of_subtitles(mapping(event.get("result")).get("subtitles")))
        return SpeechChunk(b"", words, ends_flush=heard.ends_clause())

    def _event(self, message: Message) -> Mapping[str, Any]:
        event = read_object(NAME, message)
        if code := number(event.get("code")):
            reason = without_secrets(f"{code:g}: {text(event.get('message')) or 'no explanation'}", self._account.secrets)
            raise ProviderError(NAME, reason, retryable=int(code) not in REFUSED_FOR_GOOD)
        return event
