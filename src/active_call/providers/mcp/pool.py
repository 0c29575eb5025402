"""The MCP servers of this process: one connection for equal settings, shared by all calls.

Settings enter, from the config or from a playbook; connections leave. A connection unused for `IDLE_S` is closed: its playbook may have
been removed. So a call asks the pool whenever it uses one.
"""

from __future__ import annotations

import asyncio
from typing import Final

from active_call.base.world import Clock
from active_call.providers.mcp.connection import McpConnection, connect_with_sdk
from active_call.providers.mcp.session import Connect
from active_call.providers.mcp.settings import McpSettings

IDLE_S: Final = 600.0
MAX_CONNECTIONS: Final = 32


class McpPool:
    """Connections by settings. `configured`: servers of the config file, by name, which playbooks may name."""

    def __init__(self, configured: dict[str, McpSettings], clock: Clock, connect: Connect = connect_with_sdk) -> None:
        self.configured = configured
        self._clock = clock
        self._connect = connect
        self._connections: dict[tuple[object, ...], McpConnection] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def connection(self, settings: McpSettings) -> McpConnection:
        """The connection for `settings`, created at first use."""
        connection = self._connections.pop(settings.key, None) or McpConnection(settings, self._connect, self._clock)
        now = self._clock.now()
        for key, known in list(self._connections.items()):
            if known.idle_s(now) > (IDLE_S if len(self._connections) < MAX_CONNECTIONS else 0.0):
                del self._connections[key]
                closing = asyncio.get_running_loop().create_task(known.close(), name="mcp closing")
                self._closing.add(closing)
                closing.add_done_callback(self._closing.discard)
        self._connections[settings.key] = connection
        return connection

    async def close(self) -> None:
        """Close all of them, at once."""
        connections, self._connections = self._connections, {}
        await asyncio.gather(*(one.close() for one in connections.values()), *self._closing, return_exceptions=True)
