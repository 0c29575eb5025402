"""One message of the protocol that sets a call up, as records and the console show it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SignallingMessage:
    """A message that has crossed the wire, without credentials and keys."""

    at_ms: int
    """Milliseconds since 1970: when it was read, or handed to the socket."""
    is_received: bool
    transport: str
    """`udp`, `tcp`, `tls`, `ws` or `wss`."""
    peer: str
    """The other side's address and port."""
    start_line: str
    headers: Mapping[str, str]
    """Those that explain a call, by their full names."""
    text: str = ""
    """The whole message; empty if only the summary is wanted."""
