"""The transaction layer: finds the transaction a message belongs to, makes new ones, numbers the transmits (RFC 3261 §17, §18).

Enters: parsed messages with their flows, finished requests with their next hops. Leaves: transmits, and questions to the resolver. It
chooses between UDP and TCP by size (§18.1.1) and writes Via and Contact accordingly; it knows neither dialogs nor calls.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Protocol

from active_call.base.errors import LocalProtocolError, ParseError
from active_call.base.world import Randomness
from active_call.sip.events import EndpointConfig, Flow, HopRules, Target, Transmit
from active_call.sip.faults import Faults, PartOfCall
from active_call.sip.listeners import SECURED, Listeners, Reflections
from active_call.sip.routing import is_sips
from active_call.sip.syntax.headers import with_via_received
from active_call.sip.syntax.message import Request, Response
from active_call.sip.transaction.abandoned_invite import AbandonedInvite
from active_call.sip.transaction.ack import Ack
from active_call.sip.transaction.client import (
    ClientInviteTransaction,
    ClientRequestTransaction,
    ClientTransaction,
    ClientUser,
    Origin,
    cancel_for,
)
from active_call.sip.transaction.failover import HopFinder, is_within
from active_call.sip.transaction.server import ServerInviteTransaction, ServerRequestTransaction, ServerTransaction
from active_call.sip.transaction.server_table import ServerTable
from active_call.sip.transaction.timers import Timers

MAX_UDP_REQUEST_BYTES = 1300
"""RFC 3261 §18.1.1: larger requests go over a congestion-controlled transport when the path MTU is unknown."""
COOKIE = "z9hG4bK"
"""Starts every RFC 3261 branch (§8.1.1.7)."""


class Sender(PartOfCall, Protocol):
    """Who is told when a transmit fails."""

    def handle_transport_error(self, reason: str, now: float) -> None: ...


class TransactionLayer:
    """All transactions of one endpoint."""

    def __init__(self, config: EndpointConfig, randomness: Randomness) -> None:
        self.config = config
        self.randomness = randomness
        self.faults = Faults()
        self.on_fault: Callable[[str, Exception, PartOfCall | None, float], None] = self._note_fault
        """Told of an error of ours by where it came up, for whom, and when; it ends the call."""
        self.timers = Timers(lambda error, owner, now: self.on_fault("timer", error, owner, now))
        self.reflections = Reflections()
        self.listeners = Listeners(config.listeners, self.reflections)
        self.transmits: list[Transmit] = []
        self.hops = HopFinder()
        self._n_transmits = 0
        self._senders: dict[int, Sender] = {}
        self._clients: dict[tuple[str, str], ClientTransaction] = {}
        self.servers = ServerTable()
        self.n_client_transactions_begun = 0
        self._merged: dict[object, ServerTransaction] = {}

    @property
    def n_transactions(self) -> int:
        """Transactions that are not terminated."""
        return len(self._clients) + len(self.servers)

    def connections_in_use(self) -> set[int | None]:
        """The connections that transactions lean on."""
        flows = [transaction.flow.connection_id for transaction in self.servers.all()]
        places = [client.destination for client in self._clients.values()]
        hops = [place if isinstance(place, Flow) else place.flow for place in places]
        return {*flows, *(hop.connection_id for hop in hops if hop is not None)}

    def client_hosts(self) -> set[str]:
        """The hosts that requests of ours which are under way have gone to."""
        places = [client.destination for client in self._clients.values()]
        return {place.remote.host if isinstance(place, Flow) else place.host.strip("[]") for place in places}

    def guard(self, where: str, owner: PartOfCall, action: Callable[[], object], now: float) -> None:
        """Run `action`; an error in it ends the call that `owner` is part of, and nothing else."""
        try:
            action()
        except Exception as error:  # noqa: BLE001 (a wall: one input)
            self.on_fault(where, error, owner, now)

    def _note_fault(self, where: str, error: Exception, owner: PartOfCall | None, now: float) -> None:
        del now
        self.faults.note(where, error, call_id=owner.identity[0] if owner is not None else "")

    # -- out --------------------------------------------------------------------------------------------------------------------------

    def transmit(self, data: bytes, destination: Flow | Target, sender: Sender | None = None, previous_id: int = 0) -> int:
        """Queue `data`. `sender` hears of a failure of this transmit, and no longer of `previous_id`."""
        self._n_transmits += 1
        transmit_id = self._n_transmits
        if sender is not None:
            self._senders.pop(previous_id, None)
            self._senders[transmit_id] = sender
        self.transmits.append(Transmit(transmit_id, data, destination))
        return transmit_id

    def send_request(self, request: Request, target: Target, user: ClientUser, now: float, origin: Origin) -> ClientTransaction:
        """Start a transaction for `request`, which has neither Via nor, if `origin` asks for one, Contact yet.

        Raises LocalProtocolError when there is no listener to speak for it.
        """
        self.listeners.for_transport(target.transport)
        kind = ClientInviteTransaction if request.method == "INVITE" else ClientRequestTransaction
        self.n_client_transactions_begun += 1
        transaction = kind(self, request, self.new_branch(), origin, user)
        self._clients[transaction.key] = transaction
        try:
            transaction.find_way(target, now)
        except LocalProtocolError:
            transaction.terminate()
            raise
        return transaction

    def send_cancel(self, invite: ClientTransaction, user: ClientUser, now: float, headers: tuple[tuple[str, str], ...] = ()) -> None:
        """Cancel an INVITE that has had a provisional response; it goes exactly where the INVITE went (§9.1)."""
        request = cancel_for(invite.request)
        for name, value in headers:
            request.headers.add(name, value)
        transaction = ClientRequestTransaction(self, request, invite.branch, invite.origin, user)
        self._clients[transaction.key] = transaction
        transaction.start(request.to_bytes(), invite.destination, None, now)

    def send_ack(self, request: Request, target: Target, origin: Origin, now: float) -> Ack:
        """Send an ACK for a 2xx, a transaction of its own that nobody answers; it can be sent again."""
        ack = Ack(self, request, target, origin)
        ack.send(now)
        return ack

    def leave_behind(self, invite: ClientTransaction, now: float) -> ClientInviteTransaction:
        """Give the branch that `invite` has used so far to one that waits for what may still come of it."""
        left = AbandonedInvite(self, invite)
        self._clients[left.transaction.key] = left.transaction
        left.start(invite.state, invite.destination, now)
        return left.transaction

    def rebranch(self, transaction: ClientTransaction) -> None:
        """Have `transaction` go on under a new branch, so as another transaction on the wire."""
        if self._clients.get(transaction.key) is transaction:
            del self._clients[transaction.key]
        transaction.branch = self.new_branch()
        self._clients[transaction.key] = transaction

    def restart(self, transaction: ClientTransaction, target: Target, now: float) -> None:
        """Send the same request anew over UDP after TCP, chosen for size, has failed (§18.1.1)."""
        transaction.start(self.write(transaction.request, target, transaction.branch, transaction.origin), target, None, now)

    def place(self, request: Request, target: Target, branch: str, origin: Origin, now: float) -> tuple[bytes, Target, Target | None]:
        """Write Via and Contact for the transport that fits: the bytes, the next hop, and the UDP one to fall back to."""
        data = self.write(request, target, branch, origin)
        is_large = len(data) > MAX_UDP_REQUEST_BYTES and target.transport == "udp"
        if not is_large or not target.rules.large_by_tcp or not self.listeners.has("tcp") or not self.hops.takes_tcp(target, now):
            return data, target, None
        over_tcp = replace(target, transport="tcp", flow=None)
        return self.write(request, over_tcp, branch, origin), over_tcp, target

    def is_allowed(self, hop: Target, rules: HopRules) -> bool:
        """Whether a request under `rules` may go to `hop`, an address."""
        return is_within(hop, rules) and not (rules.not_ourselves and self.listeners.is_own(hop))

    def new_branch(self) -> str:
        """A branch unique over space and time."""
        return COOKIE + self.randomness.token(12)

    def write(self, request: Request, target: Target, branch: str, origin: Origin) -> bytes:
        """`request` with the Via and Contact that fit `target`."""
        headers, transport = request.headers, target.transport
        local_host = target.local or origin.local_host
        via = self.listeners.via(transport, branch, origin.local, local_host, target.host)
        if "Via" in headers:
            headers.set("Via", via)
        else:
            headers.prepend("Via", via)
        if origin.contact_user is not None:
            user, by_sips = origin.contact_user, transport in SECURED and goes_by_sips(request)
            headers.set("Contact", self.listeners.contact(transport, user, origin.local, local_host, target.host, by_sips=by_sips))
        return request.to_bytes()

    # -- in ---------------------------------------------------------------------------------------------------------------------------

    def find_client(self, response: Response) -> ClientTransaction | None:
        """The transaction a response belongs to (§17.1.3)."""
        return self._clients.get((response.top_via.branch or "", response.cseq.method))

    def find_server(self, request: Request, method: str | None = None) -> ServerTransaction | None:
        """The transaction that `request` repeats or acknowledges (§17.2.3); with `method`, the one of that method on its branch."""
        return self.servers.get(server_key(request, method))

    def find_merged(self, request: Request) -> ServerTransaction | None:
        """A transaction for the same request that came by another path (§8.2.2.2)."""
        return self._merged.get(_merge_key(request))

    def start_server(self, request: Request, flow: Flow) -> ServerTransaction:
        """A transaction for a new request."""
        kind = ServerInviteTransaction if request.method == "INVITE" else ServerRequestTransaction
        merge_key = None if request.to.tag else _merge_key(request)
        transaction = kind(self, request, flow, server_key(request), via_lines(request, flow), merge_key)
        self.servers.add(transaction)
        if merge_key is not None:
            self._merged.setdefault(merge_key, transaction)
        return transaction

    def handle_transport_error(self, transmit_id: int, reason: str, now: float) -> None:
        """A transmit could not be carried out."""
        sender = self._senders.pop(transmit_id, None)
        if sender is not None:
            self.guard("transport_error", sender, partial(sender.handle_transport_error, reason, now), now)

    def handle_unreachable(self, transmit_id: int, reason: str, now: float) -> None:
        """A transmit was turned back on its way."""
        sender = self._senders.get(transmit_id)
        if isinstance(sender, ClientTransaction):
            self.guard("unreachable", sender, partial(sender.handle_unreachable, reason, now), now)

    def handle_connection_lost(self, flow: Flow, reason: str, now: float) -> None:
        """A connection is gone: transactions that lean on it look for another way."""
        concerned: list[ClientTransaction | ServerTransaction] = [*self._clients.values(), *self.servers.all()]
        for each in concerned:
            self.guard("connection_lost", each, partial(each.handle_connection_lost, flow, reason, now), now)

    # -- for transactions -------------------------------------------------------------------------------------------------------------

    def forget_transmit(self, transmit_id: int) -> None:
        """Nobody wants to hear of that transmit's failure any more."""
        self._senders.pop(transmit_id, None)

    def forget_client(self, transaction: ClientTransaction, transmit_id: int) -> None:
        """`transaction` has terminated."""
        self._senders.pop(transmit_id, None)
        if self._clients.get(transaction.key) is transaction:
            del self._clients[transaction.key]

    def forget_server(self, transaction: ServerTransaction, transmit_id: int) -> None:
        """`transaction` has terminated."""
        self._senders.pop(transmit_id, None)
        self.servers.remove(transaction)
        if transaction.merge_key is not None and self._merged.get(transaction.merge_key) is transaction:
            del self._merged[transaction.merge_key]


