"""The MCP servers of the config file, in the pool's form."""

from __future__ import annotations

from active_call.providers.mcp.settings import McpSettings
from active_call.server.config.config import Config


def mcp_settings(config: Config) -> dict[str, McpSettings]:
    """By name."""
    return {
        name: McpSettings(
            name,
            server.command,
            server.args,
            server.env,
            server.cwd,
            server.url,
            server.headers,
            float(server.timeout),
            server.tools,
        )
        for name, server in config.mcp.items()
    }
