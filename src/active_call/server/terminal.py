"""The terminal output of commands: rich's console, loaded at the first output. A server prints plain text without it.

What commands print often comes from outside (callers, models, servers), so no control character reaches the terminal.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from active_call.base.log_lines import escaped

if TYPE_CHECKING:
    from rich.console import Console


class Terminal:
    """Standard output, or standard error."""

    def __init__(self, *, stderr: bool = False) -> None:
        self._stderr = stderr
        self._console: Console | None = None

    @property
    def console(self) -> Console:
        """rich's console."""
        if self._console is None:
            from rich.console import Console

            self._console = Console(stderr=self._stderr)
        return self._console

    def print(self, *objects: Any, **options: Any) -> None:
        """See `Console.print`. Texts are printed without control characters."""
        self.console.print(*(plain_text(each) if isinstance(each, str) else each for each in objects), **options)

    def print_json(self, *, data: Any) -> None:
        """See `Console.print_json`."""
        self.console.print_json(data=data)


def plain_text(text: str) -> str:
    """`text` with spaces for control and direction characters, with which it could move the cursor or hide a part; line breaks stay."""
    return text if text.isprintable() else "".join(char if char.isprintable() or char == "\n" else " " for char in text)


def plain_line(text: str) -> str:
    """The same as one line."""
    return plain_text(text).replace("\n", " ")


def json_line(value: Any) -> str:
    """`value` as JSON in one line, with control and direction characters as `\\uXXXX`."""
    return escaped(json.dumps(value, ensure_ascii=False, default=str))
