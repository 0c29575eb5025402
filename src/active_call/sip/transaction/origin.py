"""What we call ourselves in a request of ours: `request_writer` writes Via and Contact from it (RFC 3261 §8.1.1)."""

from __future__ import annotations

from dataclasses import dataclass

from active_call.sip.events import Address


@dataclass(frozen=True, slots=True)
class Origin:
    """The user part of our Contact (None: the request has no Contact) and the listener that the request speaks for."""

    contact_user: str | None = None
    local: Address | None = None
    local_host: str | None = None
    is_heard: bool = True
    """The peer has shown that our messages reach it. A request to any other peer is sent once only: its address may be forged."""
