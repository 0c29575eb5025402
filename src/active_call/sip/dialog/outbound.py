"""An outgoing call: progress, forking, answer, CANCEL, ring timeout, redirection (RFC 3261 §8.1.3.4, §13.2).

Each To tag in a response creates its own dialog. The first 2xx wins and becomes the dialog of the call. A 2xx of another branch is
acknowledged and hung up at once (§13.2.2.4), and so is a 2xx that crosses our CANCEL (§9.1, §15). Reliable provisional responses are
acknowledged by PRACK in order (RFC 3262). If one carries an offer because our INVITE had none, its PRACK waits for `answer_offer`.
"""

from __future__ import annotations

from msgspec.structs import replace

from active_call.base.errors import LocalProtocolError, ParseError
from active_call.sip.dialog.bye import Bye
from active_call.sip.dialog.call import Call, CallTable
from active_call.sip.dialog.decisions import Decision
from active_call.sip.dialog.dialog import Dialog
from active_call.sip.dialog.info import DialogInfo, uri_text_of
from active_call.sip.dialog.invite_client import MAX_FORKS, ClientInvite
from active_call.sip.dialog.provisional import ProvisionalReceiver, rseq_of
from active_call.sip.dialog.redirection import Redirections
from active_call.sip.dialog.requests import Attempt, add_body, outside
from active_call.sip.dialog.usage import CallState
from active_call.sip.events import CallAnswered, CallProgress, Flow, HeaderList, OutboundInvite, RedirectRefused
from active_call.sip.listeners import SECURED
from active_call.sip.ports import CallPort
from active_call.sip.responses import Reply
from active_call.sip.routing import uri_of
from active_call.sip.syntax.body import SDP_TYPE
from active_call.sip.syntax.headers import format_name_addr, parse_name_addr
from active_call.sip.syntax.message import Request, Response, session_description
from active_call.sip.transaction.origin import Origin
from active_call.sip.transaction.server import ServerTransaction
from active_call.sip.transaction.timers import Timer


