"""One MCP server: connects at first use, reconnects after a loss, lists and calls its tools.

Settings enter; tool definitions and results as text leave, or a ProviderError. Theory: the SDK requires that one task opens and closes
a connection. A keeper task does both; callers only use its connection. A server that cannot be reached is not tried again for
`RETRY_AFTER_S`, so that no call waits for it twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, Final, Protocol

import msgspec

from active_call.base.errors import ConfigError, ProviderError
from active_call.base.world import Clock
from active_call.providers.chat import ToolDefinition
from active_call.providers.credentials import without_secrets
from active_call.providers.mcp.settings import McpSettings

log = logging.getLogger(__name__)

CONNECT_S: Final = 15.0
"""A program may have to be unpacked before it answers."""
LIST_S: Final = 10.0
STREAM_READ_S: Final = 300.0
"""The longest silence in a stream of events."""
CLOSE_S: Final = 5.0
RETRY_AFTER_S: Final = 30.0
CONNECTION_CLOSED: Final = -32000
"""The SDK's code for a request whose connection has ended; any other code is the server's own answer."""
MAX_TOOLS: Final = 128
MAX_TEXT_CHARS: Final = 8_000
MAX_DESCRIPTION_CHARS: Final = 2_000
MAX_SCHEMA_BYTES: Final = 32 * 1024
"""Every request to the model contains the schemas of all tools."""
MAX_REASON_CHARS: Final = 300


class Client(Protocol):
    """The part of the SDK's client that is used."""

    async def list_tools(self, *, cursor: str | None = None) -> Any: ...

    async def call_tool(self, name: str, arguments: dict[str, Any], read_timeout_seconds: float | None = None) -> Any: ...


Connect = Callable[[McpSettings], AbstractAsyncContextManager[Client]]


class McpConnection:
    """One server. Used on the loop only."""

    def __init__(self, settings: McpSettings, connect: Connect, clock: Clock) -> None:
        self._settings = settings
        self._connect = connect
        self._clock = clock
        self._keeper: asyncio.Task[None] | None = None
        self._client: asyncio.Future[Client] | None = None
        self._is_leaving = asyncio.Event()
        self._failed_at: float | None = None
        self._failure = ""
        self._tools: tuple[ToolDefinition, ...] | None = None

    async def tools(self) -> tuple[ToolDefinition, ...]:
        """The server's tools; listed once for each connection. Raises ProviderError."""
        client = await self._connected()
        if self._tools is None:
            try:
                async with asyncio.timeout(LIST_S):
                    self._tools = await _all_tools(client)
            except Exception as error:
                raise await self._lost("its tools cannot be listed", error) from error
        return self._tools

    async def call(self, name: str, arguments: Mapping[str, Any], timeout_s: float) -> str:
        """The result of a tool, as text. Raises ProviderError, also if the tool itself reports an error."""
        client = await self._connected()
        try:
            async with asyncio.timeout(timeout_s):
                result = await client.call_tool(name, dict(arguments))
        except TimeoutError as error:
            raise ProviderError(self._settings.name, f"no answer within {timeout_s:g} s", retryable=True) from error
        except Exception as error:
            if self._is_over() or not hasattr(error, "error") or _code_of(error) == CONNECTION_CLOSED:
                raise await self._lost("the connection is lost", error) from error
            raise ProviderError(self._settings.name, self._in_words(error)) from error
        text = _text_of(result)
        if getattr(result, "is_error", False):
            raise ProviderError(self._settings.name, text or "the tool has failed")
        return text

    async def close(self) -> None:
        """Close the connection and end the program behind it."""
        keeper, self._keeper = self._keeper, None
        if keeper is None:
            return
        self._is_leaving.set()
        done, _ = await asyncio.wait([keeper], timeout=CLOSE_S)
        if not done:
            keeper.cancel()
            await asyncio.wait([keeper], timeout=CLOSE_S)

    # -- the connection

    def _is_over(self) -> bool:
        return self._keeper is None or self._keeper.done()

    async def _connected(self) -> Client:
        now = self._clock.now()
        if self._is_over() and self._failed_at is not None and now < self._failed_at + RETRY_AFTER_S:
            raise ProviderError(self._settings.name, f"not connected: {self._failure}", retryable=True)
        if self._is_over():
            self._tools = None
            self._is_leaving = asyncio.Event()
            self._client = asyncio.get_running_loop().create_future()
            self._keeper = asyncio.get_running_loop().create_task(
                self._keep(self._client, self._is_leaving), name=f"mcp {self._settings.name}"
            )
        assert self._client is not None  # noqa: S101  made above
        return await asyncio.shield(self._client)

    async def _keep(self, ready: asyncio.Future[Client], is_leaving: asyncio.Event) -> None:
        """Open the connection, hold it until `close`, close it: all in one task."""
        try:
            async with AsyncExitStack() as stack:
                async with asyncio.timeout(CONNECT_S):
                    client = await stack.enter_async_context(self._connect(self._settings))
                self._failed_at = None
                ready.set_result(client)
                await is_leaving.wait()
        except (Exception, asyncio.CancelledError, BaseExceptionGroup) as error:
            self._note_failure(error, ready)
            if isinstance(error, asyncio.CancelledError):
                raise

    def _note_failure(self, error: BaseException, ready: asyncio.Future[Client]) -> None:
        reason = "no answer in time" if isinstance(error, TimeoutError) else self._in_words(error)
        if ready.done():
            log.info("MCP connection ended", extra={"server": self._settings.name, "error": reason})
            return
        self._failed_at, self._failure = self._clock.now(), reason
        log.warning("MCP server not connected", extra={"server": self._settings.name, "error": reason})
        ready.set_exception(ProviderError(self._settings.name, f"not connected: {reason}", retryable=True))
        ready.exception()  # the caller may be gone by now

    def _in_words(self, error: BaseException) -> str:
        """The reason, for logs and the model: errors of the SDK quote the URL, which may have a key in it."""
        return without_secrets(_reason_of(error), self._settings.secrets)[:MAX_REASON_CHARS]

    async def _lost(self, what: str, error: BaseException) -> ProviderError:
        """The connection is unusable: the next caller creates a new one."""
        with contextlib.suppress(Exception):
            await self.close()
        return ProviderError(self._settings.name, f"{what}: {self._in_words(error)}", retryable=True)


@asynccontextmanager
async def connect_with_sdk(settings: McpSettings) -> AsyncIterator[Client]:
    """A connection by the `mcp` SDK. Raises ConfigError if it is not installed."""
    try:
        import httpx2
        import mcp
        from mcp.client.stdio import StdioServerParameters, stdio_client
        from mcp.client.streamable_http import streamable_http_client
    except ImportError:
        raise ConfigError("mcp", "MCP servers need the extra 'mcp': pip install 'active-call[mcp]'") from None
    if settings.command:
        given = StdioServerParameters(
            command=settings.command, args=list(settings.args), env=dict(settings.env) or None, cwd=settings.cwd or None
        )
        async with mcp.Client(stdio_client(given)) as client:
            yield client
        return
    timeout = httpx2.Timeout(CONNECT_S, read=STREAM_READ_S)
    async with (
        httpx2.AsyncClient(headers=dict(settings.headers), timeout=timeout) as http,
        mcp.Client(streamable_http_client(settings.url, http_client=http)) as client,
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


def _reason_of(error: BaseException) -> str:
    """The innermost reason: the SDK wraps errors in groups."""
    while isinstance(error, BaseExceptionGroup) and error.exceptions:
        error = error.exceptions[0]
    message = getattr(error, "message", None)
    return message if isinstance(message, str) and message else str(error) or type(error).__name__
