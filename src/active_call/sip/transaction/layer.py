"""The transaction layer: matches messages to transactions, creates transactions, numbers transmits (RFC 3261 §17, §18).

Parsed messages with their flows and requests with their next hops go in. Transmits and look-ups come out. The layer knows neither dialogs
nor calls. Its parts (`client`, `server`, `failover`, `ack`) see it only through `ports`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from active_call.base.world import Randomness
from active_call.sip.events import EndpointConfig, Flow, HeaderList, HopRules, Listener, Target, Transmit
from active_call.sip.faults import Faults, PartOfCall
from active_call.sip.listeners import Listeners, Reflections
from active_call.sip.syntax.message import Request, Response
from active_call.sip.transaction.ack import Ack
from active_call.sip.transaction.client import ClientRequestTransaction, ClientTransaction, NoUser
from active_call.sip.transaction.companions import cancel_for
from active_call.sip.transaction.failover import FailoverRequest, RequestUser
from active_call.sip.transaction.hop_finder import HopFinder
from active_call.sip.transaction.matching import COOKIE, merge_key, server_key, via_lines
from active_call.sip.transaction.next_hops import is_within
from active_call.sip.transaction.origin import Origin
from active_call.sip.transaction.ports import Sender, Transaction
from active_call.sip.transaction.request_writer import RequestWriter
from active_call.sip.transaction.server import ServerInviteTransaction, ServerRequestTransaction, ServerTransaction
from active_call.sip.transaction.server_table import ServerTable
from active_call.sip.transaction.timers import Timers


class TransactionLayer:
    """All transactions of one endpoint."""

    def __init__(self, config: EndpointConfig, randomness: Randomness) -> None:
        self.config = config
        self.randomness = randomness
        self.faults = Faults()
        self.on_fault: Callable[[str, Exception, PartOfCall | None, float], None] = self._note_fault
        """Called with place, owner and time of an internal error. The owner of the calls sets it in order to end the call."""
        self.timers = Timers(lambda error, owner, now: self.on_fault("timer", error, owner, now))
        self.reflections = Reflections()
        self.transmits: list[Transmit] = []
        self.hops = HopFinder()
        self.writer = RequestWriter(Listeners(config.listeners, self.reflections), self.hops)
        self._n_transmits = 0
        self._senders: dict[int, Sender] = {}
        self._clients: dict[tuple[str, str], ClientTransaction] = {}
        self.servers = ServerTable()
        self.n_client_transactions_begun = 0
        self._merged: dict[object, ServerTransaction] = {}

    @property
    def listeners(self) -> Listeners:
        """Our listening sockets."""
        return self.writer.listeners

    def set_listeners(self, listeners: tuple[Listener, ...]) -> None:
        """Set the bound sockets."""
        self.writer.listeners = Listeners(listeners, self.reflections)

    @property
    def n_transactions(self) -> int:
        """Number of transactions that have not terminated."""
        return len(self._clients) + len(self.servers)

    def connections_in_use(self) -> set[int | None]:
        """The connections that transactions use."""
        flows = [transaction.flow for transaction in self.servers.all()]
        flows += [client.current_target.flow for client in self._clients.values() if client.current_target.flow is not None]
        return {flow.connection_id for flow in flows}

    def client_hosts(self) -> set[str]:
        """The hosts that our open requests were sent to."""
        return {client.destination.host.strip("[]") for client in self._clients.values()}

    def guard(self, where: str, owner: PartOfCall, action: Callable[[], object], now: float) -> None:
        """Run `action`. An error in it ends only the call that `owner` is part of."""
        try:
            action()
        except Exception as error:  # noqa: BLE001 (contains the errors of one input)
            self.on_fault(where, error, owner, now)

    def _note_fault(self, where: str, error: Exception, owner: PartOfCall | None, now: float) -> None:
        del now
        self.faults.note(where, error, call_id=owner.identity[0] if owner is not None else "")

    # -- out --------------------------------------------------------------------------------------------------------------------------

    def transmit(self, data: bytes, destination: Flow | Target, sender: Sender | None = None, previous_id: int = 0) -> int:
        """Queue `data`. `sender` is called if this transmit fails, and no longer for `previous_id`."""
        self._n_transmits += 1
        transmit_id = self._n_transmits
        if sender is not None:
            self._senders.pop(previous_id, None)
            self._senders[transmit_id] = sender
        self.transmits.append(Transmit(transmit_id, data, destination))
        return transmit_id

    def send_request(self, request: Request, target: Target, user: RequestUser, now: float, origin: Origin) -> FailoverRequest:
        """Send `request`, which has no Via yet and, if `origin` asks for a Contact, no Contact.

        Raises LocalProtocolError if there is no listener for it.
        """
        self.listeners.for_transport(target.transport)
        sent = FailoverRequest(self, request, target, origin, user)
        sent.start(now)
        return sent

    def begin(self, transaction: ClientTransaction, now: float) -> None:
        """Register `transaction` for its responses and start it."""
        self.n_client_transactions_begun += 1
        self._clients[transaction.key] = transaction
        transaction.start(now)

    def send_cancel(self, invite: ClientTransaction, headers: HeaderList, now: float) -> None:
        """Cancel an INVITE that has had a provisional response. The CANCEL goes exactly where the INVITE went (§9.1)."""
        request = cancel_for(invite.request, headers)
        self.begin(ClientRequestTransaction(self, request, request.to_bytes(), invite.branch, invite.current_target, NoUser()), now)

    def send_ack(self, request: Request, target: Target, origin: Origin, now: float) -> Ack:
        """Send the ACK to a 2xx, which has its own transaction without a response. It can be sent again."""
        ack = Ack(self, request, target, origin)
        ack.send(now)
        return ack

    def is_allowed(self, hop: Target, rules: HopRules) -> bool:
        """Whether a request under `rules` may go to `hop`, an address."""
        return is_within(hop, rules) and not (rules.not_ourselves and self.listeners.is_own(hop))

    def new_branch(self) -> str:
        """A branch unique over space and time."""
        return COOKIE + self.randomness.token(12)

    # -- in ---------------------------------------------------------------------------------------------------------------------------

    def find_client(self, response: Response) -> ClientTransaction | None:
        """The transaction that a response belongs to (§17.1.3)."""
        return self._clients.get((response.top_via.branch or "", response.cseq.method))

    def find_server(self, request: Request, method: str | None = None) -> ServerTransaction | None:
        """The transaction that `request` repeats or acknowledges (§17.2.3). With `method`: the one of that method with the same branch."""
        return self.servers.get(server_key(request, method))

    def find_merged(self, request: Request) -> ServerTransaction | None:
        """A transaction for the same request that arrived by another path (§8.2.2.2)."""
        return self._merged.get(merge_key(request))

    def start_server(self, request: Request, flow: Flow) -> ServerTransaction:
        """Create a transaction for a new request."""
        kind = ServerInviteTransaction if request.method == "INVITE" else ServerRequestTransaction
        merged_by = None if request.to.tag else merge_key(request)
        transaction = kind(self, request, flow, server_key(request), via_lines(request, flow), merged_by)
        self.servers.add(transaction)
        if merged_by is not None:
            self._merged.setdefault(merged_by, transaction)
        return transaction

    def handle_transport_error(self, transmit_id: int, reason: str, now: float) -> None:
        """A transmit failed."""
        sender = self._senders.pop(transmit_id, None)
        if sender is not None:
            self.guard("transport_error", sender, partial(sender.handle_transport_error, reason, now), now)

    def handle_unreachable(self, transmit_id: int, reason: str, now: float) -> None:
        """An ICMP error came back for a transmit."""
        sender = self._senders.get(transmit_id)
        if isinstance(sender, ClientTransaction):
            self.guard("unreachable", sender, partial(sender.handle_unreachable, reason, now), now)

    def handle_connection_lost(self, flow: Flow, reason: str, now: float) -> None:
        """A connection was closed: transactions that use it try another flow."""
        concerned: list[ClientTransaction | ServerTransaction] = [*self._clients.values(), *self.servers.all()]
        for each in concerned:
            self.guard("connection_lost", each, partial(each.handle_connection_lost, flow, reason, now), now)

    # -- used by the parts ------------------------------------------------------------------------------------------------------------

    def forget_transmit(self, transmit_id: int) -> None:
        """Do not report a failure of that transmit any more."""
        self._senders.pop(transmit_id, None)

    def end(self, transaction: Transaction, transmit_id: int) -> None:
        """`transaction` has terminated."""
        self._senders.pop(transmit_id, None)
        if isinstance(transaction, ClientTransaction):
            if self._clients.get(transaction.key) is transaction:
                del self._clients[transaction.key]
        elif isinstance(transaction, ServerTransaction):
            self.servers.remove(transaction)
            if transaction.merge_key is not None and self._merged.get(transaction.merge_key) is transaction:
                del self._merged[transaction.merge_key]
