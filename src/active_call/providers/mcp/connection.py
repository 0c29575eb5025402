"""One MCP server: connects at first use, reconnects after a loss, lists and calls its tools.

Settings enter; tool definitions and results as text leave, or a ProviderError. A server that cannot be reached is not tried again for
`RETRY_AFTER_S`, so that no call waits for it twice.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec

from active_call.base.errors import ConfigError, ProviderError
from active_call.base.world import Clock
from active_call.providers.chat import ToolDefinition
from active_call.providers.mcp.program import program_streams
from active_call.providers.mcp.session import CONNECT_S, Client, Connect, Session
from active_call.providers.mcp.settings import McpSettings

log = logging.getLogger(__name__)

LIST_S: Final = 10.0
LIST_AGAIN_S: Final = 60.0
"""A server may change its tools; calls that begin later than this after the last list see it."""
STREAM_READ_S: Final = 300.0
"""The longest silence in a stream of events."""
CLOSE_S: Final = 8.0
"""More than the three times 2 s that a program may take to end."""
RETRY_AFTER_S: Final = 30.0
CONNECTION_CLOSED: Final = -32000
"""The SDK's code for a request whose connection has ended; any other code is the server's own answer."""
UNKNOWN_SESSION: Final = (-32600, "Session terminated")
"""How the SDK reports status 404 within a session: the server was started again, and a client opens a new session."""
MAX_TOOLS: Final = 128
MAX_TEXT_CHARS: Final = 8_000
MAX_DESCRIPTION_CHARS: Final = 2_000
MAX_SCHEMA_BYTES: Final = 32 * 1024
"""Every request to the model contains the schemas of all tools."""


class McpConnection:
    """One server. Used on the loop only."""

    def __init__(self, settings: McpSettings, connect: Connect, clock: Clock) -> None:
        self._settings = settings
        self._connect = connect
        self._clock = clock
        self._session: Session | None = None
        self._ending: set[asyncio.Task[None]] = set()
        """Sessions that are being closed; nobody waits for them but `close`."""
        self._tools: tuple[ToolDefinition, ...] = ()
        self._listed_at = -math.inf
        self._n_running = 0
        self._used_at = clock.now()

    def idle_s(self, now: float) -> float:
        """How long nobody has used it; 0 while a call of a tool runs."""
        return 0.0 if self._n_running else now - self._used_at

    async def tools(self) -> tuple[ToolDefinition, ...]:
        """The server's tools; listed for each session, and again after `LIST_AGAIN_S`. Raises ProviderError."""
        session = self._current()
        async with self._use():
            client = await asyncio.shield(session.client)
            if self._clock.now() - self._listed_at > LIST_AGAIN_S:
                try:
                    async with asyncio.timeout(LIST_S):
                        self._tools = await _all_tools(client)
                except Exception as error:
                    raise session.lost("its tools cannot be listed", error) from error
                self._listed_at = self._clock.now()
            return self._tools

    async def call(self, name: str, arguments: Mapping[str, Any], timeout_s: float) -> str:
        """The result of a tool, as text. Raises ProviderError, also if the tool itself reports an error."""
        async with self._use():
            try:
                async with asyncio.timeout(timeout_s):
                    result = await self._request(name, arguments)
            except TimeoutError as error:
                if self._session is not None:
                    self._session.doubt()
                raise ProviderError(self._settings.name, f"no answer within {timeout_s:g} s", retryable=True) from error
        text = _text_of(result)
        if getattr(result, "is_error", False):
            raise ProviderError(self._settings.name, text or "the tool has failed")
        return text

    async def close(self) -> None:
        """Close the connection and end the program behind it."""
        if self._session is not None:
            self._session.leave("closed")
        if self._ending:
            _, late = await asyncio.wait(set(self._ending), timeout=CLOSE_S)
            for keeper in late:
                keeper.cancel()
            if late:
                await asyncio.wait(late, timeout=CLOSE_S)

    # -- the connection

    async def _request(self, name: str, arguments: Mapping[str, Any]) -> Any:
        """The answer of the server. A session that the server does not know any more has not run the tool, so it is called once more."""
        for is_last in (False, True):
            session = self._current()
            client = await asyncio.shield(session.client)
            try:
                return await session.ask(client.call_tool(name, dict(arguments)))
            except TimeoutError:
                raise
            except Exception as error:
                if not is_last and _is_unknown_session(error):
                    session.leave("the server does not know the session any more")
                elif session.is_over or not hasattr(error, "error") or _code_of(error) == CONNECTION_CLOSED:
                    raise session.lost("the connection is lost", error) from error
                else:
                    raise ProviderError(self._settings.name, session.in_words(error)) from error
        raise AssertionError  # the second round returns or raises

    @asynccontextmanager
    async def _use(self) -> AsyncIterator[None]:
        self._n_running += 1
        try:
            yield
        finally:
            self._n_running -= 1
            self._used_at = self._clock.now()

    def _current(self) -> Session:
        """The session, or a new one. Raises ProviderError shortly after one could not be opened."""
        known, now = self._session, self._clock.now()
        if known is not None and not known.is_over:
            return known
        if known is not None and known.failed_at is not None and now < known.failed_at + RETRY_AFTER_S:
            raise ProviderError(self._settings.name, f"not connected: {known.reason}", retryable=True)
        self._session, self._listed_at = Session(self._settings, self._connect, self._clock), -math.inf
        self._ending.add(keeper := self._session.keeper)
        keeper.add_done_callback(self._ending.discard)
        return self._session


