"""Keeps the SIP messages of each call while it lives, so that its record has them.

Bytes enter as they cross the wire (`sip.ports.MessageObserver`), `legs.signalling.SignallingMessage` leaves when a record is made. Each
message costs one search for its Call-ID and one tuple; nothing is parsed before a record wants it, because the bytes are smaller than what
would be made of them.

An INVITE is seen before there is a leg for it. Its messages wait under their Call-ID until a leg takes them (`follow`). Calls that never
get a leg, such as refused ones, are displaced by later ones.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final, NamedTuple

from active_call.base.world import Clock
from active_call.legs.signalling import SignallingMessage
from active_call.legs.sip.trace.text import call_id_of, headers_of, start_line_of, whole_text_of
from active_call.sip.events import Address, Flow, Target

MAX_FIRST: Final = 60
MAX_LAST: Final = 60
"""A call keeps its first messages, which set it up, and its last ones, which end it: session timers may send thousands between them."""
MAX_BYTES: Final = 8192
"""Of one message; the rest is cut off."""
MAX_WAITING: Final = 64
"""Calls without a leg."""
MAX_WAITING_MESSAGES: Final = 8
"""Of each of them."""
MAX_ENDED: Final = 256
"""Calls that are over and whose leg is not released: the answer to a BYE still comes. A leg refused at once is never released."""


class _Noted(NamedTuple):
    at_ms: int
    is_received: bool
    transport: str
    peer: str
    data: bytes


class CallTrace:
    """The messages of one leg. Owned by the leg; `SipTrace` fills it."""

    def __init__(self, forget: Callable[[CallTrace], None], ended: Callable[[CallTrace], None]) -> None:
        self._forget = forget
        self._ended = ended
        self._first: list[_Noted] = []
        self._last: deque[_Noted] = deque(maxlen=MAX_LAST)
        self.call_ids: list[bytes] = []
        """Those that the leg has had: a call that falls back to plain RTP has two."""
        self.n_left_out = 0

    def note(self, noted: _Noted) -> None:
        """One more message of the call."""
        if len(self._first) < MAX_FIRST:
            self._first.append(noted)
            return
        self.n_left_out += len(self._last) == MAX_LAST
        self._last.append(noted)

    def end(self) -> None:
        """The call is over; the answer to its BYE may still come, and `close` follows."""
        self._ended(self)

    def close(self) -> None:
        """Note no more. The messages stay."""
        self._forget(self)

    def messages(self, *, whole: bool) -> tuple[SignallingMessage, ...]:
        """What has crossed the wire, in order; with the `whole` texts where they are wanted."""
        return tuple(_read(noted, whole) for noted in (*self._first, *self._last))


class SipTrace:
    """The traces of all calls of this process; an observer of the endpoint."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._traces: dict[bytes, list[CallTrace]] = {}
        self._waiting: OrderedDict[bytes, list[_Noted]] = OrderedDict()
        self._ended: OrderedDict[CallTrace, None] = OrderedDict()

    @property
    def n_followed(self) -> int:
        """Call-IDs whose messages are kept for a leg."""
        return len(self._traces)

    def new_trace(self) -> CallTrace:
        """An empty trace; `follow` fills it."""
        return CallTrace(self._forget, self._end)

    def follow(self, trace: CallTrace, call_id: str) -> None:
        """Keep what is said in that call from now on in `trace`, and what has been said already."""
        key = call_id.encode("utf-8", "surrogateescape").strip()
        followers = self._traces.setdefault(key, [])
        if trace in followers:
            return
        followers.append(trace)
        trace.call_ids.append(key)
        for noted in self._waiting.pop(key, ()):
            trace.note(noted)

    # -- from the endpoint

    def received(self, data: bytes, flow: Flow) -> None:
        """See `sip.ports.MessageObserver`."""
        self._note(data, True, flow.transport, flow.remote)

    def sent(self, data: bytes, destination: Flow | Target) -> None:
        """See `sip.ports.MessageObserver`."""
        place = destination.remote if isinstance(destination, Flow) else Address(destination.host, destination.port or 0)
        self._note(data, False, destination.transport, place)

    def _note(self, data: bytes, is_received: bool, transport: str, place: Address) -> None:
        key = call_id_of(data)
        traces = self._traces.get(key)
        if traces is None and key not in self._waiting and not data.startswith(b"INVITE "):
            return
        at_ms = int(self._clock.utc_now().timestamp() * 1000)
        noted = _Noted(at_ms, is_received, transport, _text_of(place), data[:MAX_BYTES])
        if traces is not None:
            for trace in traces:
                trace.note(noted)
        else:
            self._keep_waiting(key, noted)

    def _keep_waiting(self, key: bytes, noted: _Noted) -> None:
        waiting = self._waiting.setdefault(key, [])
        if len(waiting) < MAX_WAITING_MESSAGES:
            waiting.append(noted)
        if len(self._waiting) > MAX_WAITING:
            self._waiting.popitem(last=False)

    def _end(self, trace: CallTrace) -> None:
        self._ended[trace] = None
        if len(self._ended) > MAX_ENDED:
            self._forget(next(iter(self._ended)))

    def _forget(self, trace: CallTrace) -> None:
        self._ended.pop(trace, None)
        for key in trace.call_ids:
            followers = [each for each in self._traces.get(key, ()) if each is not trace]
            if followers:
                self._traces[key] = followers
            else:
                self._traces.pop(key, None)


def _read(noted: _Noted, whole: bool) -> SignallingMessage:
    return SignallingMessage(
        noted.at_ms,
        is_received=noted.is_received,
        transport=noted.transport,
        peer=noted.peer,
        start_line=start_line_of(noted.data),
        headers=headers_of(noted.data),
        text=whole_text_of(noted.data) if whole else "",
    )


def _text_of(place: Address) -> str:
    host = f"[{place.host}]" if ":" in place.host else place.host
    return f"{host}:{place.port}" if place.port else host
