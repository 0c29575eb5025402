"""The targets of one request, one after the other (RFC 3263 §4.3).

    the dialog's connection ──closed──> the address or the resolved targets ──failed──> the next target ── … ──> the alternatives

A next hop as a URI names it goes in, then the resolver's answer. A `HopUser` gets one target after the other. A target that violates the
rules of the next hop is skipped, whether its address comes from the URI or from DNS. This module sends nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

from msgspec.structs import replace

from active_call.base.addresses import reach_of
from active_call.sip.events import HopRules, Target
from active_call.sip.faults import PartOfCall
from active_call.sip.listeners import Listeners
from active_call.sip.routing import is_address
from active_call.sip.transaction.hop_finder import HopFinder, without_flow
from active_call.sip.transaction.timers import Timers

_FORBIDDEN = "the address may not be sent to from here"


class HopUser(PartOfCall, Protocol):
    """A request that needs a target."""

    def use_hop(self, hop: Target, now: float) -> None:
        """Send to that target."""

    def on_no_hop(self, reason: str, now: float) -> None:
        """The resolver has found no target."""


class NextHopsPort(Protocol):
    """What the choice of a target needs from the layer."""

    @property
    def hops(self) -> HopFinder:
        """Look-ups and the availability of targets."""

    @property
    def listeners(self) -> Listeners:
        """Our listening sockets."""

    @property
    def timers(self) -> Timers:
        """The timers of the endpoint."""

    def is_allowed(self, hop: Target, rules: HopRules) -> bool:
        """Whether a request under `rules` may go to `hop`, an address."""

    def guard(self, where: str, owner: PartOfCall, action: Callable[[], object], now: float) -> None:
        """Run `action`. An error in it ends only the call that `owner` is part of."""


class NextHops:
    """The targets of one request; see the module. `current` is the one that it was sent to last."""

    __slots__ = ("_call_id", "_is_asked", "_left", "_look_up_id", "_port", "_target", "_user", "current")

    def __init__(self, port: NextHopsPort, target: Target, call_id: str, user: HopUser) -> None:
        self._port = port
        self._target = target
        self._call_id = call_id
        self._user = user
        self._left: list[Target] = []
        self._is_asked = False
        self._look_up_id: int | None = None
        self.current = target

    @property
    def has_more(self) -> bool:
        """Whether further targets are known."""
        return bool(self._left)

    @property
    def is_looking_up(self) -> bool:
        """Whether the resolver's answer is still open."""
        return self._look_up_id is not None

    def start(self, now: float) -> None:
        """Pass on the first target: at once if no look-up is needed, else when the resolver has answered."""
        if self._target.flow is not None:
            self._user.use_hop(self._target, now)
        else:
            self._expand(now)

    def skip_own_address(self) -> None:
        """The target's address has been tried without its connection: only the alternatives are left."""
        if not self._is_asked:
            self._is_asked = True
            self._left = list(self._target.alternatives)

    def advance(self, now: float) -> bool:
        """Pass on the next target. False if there is none."""
        if self._left:
            self._use(now)
            return True
        if self._is_asked:
            return False
        self._expand(now)
        return True

    def handle_look_up(self, hops: tuple[Target, ...], reason: str, now: float) -> None:
        """Take the targets that the resolver has found."""
        self._look_up_id = None
        self._port.guard("look_up", self._user, partial(self._take_places, hops, reason, now), now)

    def _take_places(self, hops: tuple[Target, ...], reason: str, now: float) -> None:
        rules = self._target.rules
        allowed = tuple(replace(hop, rules=rules) for hop in hops if self._port.is_allowed(hop, rules))
        self._left = [*self._port.hops.arrange(self._call_id, allowed, now), *self._target.alternatives]
        if self._left:
            self._use(now)
        else:
            self._user.on_no_hop(reason if not hops else _FORBIDDEN, now)

    def close(self) -> None:
        """Stop: no further target is needed."""
        self._left = []
        self._is_asked = True
        if self._look_up_id is not None:
            self._port.hops.forget(self._look_up_id)
            self._look_up_id = None

    def _expand(self, now: float) -> None:
        target = without_flow(self._target)
        self._is_asked = True
        if is_address(target.host):
            self._left = [*([target] if self._port.is_allowed(target, target.rules) else []), *target.alternatives]
            if self._left:
                self._use(now)
            else:  # later: the transaction is still being created
                self._port.timers.start(now, lambda at: self._user.on_no_hop(_FORBIDDEN, at), self._user)
            return
        choices = self._port.listeners.choices(target.transport) if target.any_transport else (target.transport,)
        self._look_up_id = self._port.hops.ask(self, target, choices)

    def _use(self, now: float) -> None:
        self.current = self._left.pop(0)
        self._user.use_hop(self.current, now)


def is_within(hop: Target, rules: HopRules) -> bool:
    """Whether the address of `hop` has at least the required reach."""
    reach = reach_of(hop.host)
    return reach is None or reach >= rules.least
