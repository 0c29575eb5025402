"""The refusal of a request whose form is wrong: which status code and which reason its response has (RFC 3261 §8.2, §21.4).

Raised by `message` (the bytes do not parse) and by `validation` (a header that every UAS relies on is missing or malformed).
"""

from __future__ import annotations

from active_call.base.errors import ParseError


class BadRequest(ParseError):
    """A request that must be refused: with `code`, the SIP status, and `reason`, the plain text for its status line."""

    code: int  # type: ignore[assignment]

    def __init__(self, code: int, reason: str, *, found: str = "") -> None:
        super().__init__(reason, found=found)
        self.code = code
        self.reason = reason
