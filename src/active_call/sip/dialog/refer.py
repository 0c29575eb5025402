"""REFER and its subscription inside one call (RFC 3515, RFC 3420, RFC 3892, RFC 4488, RFC 7647).

    our REFER       2xx, then NOTIFYs with the progress as message/sipfrag     TransferProgress, the last one `final`
                    2xx with `Refer-Sub: false`: no NOTIFY follows             TransferProgress(202, final) at once
                    2xx and no NOTIFY for `refer_timeout_s`                    TransferProgress(408, final)
    their REFER     TransferRequested; a 2xx starts the implicit subscription with NOTIFY 100, `notify` continues it, `is_final` ends it

A subscription shares the dialog of its call and ends with the call at the latest. REFER and NOTIFY of the peer, outcomes of ours and the
commands of the leg go in. REFER, NOTIFY and TransferProgress come out, and, as a returned decision, the `Reply` to a peer's request or the
transfer that it asks for. This module places no calls.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial

from msgspec import Struct

from active_call.base.errors import LocalProtocolError, ParseError
from active_call.sip.dialog.decisions import Decision
from active_call.sip.dialog.ports import DialogPort
from active_call.sip.events import HeaderList, TransactionToken, TransferProgress
from active_call.sip.responses import Reply, checked_reason
from active_call.sip.syntax.grammar import LWS, parse_parameters, unescape
from active_call.sip.syntax.headers import format_name_addr, parse_name_addr
from active_call.sip.syntax.message import Request, Response
from active_call.sip.transaction.timers import Timer

SIPFRAG_TYPE = "message/sipfrag;version=2.0"
_SUBSCRIPTION_S = 180
"""The remaining time in our NOTIFYs. RFC 3515 §2.4.4 leaves the value to us; no phone rings longer."""
_LONGEST_S = 3600.0
_MAX_EMBEDDED_CHARS = 1024
"""Limit for the headers in a Refer-To. Replaces with long tags takes about 300."""
_BARE_NUMBER = re.compile(r"<?[ \t]*(\+?[0-9*#]{1,32})[ \t]*>?")
"""A Refer-To without a scheme, as Asterisk's `Transfer(901)` sends it."""
_STATUS_LINE = re.compile(r"SIP/2\.0[ \t]+([1-6][0-9]{2})(?:[ \t]+([^\r\n]*))?", re.IGNORECASE)


@dataclass(slots=True)
class _Outgoing:
    """Our REFER. `cseq` identifies its subscription once the REFER is accepted. `is_done`: the leg has been notified of the end."""

    cseq: int
    is_accepted: bool = False
    is_done: bool = False
    timer: Timer | None = None


@dataclass(slots=True)
class _Incoming:
    """A peer's REFER that was accepted. `event` is the Event value of its NOTIFYs, None if the peer wants none."""

    event: str | None


class WantedTransfer(Struct, frozen=True):
    """What a REFER asks for. The fields are those of TransferRequested."""

    refer_to: str
    referred_by: str | None
    replaces: str | None
    headers: HeaderList = ()