@asynccontextmanager
async def connect_with_sdk(settings: McpSettings, ended: Callable[[str], object]) -> AsyncIterator[Client]:
    """A connection by the `mcp` SDK. Raises ConfigError if it is not installed."""
    try:
        import mcp
        from mcp.client.streamable_http import streamable_http_client

        from active_call.providers.mcp.web import web_client
    except ImportError:
        raise ConfigError("mcp", "MCP servers need the extra 'mcp': pip install 'active-call[mcp]'") from None
    if settings.command:
        async with mcp.Client(program_streams(settings, ended), cache=None) as client:
            yield client
        return
    async with (
        web_client(settings, connect_s=CONNECT_S, read_s=STREAM_READ_S) as http,
        mcp.Client(streamable_http_client(settings.url, http_client=http), cache=None) as client,
    ):
        yield client


async def _all_tools(client: Client) -> tuple[ToolDefinition, ...]:
    found: list[ToolDefinition] = []
    cursor: str | None = None
    for _ in range(MAX_TOOLS):
        page = await client.list_tools(cursor=cursor)
        for tool in page.tools:
            schema = tool.input_schema if isinstance(tool.input_schema, Mapping) else {}
            if _size_of(schema) > MAX_SCHEMA_BYTES:
                reason = f"its schema exceeds {MAX_SCHEMA_BYTES} bytes"
                log.warning("MCP tool left out", extra={"tool": str(tool.name)[:80], "reason": reason})
                continue
            found.append(ToolDefinition(str(tool.name), str(tool.description or "")[:MAX_DESCRIPTION_CHARS], dict(schema)))
        cursor = page.next_cursor
        if not cursor or len(found) >= MAX_TOOLS:
            break
    return tuple(found[:MAX_TOOLS])


def _size_of(schema: Mapping[str, Any]) -> int:
    """The size of a schema as JSON; beyond every limit if it has no such form."""
    try:
        return len(msgspec.json.encode(schema))
    except (TypeError, ValueError, RecursionError):
        return MAX_SCHEMA_BYTES + 1


def _text_of(result: Any) -> str:
    """The texts of a result; other content is named by its type."""
    parts = []
    for block in getattr(result, "content", None) or ():
        text = getattr(block, "text", None)
        parts.append(text if isinstance(text, str) else f"({getattr(block, 'type', 'something')} left out)")
    if not parts and getattr(result, "structured_content", None) is not None:
        parts.append(str(result.structured_content))
    return "\n".join(parts)[:MAX_TEXT_CHARS]


def _code_of(error: BaseException) -> object:
    return getattr(getattr(error, "error", None), "code", None)


def _is_unknown_session(error: BaseException) -> bool:
    return (_code_of(error), getattr(getattr(error, "error", None), "message", None)) == UNKNOWN_SESSION
