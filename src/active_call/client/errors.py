"""The errors that the client raises."""

from __future__ import annotations

from active_call.base.errors import ActiveCallError


class ClientError(ActiveCallError):
    """The server cannot be reached, or refuses. `status`: the HTTP status; 0 without a response. `code`: the server's, or `unreachable`."""

    def __init__(self, message: str, *, status: int = 0, code: str = "client_error") -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class CallOver(ClientError):
    """The call has ended, or there is no call with that id."""


class CommandFailed(ClientError):
    """The call could not carry out a command; the server reported it as an `error` event."""
