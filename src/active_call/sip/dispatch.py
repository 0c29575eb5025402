"""Find the recipient of a message: transaction, dialog, admission, screening or a new call (RFC 3261 §8.2, §12.2.2, §17.2.3).

Raw messages with their flow go in. Inputs to transactions, dialogs and calls come out. Refusals and answers to OPTIONS are sent without a
transaction (§8.2.7), so they cost no memory and no retransmissions. MessageDropped reports a message that matches nothing, RequestRefused
every refused request.
"""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict
from collections.abc import Hashable
from typing import Final

from active_call.base.errors import ParseError
from active_call.sip.access.access_list import Verdict
from active_call.sip.access.request_admission import RETRY_AFTER_S
from active_call.sip.access.screening import not_accepting, screen
from active_call.sip.calls import Calls
from active_call.sip.context import EndpointContext
from active_call.sip.dialog.dialog import Dialog
from active_call.sip.dialog.inbound import InboundCall
from active_call.sip.dialog.replaces import find_replaced
from active_call.sip.events import CallHandle, Flow
from active_call.sip.registrations import Registrations
from active_call.sip.responses import Reply
from active_call.sip.routing import is_reliable, response_flow
from active_call.sip.syntax.bad_request import BadRequest
from active_call.sip.syntax.grammar import encode_text
from active_call.sip.syntax.headers import parse_name_addr
from active_call.sip.syntax.message import Request, Response, parse_leniently, parse_message
from active_call.sip.syntax.validation import validate_request, validate_response
from active_call.sip.transaction.matching import server_key, via_lines
from active_call.sip.transaction.server import ServerTransaction
from active_call.sip.transaction.tables import LIFETIME_T1S

MAX_REFUSED = 4096
"""Number of refused INVITEs remembered for their repetitions: 32 s at 128 refusals a second."""

STATELESS_TAG: Final = "stateless-"
"""The To tags of stateless responses begin with this, and no others of ours do: so an ACK to one needs no state and no parsing."""
_ACK_TO_STATELESS: Final = re.compile(rb"\n(?:to|t)[ \t]*:[^\r\n]*;tag=" + STATELESS_TAG.encode(), re.IGNORECASE)

_NO_CALL = Reply(481, "Call/Transaction Does Not Exist")


