"""The tools of a playbook's MCP servers, for one call: listed when the agent starts, called when the model calls them.

The playbook's servers and the pool enter; tools for the conversation (by `offer`) leave, and functions by tool name. An unreachable server
is logged, and the call continues without its tools.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from active_call.agent.playbook.scenes import McpOption
from active_call.agent.tools.registry import Tool
from active_call.base.errors import ActiveCallError
from active_call.call.conversation.tool_execution import ToolFunction
from active_call.call.log import CallLog
from active_call.providers.mcp.pool import McpPool
from active_call.providers.mcp.settings import McpSettings


async def find_tools(
    functions: dict[str, ToolFunction],
    offer: Callable[[tuple[Tool, ...]], object],
    *,
    options: tuple[McpOption, ...],
    pool: McpPool,
    log: CallLog,
) -> None:
    """Ask all servers at once; the tools of each are offered as soon as they are known."""

    async def ask(option: McpOption) -> None:
        settings = settings_of(option, pool.configured)
        if settings is None:
            log.warning("MCP server not known", extra={"fields": {"server": option.name, "known": sorted(pool.configured)}})
            return
        try:
            defined = await pool.connection(settings).tools()
        except ActiveCallError as error:
            log.warning("MCP tools are missing", extra={"fields": {"server": settings.name, "error": str(error)}})
            return
        tools = []
        for one in defined:
            if (not settings.tools or one.name in settings.tools) and one.name not in functions:
                functions[one.name] = _function(pool, settings, one.name)
                parameters = dict(one.parameters) or {"type": "object", "properties": {}}
                tools.append(
                    Tool(
                        one.name,
                        one.description,
                        parameters,
                        say_meanwhile=option.say_meanwhile,
                        cancellable=option.cancellable,
                        timeout_s=settings.timeout_s,
                    )
                )
        offer(tuple(tools))

    await asyncio.gather(*map(ask, options))


def settings_of(option: McpOption, configured: Mapping[str, McpSettings]) -> McpSettings | None:
    """The settings of the playbook's entry; None for a server name that is not in the configuration."""
    if not (option.command or option.url):
        known = configured.get(option.name)
        if known is None or not option.tools:
            return known
        wanted = tuple(name for name in option.tools if not known.tools or name in known.tools)
        return McpSettings(
            known.name, known.command, known.args, known.env, known.cwd, known.url, known.headers, known.timeout_s, wanted or ("",)
        )
    return McpSettings(
        name=option.name or option.url or option.command.rpartition("/")[2],
        command=option.command,
        args=tuple(option.args),
        env=option.env,
        cwd=option.cwd,
        url=option.url,
        headers=option.headers,
        timeout_s=float(option.timeout or 30),
        tools=tuple(option.tools),
    )


def _function(pool: McpPool, settings: McpSettings, name: str) -> ToolFunction:
    async def call(**arguments: Any) -> str:
        return await pool.connection(settings).call(name, arguments, settings.timeout_s)

    return call
