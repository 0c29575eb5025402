"""An INVITE at a place that was given up for another one (RFC 3263 §4.3), for as long as that place may still say something.

Enters: what is left of the client transaction, then late responses. Leaves: CANCEL once a provisional comes, the ACK to a final one; a late
2xx goes to the transaction that moved on, since a call that was answered is a call, and an answer without ACK and BYE would hang for long.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from active_call.sip.events import Flow, Target
from active_call.sip.syntax.message import Request, Response
from active_call.sip.transaction.client import LIFETIME_T1S, ClientInviteTransaction, ClientTransaction
from active_call.sip.transaction.tables import State

if TYPE_CHECKING:
    from active_call.sip.transaction.layer import TransactionLayer


class AbandonedInvite:
    """See the module; the user of its own transaction."""

    def __init__(self, layer: TransactionLayer, invite: ClientTransaction) -> None:
        sent = invite.request
        request = Request(sent.method, sent.uri, sent.headers.copy(), sent.body)
        self._layer = layer
        self._successor = invite
        self._is_cancelled = False
        self.transaction = ClientInviteTransaction(layer, request, invite.branch, invite.origin, self)

    def start(self, state: State, destination: Flow | Target, now: float) -> None:
        """Wait; what has answered already is cancelled at once."""
        self.transaction.wait_only(state, destination)
        self._expire_later(now)
        if state is State.PROCEEDING:
            self._cancel(now)

    def on_response(self, transaction: ClientTransaction, response: Response, flow: Flow, now: float) -> None:
        del transaction
        if response.code < 200:
            self._cancel(now)
        elif response.code < 300:
            self._successor.take_late_success(response, flow, now)

    def on_no_response(self, transaction: ClientTransaction, code: int, reason: str, now: float) -> None:
        """As expected."""

    def _cancel(self, now: float) -> None:
        if not self._is_cancelled:
            self._is_cancelled = True
            self._layer.send_cancel(self.transaction, self, now)
            self._expire_later(now)

    def _expire_later(self, now: float) -> None:
        self._layer.timers.start(now + LIFETIME_T1S * self._layer.config.t1_s, self._expire, self.transaction)

    def _expire(self, now: float) -> None:
        del now
        if self.transaction.is_waiting:
            self.transaction.terminate()
