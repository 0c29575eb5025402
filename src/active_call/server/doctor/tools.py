"""The doctor's findings about tools: whether MCP servers can be started and knowledge folders exist. Starts and contacts nothing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

from active_call.agent.playbook.scenes import Playbook
from active_call.call.conversation.mcp_tools import settings_of
from active_call.providers.mcp.settings import McpSettings
from active_call.server.doctor.findings import Finding

CHECK = "tools"


def tool_findings(playbooks: Mapping[str, Playbook], configured: Mapping[str, McpSettings]) -> Iterator[Finding]:
    """The servers of the configuration and of `playbooks` (by name), and their folders."""
    servers = dict(configured)
    for name, book in playbooks.items():
        for option in book.mcp:
            settings = settings_of(option, configured)
            if settings is None:
                known = ", ".join(configured) or "none"
                yield Finding(CHECK, "fail", f"{name}: there is no [mcp.{option.name}] in the configuration (known: {known})")
            else:
                servers[settings.name] = settings
        if book.knowledge is not None:
            folder = Path(book.file).parent / book.knowledge.folder
            if folder.is_dir():
                yield Finding(CHECK, "ok", f"{name}: knowledge in {folder}")
            else:
                yield Finding(CHECK, "fail", f"{name}: the knowledge folder {folder} does not exist")
    if servers and find_spec("mcp") is None:
        yield Finding(CHECK, "fail", "MCP servers need the extra 'mcp': pip install 'active-call[mcp]'")
    for settings in servers.values():
        yield _server(settings)


def _server(settings: McpSettings) -> Finding:
    if settings.url:
        return Finding(CHECK, "ok", f"MCP server {settings.name} at {settings.url.partition('?')[0]} (not asked here)")
    found = shutil.which(settings.command, path=settings.env.get("PATH"))
    if found is None:
        return Finding(CHECK, "fail", f"MCP server {settings.name}: there is no program {settings.command}")
    return Finding(CHECK, "ok", f"MCP server {settings.name}: {found}")
