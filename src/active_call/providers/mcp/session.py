"""One session with an MCP server, from its opening to its end.

Settings enter; a client leaves, and why the session is over. Theory: the SDK requires that one task opens and closes a connection. The
keeper does both; callers only use its client. A session is over as soon as its transport reports its end, and then its requests fail;
closing goes on in the keeper, because a program that hangs takes some seconds to end. After a request without an answer the keeper asks
for the list of tools: a server that does not answer this either has hung, and the next request gets a new session.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, Final, Protocol

from active_call.base.errors import ProviderError
from active_call.base.world import Clock
from active_call.providers.credentials import without_secrets
from active_call.providers.mcp.settings import McpSettings

log = logging.getLogger(__name__)

CONNECT_S: Final = 15.0
"""A program may have to be unpacked before it answers."""
PROBE_S: Final = 5.0
MAX_REASON_CHARS: Final = 300


class Client(Protocol):
    """The part of the SDK's client that is used."""

    async def list_tools(self, *, cursor: str | None = None) -> Any: ...

    async def call_tool(self, name: str, arguments: dict[str, Any], read_timeout_seconds: float | None = None) -> Any: ...


Connect = Callable[[McpSettings, Callable[[str], object]], AbstractAsyncContextManager[Client]]
"""Opens a connection. It calls the function with the reason when it notices that no more answers will come."""


class Session:
    """See the module. It begins to open at once."""

    def __init__(self, settings: McpSettings, connect: Connect, clock: Clock) -> None:
        self._settings = settings
        self._connect = connect
        self._clock = clock
        self._wake = asyncio.Event()
        self._is_left = False
        self._over = asyncio.Event()
        loop = asyncio.get_running_loop()
        self.client: asyncio.Future[Client] = loop.create_future()
        """The client; a ProviderError if the connection cannot be opened. Await it by `asyncio.shield`."""
        self.failed_at: float | None = None
        """When it could not be opened."""
        self.reason = ""
        """Why it is over."""
        self.keeper = loop.create_task(self._keep(), name=f"mcp {settings.name}")

    @property
    def is_over(self) -> bool:
        """Whether its requests get no more answers."""
        return self._is_left or self.keeper.done()

    def leave(self, reason: str) -> None:
        """End it. The keeper closes the connection."""
        if not self._is_left:
            self._is_left, self.reason = True, self.reason or reason
            self._wake.set()
            self._over.set()

    async def ask(self, request: Coroutine[Any, Any, Any]) -> Any:
        """The answer to `request`. When the session is over first, the request is given up. Raises ConnectionAbortedError then."""
        asking, over = asyncio.ensure_future(request), asyncio.ensure_future(self._over.wait())
        try:
            await asyncio.wait({asking, over}, return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():
                raise ConnectionAbortedError(self.reason)
            return asking.result()
        finally:
            asking.add_done_callback(lambda done: done.cancelled() or done.exception())
            asking.cancel()
            over.cancel()

    def doubt(self) -> None:
        """A request got no answer: find out whether the server still answers."""
        self._wake.set()

    def lost(self, what: str, error: BaseException) -> ProviderError:
        """End it after `error`. The error to raise names the transport's own reason if there is one."""
        self.leave(self.in_words(error))
        return ProviderError(self._settings.name, f"{what}: {self.reason}", retryable=True)

    def in_words(self, error: BaseException) -> str:
        """The reason, for logs and the model: errors of the SDK quote the URL, which may have a key in it."""
        return without_secrets(_reason_of(error), self._settings.secrets)[:MAX_REASON_CHARS]

    async def _keep(self) -> None:
        """Open the connection, hold it until it is left, close it: all in one task."""
        try:
            async with AsyncExitStack() as stack:
                async with asyncio.timeout(CONNECT_S):
                    client = await stack.enter_async_context(self._connect(self._settings, self._ended))
                self.client.set_result(client)
                await self._hold(client)
        except (Exception, asyncio.CancelledError, BaseExceptionGroup) as error:
            self._note_failure(error)
            if isinstance(error, asyncio.CancelledError):
                raise

    async def _hold(self, client: Client) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._is_left:
                return
            try:
                async with asyncio.timeout(PROBE_S):
                    await client.list_tools(cursor=None)
            except Exception as error:  # noqa: BLE001 - whatever it is, the server cannot be used
                self._ended("it does not answer" if isinstance(error, TimeoutError) else self.in_words(error))

    def _ended(self, reason: str) -> None:
        if not self.is_over and self.client.done():
            log.warning(
                "MCP connection lost", extra={"server": self._settings.name, "error": reason, "more": "the next call opens it again"}
            )
        self.reason = self.reason or reason
        if self.client.done():
            self.leave(reason)

    def _note_failure(self, error: BaseException) -> None:
        reason = self.reason or ("no answer in time" if isinstance(error, TimeoutError) else self.in_words(error))
        if self.client.done():
            if not isinstance(error, asyncio.CancelledError):
                log.warning("MCP connection lost", extra={"server": self._settings.name, "error": self.in_words(error)})
            return
        self.failed_at, self.reason = self._clock.now(), reason
        log.warning("MCP server not connected", extra={"server": self._settings.name, "error": reason})
        self.client.set_exception(ProviderError(self._settings.name, f"not connected: {reason}", retryable=True))
        self.client.exception()  # the caller may be gone by now


def _reason_of(error: BaseException) -> str:
    """The innermost reason: the SDK wraps errors in groups."""
    while isinstance(error, BaseExceptionGroup) and error.exceptions:
        error = error.exceptions[0]
    message = getattr(error, "message", None)
    return message if isinstance(message, str) and message else str(error) or type(error).__name__
