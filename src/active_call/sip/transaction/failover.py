"""The places that one request may go to, in order, and how places have fared (RFC 3263 §4.2, §4.3; RFC 3261 §21.5.4).

Enters: a next hop as a URI names it; then what the resolver has found; what became of requests. Leaves: one place after the other to a
`HopUser`, and questions to the resolver as `LookUp`. Resolves nothing itself, sends nothing, has no timers.

    a connection of the dialog ──gone──> the address, or the name's places ──failed──> the next place ── … ──> the alternatives

A place that breaks the target's rules is passed over, whether the URI names its address or DNS does.

What is remembered lasts for a while only: which place answered a Call-ID, so that a repetition with credentials goes there and not to
another node of a farm; which place was silent, unreachable or asked for a pause, so that the calls of that while try it last; which place
takes no TCP, so that large requests go there by UDP at once.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

from active_call.base.addresses import reach_of
from active_call.sip.events import HopRules, LookUp, Target
from active_call.sip.faults import PartOfCall
from active_call.sip.routing import DEFAULT_PORTS, is_address
from active_call.sip.syntax.grammar import LWS
from active_call.sip.syntax.message import Response

if TYPE_CHECKING:
    from active_call.sip.transaction.layer import TransactionLayer

OUTAGE_S = 60.0
"""How long a place that was silent or unreachable is tried last: one call in a minute pays for finding out."""
MAX_PAUSE_S = 600.0
"""A Retry-After beyond this is not believed: carriers' edges come back sooner."""
SAME_PLACE_S = 32.0
"""64*T1: for so long a repetition goes to the place that answered, even where DNS names others by now."""
NO_TCP_S = 600.0
"""How long a place that has let TCP fail hears large requests by UDP at once: one call in ten minutes pays for finding out."""
MAX_REMEMBERED = 1024

_Place = tuple[str, str, int | None]
K = TypeVar("K")
V = TypeVar("V")


class HopUser(PartOfCall, Protocol):
    """A request on its way."""

    def use_hop(self, hop: Target, now: float) -> None:
        """Go there."""

    def on_no_hop(self, reason: str, now: float) -> None:
        """The resolver has found no place at all."""


class HopFinder:
    """Questions to the resolver, and the memory of places."""

    def __init__(self) -> None:
        self.look_ups: list[LookUp] = []
        self._waiting: dict[int, NextHops] = {}
        self._n_asked = 0
        self._avoided: dict[_Place, float] = {}
        self._answered: dict[str, tuple[Target, float]] = {}
        self._no_tcp: dict[tuple[str, int], float] = {}

    def ask(self, asker: NextHops, target: Target, transports: tuple[str, ...]) -> int:
        """Queue a question; the answer goes to `asker`."""
        self._n_asked += 1
        self.look_ups.append(LookUp(self._n_asked, target.host, target.port, transports))  # type: ignore[arg-type]
        self._waiting[self._n_asked] = asker
        return self._n_asked

    def forget(self, look_up_id: int) -> None:
        """Nobody waits for that answer any more."""
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
            _put(self._answered, call_id, (_without_flow(hop), now))
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


class NextHops:
    """The way of one request; see the module. `current` is the place that it was last sent to."""

    __slots__ = ("_call_id", "_is_asked", "_layer", "_left", "_look_up_id", "_target", "_user", "current")

    def __init__(self, layer: TransactionLayer, target: Target, call_id: str, user: HopUser) -> None:
        self._layer = layer
        self._target = target
        self._call_id = call_id
        self._user = user
        self._left: list[Target] = []
        self._is_asked = False
        self._look_up_id: int | None = None
        self.current = target

    @property
    def has_more(self) -> bool:
        """Whether further places are known."""
        return bool(self._left)

    @property
    def is_looking_up(self) -> bool:
        """Whether the resolver has still to answer."""
        return self._look_up_id is not None

    def start(self, now: float) -> None:
        """Give the first place: at once where no question is needed, else when the resolver has answered."""
        if self._target.flow is not None:
            self._user.use_hop(self._target, now)
        else:
            self._expand(now)

    def pass_own(self) -> None:
        """The address that the target names has been tried without its connection: only the alternatives are left."""
        if not self._is_asked:
            self._is_asked = True
            self._left = list(self._target.alternatives)

    def advance(self, now: float) -> bool:
        """Go on to the next place; False where there is none."""
        if self._left:
            self._use(now)
            return True
        if self._is_asked:
            return False
        self._expand(now)
        return True

    def handle_look_up(self, hops: tuple[Target, ...], reason: str, now: float) -> None:
        """The places that the resolver has found."""
        self._look_up_id = None
        self._layer.guard("look_up", self._user, partial(self._take_places, hops, reason, now), now)

    def _take_places(self, hops: tuple[Target, ...], reason: str, now: float) -> None:
        rules = self._target.rules
        allowed = tuple(replace(hop, rules=rules) for hop in hops if self._layer.is_allowed(hop, rules))
        self._left = [*self._layer.hops.arrange(self._call_id, allowed, now), *self._target.alternatives]
        if self._left:
            self._use(now)
        else:
            self._user.on_no_hop(reason if not hops else _FORBIDDEN, now)

    def close(self) -> None:
        """No further place is wanted."""
        self._left = []
        self._is_asked = True
        if self._look_up_id is not None:
            self._layer.hops.forget(self._look_up_id)
            self._look_up_id = None

    def _expand(self, now: float) -> None:
        target = _without_flow(self._target)
        self._is_asked = True
        if is_address(target.host):
            self._left = [*([target] if self._layer.is_allowed(target, target.rules) else []), *target.alternatives]
            if self._left:
                self._use(now)
            else:  # later: the transaction is still being made
                self._layer.timers.start(now, lambda at: self._user.on_no_hop(_FORBIDDEN, at), self._user)
            return
        choices = self._layer.listeners.choices(target.transport) if target.any_transport else (target.transport,)
        self._look_up_id = self._layer.hops.ask(self, target, choices)

    def _use(self, now: float) -> None:
        self.current = self._left.pop(0)
        self._user.use_hop(self.current, now)


def retry_after_s(response: Response | None) -> int:
    """A response's Retry-After in seconds, 0 without one; comments and parameters aside (RFC 3261 §20.33)."""
    if response is None:
        return 0
    text = (response.headers.get("Retry-After") or "").partition(";")[0].partition("(")[0].strip(LWS)
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 10 else 0


_FORBIDDEN = "the address may not be sent to from here"


def is_within(hop: Target, rules: HopRules) -> bool:
    """Whether the address of `hop` reaches far enough."""
    reach = reach_of(hop.host)
    return reach is None or reach >= rules.least


def _address(hop: Target) -> tuple[str, int]:
    return hop.host, hop.port or DEFAULT_PORTS[hop.transport]


def _place(hop: Target) -> _Place:
    return hop.transport, hop.host, hop.port


def _without_flow(hop: Target) -> Target:
    return hop if hop.flow is None else replace(hop, flow=None)


def _put(memory: dict[K, V], key: K, value: V) -> None:
    """Keep `value` as the newest; the oldest goes where there are too many."""
    memory.pop(key, None)
    while len(memory) >= MAX_REMEMBERED:
        del memory[next(iter(memory))]
    memory[key] = value
