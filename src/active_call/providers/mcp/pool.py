"""The MCP servers of this process: one connection for equal settings, shared by all calls.

Settings enter, from the config or from a playbook; connections leave. A connection unused for `IDLE_S` is closed: its playbook may have
been removed.
"""

from __future__ import annotations

from typing import Final

from active_call.base.world import Clock
from active_call.providers.mcp.connection import Connect, McpConnection, connect_with_sdk
from active_call.providers.mcp.settings import McpSettings

IDLE_S: Final = 600.0
MAX_CONNECTIONS: Final = 32


class McpPool:
    """Connections by settings. `configured`: servers of the config file, by name, which playbooks may name."""

    def __init__(self, configured: dict[str, McpSettings], clock: Clock, connect: Connect = connect_with_sdk) -> None:
        self.configured = configured
        self._clock = clock
        self._connect = connect
        self._connections: dict[tuple[object, ...], tuple[McpConnection, float]] = {}

    async def connection(self, settings: McpSettings) -> McpConnection:
        """The connection for `settings`, created at first use."""
        now = self._clock.now()
        known = self._connections.pop(settings.key, None)
        connection = known[0] if known is not None else McpConnection(settings, self._connect, self._clock)
        self._connections[settings.key] = (connection, now)
        for key, (idle, used_at) in list(self._connections.items()):
            if now - used_at > IDLE_S or len(self._connections) > MAX_CONNECTIONS:
                if idle is connection:
                    break
                del self._connections[key]
                await idle.close()
        return connection

    async def close(self) -> None:
        """Close all of them."""
        connections, self._connections = self._connections, {}
        for connection, _ in connections.values():
            await connection.close()