class Refers:
    """See the module."""

    def __init__(self, port: DialogPort) -> None:
        self._port = port
        self._ours: dict[TransactionToken, _Outgoing] = {}
        self._theirs: _Incoming | None = None
        self._has_accepted = False

    # -- our REFER ----------------------------------------------------------------------------------------------------------------------

    def refer(self, refer_to: str, referred_by: str | None, headers: HeaderList, now: float) -> TransactionToken:
        """Send REFER. RequestCompleted follows, and TransferProgress after a 2xx."""
        own = [("Refer-To", _as_name_addr(refer_to))]
        if referred_by is not None:
            own.append(("Referred-By", _as_name_addr(referred_by)))
        token = self._port.send_reported_request("REFER", now, (*own, *headers))
        dialog = self._port.dialog
        self._ours[token] = _Outgoing(dialog.local_cseq if dialog is not None else 0)
        return token

    def on_refer_outcome(self, token: TransactionToken, response: Response | None, now: float) -> None:
        """Handle the final response to our REFER."""
        transfer = self._ours.get(token)
        if transfer is None:
            return
        if response is None or response.code >= 300:
            self._forget(token)
            return
        transfer.cseq = response.cseq.number
        transfer.is_accepted = True
        if (response.headers.get("Refer-Sub") or "").strip(LWS).lower().startswith("false"):
            self._report(transfer, 202, "Accepted", now, is_final=True)
        elif not transfer.is_done and transfer.timer is None:
            self._wait(transfer, self._port.config.refer_timeout_s, now)

    def handle_notify(self, request: Request, now: float) -> Reply:
        """The response to a NOTIFY of event `refer`: 200 with TransferProgress, or 481 if none of our REFERs has such a subscription."""
        found = self._find(request)
        if found is None:
            return Reply(481, "Subscription Does Not Exist")
        token, transfer = found
        state, parameters = _subscription_state(request)
        is_terminated = state == "terminated"
        code, reason = _sipfrag_status(request) or (0, parameters.get("reason") or "")
        if not transfer.is_done:
            left_s = parameters.get("expires") or ""
            asked_s = float(left_s) if left_s.isascii() and left_s.isdigit() and len(left_s) < 10 else 0.0
            self._wait(transfer, max(self._port.config.refer_timeout_s, min(asked_s, _LONGEST_S)), now)
            if code or is_terminated:
                self._report(transfer, code, reason, now, is_final=is_terminated or code >= 200)
        if is_terminated:
            self._forget(token)
        dialog = self._port.dialog
        return Reply(200, "OK", contact_user=dialog.contact_user if dialog is not None else "")

    def _find(self, request: Request) -> tuple[TransactionToken, _Outgoing] | None:
        """The REFER that a NOTIFY belongs to. Without an id it is the oldest. Before the 2xx the id may be that of a later attempt."""
        wanted = _event_of(request)[1].get("id")
        for token, transfer in self._ours.items():
            if not wanted or wanted == str(transfer.cseq) or not transfer.is_accepted:
                return token, transfer
        return None

    def _report(self, transfer: _Outgoing, code: int, reason: str, now: float, *, is_final: bool) -> None:
        del now
        if is_final:
            transfer.is_done = True
            self._port.cancel_timer(transfer.timer)
        self._port.emit(TransferProgress(self._port.handle, code, reason, is_final))

    def _wait(self, transfer: _Outgoing, seconds: float, now: float) -> None:
        self._port.cancel_timer(transfer.timer)
        transfer.timer = self._port.set_timer(now + seconds, partial(self._on_silence, transfer))

    def _on_silence(self, transfer: _Outgoing, now: float) -> Decision:
        if not transfer.is_done:
            self._report(transfer, 408, "Request Timeout", now, is_final=True)
        return None

    def _forget(self, token: TransactionToken) -> None:
        transfer = self._ours.pop(token, None)
        if transfer is not None:
            self._port.cancel_timer(transfer.timer)

    # -- their REFER --------------------------------------------------------------------------------------------------------------------

    def judge_refer(self, request: Request) -> Reply | WantedTransfer:
        """Handle a peer's REFER: returns its refusal, or the transfer to report to the leg. A bare number is reported as a `tel:` URI."""
        try:
            (refer_to,) = request.headers.split("Refer-To")
            if (number := _BARE_NUMBER.fullmatch(refer_to)) is not None:
                refer_to = f"tel:{number.group(1)}"
            uri, _, embedded = parse_name_addr(refer_to).uri_text.partition("?")
            uri, method = _without_method(uri)
        except (ParseError, ValueError):
            return Reply(400, "Missing Or Malformed Refer-To")
        if not self._port.is_answered:
            return Reply(403, "Only Inside An Answered Call")
        if method != "INVITE":
            return Reply(403, "Only Calls Are Made On Request")
        if len(embedded) > _MAX_EMBEDDED_CHARS:
            return Reply(400, "Too Many Headers In Refer-To")
        headers = _embedded_headers(embedded)
        replaces = [value for name, value in headers if name.lower() == "replaces"]
        if len(replaces) > 1:
            return Reply(400, "Several Replaces In Refer-To")  # RFC 3891 §3: one at most
        return WantedTransfer(uri, request.headers.get("Referred-By"), replaces[0] if replaces else None, headers)

    def accept(self, request: Request, now: float) -> None:
        """Start the subscription after the leg has accepted a REFER by 2xx. Sends the first NOTIFY at once (RFC 3515 §2.4.4)."""
        identifier = f";id={request.cseq.number}" if self._has_accepted else ""
        self._has_accepted = True
        self._theirs = _Incoming(None if wants_no_notify(request) else f"refer{identifier}")
        self.notify(100, "Trying", now, is_final=False)

    def notify(self, code: int, reason: str, now: float, *, is_final: bool) -> bool:
        """Send a NOTIFY with the transfer's progress. False if no transfer has been accepted or its end has been reported."""
        if not 100 <= code <= 699:
            raise LocalProtocolError(f"{code} is not a SIP status code")
        theirs = self._theirs
        if theirs is None:
            return False
        body = f"SIP/2.0 {code} {checked_reason(reason)}\r\n".encode()
        if is_final:
            self._theirs = None
        if theirs.event is None:
            return True
        state = "terminated;reason=noresource" if is_final else f"active;expires={_SUBSCRIPTION_S}"
        headers = (("Event", theirs.event), ("Subscription-State", state))
        outcome = partial(self._on_notify_outcome, theirs)
        self._port.send_request("NOTIFY", headers, now, body=body, content_type=SIPFRAG_TYPE, on_outcome=outcome)
        return True

    def _on_notify_outcome(self, theirs: _Incoming, code: int, reason: str, response: Response | None, now: float) -> Decision:
        """A NOTIFY that fails permanently or gets no answer ends the subscription (RFC 6665 §4.2.2)."""
        del reason, response, now
        if code in (408, 481, 489, 503):
            theirs.event = None
        return None

    def stop(self) -> None:
        """Drop all subscriptions because the call ends."""
        for token in list(self._ours):
            self._forget(token)
        self._theirs = None


