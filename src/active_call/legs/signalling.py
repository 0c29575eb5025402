"""One signalling message of a call, for records and the console."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct


class SignallingMessage(Struct, frozen=True):
    """A message that was sent or received, without credentials and keys."""

    at_ms: int
    """Unix time in ms when it was read or handed to the socket."""
    is_received: bool
    transport: str
    """`udp`, `tcp`, `tls`, `ws` or `wss`."""
    peer: str
    """Address and port of the other side."""
    start_line: str
    headers: Mapping[str, str]
    """The headers that matter for call analysis, by full name."""
    text: str = ""
    """The whole message; empty if only the summary was requested."""
