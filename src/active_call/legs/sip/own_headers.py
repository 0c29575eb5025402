"""Headers that commands, playbooks and variables add to our messages: what may go out, and in what form.

Names and values of any kind enter; those that can stand in a SIP message leave. A value may hold what a caller said, so a line break
in it must not start another header. Headers that the SIP core writes itself cannot be set.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

from active_call.base.errors import LocalProtocolError
from active_call.sip.events import HeaderList
from active_call.sip.syntax.headers import Headers, header_key

log = logging.getLogger("active_call.sip")

RESERVED: Final = frozenset(
    (
        "via", "from", "to", "call-id", "cseq", "max-forwards", "content-length", "content-type", "content-encoding", "route",
        "record-route", "contact", "rseq", "rack",
    )
)  # fmt: skip
"""Headers that the SIP core writes itself; lower case."""


def sendable(headers: Iterable[tuple[str, str]]) -> HeaderList:
    """The headers that may be sent. The others are left out and logged."""
    kept = []
    for name, value in headers:
        try:
            if header_key(name) in RESERVED:
                raise LocalProtocolError(f"header {name} is not to be set by hand")
            if any(character < " " and character != "\t" for character in value) or "\x7f" in value:
                raise LocalProtocolError(f"the value of header {name} holds a line break or control character")
            Headers(((name, value),))
            kept.append((name, value))
        except LocalProtocolError as error:
            log.warning("header of our own left out", extra={"why": str(error)})
    return tuple(kept)


def one_line(text: str) -> str:
    """`text` as it may stand in a status line or a quoted string: control characters become spaces."""
    return "".join(" " if character < " " or character == "\x7f" else character for character in text)
