"""The active server transactions, found by key and limited in number (RFC 3261 §17.2.3).

Transactions are added and removed; `make_room` must be called before each `add`. A transaction that has sent its final response only waits
for repetitions of its request, for 32 s over UDP. At the limit the oldest such transaction is terminated: first one of the same source,
then of unknown sources, then of any. If none can be terminated there is no room, and the request is answered statelessly.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from itertools import islice

from active_call.base.addresses import address_key
from active_call.sip.transaction.server import ServerTransaction

MAX_TRANSACTIONS = 30_000
"""Limit for all sources: 400 calls a second over UDP, each with an INVITE and a BYE that wait for 32 s."""
MAX_OF_UNKNOWN = 500
"""Limit per address that no trunk lists (IPv6: per /64)."""


class ServerTable:
    """See the module. Call `make_room` before `add`."""

    def __init__(self, max_all: int = MAX_TRANSACTIONS, max_of_unknown: int = MAX_OF_UNKNOWN) -> None:
        self._max_all = max_all
        self._max_of_unknown = max_of_unknown
        self._by_key: dict[object, ServerTransaction] = {}
        self._by_source: dict[str, OrderedDict[object, ServerTransaction]] = {}
        self._known_sources: set[str] = set()

    def __len__(self) -> int:
        return len(self._by_key)

    def get(self, key: object) -> ServerTransaction | None:
        """The transaction with that key."""
        return self._by_key.get(key)

    def all(self) -> list[ServerTransaction]:
        """All transactions, oldest first."""
        return list(self._by_key.values())

    def add(self, transaction: ServerTransaction) -> None:
        """Add `transaction` under its key."""
        self._by_key[transaction.key] = transaction
        self._by_source.setdefault(address_key(transaction.flow.remote.host), OrderedDict())[transaction.key] = transaction

    def remove(self, transaction: ServerTransaction) -> None:
        """Remove it, unless another transaction has taken its key."""
        if self._by_key.get(transaction.key) is not transaction:
            return
        del self._by_key[transaction.key]
        source = address_key(transaction.flow.remote.host)
        own = self._by_source.get(source)
        if own is not None:
            own.pop(transaction.key, None)
            if not own:
                del self._by_source[source]
                self._known_sources.discard(source)

    def make_room(self, host: str, *, is_known: bool) -> bool:
        """Make room for one more transaction of that source, if necessary by terminating one that only waits. False if there is no room."""
        source = address_key(host)
        own = self._by_source.get(source) or OrderedDict[object, ServerTransaction]()
        if is_known:
            self._known_sources.add(source)
        elif len(own) >= self._max_of_unknown and not _give_way(own.values()):
            return False
        if len(self._by_key) < self._max_all:
            return True
        of_unknown = (one for key, owned in self._by_source.items() if key not in self._known_sources for one in owned.values())
        return _give_way(of_unknown) or (is_known and _give_way(self._by_key.values()))


LOOKED_AT = 64
"""How many of the oldest are examined. An INVITE is evicted last, because its repetition would look like a new call."""


def _give_way(transactions: Iterable[ServerTransaction]) -> bool:
    answered = [one for one in islice(transactions, LOOKED_AT) if one.is_answered]
    oldest = next((one for one in answered if not one.is_invite), next(iter(answered), None))
    if oldest is not None:
        oldest.terminate()
    return oldest is not None
