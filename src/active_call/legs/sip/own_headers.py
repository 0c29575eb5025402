"""Headers that commands, playbooks and variables add to our messages: which may be sent, and in what form.

Arbitrary names and values go in; valid SIP headers come out. A value may contain what a caller said, so a line break in it must not start
another header. Headers that the SIP core writes itself cannot be set.
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
"""Headers that the SIP core writes itself, in lower case."""
SECRETS: Final = frozenset(("authorization", "proxy-authorization"))
"""Headers that answer a challenge. No peer may set them."""


def sendable(headers: Iterable[tuple[str, str]]) -> HeaderList:
    """The headers that may be sent. All others are dropped and logged."""
    kept = []
    for name, value in headers:
        try:
            if header_key(name) in RESERVED:
                raise LocalProtocolError(f"header {name} is set by the server and cannot be given")
            if any(character < " " and character != "\t" for character in value) or "\x7f" in value:
                raise LocalProtocolError(f"the value of header {name} has a line break or control character")
            Headers(((name, value),))
            kept.append((name, value))
        except LocalProtocolError as error:
            log.warning("header of our own left out", extra={"why": str(error)})
    return tuple(kept)


def carried_over(headers: HeaderList, allowed: Iterable[str] = ()) -> HeaderList:
    """The headers of a peer's Refer-To that the INVITE to the target may contain (RFC 3261 §19.1.5): `Replaces` and `Require: replaces` as
    in RFC 5589 §7, and those named in `allowed`. The peer chooses them, so no other header is sent together with our credentials.
    """
    names = {"replaces", *(header_key(name) for name in allowed)}
    kept = [(name, value) for name, value in headers if header_key(name) in names or _requires_replaces(name, value)]
    dropped = [name for name, value in headers if (name, value) not in kept]
    if dropped:
        log.info("headers of a peer's Refer-To left out", extra={"headers": ", ".join(dropped)[:200]})
    return sendable(kept)


def _requires_replaces(name: str, value: str) -> bool:
    return header_key(name) == "require" and value.strip().lower() == "replaces"


def one_line(text: str) -> str:
    """`text` for a status line or a quoted string: control characters become spaces."""
    return "".join(" " if character < " " or character == "\x7f" else character for character in text)
