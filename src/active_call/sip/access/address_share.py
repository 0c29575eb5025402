"""How many of the server's calls one source address may have, if it is neither a trunk nor a registrar nor this machine. Pure.

The limit depends on what is free, as in shared packet buffers ("dynamic threshold"): an address may begin another call while it has fewer
than `share / (1 - share)` times the calls that remain free afterwards. So with a share of 0.9:

    one address alone           gets 90 % of all calls
    two that want all           get 47 % each
    five that want all          get 20 % each
    an address without calls    gets one while any is free, except for the reserve

All unknown addresses together leave one sixteenth of the calls free, for trunks, registrars and the server's own clients. One address also
begins at most half of the calls that the server can begin in a second. IPv6 addresses count by their /64.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from math import inf
from typing import Final

from active_call.base.addresses import address_key, parse_address

RESERVE: Final = 1 / 16
BEGINS: Final = 0.5
"""The part of the new calls per second that one address may begin."""
MIN_BEGINS_PER_S: Final = 2
MAX_BEGINS_PER_S: Final = 250
"""Half of the highest rate of new calls (`server/load/core_admission.PER_BEAT`), for when the cores do not limit it."""
MAX_ADDRESSES: Final = 4096


class AddressShare:
    """See the module. `share`: the largest part of the calls for one address, above 0; 1 switches all these limits off."""

    def __init__(self, share: float = 1.0) -> None:
        self.share = share
        self._n_free: float = inf
        self._per_s: float = inf
        self._second = 0
        self._n_begun: OrderedDict[str, int] = OrderedDict()
        """New calls in this second, by address."""

    def note_room(self, n_free: float, per_s: float = inf) -> None:
        """The server can take `n_free` more calls now, and begin `per_s` a second. Infinite: not limited, or not known."""
        self._n_free, self._per_s = n_free, per_s

    def key_of(self, host: str) -> str:
        """The name by which calls of the unknown address are counted; empty if they are not limited."""
        address = parse_address(host)
        return "" if self.share >= 1 or address is None or address.is_loopback else address_key(host)

    def limit_of_one(self, n_own: int = 0) -> int | None:
        """How many calls an address that has `n_own` may have now; None without a limit."""
        if self.share >= 1 or self._n_free == inf:
            return None
        return max(1, int((n_own + self._n_free) * self.share))

    def refusal(self, key: str, now: float, n_by_key: Mapping[str, int]) -> str:
        """Why the address with that `key` may not begin a call now. Empty if it may; then the call is counted as a new one.

        `n_by_key`: the calls of all unknown addresses.
        """
        if not key:
            return ""
        why = self._excess(n_by_key.get(key, 0), sum(n_by_key.values())) or self._haste(key, now)
        if not why:
            self._n_free -= 1  # until the server reports again: several calls may arrive before
        return why

    def _excess(self, n_own: int, n_unknown: int) -> str:
        if self._n_free == inf:
            return ""
        left = self._n_free - 1
        if n_own and n_own >= left * self.share / (1 - self.share):
            return f"one address has {n_own} calls, and {max(self._n_free, 0):g} are free"
        if n_unknown and left < int((n_unknown + self._n_free) * RESERVE):
            return f"the last {max(self._n_free, 0):g} calls are for trunks and registrars"
        return ""

    def _haste(self, key: str, now: float) -> str:
        if int(now) != self._second:
            self._second = int(now)
            self._n_begun.clear()
        n_begun = self._n_begun.get(key, 0)
        if n_begun >= max(min(self._per_s * BEGINS, MAX_BEGINS_PER_S), MIN_BEGINS_PER_S):
            return f"one address has begun {n_begun} calls in this second"
        self._n_begun[key] = n_begun + 1
        if len(self._n_begun) > MAX_ADDRESSES:
            self._n_begun.popitem(last=False)
        return ""
