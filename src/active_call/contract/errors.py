"""The error for values that violate the contract."""

from __future__ import annotations

from active_call.base.errors import ActiveCallError


class ContractError(ActiveCallError):
    """A value that violates the contract. `path` names the place (`option.sip.headers`)."""

    code = "bad_request"

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{path}: {reason}" if path else reason)
