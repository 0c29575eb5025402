"""End a dialog by BYE (RFC 3261 §15.1.1) after its call has ended, or for a second 2xx of a forked INVITE (§13.2.2.4).

A confirmed dialog goes in. A BYE comes out, with credentials if challenged, and the answers to what the peer still sends: 200 to a BYE that
crosses ours, 481 to everything else. The dialog is removed when the BYE has its final response or times out.
"""

from __future__ import annotations

from functools import partial

from active_call.base.errors import LocalProtocolError, ParseError
from active_call.sip.dialog.dialog import Dialog
from active_call.sip.dialog.requests import OutgoingRequest, in_dialog
from active_call.sip.events import Credentials, Flow, HeaderList
from active_call.sip.ports import ByePort
from active_call.sip.responses import Reply
from active_call.sip.syntax.message import Request, Response
from active_call.sip.transaction.server import ServerTransaction


class Bye:
    """See the module. The constructor sends the BYE and takes over the dialog. A BYE that cannot be sent is reported as a fault."""

    def __init__(self, port: ByePort, dialog: Dialog, credentials: tuple[Credentials, ...], now: float, headers: HeaderList = ()) -> None:
        self._port = port
        self._dialog = dialog
        port.add_dialog(dialog, self)
        bye = OutgoingRequest(port, partial(in_dialog, port, dialog, "BYE", headers), credentials, self._on_outcome)
        try:
            bye.send(now)
        except (LocalProtocolError, ParseError) as error:
            port.remove_dialog(dialog, self)
            port.note_fault("bye", error, call_id=dialog.call_id)

    def handle_request(self, transaction: ServerTransaction, request: Request, flow: Flow, now: float) -> None:
        """200 to BYE, 481 to anything else."""
        del flow
        reply = Reply(200, "OK") if request.method == "BYE" else Reply(481, "Call/Transaction Does Not Exist")
        self._port.reply(transaction, reply, now)

    def handle_ack(self, request: Request, flow: Flow, now: float) -> None:
        """Ignore the ACK: the call is over."""

    def _on_outcome(self, code: int, reason: str, response: Response | None, flow: Flow | None, now: float) -> None:
        del code, reason, response, flow, now
        self._port.remove_dialog(self._dialog, self)
