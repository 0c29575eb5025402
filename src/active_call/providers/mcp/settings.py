"""How to reach an MCP server: a local program (stdio), or a URL (streamable HTTP). Values only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from msgspec import Struct, field

CALL_TIMEOUT_S: Final = 30.0
MIN_SECRET_CHARS: Final = 8
"""Shorter values, such as `true`, are no secrets; without them errors could not be read."""


class McpSettings(Struct, frozen=True):
    """One server. Either `command` or `url` is given. Equal settings share one connection."""

    name: str
    command: str = ""
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    """In addition to a few variables that are safe to inherit (`PATH`, `HOME` …)."""
    cwd: str = ""
    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float = CALL_TIMEOUT_S
    """The time limit of one tool call."""
    tools: tuple[str, ...] = ()
    """The tools to offer; empty: all."""

    @property
    def secrets(self) -> tuple[str, ...]:
        """Texts that errors must not repeat: the URL's query, values of headers (also without a scheme) and of the environment."""
        query = urlsplit(self.url).query
        values = (*self.headers.values(), *(value.rpartition(" ")[2] for value in self.headers.values()), *self.env.values())
        return tuple(one for one in (query, *(value for _, value in parse_qsl(query)), *values) if len(one) >= MIN_SECRET_CHARS)

    @property
    def key(self) -> tuple[object, ...]:
        """The key by which connections are shared: all settings except the selected tools."""
        return (
            self.name,
            self.command,
            self.args,
            tuple(sorted(self.env.items())),
            self.cwd,
            self.url,
            tuple(sorted(self.headers.items())),
        )
