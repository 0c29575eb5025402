"""Our own address in an outgoing request. `request_writer` writes Via and Contact from it (RFC 3261 §8.1.1)."""

from __future__ import annotations

from msgspec import Struct

from active_call.sip.events import Address


class Origin(Struct, frozen=True):
    """The user part of our Contact (None: the request has no Contact) and the listener that the request uses."""

    contact_user: str | None = None
    local: Address | None = None
    local_host: str | None = None
    is_address_validated: bool = True
    """Whether the peer has shown that our messages reach it. If not, its address may be forged, and requests to it are sent only once."""
