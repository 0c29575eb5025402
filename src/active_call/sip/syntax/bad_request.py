"""A malformed request and the status code and reason of its response (RFC 3261 §8.2, §21.4).

`message` raises it if the bytes do not parse; `validation` if a header that every UAS needs is missing or malformed.
"""

from __future__ import annotations

from active_call.base.errors import ParseError


class BadRequest(ParseError):
    """A request that must be refused, with the SIP status `code` and the `reason` phrase of its response."""

    code: int  # type: ignore[assignment]

    def __init__(self, code: int, reason: str, *, found: str = "") -> None:
        super().__init__(reason, found=found)
        self.code = code
        self.reason = reason
