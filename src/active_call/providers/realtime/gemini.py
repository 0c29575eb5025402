"""Conversations with Gemini's Live API over a WebSocket.

API: `BidiGenerateContent` (ai.google.dev/api/live), the key in the header `x-goog-api-key`. Options: `model`
(gemini-3.8-live), `voice`, `secret_key` (GEMINI_API_KEY or GOOGLE_API_KEY), `endpoint`, `turn_detection` (fields of
`automaticActivityDetection`), `extra` (further fields of `setup`). A connection lasts some ten minutes; the service announces its end, and
the session is resumed by its handle on a new one. The service cannot be told how much of a reply the caller heard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from msgspec.structs import replace
from websockets.asyncio.client import ClientConnection

from active_call.base.errors import ConfigError
from active_call.contract.options import RealtimeOption
from active_call.providers.accounts.gemini import SOURCE as GEMINI
from active_call.providers.credentials import find_key
from active_call.providers.declaration import DeclaredOption, ProviderDeclaration
from active_call.providers.realtime.connections import Connections
from active_call.providers.realtime.gemini_messages import (
    INPUT_HZ,
    OUTPUT_HZ,
    MessageReader,
    audio_input,
    setup,
    tool_response,
    turns,
)
from active_call.providers.realtime.spoken_history import SpokenHistory
from active_call.providers.realtime_model import RealtimeCapabilities, RealtimeEvent, RealtimeSession, Speaker
from active_call.providers.services import Services
from active_call.providers.websocket import open_socket

NAME: Final = "gemini"
URL: Final = "wss://generativelanguage.googleapis.com"
PATH: Final = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"
SOURCE: Final = replace(GEMINI, name="secretKey")
DEFAULT_MODEL: Final = "gemini-3.8-live"
"""https://ai.google.dev/gemini-api/docs/models/gemini-3.8-live; earlier models end (…/docs/deprecations)."""
VOICES: Final = ("Aoede", "Charon", "Fenrir", "Kore", "Leda", "Orus", "Puck", "Zephyr")
LIVES_S: Final = 9 * 60.0
"""Of the roughly ten minutes that a connection lasts (ai.google.dev/gemini-api/docs/live-session)."""
GO_ON: Final = "[Speak now.]"

Json = Mapping[str, Any]


CAPABILITIES: Final = RealtimeCapabilities(INPUT_HZ, OUTPUT_HZ, tools=True, transcripts=True, speakers=VOICES)

DECLARATION: Final = ProviderDeclaration(
    kind="realtime",
    name=NAME,
    title="Gemini Live",
    capabilities=CAPABILITIES,
    transport="WebSocket",
    documentation="https://ai.google.dev/api/live",
    prices="https://ai.google.dev/gemini-api/docs/pricing",
    keys=SOURCE.variables,
    key_page=SOURCE.key_page,
    base_url=URL,
    default_model=DEFAULT_MODEL,
    options=(
        DeclaredOption("model", "a model of the Live API that takes text at any time; 3.1 does not", DEFAULT_MODEL),
        DeclaredOption("voice", "one of the vendor's voices"),
        DeclaredOption("turnDetection.silenceDurationMs", "the silence that ends a turn", is_latency_knob=True),
        DeclaredOption("extra.generationConfig", "temperature, thinkingConfig and others"),
        DeclaredOption("extra.*", "any other field of the setup"),
    ),
    notes="The parts of a reply that the caller did not hear stay in the model's history.",
)


def create(option: RealtimeOption, services: Services) -> GeminiRealtimeModel:
    """The adapter. Raises ConfigError without a key for Google itself; another server may need none."""
    parts = urlsplit((option.endpoint or URL).rstrip("/"))
    if parts.scheme not in ("http", "https", "ws", "wss") or not parts.hostname:
        raise ConfigError("realtime.endpoint", f"expected an http, https, ws or wss URL, found {option.endpoint!r}")
    key = find_key("realtime", option.secret_key, parts.geturl(), SOURCE, services.environment)
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    url = urlunsplit((scheme, parts.netloc, parts.path.removesuffix(PATH) + PATH, "", ""))
    return GeminiRealtimeModel(option, services, url, key)


