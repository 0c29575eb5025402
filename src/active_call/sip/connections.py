"""The byte streams of an endpoint's connections: message framing, keep-alives, and the age of an incomplete message.

Bytes of a connection go in. Whole messages, a number of pings or a stream failure come out. This module sends nothing and closes nothing.
RFC 3261 §18.3, RFC 5626 §3.5.1, §4.4.1.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from active_call.base.errors import ParseError
from active_call.sip.access.reading import MAX_UNKNOWN_BODY_BYTES, MAX_UNKNOWN_HEADER_BYTES
from active_call.sip.syntax.framing import Ping, StreamFramer

MAX_PINGS = 100
PING_WINDOW_S = 10.0
"""RFC 5626 §4.4.1 allows a ping every 24 s at most. A peer that sends a hundred in ten seconds is not keeping a binding open."""


@dataclass(slots=True)
class _Connection:
    """The state of one connection."""

    framer: StreamFramer | None = None
    half_read_since: float | None = None
    heard_at: float | None = None
    pings_began_at: float = 0.0
    n_pings: int = 0


@dataclass(slots=True)
class StreamInput:
    """The result of one read: whole messages in order, and a number of pings."""

    messages: list[bytes] = field(default_factory=list)
    n_pings: int = 0
    failure: ParseError | None = None
    """Why the stream cannot be parsed any further."""
    rejected: bytes = b""
    """The readable part of the message that failed."""


class Connections:
    """See the module. A connection is identified by its `connection_id`."""

    def __init__(self) -> None:
        self._by_id: dict[int, _Connection] = {}

    def is_open(self, connection_id: int) -> bool:
        """Whether something was received on that connection and it is not closed."""
        return connection_id in self._by_id

    def is_broken(self, connection_id: int) -> bool:
        """Whether the stream of that connection cannot be parsed any further."""
        connection = self._by_id.get(connection_id)
        return connection is not None and connection.framer is not None and connection.framer.failure is not None

    def feed(self, connection_id: int, data: bytes, now: float, *, is_known: bool) -> StreamInput:
        """Take bytes, cut anywhere. `is_known`: the standing of the source at its first bytes. Other sources have smaller limits."""
        connection = self._of(connection_id)
        framer = connection.framer
        if framer is None:
            framer = connection.framer = StreamFramer() if is_known else _small_framer()
        try:
            items = framer.feed(data)
        except ParseError:
            items = []
        if not framer.is_half_read:
            connection.half_read_since = None
        elif items or connection.half_read_since is None:
            connection.half_read_since = now
        given = StreamInput(failure=framer.failure, rejected=framer.rejected)
        for item in items:
            if isinstance(item, bytes):
                given.messages.append(item)
            elif isinstance(item, Ping):
                given.n_pings += 1
        return given

    def note_message(self, connection_id: int, now: float) -> None:
        """Record that a message arrived on that connection."""
        self._of(connection_id).heard_at = now

    def count_pings(self, connection_id: int, n_pings: int, now: float) -> int:
        """Number of pings within PING_WINDOW_S, including these."""
        connection = self._of(connection_id)
        if now - connection.pings_began_at > PING_WINDOW_S:
            connection.pings_began_at, connection.n_pings = now, 0
        connection.n_pings += n_pings
        return connection.n_pings

    def half_read_since(self, connection_id: int) -> float | None:
        """When the incomplete message on that connection started; None between messages."""
        connection = self._by_id.get(connection_id)
        return connection.half_read_since if connection is not None else None

    def heard_at(self, connection_id: int) -> float | None:
        """When the last message arrived on that connection; None if there was none."""
        connection = self._by_id.get(connection_id)
        return connection.heard_at if connection is not None else None

    def forget(self, connection_id: int) -> None:
        """Drop the state of a closed connection."""
        self._by_id.pop(connection_id, None)

    def _of(self, connection_id: int) -> _Connection:
        connection = self._by_id.get(connection_id)
        if connection is None:
            connection = self._by_id[connection_id] = _Connection()
        return connection


def _small_framer() -> StreamFramer:
    return StreamFramer(max_header_bytes=MAX_UNKNOWN_HEADER_BYTES, max_body_bytes=MAX_UNKNOWN_BODY_BYTES)