class OutboundCall(Call):
    """See the module. `start` sends the INVITE."""

    def __init__(self, endpoint: CallPort, calls: CallTable, spec: OutboundInvite) -> None:
        self._spec = spec
        self._request_uri = spec.to_uri
        self._local_tag = endpoint.new_tag()
        self._call_id = spec.call_id or endpoint.randomness.uuid()
        self._contact_user = _user_of(spec.from_uri) if spec.contact is None else spec.contact
        self._cseq = 0
        self._early: dict[str, Dialog] = {}
        self._end_cause = "cancelled"
        self._redirections = Redirections(self._on_redirect_refused)
        self._ring_timer: Timer | None = None
        super().__init__(endpoint, calls, CallState.CALLING, spec.credentials, trunk=spec.trunk, session_expires_s=spec.session_expires_s)
        self._reliable = ProvisionalReceiver(self)
        self._prack_owed: tuple[Dialog, Response] | None = None
        self._early_answered: set[str] = set()
        self._invite = ClientInvite(endpoint, self, self._make_invite, spec.credentials)

    def start(self, now: float) -> None:
        """Send the INVITE. Raises LocalProtocolError and removes the call if the INVITE cannot be built."""
        try:
            self._invite.send(now)
        except (LocalProtocolError, ParseError):
            self._calls.remove(self)
            raise
        self._ring_timer = self.set_timer(now + self._spec.ring_timeout_s, self._on_ring_timeout)

    def _make_invite(self) -> Attempt:
        spec = self._spec
        self._cseq += 1
        request, target = outside(
            self._endpoint,
            "INVITE",
            self._request_uri,
            from_value=format_name_addr(spec.from_uri, display=spec.from_display, parameters={"tag": self._local_tag}),
            to_uri=spec.to_uri,
            call_id=self._call_id,
            cseq=self._cseq,
            proxy=spec.proxy,
            transport=spec.transport,
            rules=spec.rules,
        )
        request.headers.add("Allow", self.config.allow_header)
        supported = ", ".join(tag for tag in self.config.supported if tag not in spec.unsupported)
        if supported:
            request.headers.add("Supported", supported)
        add_body(request, (*self.timer.request_headers(), *spec.headers), spec.sdp or b"", SDP_TYPE)
        return request, target, Origin(self._contact_user, None, spec.local_host)

    # -- operations ---------------------------------------------------------------------------------------------------------------------

    def hang_up(self, now: float, headers: HeaderList) -> None:
        """Send CANCEL before the answer, else BYE."""
        if self.state is CallState.CALLING:
            self._withdraw("cancelled", now, headers)
        else:
            super().hang_up(now, headers)

    def answer_offer(self, sdp: bytes, now: float) -> bool:
        """Answer the offer of a reliable provisional response by its PRACK, else do as `Call.answer_offer`."""
        if self.state is not CallState.CALLING or self._prack_owed is None:
            return super().answer_offer(sdp, now)
        (dialog, response), self._prack_owed = self._prack_owed, None
        self.descriptions.local = sdp
        self._early_answered.add(dialog.remote_tag)
        self._send_prack(dialog, response, now, sdp)
        return True

    def dialog_info(self) -> DialogInfo:
        """A snapshot of the dialog. Before the answer it is the first early one."""
        if self.dialog is not None:
            return super().dialog_info()
        early = next(iter(self._early.values()), None)
        return DialogInfo(
            call_id=self._call_id,
            local_tag=self._local_tag,
            remote_tag=early.remote_tag if early else "",
            local_uri=self._spec.from_uri,
            remote_uri=uri_text_of(early.remote) if early else self._spec.to_uri,
            remote_target=early.remote_target if early else "",
            established=False,
            user_agent=early.user_agent if early else "",
        )

    @property
    def identity(self) -> tuple[str, str]:
        """Call-ID and local tag."""
        return self._call_id, self._local_tag

    # -- responses ----------------------------------------------------------------------------------------------------------------------

    def on_invite_progress(self, invite: ClientInvite, response: Response, flow: Flow, now: float) -> None:
        """Handle a provisional response: early dialog, PRACK if needed, CallProgress."""
        if invite.is_reinvite:
            super().on_invite_progress(invite, response, flow, now)
            return
        if self.state not in (CallState.CALLING, CallState.CANCELLING) or response.code == 100:
            return
        tag = response.to.tag
        if (tag and tag not in self._early and len(self._early) >= MAX_FORKS) or not self._reliable.is_news(response):
            return
        if tag and tag in self._early:
            self._early[tag].learn(response, flow)
        elif tag:
            self._early[tag] = self._new_dialog(invite, response, flow)
            self._endpoint.add_dialog(self._early[tag], self)
        sdp = session_description(response)
        if rseq_of(response) is not None:
            if self._spec.sdp is None and sdp is not None and tag not in self._early_answered and self.state is CallState.CALLING:
                self._prack_owed = (self._early[tag or ""], response)
            else:
                self._send_prack(self._early[tag or ""], response, now)
        if self.state is CallState.CALLING:
            self.descriptions.remote = sdp or self.descriptions.remote
            self.emit(CallProgress(self.handle, response, sdp))

    def on_invite_success(self, invite: ClientInvite, response: Response, flow: Flow, now: float) -> None:
        """Handle a 2xx: the first one makes the call active; any other is acknowledged and hung up (§13.2.2.4)."""
        if invite.is_reinvite:
            super().on_invite_success(invite, response, flow, now)
            return
        dialog = self._early.pop(response.to.tag or "", None)
        if dialog is None:
            dialog = self._new_dialog(invite, response, flow)
        dialog.learn(response, flow)
        if self.state is not CallState.CALLING:
            invite.acknowledge(dialog, now)
            Bye(self._endpoint, dialog, self.credentials, now)
            if self.state is CallState.CANCELLING:
                self.end(self._end_cause, now, response.code, response.reason, response)
            return
        self.dialog = dialog
        self.state = CallState.ACTIVE
        self._endpoint.add_dialog(dialog, self)
        self._forget_early()
        self.cancel_timer(self._ring_timer)
        sdp = session_description(response)
        if dialog.remote_tag in self._early_answered:
            sdp = None
        self.descriptions.local = self._spec.sdp or self.descriptions.local
        self.descriptions.remote = sdp or self.descriptions.remote
        self.timer.take_response(response, now)
        if self._spec.sdp is None and sdp is not None:
            self.offers.defer_ack(invite)
        else:
            invite.acknowledge(dialog, now)
        self.emit(CallAnswered(self.handle, response, sdp, _unreadable_contact(response)))

    def on_invite_failure(self, invite: ClientInvite, code: int, reason: str, response: Response | None, now: float) -> None:
        """Handle a failure: try again if a 3xx or 422 allows it, else end the call."""
        if invite.is_reinvite:
            super().on_invite_failure(invite, code, reason, response, now)
            return
        if self.state is CallState.CALLING and response is not None and self._try_again(response, now):
            return
        if self.state is CallState.CANCELLING:
            cause = self._end_cause
        elif response is not None:
            cause = "rejected"
        else:
            cause = "timeout" if code == 408 else "transport"
        self.end(cause, now, code, reason, response)

    # -- requests in early dialogs ------------------------------------------------------------------------------------------------------

    def handle_request(self, transaction: ServerTransaction, request: Request, flow: Flow, now: float) -> None:
        """Handle a request of the peer. In an early dialog BYE and UPDATE are answered at once."""
        if self.dialog is not None or request.method not in ("INVITE", "UPDATE", "BYE"):
            super().handle_request(transaction, request, flow, now)
        elif request.method == "BYE":
            self.respond(transaction, Reply(200, "OK"), now)
        elif request.method == "UPDATE" and session_description(request) is None:
            self.respond(transaction, Reply(200, "OK", (("Allow", self.config.allow_header),), contact_user=self._contact_user), now)
        else:
            self.respond(transaction, Reply(491, "Request Pending"), now)

    # -- inside -------------------------------------------------------------------------------------------------------------------------

    def end(self, cause: str, now: float, code: int | None = None, reason: str = "", message: Request | Response | None = None) -> None:
        """Remove the early dialogs, then do as `Call.end`."""
        self.cancel_timer(self._ring_timer)
        self._forget_early()
        super().end(cause, now, code, reason, message)

    def _on_ring_timeout(self, now: float) -> Decision:
        if self.state is CallState.CALLING:
            self._withdraw("timeout", now, ())
        return None

    def _withdraw(self, cause: str, now: float, headers: HeaderList) -> None:
        self._end_cause = cause
        self.state = CallState.CANCELLING
        self._invite.cancel(now, headers)

    def _send_prack(self, dialog: Dialog, response: Response, now: float, sdp: bytes | None = None) -> None:
        self._reliable.acknowledge(dialog, response, now, sdp)
        self._cseq = max(self._cseq, dialog.local_cseq)

    def _try_again(self, response: Response, now: float) -> bool:
        """Send another INVITE if possible: to another target after a 3xx, with a longer session interval after a 422. False if not."""
        if 300 <= response.code < 400:
            return self._redirect(response, now)
        if response.code == 422 and self.timer.take_422(response):
            self._send_anew(now)
            return True
        return False

    def _send_anew(self, now: float) -> None:
        """Send the INVITE again with the same Call-ID and From and the next CSeq (§8.1.3.4, §8.1.3.5).

        Drops the dialogs of the refused INVITE.
        """
        self._forget_early()
        self._invite = ClientInvite(self._endpoint, self, self._make_invite, self.credentials)
        self._invite.send(now)

    def _redirect(self, response: Response, now: float) -> bool:
        """Follow the 3xx as `redirection` decides. An encrypted call never moves to an unencrypted transport."""
        found = self._redirections.follow(self._spec, self._request_uri, response, self._invite.peer_host)
        if found is None:
            return False
        was_secured = self._invite.transport in SECURED
        self._spec, self._request_uri = found
        if was_secured:
            self._spec = replace(self._spec, transport=self._invite.transport)
        elif uri_of(self._request_uri).transport:
            self._spec = replace(self._spec, transport=None)
        self.credentials = self._spec.credentials
        self._reliable = ProvisionalReceiver(self)
        self._send_anew(now)
        return True

    def _on_redirect_refused(self, uri: str, rule: str, why: str) -> None:
        self.emit(RedirectRefused(self.handle, uri, rule, why))

    def _new_dialog(self, invite: ClientInvite, response: Response, flow: Flow) -> Dialog:
        dialog = Dialog.of_client(invite.request, response, flow, self._local_tag)
        dialog.contact_user = self._contact_user
        dialog.local_host = self._spec.local_host
        dialog.large_by_tcp = self._spec.rules.large_by_tcp
        return dialog

    def _forget_early(self) -> None:
        for dialog in self._early.values():
            self._endpoint.remove_dialog(dialog, self)
        self._early.clear()


def _unreadable_contact(response: Response) -> str:
    """The Contact of a 2xx if no request can be sent to it; empty if it is usable."""
    text = next(iter(response.headers.split("Contact")), "")
    try:
        uri = parse_name_addr(text).uri
    except ParseError:
        return text[:80] or "none"
    return "" if uri.host else text[:80]


def _user_of(uri: str) -> str:
    try:
        return uri_of(uri).user or ""
    except ParseError:
        return ""