class GeminiRealtimeModel:
    """The Live API as a `RealtimeModel`."""

    name = NAME
    capabilities = CAPABILITIES

    def __init__(self, option: RealtimeOption, services: Services, url: str, key: str) -> None:
        self._option = option
        self._services = services
        self._url = url
        self._key = key

    def open(self, session: RealtimeSession, on_event: Callable[[RealtimeEvent], None]) -> GeminiRealtimeStream:
        return GeminiRealtimeStream(GeminiDialect(self._option, session, self._connect), on_event)

    async def close(self) -> None:
        """Does nothing."""

    async def _connect(self) -> ClientConnection:
        return await open_socket(
            self._services, NAME, self._url, headers={"x-goog-api-key": self._key} if self._key else {}, secrets=(self._key,)
        )


class GeminiDialect:
    """The messages of one conversation, over all its connections."""

    name = NAME
    lives_s = LIVES_S
    input_bytes_per_s = INPUT_HZ * 2

    def __init__(self, option: RealtimeOption, session: RealtimeSession, connect: Callable[[], Any]) -> None:
        self.session = session
        self.reader = MessageReader(NAME)
        self._history = SpokenHistory()
        self._option = option
        self._connect = connect

    async def connect(self) -> ClientConnection:
        socket: ClientConnection = await self._connect()
        return socket

    def begin(self) -> Iterator[Json]:
        """Set up the session, or resume one."""
        session = replace(self.session, voice=self.session.voice or self._option.voice)
        model = self._option.model or DEFAULT_MODEL
        yield setup(session, model, self._option.turn_detection, self._option.extra, self.reader.handle)

    def forget_session(self) -> bool:
        had_session, self.reader.handle = bool(self.reader.handle), ""
        return had_session

    def history_messages(self) -> Iterator[Json]:
        lines = list(self._history.lines())
        if lines and not self.reader.handle:
            yield turns(lines, is_complete=False)

    def is_ready(self, message: Json) -> bool:
        return "setupComplete" in message

    def announces_end(self, message: Json) -> bool:
        return "goAway" in message

    def sound(self, pcm: bytes) -> Json:
        return audio_input(pcm)

    def read(self, message: Json) -> list[RealtimeEvent]:
        events = self.reader.events_in(message)
        for event in events:
            self._history.note(event)
        return events

    @property
    def is_replying(self) -> bool:
        return self.reader.is_replying

    @property
    def is_busy(self) -> bool:
        return self.reader.is_replying

    def replaced(self) -> None:
        self.reader.end_reply()


class GeminiRealtimeStream:
    """One conversation. See `RealtimeStream`."""

    def __init__(self, dialect: GeminiDialect, on_event: Callable[[RealtimeEvent], None]) -> None:
        self._dialect = dialect
        self._connections = Connections(dialect, on_event)

    def push_audio(self, pcm: bytes) -> None:
        if pcm:
            self._connections.send_sound(pcm)

    def push_text(self, text: str, speaker: Speaker = "user") -> None:
        self._connections.send(turns([(speaker, text)], is_complete=False))

    def answer_tool(self, call_id: str, output: str) -> None:
        name = self._dialect.reader.calls.pop(call_id, None)
        if name is not None:
            self._connections.send(tool_response(call_id, name, output))

    def request_reply(self, instructions: str = "") -> None:
        self._connections.send(turns([("user", instructions or GO_ON)], is_complete=True))

    def cancel_reply(self) -> None:
        """The service has no message for it: it ends its reply itself when the caller speaks."""

    def truncate(self, item: str, heard_ms: int) -> None:
        """The service has no message for it."""

    def update(self, session: RealtimeSession) -> None:
        """Instructions cannot change within a session: they are sent as text, and become the session's on the next connection."""
        if session.instructions != self._dialect.session.instructions:
            self._connections.send(turns([("user", f"[From now on: {session.instructions}]")], is_complete=False))
        self._dialect.session = session

    async def close(self) -> None:
        await self._connections.close()
