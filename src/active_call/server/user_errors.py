"""Ends a command with a one-line message if the user can correct the error."""

from __future__ import annotations

from types import TracebackType

from active_call.base.errors import ActiveCallError
from active_call.server.terminal import Terminal

err = Terminal(stderr=True)


class UserErrors:
    """Errors that the user can correct end the program with a one-line message and exit code 2."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if isinstance(error, ActiveCallError):
            err.print(str(error), style="bold red", highlight=False, markup=False, soft_wrap=True)
            raise SystemExit(2) from None
