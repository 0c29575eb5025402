"""The query of a socket's address, under the documented parameter names and those of existing clients."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from active_call.base.errors import ActiveCallError

PING_S: Final = 20.0
MAX_PING_S: Final = 3600.0
MAX_LINGER_S: Final = 600
MAX_ID_CHARACTERS: Final = 256
_ID: Final = re.compile(r"[\x21-\x7e]+")
_TRUE: Final = frozenset({"true", "1", "yes", "on", ""})
_FALSE: Final = frozenset({"false", "0", "no", "off"})


class QueryError(ActiveCallError):
    """A part of the query is invalid."""

    code = "bad_request"


class SocketQuery(Struct, frozen=True):
    """The client's settings for its socket. `id`: the call's; None: the server creates one. `since`: the number of the first event."""

    id: str | None = None
    ping_s: float = PING_S
    """Seconds between two pings; 0: none."""
    is_detached: bool = False
    """The call continues when the socket closes."""
    linger_s: int = 0
    """The call ends this many seconds after its socket has closed, unless the client reconnects."""
    since: int | None = None
    rate_hz: int | None = None
    """For sound as `pcm`; None: 16 kHz."""
    keeps_messages: bool = False
    """The record of the call begun by this socket contains the full text of its SIP messages."""
    only_live: bool = False
    """Refuse the socket if there is no such call."""
    server_side_track: str = ""
    """The track name of the server's playback in events; empty: `server-side-track`."""


def read_query(parameters: Mapping[str, str]) -> SocketQuery:
    """The query of a socket's address. Raises QueryError, which names the parameter. Unknown parameters are ignored.

    `forward`, if true, asks for a call that is live: the original's nodes look for a call among each other that way.
    `dump` (`dump_events`), if true, requests the full SIP messages in the record, which always contains the events.
    """
    session_id = parameters.get("id") or None
    if session_id is not None and (len(session_id) > MAX_ID_CHARACTERS or not _ID.fullmatch(session_id)):
        raise QueryError(f"id: expected 1 to {MAX_ID_CHARACTERS} printable ASCII characters without spaces")
    return SocketQuery(
        id=session_id,
        ping_s=_seconds(parameters, "ping", "ping_interval"),
        is_detached=_flag(parameters, "detach", default=False),
        linger_s=_linger(parameters),
        since=_number(parameters, "since"),
        rate_hz=_number(parameters, "rate"),
        keeps_messages=_flag(parameters, "dump", "dump_events", default=False),
        only_live=session_id is not None and _flag(parameters, "forward", default=False),
        server_side_track=(parameters.get("serverSideTrack") or parameters.get("server_side_track") or "")[:MAX_ID_CHARACTERS],
    )


def _given(parameters: Mapping[str, str], *names: str) -> tuple[str, str | None]:
    return next(((name, parameters[name]) for name in names if name in parameters), (names[0], None))


def _flag(parameters: Mapping[str, str], *names: str, default: bool) -> bool:
    name, text = _given(parameters, *names)
    if text is None:
        return default
    if text.lower() not in _TRUE | _FALSE:
        raise QueryError(f"{name}: expected true or false, found {text[:40]!r}")
    return text.lower() in _TRUE


def _seconds(parameters: Mapping[str, str], *names: str) -> float:
    name, text = _given(parameters, *names)
    if text is None:
        return PING_S
    if not re.fullmatch(r"\d{1,6}(\.\d{1,3})?", text) or float(text) > MAX_PING_S:
        raise QueryError(f"{name}: expected 0 to {MAX_PING_S:g} seconds, found {text[:40]!r}")
    return float(text)


def _linger(parameters: Mapping[str, str]) -> int:
    seconds = _number(parameters, "linger") or 0
    if seconds > MAX_LINGER_S:
        raise QueryError(f"linger: expected 0 to {MAX_LINGER_S} seconds, found {seconds}")
    return seconds


def _number(parameters: Mapping[str, str], name: str) -> int | None:
    text = parameters.get(name)
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise QueryError(f"{name}: expected a whole number, found {text[:40]!r}")
    return int(text)
