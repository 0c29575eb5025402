"""Store the SIP messages of each call while it is active, for its record.

Bytes go in as they cross the wire (`sip.ports.MessageObserver`); `legs.signalling.SignallingMessage` comes out when a record is made. Each
message costs one search for its Call-ID and one tuple. Nothing is parsed before a record needs it, because the bytes are smaller than the
parsed values.

An INVITE arrives before its leg exists. Its messages wait under their Call-ID until a leg takes them (`follow`). Calls that never get a
leg, such as refused ones, are evicted by later ones.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final, NamedTuple

from active_call.base.world import Clock
from active_call.legs.signalling import SignallingMessage
from active_call.legs.sip.trace.text import call_id_of, summary_of, whole_text_of
from active_call.sip.events import Address, Flow, Target

MAX_FIRST: Final = 60
MAX_LAST: Final = 60
"""A call stores its first messages (set-up) and its last ones (end), because session timers may cause thousands in between."""
MAX_BYTES: Final = 8192
"""Maximum size of one message; the rest is cut off."""
MAX_CALL_BYTES: Final = 128 * 1024
"""Maximum size of the messages of one call. Later ones are cut to the lines in `LEAST_BYTES`.

Otherwise 500 calls with long messages would take half a gigabyte.
"""
LEAST_BYTES: Final = 512
"""Start line and the first headers."""
MAX_WAITING: Final = 64
"""Maximum number of calls without a leg."""
MAX_WAITING_MESSAGES: Final = 8
"""Maximum number of messages for each of them."""
MAX_ENDED: Final = 256
"""Maximum number of ended calls whose leg is not released. They wait for the answer to a BYE; a leg refused at once is never released."""


class _Noted(NamedTuple):
    at_ms: int
    is_received: bool
    transport: str
    peer: str
    data: bytes


class CallTrace:
    """The messages of one leg. Owned by the leg, filled by `SipTrace`."""

    def __init__(self, forget: Callable[[CallTrace], None], ended: Callable[[CallTrace], None]) -> None:
        self._forget = forget
        self._ended = ended
        self._first: list[_Noted] = []
        self._last: deque[_Noted] = deque(maxlen=MAX_LAST)
        self._n_bytes = 0
        self.call_ids: list[bytes] = []
        """The Call-IDs of the leg: a call that falls back to plain RTP has two."""
        self.n_left_out = 0

    def note(self, noted: _Noted) -> None:
        """Add one more message of the call."""
        if len(self._last) == MAX_LAST:
            self.n_left_out += 1
            self._n_bytes -= len(self._last.popleft().data)
        room = max(MAX_CALL_BYTES - self._n_bytes, LEAST_BYTES)
        if len(noted.data) > room:
            noted = noted._replace(data=noted.data[: noted.data.rfind(b"\n", 0, room) + 1])  # half a line may be half a password
        self._n_bytes += len(noted.data)
        if len(self._first) < MAX_FIRST:
            self._first.append(noted)
            return
        self._last.append(noted)

    def end(self) -> None:
        """The call is over. The answer to its BYE may still arrive; `close` follows."""
        self._ended(self)

    def close(self) -> None:
        """Stop adding messages. The stored ones stay."""
        self._forget(self)

    def messages(self, *, whole: bool) -> tuple[SignallingMessage, ...]:
        """The messages in order; with their complete texts if `whole`."""
        return tuple(_read(noted, whole) for noted in (*self._first, *self._last))


class SipTrace:
    """The traces of all calls of this process. It observes the endpoint."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._traces: dict[bytes, list[CallTrace]] = {}
        self._waiting: OrderedDict[bytes, list[_Noted]] = OrderedDict()
        self._ended: OrderedDict[CallTrace, None] = OrderedDict()

    @property
    def n_followed(self) -> int:
        """Number of Call-IDs whose messages are stored for a leg."""
        return len(self._traces)

    def new_trace(self) -> CallTrace:
        """An empty trace, to be filled after `follow`."""
        return CallTrace(self._forget, self._end)

    def follow(self, trace: CallTrace, call_id: str) -> None:
        """Store the messages of that call in `trace`, including those already received."""
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
    start_line, headers = summary_of(noted.data)
    return SignallingMessage(
        noted.at_ms,
        is_received=noted.is_received,
        transport=noted.transport,
        peer=noted.peer,
        start_line=start_line,
        headers=headers,
        text=whole_text_of(noted.data) if whole else "",
    )


def _text_of(place: Address) -> str:
    host = f"[{place.host}]" if ":" in place.host else place.host
    return f"{host}:{place.port}" if place.port else host