def goes_by_sips(request: Request) -> bool:
    """Whether the Contact of a request of ours has to be a SIPS URI (RFC 3261 §8.1.1.8): by Request-URI or top Route."""
    return is_sips(request.uri) or is_sips(request.headers.get("Route") or "")


def via_lines(request: Request, flow: Flow) -> tuple[str, ...]:
    """The Via values for the responses to `request`: as they came, the top one with `received` and `rport` (RFC 3581 §4)."""
    lines = request.headers.get_all("Via")
    if len(lines) != 1 or "," in lines[0]:
        lines = request.headers.split("Via")
    rport = flow.remote.port if "rport" in request.top_via.parameters else None
    return (with_via_received(lines[0], flow.remote.host, rport), *lines[1:])


def server_key(request: Request, method: str | None = None) -> object:
    """What identifies a server transaction (§17.2.3); without the RFC 3261 cookie the older, longer key of §17.2.3."""
    via = request.top_via
    method = method or ("INVITE" if request.method == "ACK" else request.method)
    branch = via.branch or ""
    if branch.startswith(COOKIE):
        return branch, via.host.lower(), via.port, method
    try:
        from_tag = request.from_.tag or ""
    except ParseError:
        from_tag = ""
    return via.text, request.call_id, from_tag, request.cseq.number, method


def _merge_key(request: Request) -> object:
    return request.call_id, request.from_.tag or "", request.cseq.number, request.method
