"""Reliable provisional responses: repeated until acknowledged, acknowledged in order (RFC 3262).

    UAS     `ReliableProvisionals`: one at a time, repeated from T1 at doubling intervals until its PRACK or for 64*T1 (§3)
    UAC     `ProvisionalReceiver`: which responses are new, and the PRACK for each (§4)

Replies to send, PRACKs and responses go in. Provisional responses, PRACKs and one report if no PRACK arrives come out. The call processes
the session descriptions in them.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

from active_call.base.errors import ParseError
from active_call.sip.dialog.decisions import Decision
from active_call.sip.dialog.dialog import Dialog
from active_call.sip.dialog.ports import AnsweringPort, DialogPort
from active_call.sip.events import EndpointConfig
from active_call.sip.responses import Reply
from active_call.sip.syntax.body import SDP_TYPE
from active_call.sip.syntax.grammar import LWS
from active_call.sip.syntax.headers import Headers
from active_call.sip.syntax.message import Request, Response
from active_call.sip.transaction.server import ServerTransaction
from active_call.sip.transaction.tables import LIFETIME_T1S
from active_call.sip.transaction.timers import Timer

OPTION_TAG = "100rel"
_MAX_FIRST_RSEQ = 2**31 - 1
"""RFC 3262 §3: the first RSeq of a transaction is between 1 and this."""
_RSEQ = re.compile(r"[0-9]{1,10}\Z")
_RACK = re.compile(r"([0-9]{1,10})[ \t]+([0-9]{1,10})[ \t]+(\S+)\Z")


class RAck(Struct, frozen=True):
    """The value of RAck: the RSeq of the response, and the CSeq of the request that the response answered."""

    rseq: int
    cseq: int
    method: str


def parse_rack(text: str) -> RAck:
    """A RAck value (§7.2). Raises ParseError."""
    match = _RACK.match(text.strip(LWS))
    if match is None:
        raise ParseError("RAck", expected="two numbers and a method", found=text)
    return RAck(int(match.group(1)), int(match.group(2)), match.group(3))


def rseq_of(response: Response) -> int | None:
    """The RSeq of a provisional response that must be acknowledged, None for any other response."""
    text = (response.headers.get("RSeq") or "").strip(LWS)
    if not 101 <= response.code <= 199 or not _has_tag(response, "Require") or not _RSEQ.match(text) or not response.to.tag:
        return None
    return int(text)


def wants_reliable(config: EndpointConfig, invite: Request) -> bool:
    """Whether provisional responses to `invite` are sent reliably: the caller requires it, or supports it and we prefer it (§3)."""
    if OPTION_TAG not in config.supported:
        return False
    return _has_tag(invite, "Require") or (config.prefer_reliable_provisionals and _has_tag(invite, "Supported"))


def _has_tag(message: Request | Response, header: str) -> bool:
    return any(tag.lower() == OPTION_TAG for tag in message.headers.split(header))


class ReliableProvisionals:
    """The reliable provisional responses to one INVITE. `on_unacknowledged(now)` is called if one gets no PRACK within 64*T1."""

    def __init__(self, port: AnsweringPort, transaction: ServerTransaction, on_unacknowledged: Callable[[float], Decision]) -> None:
        self._port = port
        self._transaction = transaction
        self._on_unacknowledged = on_unacknowledged
        self._rseq = int(port.randomness.uniform(1, _MAX_FIRST_RSEQ - 2**16))
        self._outstanding: Reply | None = None
        self._queue: list[Reply] = []
        self._is_closed = False
        self._repeat_after_s = 0.0
        self._give_up_at = 0.0
        self._timer: Timer | None = None

    @property
    def holds_back_success(self) -> bool:
        """Whether a 2xx has to wait because a response with a session description is not acknowledged yet (§3)."""
        if self._is_closed:
            return False
        return bool(self._outstanding and self._outstanding.body) or any(reply.body for reply in self._queue)

    @property
    def is_waiting(self) -> bool:
        """Whether a response waits for its PRACK."""
        return self._outstanding is not None

    def send(self, reply: Reply, now: float) -> None:
        """Send `reply` reliably after the earlier ones are acknowledged. Raises LocalProtocolError for headers that cannot be sent."""
        Headers(reply.headers)
        self._queue.append(reply)
        self.resume(now)

    def resume(self, now: float) -> None:
        """Send the next queued response if none is outstanding."""
        if self._outstanding is not None or self._is_closed or not self._queue:
            return
        config = self._port.config
        self._rseq += 1
        reply = self._queue.pop(0)
        numbered = (*reply.headers, ("Require", OPTION_TAG), ("RSeq", str(self._rseq)))
        self._outstanding = replace(reply, headers=numbered)
        self._port.respond(self._transaction, self._outstanding, now)
        self._give_up_at = now + LIFETIME_T1S * config.t1_s
        self._repeat_after_s = config.t1_s
        self._set_timer(now + self._repeat_after_s)

    def take_prack(self, request: Request) -> Reply | None:
        """The response that `request` acknowledges, None if it acknowledges no outstanding response. Call `resume` next."""
        try:
            rack = parse_rack(request.headers.get("RAck") or "")
        except ParseError:
            return None
        if self._outstanding is None or rack != RAck(self._rseq, self._transaction.request.cseq.number, "INVITE"):
            return None
        acknowledged, self._outstanding = self._outstanding, None
        self._port.cancel_timer(self._timer)
        return acknowledged

    def close(self) -> None:
        """Stop repeating, because the final response has been sent. An outstanding PRACK is still accepted (§3)."""
        self._is_closed = True
        self._queue.clear()
        self._port.cancel_timer(self._timer)

    def _set_timer(self, at: float) -> None:
        self._port.cancel_timer(self._timer)
        self._timer = self._port.set_timer(min(at, self._give_up_at), self._on_timer)

    def _on_timer(self, now: float) -> Decision:
        if self._outstanding is None or self._is_closed:
            return None
        if now >= self._give_up_at:
            self._outstanding = None
            self.close()
            return self._on_unacknowledged(now)
        self._transaction.repeat()
        self._repeat_after_s *= 2
        self._set_timer(now + self._repeat_after_s)
        return None


class ProvisionalReceiver:
    """The reliable provisional responses to the INVITEs of one call, at the UAC."""

    def __init__(self, port: DialogPort) -> None:
        self._port = port
        self._last: dict[tuple[str, int], int] = {}

    def is_news(self, response: Response) -> bool:
        """Whether `response` is new. False for a repetition and for a response after a gap in RSeq (§4)."""
        rseq = rseq_of(response)
        if rseq is None:
            return True
        key = (response.to.tag or "", response.cseq.number)
        if key in self._last and rseq != self._last[key] + 1:
            return False
        self._last[key] = rseq
        return True

    def acknowledge(self, dialog: Dialog, response: Response, now: float, sdp: bytes | None = None) -> None:
        """Send the PRACK for a new response, with `sdp` if the response held an offer (§5).

        The outcome of the PRACK is ignored: the outcome of the INVITE decides.
        """
        rack = f"{rseq_of(response)} {response.cseq.number} {response.cseq.method}"
        self._port.send_request("PRACK", (("RAck", rack),), now, body=sdp or b"", content_type=SDP_TYPE, dialog=dialog)
