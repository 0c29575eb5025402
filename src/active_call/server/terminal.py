"""The terminal output of commands: rich's console, loaded at the first output. A server prints plain text without it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
        """See `Console.print`."""
        self.console.print(*objects, **options)

    def print_json(self, *, data: Any) -> None:
        """See `Console.print_json`."""
        self.console.print_json(data=data)
