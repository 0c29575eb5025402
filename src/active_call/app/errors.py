"""The errors that the methods of a `Call` raise. One family: `CallError`; every error has a stable `code`."""

from __future__ import annotations

from typing import Self

from active_call.base.errors import ActiveCallError


class CallError(ActiveCallError):
    """The base class of the errors of a call's methods."""

    code = "call_error"


class CallEnded(CallError):
    """The call is over.

    `by` is `caller`, `callee`, `agent` or `system`, `cause` a stable word (`remote_bye`, `cancelled`, …), `sip_code` the status of a
    refusal. A handler need not catch it: it then ends with its call.
    """

    code = "call_ended"

    def __init__(self, by: str = "", cause: str = "", sip_code: int | None = None) -> None:
        self.by, self.cause, self.sip_code = by, cause, sip_code
        super().__init__(f"the call is over: {cause or 'ended'}{f', by the {by}' if by else ''}{f' ({sip_code})' if sip_code else ''}")

    def again(self) -> Self:
        """The same facts as an exception of its own. One that several tasks raise would collect the frames of all of them."""
        return type(self)(self.by, self.cause, self.sip_code)


class CallRefused(CallEnded):
    """A call that we placed was not answered: refused, busy, timed out. `sip_code` is the status."""

    code = "call_refused"


class CommandRefused(CallError):
    """The call cannot do this now; the message says why. The call goes on."""

    code = "command_refused"


class PlaybackFailed(CallError):
    """Speech could not be synthesised, or a file could not be played. `heard` is the part that was heard."""

    code = "playback_failed"

    def __init__(self, reason: str, heard: str = "") -> None:
        self.heard = heard
        super().__init__(reason)


class TransferFailed(CallError):
    """The target was not reached; the caller is still here. `sip_code` is the status of the refusal, `reason` the same in words."""

    code = "transfer_failed"

    def __init__(self, target: str, sip_code: int | None, reason: str) -> None:
        self.target, self.sip_code, self.reason = target, sip_code, reason
        super().__init__(f"transfer to {target} failed: {reason}{f' ({sip_code})' if sip_code else ''}")


class NoInput(CallError):
    """The caller neither spoke nor pressed what was asked for, after every retry. `digits` holds what was pressed last."""

    code = "no_input"

    def __init__(self, reason: str, digits: str = "") -> None:
        self.digits = digits
        super().__init__(reason)
