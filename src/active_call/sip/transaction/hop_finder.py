"""Questions to the resolver, and how the places of names have fared (RFC 3263 §4.2, §4.3; RFC 3261 §21.5.4).

Enters: a next hop as a URI names it; what the resolver has found; what became of requests. Leaves: questions to the resolver as `LookUp`;
the places of a name in the order in which a request tries them. Resolves nothing itself, sends nothing, has no timers.

It remembers for a while only: the place that answered a Call-ID, so that a repetition with credentials goes there and not to another node
of a farm; the places that were silent, unreachable or asked for a pause: requests of that time try them last; the places that take no TCP:
large requests go there by UDP at once.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol, TypeVar

from active_call.sip.events import LookUp, Target
from active_call.sip.routing import DEFAULT_PORTS
from active_call.sip.syntax.grammar import LWS
from active_call.sip.syntax.message import Response

OUTAGE_S = 60.0
"""For so long a place that was silent or unreachable is tried last: one call a minute waits for it in vain."""
MAX_PAUSE_S = 600.0
"""A longer Retry-After is cut to this: carriers' edges come back sooner."""
SAME_PLACE_S = 32.0
"""64*T1: for so long a repetition goes to the place that answered, even where DNS names others by now."""
NO_TCP_S = 600.0
"""For so long a place where TCP has failed gets large requests by UDP at once: one call in ten minutes waits for TCP in vain."""
MAX_REMEMBERED = 1024

_Place = tuple[str, str, int | None]
K = TypeVar("K")
V = TypeVar("V")


class LookUpUser(Protocol):
    """The part that has asked the resolver."""

    def handle_look_up(self, hops: tuple[Target, ...], reason: str, now: float) -> None:
        """The places that the resolver has found, in order; without any there is a `reason`."""


class HopFinder:
    """Questions to the resolver, and the memory of places."""

    def __init__(self) -> None:
        self.look_ups: list[LookUp] = []
        self._waiting: dict[int, LookUpUser] = {}
        self._n_asked = 0
        self._avoided: dict[_Place, float] = {}
        self._answered: dict[str, tuple[Target, float]] = {}
        self._no_tcp: dict[tuple[str, int], float] = {}

    def ask(self, asker: LookUpUser, target: Target, transports: tuple[str, ...]) -> int:
        """Queue a question; the answer goes to `asker`."""
        self._n_asked += 1
        self.look_ups.append(LookUp(self._n_asked, target.host, target.port, transports))  # type: ignore[arg-type]
        self._waiting[self._n_asked] = asker
        return self._n_asked

    def forget(self, look_up_id: int) -> None:
        """That answer is not needed any more."""
        self._waiting.pop(look_up_id, None)

    def handle_look_up(self, look_up_id: int, hops: tuple[Target, ...], reason: str, now: float) -> None:
        """The resolver's answer; without `hops` there is a `reason`."""
        asker = self._waiting.pop(look_up_id, None)
        if asker is not None:
            asker.handle_look_up(hops, reason, now)

    # -- memory

    def note_response(self, call_id: str, hop: Target, response: Response, now: float) -> None:
        """A response has come from that place."""
        if hop.name is not None:
            _put(self._answered, call_id, (without_flow(hop), now))
        wait_s = retry_after_s(response) if response.code == 503 else 0
        if wait_s:
            _put(self._avoided, _place(hop), now + min(wait_s, MAX_PAUSE_S))
        elif response.code != 503:
            self._avoided.pop(_place(hop), None)

    def note_failure(self, hop: Target, now: float) -> None:
        """That place is silent or cannot be reached."""
        if hop.name is not None:
            _put(self._avoided, _place(hop), now + OUTAGE_S)

    def note_no_tcp(self, hop: Target, now: float) -> None:
        """TCP, chosen for the size of a request, has failed at that place."""
        _put(self._no_tcp, _address(hop), now + NO_TCP_S)

    def takes_tcp(self, hop: Target, now: float) -> bool:
        """Whether a large request may try TCP at that place."""
        return now >= self._no_tcp.get(_address(hop), 0.0)

    def arrange(self, call_id: str, hops: tuple[Target, ...], now: float) -> list[Target]:
        """The places in the order for this request: the one that has answered it before first, those that are to be avoided last."""
        ordered = list(hops)
        last = self._answered.get(call_id)
        if last is not None:
            hop, answered_at = last
            is_recent = now - answered_at < SAME_PLACE_S and any(entry.name == hop.name for entry in hops)
            same = next((entry for entry in hops if _place(entry) == _place(hop)), hop if is_recent else None)
            if same is not None:
                ordered = [same, *(entry for entry in hops if _place(entry) != _place(same))]
        return sorted(ordered, key=lambda entry: now < self._avoided.get(_place(entry), 0.0))


def retry_after_s(response: Response | None) -> int:
    """A response's Retry-After in seconds, 0 without one; comments and parameters aside (RFC 3261 §20.33)."""
    if response is None:
        return 0
    text = (response.headers.get("Retry-After") or "").partition(";")[0].partition("(")[0].strip(LWS)
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 10 else 0


def _address(hop: Target) -> tuple[str, int]:
    return hop.host, hop.port or DEFAULT_PORTS[hop.transport]


def _place(hop: Target) -> _Place:
    return hop.transport, hop.host, hop.port


def without_flow(hop: Target) -> Target:
    """The same place, not by the connection that the target names."""
    return hop if hop.flow is None else replace(hop, flow=None)


def _put(memory: dict[K, V], key: K, value: V) -> None:
    """Keep `value` as the newest; the oldest goes where there are too many."""
    memory.pop(key, None)
    while len(memory) >= MAX_REMEMBERED:
        del memory[next(iter(memory))]
    memory[key] = value
