"""Look-ups for the resolver, and the availability of resolved targets (RFC 3263 §4.2, §4.3; RFC 3261 §21.5.4).

A next hop as a URI names it, the resolver's answers and the outcomes of requests go in. `LookUp`s for the resolver come out, and the
targets of a name in the order in which a request tries them. This module resolves nothing, sends nothing and has no timers.

It remembers for a limited time: the target that answered a Call-ID, so that a repetition with credentials goes to the same node of a farm;
targets that were silent, unreachable or sent Retry-After, which are tried last; targets without TCP, which get large requests by UDP at
once.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

from msgspec.structs import replace

from active_call.sip.events import LookUp, Target
from active_call.sip.routing import DEFAULT_PORTS
from active_call.sip.syntax.grammar import LWS
from active_call.sip.syntax.message import Response

OUTAGE_S = 60.0
"""How long a silent or unreachable target is tried last. After that, one call a minute tests it."""
MAX_PAUSE_S = 600.0
"""Upper limit for Retry-After: the edges of carriers are back sooner than some ask."""
SAME_PLACE_S = 32.0
"""64*T1: how long a repetition goes to the target that answered, even if DNS now returns others."""
NO_TCP_S = 600.0
"""How long a target whose TCP failed gets large requests by UDP at once. After that, one call in ten minutes tests TCP."""
MAX_REMEMBERED = 1024

_Place = tuple[str, str, int | None]
K = TypeVar("K")
V = TypeVar("V")


class LookUpUser(Protocol):
    """The part that asked the resolver."""

    def handle_look_up(self, hops: tuple[Target, ...], reason: str, now: float) -> None:
        """The resolved targets in order. If there are none, `reason` says why."""


class HopFinder:
    """Look-ups for the resolver, and the memory of targets."""

    def __init__(self) -> None:
        self.look_ups: list[LookUp] = []
        self._waiting: dict[int, LookUpUser] = {}
        self._n_asked = 0
        self._avoided: dict[_Place, float] = {}
        self._answered: dict[str, tuple[Target, float]] = {}
        self._no_tcp: dict[tuple[str, int], float] = {}

    def ask(self, asker: LookUpUser, target: Target, transports: tuple[str, ...]) -> int:
        """Queue a look-up. `asker` gets the answer."""
        self._n_asked += 1
        self.look_ups.append(LookUp(self._n_asked, target.host, target.port, transports))  # type: ignore[arg-type]
        self._waiting[self._n_asked] = asker
        return self._n_asked

    def forget(self, look_up_id: int) -> None:
        """Drop a look-up whose answer is no longer needed."""
        self._waiting.pop(look_up_id, None)

    def handle_look_up(self, look_up_id: int, hops: tuple[Target, ...], reason: str, now: float) -> None:
        """Take the resolver's answer. Without `hops`, `reason` says why."""
        asker = self._waiting.pop(look_up_id, None)
        if asker is not None:
            asker.handle_look_up(hops, reason, now)

    # -- memory -----------------------------------------------------------------------------------------------------------------------

    def note_response(self, call_id: str, hop: Target, response: Response, now: float) -> None:
        """A response has arrived from that target."""
        if hop.name is not None:
            _put(self._answered, call_id, (without_flow(hop), now))
        wait_s = retry_after_s(response) if response.code == 503 else 0
        if wait_s:
            _put(self._avoided, _place(hop), now + min(wait_s, MAX_PAUSE_S))
        elif response.code != 503:
            self._avoided.pop(_place(hop), None)

    def note_failure(self, hop: Target, now: float) -> None:
        """That target is silent or cannot be reached."""
        if hop.name is not None:
            _put(self._avoided, _place(hop), now + OUTAGE_S)

    def note_no_tcp(self, hop: Target, now: float) -> None:
        """TCP, chosen for the size of a request, has failed at that target."""
        _put(self._no_tcp, _address(hop), now + NO_TCP_S)

    def takes_tcp(self, hop: Target, now: float) -> bool:
        """Whether a large request may use TCP to that target."""
        return now >= self._no_tcp.get(_address(hop), 0.0)

    def arrange(self, call_id: str, hops: tuple[Target, ...], now: float) -> list[Target]:
        """The targets in the order for this request: first the one that has answered this Call-ID, last those to avoid."""
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
    """The Retry-After of a response in seconds without comments and parameters, 0 if absent (RFC 3261 §20.33)."""
    if response is None:
        return 0
    text = (response.headers.get("Retry-After") or "").partition(";")[0].partition("(")[0].strip(LWS)
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 10 else 0


def _address(hop: Target) -> tuple[str, int]:
    return hop.host, hop.port or DEFAULT_PORTS[hop.transport]


def _place(hop: Target) -> _Place:
    return hop.transport, hop.host, hop.port


def without_flow(hop: Target) -> Target:
    """The same target without its connection."""
    return hop if hop.flow is None else replace(hop, flow=None)


def _put(memory: dict[K, V], key: K, value: V) -> None:
    """Store `value` as the newest entry. The oldest entry is evicted at the limit."""
    memory.pop(key, None)
    while len(memory) >= MAX_REMEMBERED:
        del memory[next(iter(memory))]
    memory[key] = value
