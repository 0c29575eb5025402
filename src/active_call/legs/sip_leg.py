"""A SIP leg: one INVITE usage of the endpoint joined to one media stream.

Inbound: made from IncomingCall, then `accept` or `reject`. Outbound: `dial`. What the endpoint tells of the call comes in by `handle`;
what the call wants to know goes out by the sink as `legs.events`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from active_call.base.errors import ActiveCallError, LocalProtocolError, ParseError
from active_call.contract.options import CallOption
from active_call.legs.events import (
    LegAnswered,
    LegDigit,
    LegEnded,
    LegEvent,
    LegHeld,
    LegMedia,
    LegMessage,
    LegReady,
    LegRinging,
    LegTransferProgress,
    LegTransferRequested,
)
from active_call.legs.sip_media import LegMedia as LegSound
from active_call.media.client import MediaStream, StreamLost
from active_call.media.link import Report
from active_call.sdp.negotiation import NegotiationError
from active_call.sip import events as sip
from active_call.sip.message import Request, Response

if TYPE_CHECKING:
    from active_call.legs.sip import SipGateway

RETRY_AFTER_S = 5
"""What a caller is told who finds us full: calls end all the time."""
READY_WITHOUT_ACK_S = 2.0
"""An ACK that is this late does not keep the agent from speaking; the endpoint goes on waiting for it."""

DTMF_RELAY_SIGNAL = re.compile(r"^\s*Signal\s*=\s*([0-9A-D*#])", re.IGNORECASE | re.MULTILINE)


class SipLeg:
    """One SIP call as the call room sees it."""

    kind = "sip"

    def __init__(self, gateway: SipGateway, sound: LegSound, *, caller: str, callee: str, incoming: sip.IncomingCall | None = None) -> None:
        self._gateway = gateway
        self._sound = sound
        self._incoming = incoming
        self._sink: Callable[[LegEvent], None] = lambda _: None
        self._srtp = False
        self._answered = False
        self._rung = False
        self._ready = False
        self._on_hold = False
        self._ended = False
        self._refer_token: sip.TransactionToken | None = None
        self._why_ended: tuple[str, str, str] | None = None
        self.handle_name: sip.CallHandle | None = incoming.call if incoming else None
        self.caller = caller
        self.callee = callee
        self.call_id = incoming.request.call_id if incoming else ""
        self.headers: Mapping[str, str] = _header_map(incoming.request) if incoming else {}
        self.offer = _text(incoming.sdp) if incoming else ""

    @property
    def stream(self) -> MediaStream | None:
        return self._sound.stream

    def attach(self, sink: Callable[[LegEvent], None]) -> None:
        self._sink = sink

    def speak_from(self, own_address: str) -> None:
        """Describe our sound at that address of ours; before the offer."""
        self._sound.public_ip = own_address

    async def open_media(self) -> MediaStream:
        return await self._sound.open(self._report)

    # -- operations

    async def ring(self) -> None:
        if self.handle_name is not None and not (self._answered or self._rung or self._ended):
            self._rung = True
            self._gateway.run(lambda endpoint, now: endpoint.ring(self._call, now))
            self._sink(LegRinging(early_media=False))

    async def accept(self, option: CallOption) -> None:
        if self._incoming is None or self._ended:
            raise LocalProtocolError("the call is over already" if self._ended else "only an inbound call can be accepted")
        await self.open_media()
        wants_srtp = option.sip.enable_srtp if option.sip and option.sip.enable_srtp is not None else self._gateway.settings.enable_srtp
        try:
            answer = self._sound.answer(self._incoming.sdp) if self._incoming.sdp else self._sound.offer(srtp=wants_srtp)
        except (NegotiationError, ParseError) as error:
            code, reason = (488, "Not Acceptable Here") if isinstance(error, NegotiationError) else (400, "Bad session description")
            self._refuse(code, reason, cause="no_media", warning=str(error))
            raise
        headers = tuple((option.sip.headers if option.sip else {}).items())
        self._gateway.run(lambda endpoint, now: endpoint.answer(self._call, answer, now, headers=headers))
        self._answered = True
        self._sink(LegAnswered(_text(answer)))
        await asyncio.sleep(READY_WITHOUT_ACK_S)
        self._become_ready()

    async def dial(self, option: CallOption) -> None:
        stream = await self.open_media()
        assert stream.port  # noqa: S101
        invite, self._srtp = await self._gateway.invitation(self, option)
        invite = replace(invite, sdp=self._sound.offer(srtp=self._srtp))
        if self._ended:
            raise LocalProtocolError("the call was ended before it was placed")
        handle = self._gateway.run(lambda endpoint, now: endpoint.invite(invite, now))
        self.handle_name = handle
        self._gateway.adopt(handle, self)
        self.call_id = self._gateway.endpoint.dialog_info(handle).call_id

    def reject(self, code: int, reason: str) -> None:
        self._refuse(code, reason, cause="rejected")

    def _refuse(self, code: int, reason: str, *, cause: str, warning: str = "") -> None:
        if self._ended:
            return
        self._why_ended = ("system", cause, warning or reason)
        headers: tuple[tuple[str, str], ...] = (("Warning", f'399 active-call "{_quoted(warning)}"'),) if warning else ()
        if code == 503:
            headers += (("Retry-After", str(RETRY_AFTER_S)),)
        self._gateway.run(lambda endpoint, now: endpoint.reject(self._call, code, reason, now, headers=headers))

    def hang_up(self, *, headers: Mapping[str, str], by: str, cause: str, reason: str) -> None:
        if self._ended:
            return
        self._why_ended = self._why_ended or (by, cause, reason)
        if self.handle_name is None:
            self._end(LegEnded(by=by, cause=cause, reason=reason))
            return
        self._gateway.run(lambda endpoint, now: endpoint.hang_up(self._call, now, headers=tuple(headers.items())))

    def send_message(self, body: str, content_type: str, headers: Mapping[str, str]) -> None:
        self._request("MESSAGE", body.encode(), content_type, headers)

    def send_digits_by_signalling(self, digits: str, duration_ms: int) -> None:
        for digit in digits:
            self._request("INFO", f"Signal={digit}\r\nDuration={duration_ms}\r\n".encode(), "application/dtmf-relay", {})

    def refer(self, target: str, headers: Mapping[str, str]) -> None:
        self._refer_token = self._gateway.run(
            lambda endpoint, now: endpoint.refer(self._call, _transfer_uri(target), now, headers=tuple(headers.items()))
        )

    async def release(self) -> dict[str, float]:
        return await self._sound.close()

    def _request(self, method: str, body: bytes, content_type: str, headers: Mapping[str, str]) -> None:
        self._gateway.run(
            lambda endpoint, now: endpoint.request(
                self._call, method, now, headers=tuple(headers.items()), body=body, content_type=content_type
            )
        )

    @property
    def _call(self) -> sip.CallHandle:
        if self.handle_name is None:
            raise LocalProtocolError("the call has not been placed yet")
        return self.handle_name

    # -- what the endpoint tells

    def handle(self, event: sip.SipEvent) -> None:
        """An event of this call."""
        match event:
            case sip.CallProgress(response=response, sdp=sdp):
                self._progress(response, sdp)
            case sip.CallAnswered(response=response, sdp=sdp):
                self._answered_by_peer(response, sdp)
            case sip.CallConfirmed(sdp=sdp):
                if sdp is not None:
                    self._agree(sdp)
                self._become_ready()
            case sip.OfferReceived(sdp=sdp):
                self._offered(sdp)
            case sip.OfferAnswered(code=code, sdp=sdp):
                if sdp is not None and 200 <= code < 300:
                    self._agree(sdp)
            case sip.TransferRequested(token=token, refer_to=refer_to, referred_by=referred_by):
                self._sink(LegTransferRequested(refer_to, referred_by))
                self._gateway.run(lambda endpoint, now: endpoint.respond(token, 603, "Decline", now))
            case sip.TransferProgress(code=code, reason=reason, final=final):
                self._sink(LegTransferProgress(code, reason, final))
            case sip.RequestCompleted(token=token, code=code, reason=reason) if token == self._refer_token and code >= 300:
                self._sink(LegTransferProgress(code, reason, final=True))
            case sip.RequestReceived(token=token, request=request):
                self._requested(token, request)
            case sip.CallEnded():
                self._ended_by_endpoint(event)
            case _:
                pass

    def _progress(self, response: Response, sdp: bytes | None) -> None:
        if response.code in (180, 181, 182, 183):
            early = sdp is not None and self._agree(sdp)
            self._sink(LegRinging(early_media=early, code=response.code))

    def _answered_by_peer(self, response: Response, sdp: bytes | None) -> None:
        self.headers = _header_map(response)
        if sdp is None and self._sound.agreement is None:
            self.hang_up(headers={}, by="system", cause="no_media", reason="the answer has no session description")
            return
        if sdp is not None and not self._agree(sdp):
            return
        self._answered = True
        self._sink(LegAnswered(_text(sdp)))
        self._become_ready()

    def _agree(self, answer: bytes) -> bool:
        """Take the peer's answer to our offer, or end the call with a reason."""
        try:
            self._sound.accept(answer)
        except ActiveCallError as error:
            self.hang_up(headers={}, by="system", cause="no_media", reason=str(error))
            return False
        return True

    def _become_ready(self) -> None:
        if not self._ready and not self._ended:
            self._ready = True
            self._sink(LegReady())

    def _offered(self, sdp: bytes | None) -> None:
        """A re-INVITE or UPDATE: answered within the call's sound; a hold is told."""
        try:
            answer = self._sound.answer(sdp) if sdp is not None else self._sound.offer(srtp=self._is_secured)
        except (NegotiationError, ParseError) as error:
            code = 488 if isinstance(error, NegotiationError) else 400
            self._gateway.run(lambda endpoint, now: endpoint.refuse_offer(self._call, code, "Not Acceptable Here", now))
            return
        self._gateway.run(lambda endpoint, now: endpoint.answer_offer(self._call, answer, now))
        on_hold = self._sound.agreement is not None and self._sound.agreement.on_hold
        if sdp is not None and on_hold != self._on_hold:
            self._on_hold = on_hold
            self._sink(LegHeld(on_hold))

    @property
    def _is_secured(self) -> bool:
        return self._sound.agreement is not None and self._sound.agreement.crypto is not None

    def _requested(self, token: sip.TransactionToken, request: Request) -> None:
        content_type = (request.headers.get("Content-Type") or "").partition(";")[0].strip().lower()
        body = request.body.decode("utf-8", "replace")
        if request.method == "INFO" and content_type in ("application/dtmf-relay", "application/dtmf"):
            found = DTMF_RELAY_SIGNAL.search(body) if content_type.endswith("relay") else re.match(r"\s*([0-9A-D*#])", body, re.I)
            if found:
                self._sink(LegDigit(found.group(1).upper()))
        elif request.method == "MESSAGE":
            self._sink(LegMessage(body, content_type or "text/plain"))
        self._gateway.run(lambda endpoint, now: endpoint.respond(token, 200, "OK", now))

    def _ended_by_endpoint(self, event: sip.CallEnded) -> None:
        peer = "caller" if self._incoming is not None else "callee"
        by, cause, reason = self._why_ended or (peer if event.cause in PEER_CAUSES else "system", event.cause, event.reason)
        if event.message is not None and not reason:
            reason = event.message.headers.get("Reason") or ""
        headers = _header_map(event.message) if event.message is not None else {}
        self._end(LegEnded(by=by, cause=cause, code=event.code, reason=reason, headers=headers))

    def _end(self, event: LegEnded) -> None:
        if not self._ended:
            self._ended = True
            if self.handle_name is not None:
                self._gateway.forget(self.handle_name)
            self._sink(event)

    def _report(self, report: Report | StreamLost) -> None:
        self._sink(LegMedia(report))


PEER_CAUSES = frozenset({"remote_bye", "cancelled", "rejected"})


def _header_map(message: Request | Response) -> dict[str, str]:
    """All headers by name, the first of each."""
    result: dict[str, str] = {}
    for name, value in message.headers.items():
        result.setdefault(name, value)
    return result


def _transfer_uri(target: str) -> str:
    """A transfer's target as a URI: a bare number as `tel:`, an address as `sip:`."""
    if ":" in target:
        return target
    return f"sip:{target}" if "@" in target else f"tel:{target}"


def _text(sdp: bytes | None) -> str:
    return sdp.decode("utf-8", "replace") if sdp else ""


def _quoted(text: str) -> str:
    return text.replace("\\", "").replace('"', "'").replace("\r", " ").replace("\n", " ")