class Dispatcher:
    """See the module."""

    def __init__(self, core: EndpointContext, calls: Calls, registrations: Registrations) -> None:
        self._core = core
        self._calls = calls
        self._registrations = registrations
        self._refused: OrderedDict[object, tuple[float, Reply]] = OrderedDict()
        """INVITEs that were refused temporarily: until when, and with which reply."""

    def receive(self, data: bytes, flow: Flow, now: float) -> None:
        """Process one whole message. The ACK to a stateless response is ignored unparsed, because an overload contains many."""
        if data.startswith(b"ACK ") and _ACK_TO_STATELESS.search(data) is not None:
            return
        try:
            message = parse_message(data)
        except ParseError as error:
            self.refuse_unreadable(data, flow, error, now)
            return
        if isinstance(message, Response):
            self._receive_response(message, flow, now)
        else:
            self._receive_request(message, flow, now)

    def handle_fault(self, data: bytes, flow: Flow, error: Exception, now: float) -> None:
        """Report an internal error that occurred while `data` was handled. End its call, and answer a request with 500."""
        try:
            message = parse_message(data)
            local, remote = (message.from_, message.to) if isinstance(message, Response) else (message.to, message.from_)
            call_id = message.call_id
        except ParseError:
            self._core.layer.faults.note("message", error)
            return
        found = self._calls.of_message(call_id, local.tag or "", remote.tag or "")
        if not found:
            self._core.layer.faults.note("message", error, call_id=call_id)
        for call in found:
            self._calls.abort("message", error, call, now)
        known = self._core.layer.find_server(message) if isinstance(message, Request) and message.method != "ACK" else None
        if known is not None and not known.is_answered:
            self._core.layer.faults.guard("message", lambda: self._core.reply(known, Reply(500, "Server Internal Error"), now))

    def refuse_unreadable(self, data: bytes, flow: Flow, error: ParseError, now: float) -> None:
        """Report that `data` cannot be parsed. If it looks like a request and may be answered, answer 400."""
        self._core.drop(flow, "parse_error", str(error))
        request = parse_leniently(data)
        if request is not None:
            self._refuse_malformed(request, flow, error, now)

    # -- responses ----------------------------------------------------------------------------------------------------------------------

    def _receive_response(self, response: Response, flow: Flow, now: float) -> None:
        try:
            validate_response(response)
        except ParseError as error:
            self._core.drop(flow, "parse_error", str(error))
            return
        transaction = self._core.layer.find_client(response)
        if transaction is not None:
            self._core.learn_public_address(response, transaction.request.method, flow)
        if transaction is None or not transaction.receive(response, flow, now):
            self._core.drop(flow, "stray_response", f"{response.code} to {response.cseq}")

    # -- requests -----------------------------------------------------------------------------------------------------------------------

    def _receive_request(self, request: Request, flow: Flow, now: float) -> None:
        if request.method == "INVITE" and self._is_refused_unread(request, flow, now):
            return
        try:
            validate_request(request, max_body_bytes=self._core.config.max_message_bytes)
        except BadRequest as error:
            self._core.drop(flow, "bad_request", str(error))
            self._refuse_malformed(request, flow, error, now)
            return
        if request.method == "ACK":
            self._receive_ack(request, flow, now)
            return
        known = self._core.layer.find_server(request)
        if known is not None:
            known.receive(request, now)
            return
        if request.method == "CANCEL":
            self._receive_cancel(request, flow, now)
        else:
            self._receive_new(request, flow, now)

    def _is_refused_unread(self, request: Request, flow: Flow, now: float) -> bool:
        """Refuse an INVITE that would begin a call while none is accepted, before its validation: in an overload most INVITEs are refused.

        False: nothing was decided. Also False without the headers that a response copies.
        """
        if self._core.is_accepting:
            return False
        try:
            if request.to.tag or not request.headers.get("From") or not request.headers.get("CSeq") or not request.call_id:
                return False
            if self._core.layer.find_server(request) is not None:
                return False
            key = server_key(request)
        except ParseError:
            return False
        given = self._refused.get(key)
        admitted = self._admit(request, flow, now)
        if admitted is None:
            return True
        if given is not None and given[0] > now:
            self._reply_statelessly(request, flow, given[1])
        else:
            self._refuse_for_now(request, key, flow, not_accepting(self._core), now, admitted.trunk)
        return True

    def _receive_ack(self, request: Request, flow: Flow, now: float) -> None:
        known = self._core.layer.find_server(request)
        if known is not None:
            known.receive(request, now)
            return
        entry = self._core.dialogs.get((request.call_id, request.to.tag or "", request.from_.tag or ""))
        if entry is None:
            if not (request.to.tag or "").startswith(STATELESS_TAG):  # written in a way that `receive` does not recognise
                self._core.drop(flow, "stray_ack", f"no transaction and no dialog for CSeq {request.cseq.number}")
            return
        entry.user.handle_ack(request, flow, now)

    def _receive_cancel(self, request: Request, flow: Flow, now: float) -> None:
        invite = self._core.layer.find_server(request, "INVITE")
        if invite is None and self._admit(request, flow, now) is None:
            return
        if invite is None:
            self._reply_statelessly(request, flow, _NO_CALL)
            return
        cancel = self._start_server(request, flow, now)
        if cancel is None:
            return
        cancel.to_tag = invite.to_tag
        self._core.reply(cancel, Reply(200, "OK"), now)
        if invite.user is not None:
            invite.user.on_cancel(request, now)

    def _receive_new(self, request: Request, flow: Flow, now: float) -> None:
        if request.to.tag:
            self._receive_in_dialog(request, request.to.tag, flow, now)
            return
        admitted = self._admit(request, flow, now)
        if admitted is None:
            return
        if self._core.layer.find_merged(request) is not None:
            self._reply_statelessly(request, flow, Reply(482, "Loop Detected"))
        elif self._refused and (given := self._refused.get(server_key(request))) is not None and given[0] > now:
            self._reply_statelessly(request, flow, given[1])
        elif (reply := screen(self._core, request, is_in_dialog=False)) is not None:
            self._answer_itself(request, flow, reply, admitted.trunk)
        elif isinstance(replaced := find_replaced(self._core.dialogs, self._core.config.supported, request), Reply):
            self._reply_statelessly(request, flow, replaced)
        elif (verdict := self._core.admission.judge_call(admitted, flow, now, self._calls.n_by_trunk)).answer != "admit":
            headers = (("Retry-After", str(verdict.retry_after_s)),)
            reply = Reply(verdict.code, verdict.reason, headers, rule=verdict.rule)
            self._refuse_for_now(request, server_key(request), flow, reply, now, verdict.trunk, verdict.detail)
        elif (transaction := self._start_server(request, flow, now)) is not None:
            self._core.reply(transaction, Reply(100, "Trying"), now)
            self._start_call(transaction, flow, replaced, admitted)

    def _receive_in_dialog(self, request: Request, local_tag: str, flow: Flow, now: float) -> None:
        entry = self._core.dialogs.get((request.call_id, local_tag, request.from_.tag or ""))
        if entry is None and self._admit(request, flow, now) is None:
            return
        if entry is None:
            self._reply_statelessly(request, flow, _NO_CALL)
            return
        if request.method != "BYE" and not entry.dialog.has_room(now):
            self._refuse_excess(request, flow)
            return
        transaction = self._start_server(request, flow, now)
        if transaction is None:
            return
        if not entry.dialog.accepts_cseq(request.cseq.number):
            self._core.reply(transaction, Reply(500, "CSeq Out Of Order"), now)
        elif (reply := screen(self._core, request, is_in_dialog=True)) is not None:
            self._core.reply(transaction, reply, now)
        else:
            entry.user.handle_request(transaction, request, flow, now)

    def _refuse_excess(self, request: Request, flow: Flow) -> None:
        """A dialog has too many requests. Over UDP the peer repeats this one after T1; over a stream it must be told to."""
        self._core.drop(flow, "request_rate", f"{request.method} in call {request.call_id}")
        if is_reliable(flow.transport):
            self._reply_statelessly(request, flow, Reply(503, "Service Unavailable", (("Retry-After", "1"),)))

    def _admit(self, request: Request, flow: Flow, now: float) -> Verdict | None:
        """The verdict that admits a request outside our calls. None if it is refused; its response, if any, has been sent."""
        verdict = self._core.admission.judge(request, flow, now, self._registrations.registrars(now))
        if verdict.answer == "admit":
            return verdict
        self._core.note_refusal(request, flow, verdict.rule, verdict.code, detail=verdict.detail)
        if verdict.answer == "reject":
            self._reply_statelessly(request, flow, Reply(verdict.code, verdict.reason))
        return None

    def _answer_itself(self, request: Request, flow: Flow, reply: Reply, trunk: str) -> None:
        if reply.rule:
            self._core.note_refusal(request, flow, reply.rule, reply.code, trunk=trunk, detail=reply.reason)
        self._reply_statelessly(request, flow, reply)

    def _refuse_for_now(self, request: Request, key: Hashable, flow: Flow, reply: Reply, now: float, trunk: str, detail: str = "") -> None:
        """Refuse an INVITE temporarily, by the reply's rule. Its repetitions, which have the same `key`, get the same answer and do not
        become a new call.
        """
        self._core.note_refusal(request, flow, reply.rule, reply.code, trunk=trunk, detail=detail or reply.reason)
        self._refused[key] = (now + LIFETIME_T1S * self._core.config.t1_s, reply)
        if len(self._refused) > MAX_REFUSED:
            self._refused.popitem(last=False)
        self._reply_statelessly(request, flow, reply)

    def _start_server(self, request: Request, flow: Flow, now: float) -> ServerTransaction | None:
        """Create a transaction for `request`. If there are too many, send 503 and return None."""
        host = flow.remote.host
        admission = self._core.admission
        is_open = admission.access_list.is_open  # then no source is unknown
        is_known = is_open or admission.is_known(host, self._registrations.registrars(now))
        if self._core.layer.servers.make_room(host, is_known=is_known):
            return self._core.layer.start_server(request, flow)
        self._core.note_refusal(request, flow, "transactions", 503)
        self._reply_statelessly(request, flow, Reply(503, "Service Unavailable", (("Retry-After", str(RETRY_AFTER_S)),)))
        return None

    def _start_call(self, transaction: ServerTransaction, flow: Flow, replaces: CallHandle | None, admitted: Verdict) -> None:
        request, admission = transaction.request, self._core.admission
        dialog = Dialog.of_server(request, self._core.new_tag(), flow)
        access = admission.access_list.trunks.get(admitted.trunk)
        dialog.contact_user = _user_in(request) + (f"@{access.contact_host}" if access is not None and access.contact_host else "")
        dialog.large_by_tcp = access is None or access.large_by_tcp
        address = admission.counts_as(admitted, flow)
        InboundCall(self._core, self._calls, transaction, dialog, replaces, trunk=admitted.trunk, address=address)

    def _refuse_malformed(self, request: Request, flow: Flow, error: ParseError, now: float) -> None:
        """Answer 400, or the code of the error, if the admission allows an answer."""
        verdict = self._core.admission.judge_unreadable(flow, now, self._registrations.registrars(now))
        if verdict.answer == "silence":
            self._core.note_refusal(request, flow, verdict.rule, 0, detail=str(error))
            return
        code, reason = (error.code, error.reason) if isinstance(error, BadRequest) else (400, "Bad Request")
        self._reply_statelessly(request, flow, Reply(code, reason))

    def _reply_statelessly(self, request: Request, flow: Flow, reply: Reply) -> None:
        """Answer a request without a transaction (§8.2.7). Repetitions get the same To tag."""
        if request.method == "ACK":
            return
        try:
            lines = via_lines(request, flow)
            destination = response_flow(request.top_via, flow)
        except ParseError:
            return
        data = self._core.response_bytes(request, lines, _stateless_tag(request), reply, flow)
        self._core.layer.transmit(data, destination)


def _stateless_tag(request: Request) -> str:
    """The To tag of a stateless response. Repetitions of the request yield the same tag."""
    via = request.top_via
    number = (request.headers.get("CSeq") or "").partition(" ")[0]
    seed = "\n".join((via.branch or "", via.sent_by, request.headers.get("Call-ID") or "", number))
    return STATELESS_TAG + hashlib.blake2s(encode_text(seed), digest_size=8).hexdigest()


def _user_in(request: Request) -> str:
    """The user part for our Contact: the called user."""
    try:
        user = request.parsed_uri.user
        return user if user is not None else parse_name_addr(request.headers.get("To") or "").uri.user or ""
    except ParseError:
        return ""
