"""Conversations with OpenAI's Realtime API, or Azure's of the same version, over a WebSocket.

API: `wss://api.openai.com/v1/realtime?model=…` (platform.openai.com/docs/guides/realtime-websocket); Azure
`wss://RESOURCE.openai.azure.com/openai/v1/realtime?model=DEPLOYMENT` with the header `api-key`. Options: `model` (gpt-realtime-2.1),
`voice`, `secret_key` (OPENAI_API_KEY, AZURE_OPENAI_API_KEY), `endpoint`, `turn_detection` (the API's own fields: `type`, `threshold`,
`silence_duration_ms`, `eagerness` …), `extra` (further fields of the session, at any depth). A session ends after 60 minutes; it is
renewed before that.
The conversation here, not the service, decides whether the caller interrupts the agent, and then cancels and truncates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlencode, urlsplit, urlunsplit

from msgspec.structs import replace
from websockets.asyncio.client import ClientConnection

from active_call.base.errors import ConfigError
from active_call.contract.options import RealtimeOption
from active_call.providers.credentials import KeySource, find_key
from active_call.providers.declaration import DeclaredOption, ProviderDeclaration
from active_call.providers.openai_settings import KEY as OPENAI_KEY
from active_call.providers.openai_settings import OPENAI_URL
from active_call.providers.realtime.connections import Connections
from active_call.providers.realtime.openai_messages import (
    BYTES_PER_MS,
    RATE_HZ,
    EventReader,
    audio_append,
    session_update,
    text_added,
    text_item,
    tool_output,
    truncation,
)
from active_call.providers.realtime.spoken_history import SpokenHistory
from active_call.providers.realtime_model import (
    RealtimeCapabilities,
    RealtimeEvent,
    RealtimeSession,
    Speaker,
    UserTurn,
)
from active_call.providers.services import Services
from active_call.providers.websocket import open_socket

OPENAI: Final = "openai"
AZURE: Final = "azure"
AZURE_URL_VARIABLE: Final = "AZURE_OPENAI_ENDPOINT"
OPENAI_SOURCE: Final = replace(OPENAI_KEY, name="secretKey")
AZURE_SOURCE: Final = KeySource(
    "Azure OpenAI", ("AZURE_OPENAI_API_KEY",), "https://portal.azure.com", ("azure.com", "azure.us", "azure.cn"), "secretKey"
)
DEFAULT_MODEL: Final = "gpt-realtime-2.1"
"""gpt-realtime and gpt-realtime-mini end on 2027-01-20 (https://developers.openai.com/api/docs/deprecations)."""
VOICES: Final = ("alloy", "ash", "ballad", "cedar", "coral", "echo", "marin", "sage", "shimmer", "verse")
LIVES_S: Final = 55 * 60.0
"""Of the 60 minutes that a session may last (platform.openai.com/docs/guides/realtime-conversations)."""

Json = Mapping[str, Any]


CAPABILITIES: Final = RealtimeCapabilities(
    RATE_HZ, RATE_HZ, tools=True, turn_events=True, transcripts=True, truncates=True, speakers=VOICES
)
_OPTIONS: Final = (
    DeclaredOption("voice", "one of the vendor's voices", "marin"),
    DeclaredOption("turnDetection.type", "semantic_vad waits for the end of a thought, server_vad for silence", "semantic_vad"),
    DeclaredOption("turnDetection.eagerness", "semantic_vad: low, medium, high", "auto", is_latency_knob=True),
    DeclaredOption("turnDetection.silence_duration_ms", "server_vad: the silence that ends a turn", "500", is_latency_knob=True),
    DeclaredOption("extra.reasoning.effort", "minimal to xhigh, for gpt-realtime-2 and later", "low", is_latency_knob=True),
    DeclaredOption("extra.audio.output.speed", "0.25 to 1.5", "1.0"),
    DeclaredOption("extra.audio.input.noise_reduction", "{type: near_field} or {type: far_field}", "none"),
    DeclaredOption("extra.parallel_tool_calls", "false: one tool call in a reply", "true"),
    DeclaredOption("extra.*", "any other field of the session"),
)

DECLARATIONS: Final = (
    ProviderDeclaration(
        kind="realtime",
        name=OPENAI,
        title="OpenAI Realtime",
        capabilities=CAPABILITIES,
        transport="WebSocket",
        documentation="https://platform.openai.com/docs/guides/realtime-websocket",
        prices="https://openai.com/api/pricing",
        keys=OPENAI_SOURCE.variables,
        key_page=OPENAI_SOURCE.key_page,
        base_url=OPENAI_URL,
        default_model=DEFAULT_MODEL,
        options=(DeclaredOption("model", "gpt-realtime-2.1-mini costs less", DEFAULT_MODEL), *_OPTIONS),
        notes="Sessions are renewed before the vendor's limit of 60 minutes.",
    ),
    ProviderDeclaration(
        kind="realtime",
        name=AZURE,
        title="Azure OpenAI Realtime",
        capabilities=CAPABILITIES,
        transport="WebSocket",
        documentation="https://learn.microsoft.com/azure/ai-foundry/openai/realtime-audio-reference",
        prices="https://azure.microsoft.com/pricing/details/cognitive-services/openai-service/",
        keys=AZURE_SOURCE.variables,
        key_page=AZURE_SOURCE.key_page,
        base_url="https://RESOURCE.openai.azure.com",
        options=(
            DeclaredOption("endpoint", f"https://RESOURCE.openai.azure.com; else {AZURE_URL_VARIABLE}"),
            DeclaredOption("model", "the name of the deployment"),
            *_OPTIONS,
        ),
    ),
)


def create(option: RealtimeOption, services: Services) -> OpenAiRealtimeModel:
    """OpenAI's service, or another server of that protocol. Raises ConfigError without a key for OpenAI itself."""
    base = (option.endpoint or OPENAI_URL).rstrip("/")
    key = find_key("realtime", option.secret_key, base, OPENAI_SOURCE, services.environment)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return OpenAiRealtimeModel(OPENAI, option, services, _socket_url(base, "/realtime", option.model or DEFAULT_MODEL), headers)


def create_azure(option: RealtimeOption, services: Services) -> OpenAiRealtimeModel:
    """Azure's service; `model` is the name of the deployment. Raises ConfigError without an endpoint, a key or a deployment."""
    own = (services.environment.get(AZURE_URL_VARIABLE) or "").rstrip("/")
    base = (option.endpoint or own).rstrip("/")
    if not base:
        raise ConfigError("realtime.endpoint", f"missing: https://RESOURCE.openai.azure.com, here or as {AZURE_URL_VARIABLE}")
    asked = AZURE_SOURCE.with_server(own) if base == own else AZURE_SOURCE
    key = find_key("realtime", option.secret_key, base, asked, services.environment)
    if not key:
        raise ConfigError("realtime.secretKey", f"missing: {base} needs one")
    if not option.model:
        raise ConfigError("realtime.model", "missing: the name of the deployment")
    return OpenAiRealtimeModel(AZURE, option, services, _socket_url(base, "/openai/v1/realtime", option.model), {"api-key": key})


def _socket_url(base: str, path: str, model: str) -> str:
    parts = urlsplit(base)
    if parts.scheme not in ("http", "https", "ws", "wss") or not parts.hostname:
        raise ConfigError("realtime.endpoint", f"expected an http, https, ws or wss URL, found {base!r}")
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    return urlunsplit((scheme, parts.netloc, parts.path.removesuffix(path) + path, urlencode({"model": model}), ""))


class OpenAiRealtimeModel:
    """The Realtime API as a `RealtimeModel`."""

    capabilities = CAPABILITIES

    def __init__(self, name: str, option: RealtimeOption, services: Services, url: str, headers: Mapping[str, str]) -> None:
        self.name = name
        self._option = option
        self._services = services
        self._url = url
        self.endpoint = url
        self._headers = headers

    def open(self, session: RealtimeSession, on_event: Callable[[RealtimeEvent], None]) -> OpenAiRealtimeStream:
        return OpenAiRealtimeStream(OpenAiDialect(self.name, self._option, session, self._connect), on_event)

    async def close(self) -> None:
        """Does nothing."""

    async def _connect(self) -> ClientConnection:
        secrets = tuple(self._headers.values())
        return await open_socket(self._services, self.name, self._url, headers=self._headers, secrets=secrets)


class OpenAiDialect:
    """The messages of one conversation, over all its connections."""

    lives_s = LIVES_S
    input_bytes_per_s = RATE_HZ * 2

    def __init__(self, name: str, option: RealtimeOption, session: RealtimeSession, connect: Callable[[], Any]) -> None:
        self.name = name
        self.session = session
        self.history = SpokenHistory()
        self.reader = EventReader(name)
        self.wants_reply: str | None = None
        """Instructions of a reply to request when the current one has ended."""
        self.is_asked = False
        """A reply was requested and has not begun."""
        self._option = option
        self._connect = connect
        self._is_caller_speaking = False

    async def connect(self) -> ClientConnection:
        socket: ClientConnection = await self._connect()
        return socket

    def update(self) -> Json:
        """Set the session's settings."""
        voice = self.session.voice or self._option.voice
        session = RealtimeSession(self.session.instructions, self.session.tools, voice, self.session.language, self.session.detects_turns)
        detection = {"interrupt_response": False, **self._option.turn_detection}
        return session_update(session, detection, self._option.extra)

    def begin(self) -> Iterator[Json]:
        yield self.update()

    def forget_session(self) -> bool:
        return False  # each connection is a session of its own

    def history_messages(self) -> Iterator[Json]:
        for speaker, text in self.history.lines():
            yield text_item(text, speaker)

    def is_ready(self, message: Json) -> bool:
        return message.get("type") == "session.updated"

    def announces_end(self, message: Json) -> bool:
        return False

    def sound(self, pcm: bytes) -> Json:
        return audio_append(pcm)

    def read(self, message: Json) -> list[RealtimeEvent]:
        events = self.reader.events_in(message)
        if (text := text_added(message)) is not None:
            self.history.note(text)
        for event in events:
            self.history.note(event)
            if isinstance(event, UserTurn):
                self._is_caller_speaking = event.is_speaking
        self.is_asked = self.is_asked and not self.reader.is_replying
        return events

    @property
    def is_replying(self) -> bool:
        return self.reader.is_replying or self.is_asked

    @property
    def is_busy(self) -> bool:
        return self.is_replying or self._is_caller_speaking

    def replaced(self) -> None:
        self.reader = EventReader(self.name)
        self.is_asked = self._is_caller_speaking = False


class OpenAiRealtimeStream:
    """One conversation. See `RealtimeStream`."""

    def __init__(self, dialect: OpenAiDialect, on_event: Callable[[RealtimeEvent], None]) -> None:
        self._dialect = dialect
        self._on_event = on_event
        self._connections = Connections(dialect, self._handle)

    def push_audio(self, pcm: bytes) -> None:
        if pcm:
            self._connections.send_sound(pcm)

    def push_text(self, text: str, speaker: Speaker = "user") -> None:
        self._connections.send(text_item(text, speaker))

    def answer_tool(self, call_id: str, output: str) -> None:
        """The result of a call from an earlier connection is sent as text, because the current one does not know that call."""
        is_known = call_id in self._dialect.reader.calls
        self._connections.send(tool_output(call_id, output) if is_known else text_item(f"[A tool answered: {output}]", "user"))

    def request_reply(self, instructions: str = "") -> None:
        """The service refuses a second reply during one: the current reply is cancelled, and the new one is requested when it ends."""
        if self._dialect.is_replying:
            self._dialect.wants_reply = instructions
            self._connections.send({"type": "response.cancel"})
        else:
            self._ask(instructions)

    def _ask(self, instructions: str) -> None:
        self._dialect.wants_reply = None
        self._dialect.is_asked = True
        response = {"instructions": instructions} if instructions else {}
        self._connections.send({"type": "response.create", "response": response})

    def cancel_reply(self) -> None:
        self._dialect.wants_reply = None
        if self._dialect.is_replying:
            self._connections.send({"type": "response.cancel"})

    def truncate(self, item: str, heard_ms: int) -> None:
        """Only received sound can be truncated, and only on the connection that it came from."""
        n_bytes = self._dialect.reader.sound_bytes.get(item)
        if not n_bytes:
            return
        has_ms = n_bytes // BYTES_PER_MS
        self._dialect.history.cut(item, heard_ms / has_ms if has_ms else 0.0)
        if heard_ms < has_ms:
            self._connections.send(truncation(item, heard_ms))

    def update(self, session: RealtimeSession) -> None:
        self._dialect.session = session
        self._connections.send(self._dialect.update())

    async def close(self) -> None:
        await self._connections.close()

    def _handle(self, event: RealtimeEvent) -> None:
        self._on_event(event)
        if self._dialect.wants_reply is not None and not self._dialect.is_replying:
            self._ask(self._dialect.wants_reply)
