"""What the client raises."""

from __future__ import annotations

from active_call.base.errors import ActiveCallError


class ClientError(ActiveCallError):
    """The server cannot be reached, or refuses. `status`: of the HTTP answer; 0 without one. `code`: the server's stable word."""

    def __init__(self, message: str, *, status: int = 0, code: str = "client_error") -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class CallOver(ClientError):
    """The call has ended, or there is none of that id."""


class CommandFailed(ClientError):
    """The call could not carry out a command; the server has told it as an `error` event."""
