"""The trunks: find the trunk of an outbound call, and how its INVITEs must look.

The SIP access list (`sip.access`) determines the trunk of an inbound call. The trunk of an outbound call is found by the callee's host: the
trunk with that `server`, else the longest matching name in `domains`, else the most specific range. This module knows SIP addresses, no
sockets, no calls.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from msgspec import Struct, field

from active_call.base.addresses import parse_address
from active_call.base.errors import LimitReached
from active_call.base.rate import Rate
from active_call.base.world import Clock
from active_call.legs.trunks.numbers import NumberFormat
from active_call.legs.trunks.outbound_usage import NO_LIMITS, HourlyLimits
from active_call.sdp.negotiation import SrtpPolicy
from active_call.sip import events as sip
from active_call.sip.access.access_list import Network

LargeRequests = Literal["tcp", "udp"]
MAX_WAIT_S = 10.0
"""An outbound call that would have to wait longer is refused, so that its client can try another trunk."""


class TrunkPolicy(Struct, frozen=True):
    """One trunk. None means: the general setting applies."""

    name: str
    address: str = ""
    """Where numbers are dialled: `host[:port][;parameters]`."""
    server: str = ""
    """Its host, lower case. Callees at that host or a subdomain of it belong to the trunk."""
    domains: tuple[str, ...] = ()
    """Host names of the carrier; `*` matches any part."""
    networks: tuple[Network, ...] = ()
    credentials: tuple[sip.Credentials, ...] = ()
    realms: tuple[str, ...] = ()
    """The realms in the carrier's challenges, in addition to that of the credentials."""
    transport: sip.TransportName | None = None
    srtp: SrtpPolicy | None = None
    best_effort_srtp: bool = False
    """Answer offers with RTP/AVP and crypto lines with SRTP."""
    codecs: tuple[str, ...] = ()
    number_format: NumberFormat = "as_given"
    country_code: str | None = None
    caller: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    refer_headers: tuple[str, ...] = ()
    """Headers, in addition to Replaces, that its REFERs may set in the INVITE to their target."""
    contact_host: str | None = None
    """`host[:port]` for Contact instead of our address."""
    session_timers: bool = True
    prack: bool = True
    max_calls: int | None = None
    outbound_cps: float | None = None
    hourly: HourlyLimits = NO_LIMITS
    """Calls and minutes that may be placed on it per hour."""
    large_requests: LargeRequests | None = None
    """How requests above 1300 bytes are sent if the transport is UDP. None: by UDP if that was configured explicitly, else by TCP
    (RFC 3261 §18.1.1)."""
    options_interval_s: float = 0.0
    """Interval of OPTIONS to it in seconds; 0 sends none."""

    @property
    def unsupported(self) -> tuple[str, ...]:
        """Option tags that its INVITEs omit."""
        return (*(() if self.session_timers else ("timer",)), *(() if self.prack else ("100rel",)))


class PacedCall:
    """The turn of one outbound call. The call counts as waiting until `settle`. A second `settle` has no effect."""

    def __init__(self, waiting: Counter[str], trunk: str, at: float, clock: Clock) -> None:
        self._waiting = waiting
        self._trunk = trunk
        self._at = at
        self._clock = clock
        self._is_settled = False
        waiting[trunk] += 1

    def wait_s(self) -> float:
        """Remaining waiting time of the call."""
        return max(0.0, self._at - self._clock.now())

    def settle(self) -> None:
        """The INVITE was sent, or the call is over without one."""
        if not self._is_settled:
            self._is_settled = True
            self._waiting[self._trunk] -= 1


class Trunks:
    """All trunks, and the rate of outbound calls on each."""

    def __init__(self, trunks: Sequence[TrunkPolicy] = ()) -> None:
        self._trunks = tuple(trunks)
        self._by_name = {trunk.name: trunk for trunk in self._trunks}
        self._patterns = sorted(
            ((pattern, _compiled(pattern), trunk) for trunk in self._trunks for pattern in trunk.domains), key=lambda entry: -len(entry[0])
        )
        self._networks = sorted(
            ((network, trunk) for trunk in self._trunks for network in trunk.networks), key=lambda entry: -entry[0].prefixlen
        )
        self._rates = {trunk.name: Rate(trunk.outbound_cps) for trunk in self._trunks if trunk.outbound_cps}

    def __iter__(self) -> Iterator[TrunkPolicy]:
        return iter(self._trunks)

    def named(self, name: str) -> TrunkPolicy | None:
        return self._by_name.get(name)

    def of_callee(self, host: str) -> TrunkPolicy | None:
        """The trunk for calls to `host`."""
        host = host.lower().rstrip(".")
        for trunk in self._trunks:
            if trunk.server and (host == trunk.server or host.endswith("." + trunk.server)):
                return trunk
        for _, pattern, trunk in self._patterns:
            if pattern.fullmatch(host):
                return trunk
        address = parse_address(host)
        if address is None:
            return None
        return next((trunk for network, trunk in self._networks if address in network), None)

    def turn(self, trunk: TrunkPolicy, now: float, n_calls: int) -> float:
        """Reserve the next turn on the trunk. Returns when the call may start. Raises LimitReached."""
        if trunk.max_calls is not None and n_calls >= trunk.max_calls:
            reason = f"trunk {trunk.name} has {n_calls} calls, of at most {trunk.max_calls}"
            raise LimitReached(reason, rule="trunk_calls", retry_after_s=5)
        rate = self._rates.get(trunk.name)
        if rate is None:
            return now
        wait_s = rate.due_at(now) - now
        if wait_s > MAX_WAIT_S:
            reason = f"trunk {trunk.name} takes {trunk.outbound_cps:g} new calls a second; the next one could start in {wait_s:.0f} s"
            raise LimitReached(reason, rule="trunk_rate", retry_after_s=max(1, round(wait_s - MAX_WAIT_S)))
        return rate.reserve(now)


def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(".+".join(re.escape(part) for part in pattern.lower().split("*")))