def is_refer_notify(request: Request) -> bool:
    """Whether a NOTIFY belongs to a REFER."""
    return _event_of(request)[0] == "refer"


def wants_no_notify(request: Request) -> bool:
    """Whether a REFER asks for no subscription (RFC 4488 §4)."""
    return (request.headers.get("Refer-Sub") or "").strip(LWS).lower().startswith("false")


def _event_of(request: Request) -> tuple[str, dict[str, str | None]]:
    return _token_and_parameters(request.headers.get("Event") or "")


def _subscription_state(request: Request) -> tuple[str, dict[str, str | None]]:
    return _token_and_parameters(request.headers.get("Subscription-State") or "active")


def _token_and_parameters(text: str) -> tuple[str, dict[str, str | None]]:
    token, semicolon, rest = text.partition(";")
    try:
        parameters = parse_parameters(semicolon + rest)
    except ParseError:
        parameters = {}
    return token.strip(LWS).lower(), parameters


def _sipfrag_status(request: Request) -> tuple[int, str] | None:
    """Code and reason of the status line at the start of a message/sipfrag body (RFC 3420)."""
    match = _STATUS_LINE.match(request.body.lstrip()[:512].decode("utf-8", "replace"))
    return (int(match.group(1)), (match.group(2) or "").strip(LWS)) if match else None


def _without_method(uri: str) -> tuple[str, str]:
    """A URI without its `method` parameter, and that method, which the REFER asks us to send (RFC 3515 §2.1)."""
    user, at, rest = uri.rpartition("@")
    address, *parameters = rest.split(";")
    named = [piece for piece in parameters if unescape(piece.partition("=")[0]).strip().lower() == "method"]
    kept = [piece for piece in parameters if piece not in named]
    method = unescape(named[0].partition("=")[2]).upper() if named else "INVITE"
    return user + at + ";".join([address, *kept]), method if len(named) < 2 else ""


def _embedded_headers(text: str) -> HeaderList:
    """The headers part of a URI, unescaped, without a body parameter (RFC 3261 §19.1.1)."""
    pairs = (piece.partition("=") for piece in text.split("&") if piece)
    headers = ((unescape(name), unescape(value)) for name, _, value in pairs)
    return tuple((name, value) for name, value in headers if name.lower() != "body")


def _as_name_addr(address: str) -> str:
    """`address` as a header value; a bare URI gets angle brackets. Raises LocalProtocolError if it is neither."""
    try:
        parse_name_addr(address if "<" in address else f"<{address}>")
    except ParseError as error:
        raise LocalProtocolError(f"{address!r} is not a SIP address: {error}") from error
    return address if "<" in address else format_name_addr(address)
