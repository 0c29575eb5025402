"""The active calls of one endpoint, and the peers' requests that wait for an answer.

A call adds and removes itself (`CallTable`). The endpoint looks calls up by handle or token, the dispatcher by Call-ID and tags.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from msgspec import Struct

from active_call.base.errors import LocalProtocolError
from active_call.base.world import Randomness
from active_call.sip.dialog.call import Call
from active_call.sip.events import CallHandle, TransactionToken
from active_call.sip.faults import Faults, PartOfCall
from active_call.sip.transaction.server import ServerTransaction


class PendingRequest(Struct, frozen=True):
    """A request that waits for `Endpoint.respond`."""

    call: Call
    transaction: ServerTransaction


class Calls:
    """See the module."""

    def __init__(self, randomness: Randomness, faults: Faults, n_by_address: Counter[str] | None = None) -> None:
        self._randomness = randomness
        self._faults = faults
        self._by_handle: dict[CallHandle, Call] = {}
        self._pending: dict[TransactionToken, PendingRequest] = {}
        self.n_by_trunk: Counter[str] = Counter()
        """Active calls by trunk. Calls without a trunk count under the empty name."""
        self._n_by_address = n_by_address if n_by_address is not None else Counter()

    def __len__(self) -> int:
        return len(self._by_handle)

    def __iter__(self) -> Iterator[Call]:
        return iter(self._by_handle.values())

    def __contains__(self, handle: object) -> bool:
        return handle in self._by_handle

    def get(self, handle: CallHandle) -> Call | None:
        """The call with that handle, None if it has ended."""
        return self._by_handle.get(handle)

    def require(self, handle: CallHandle) -> Call:
        """The call with that handle. Raises LocalProtocolError if it has ended."""
        call = self._by_handle.get(handle)
        if call is None:
            raise LocalProtocolError("there is no call with this handle, or it has ended")
        return call

    def of_message(self, call_id: str, local_tag: str, remote_tag: str) -> list[Call]:
        """The calls that a message with that Call-ID and these tags may belong to."""
        return [call for call in self if _is_of(call, call_id, local_tag, remote_tag)]

    def handle_fault(self, where: str, error: Exception, owner: PartOfCall | None, now: float) -> None:
        """Report an internal error that occurred while `owner` was served. End the call that `owner` is part of, if any."""
        identity = owner.identity if owner is not None else ("", "")
        call = next((call for call in self if call.identity == identity), None) if all(identity) else None
        if call is None:
            self._faults.note(where, error, call_id=identity[0])
        else:
            self.abort(where, error, call, now)

    def abort(self, where: str, error: Exception, call: Call, now: float) -> None:
        """Report an internal error that occurred while `call` was served, and end that call."""
        self._faults.note(where, error, call=call.handle, call_id=call.identity[0])
        call.abort(now)

    # -- used by the calls ------------------------------------------------------------------------------------------------------------

    def add(self, call: Call) -> None:
        """Add a new call."""
        self._by_handle[call.handle] = call
        self.n_by_trunk[call.trunk] += 1
        if call.address:
            self._n_by_address[call.address] += 1

    def remove(self, call: Call) -> None:
        """Remove a call that has ended."""
        del self._by_handle[call.handle]
        self.n_by_trunk[call.trunk] -= 1
        if not self.n_by_trunk[call.trunk]:
            del self.n_by_trunk[call.trunk]
        if call.address:
            self._n_by_address[call.address] -= 1
            if not self._n_by_address[call.address]:
                del self._n_by_address[call.address]

    # -- pending requests -------------------------------------------------------------------------------------------------------------

    @property
    def n_pending(self) -> int:
        """Number of requests that wait for an answer."""
        return len(self._pending)

    def add_pending(self, call: Call, transaction: ServerTransaction) -> TransactionToken:
        """Keep a request of the peer until `Endpoint.respond` answers it. Returns its token."""
        token = TransactionToken(self._randomness.token(8))
        self._pending[token] = PendingRequest(call, transaction)
        return token

    def pending(self, token: TransactionToken) -> PendingRequest | None:
        """The request with that token, None if it has had its final response."""
        return self._pending.get(token)

    def take_pending(self, token: TransactionToken) -> ServerTransaction:
        """Remove the request with that token from the pending ones and return it."""
        return self._pending.pop(token).transaction


def _is_of(call: Call, call_id: str, local_tag: str, remote_tag: str) -> bool:
    if call.identity[0] != call_id:
        return False
    return call.identity[1] == local_tag or (call.dialog is not None and call.dialog.remote_tag == remote_tag)
