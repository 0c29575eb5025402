"""Session timers of one call: a session that nobody refreshes in time is over (RFC 4028).

    our INVITE, UPDATE      `request_headers` asks; `take_response` reads what was agreed; `take_422` raises what we ask for (§7)
    theirs                  `too_small` refuses an interval below 90 s; `answer` agrees and gives the headers of the 2xx (§9)
    agreed, we refresh      at half the interval, by UPDATE where the peer allows it, else by re-INVITE with the description as it was
    agreed, they refresh    BYE at interval - min(32 s, interval / 3) after the last refresh (§10)

Who refreshes is said anew in each message as `uac` or `uas`; here it is kept as a party, us or them, and stays the same party unless the
peer says otherwise. A refresh that is answered by 408 or 481, or not at all, ends the call (§10). Any other refusal comes from a peer that
is alive: the refresh is tried again later, and it is the peer's to decide whether the session has expired. A peer that does not list
`timer` is never refused for its interval and never told `Require: timer`: it may be a proxy that asks (§9).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from active_call.base.errors import LocalProtocolError, ParseError
from active_call.sip.context import EndpointContext, Reply
from active_call.sip.dialog.requests import OutgoingRequest, in_dialog
from active_call.sip.events import EndpointConfig, Flow, HeaderList
from active_call.sip.syntax.grammar import LWS, parse_parameters
from active_call.sip.syntax.message import Request, Response
from active_call.sip.transaction.timers import Timer

if TYPE_CHECKING:
    from active_call.sip.dialog.call import Call

MIN_INTERVAL_S = 90
"""RFC 4028 §4: no Min-SE may be lower, and ours is not higher."""
_SHORTEST_S = 20
"""What a stated interval that is even shorter counts as: without this a peer could have us refresh without pause."""
_LONGEST_S = 7 * 24 * 3600
_NOT_NOW_S = 5.0
"""A refresh that falls due while another offer is open, or before the ACK, is looked at again this much later."""
_NO_UPDATE_CODES = frozenset((403, 405, 415, 420, 488, 501, 606))
"""Refusals of an UPDATE that a re-INVITE may escape."""


@dataclass(frozen=True, slots=True)
class SessionExpires:
    """A Session-Expires value in seconds, and who is to refresh as the request or response at hand says it."""

    interval_s: int
    refresher: Literal["uac", "uas"] | None = None

    def __str__(self) -> str:
        return f"{self.interval_s};refresher={self.refresher}" if self.refresher else str(self.interval_s)


def parse_session_expires(text: str) -> SessionExpires:
    """A Session-Expires value. Raises ParseError. An unknown refresher counts as none."""
    seconds, semicolon, rest = text.partition(";")
    refresher = (parse_parameters(semicolon + rest).get("refresher") or "").lower()
    return SessionExpires(_parse_seconds(seconds), "uac" if refresher == "uac" else "uas" if refresher == "uas" else None)


def session_expires_of(message: Request | Response) -> SessionExpires | None:
    """What a message says about the session's interval; a malformed value says nothing."""
    text = message.headers.get("Session-Expires")
    try:
        return None if text is None else parse_session_expires(text)
    except ParseError:
        return None


def min_se_of(message: Request | Response) -> int:
    """The Min-SE of a message in seconds, 0 without a usable one."""
    try:
        return _parse_seconds((message.headers.get("Min-SE") or "0").partition(";")[0])
    except ParseError:
        return 0


def supports_timer(message: Request | Response) -> bool:
    """Whether the sender of `message` knows session timers."""
    tags = (*message.headers.split("Supported"), *message.headers.split("Require"))
    return any(tag.lower() == "timer" for tag in tags)


def too_small(config: EndpointConfig, request: Request) -> Reply | None:
    """The 422 for an INVITE or UPDATE that asks for too short an interval and can take a 422 (§9)."""
    asked = session_expires_of(request)
    if "timer" not in config.supported or asked is None or asked.interval_s >= MIN_INTERVAL_S or not supports_timer(request):
        return None
    return Reply(422, "Session Interval Too Small", (("Min-SE", str(MIN_INTERVAL_S)),), rule="session_interval")


class SessionTimer:
    """See the module."""

    def __init__(self, core: EndpointContext, call: Call, session_expires_s: int | None = None) -> None:
        self._core = core
        self._call = call
        self._is_enabled = "timer" in core.config.supported
        wanted_s = core.config.session_expires_s if session_expires_s is None else session_expires_s
        self._asked_s = max(wanted_s, MIN_INTERVAL_S) if wanted_s > 0 and self._is_enabled else 0
        self._min_se_s = 0
        self._interval_s = 0
        self._due_at = 0.0
        self._is_refresher = False
        self._peer_allows_update = False
        self._has_raised = False
        self._alarm: Timer | None = None

    # -- our requests -------------------------------------------------------------------------------------------------------------------

    def request_headers(self) -> HeaderList:
        """What an INVITE or UPDATE of ours says: the wish of the first one, later what is agreed, by the same refresher (§7.1, §7.4)."""
        if self._interval_s:
            expires = SessionExpires(self._interval_s, "uac" if self._is_refresher else "uas")
        elif self._asked_s and self._call.dialog is None:
            expires = SessionExpires(self._asked_s)
        else:
            return ()
        headers: HeaderList = (("Session-Expires", str(expires)),)
        return (*headers, ("Min-SE", str(self._min_se_s))) if self._min_se_s else headers

    def take_422(self, response: Response) -> bool:
        """Raise the interval to what a 422 asks for; True once, when the same request should be sent again (§7.3)."""
        least_s = min_se_of(response)
        if self._has_raised or not self._is_enabled or not 0 < least_s <= _LONGEST_S:
            return False
        self._has_raised = True
        self._min_se_s = max(self._min_se_s, least_s)
        self._asked_s = max(self._asked_s, least_s)
        if self._interval_s:
            self._interval_s = max(self._interval_s, least_s)
        return True

    def take_response(self, response: Response, now: float) -> None:
        """A 2xx to an INVITE or UPDATE of ours: what it agrees to counts from now (§7.2). Without a named refresher that is us."""
        self._learn(response)
        self._has_raised = False
        agreed = session_expires_of(response)
        if agreed is not None and self._is_enabled:
            self._start(agreed.interval_s, now, is_refresher=agreed.refresher != "uas")
        elif self._interval_s and self._is_refresher:
            self._start(self._interval_s, now, is_refresher=True)
        else:
            self._switch_off()

    # -- theirs -------------------------------------------------------------------------------------------------------------------------

    def answer(self, request: Request, now: float) -> HeaderList:
        """The headers of the 2xx that is now sent to an INVITE or UPDATE (§9); the agreed interval counts from now."""
        self._learn(request)
        asked = session_expires_of(request)
        if not self._is_enabled:
            return ()
        if asked is None and not (self._interval_s and self._is_refresher):
            self._switch_off()
            return ()
        is_refresher = self._chosen_refresher(request, asked)
        self._start(asked.interval_s if asked else self._interval_s, now, is_refresher=is_refresher)
        agreed = SessionExpires(asked.interval_s if asked else self._interval_s, "uas" if is_refresher else "uac")
        headers: HeaderList = (("Session-Expires", str(agreed)),)
        return (*headers, ("Require", "timer")) if supports_timer(request) else headers

    def _chosen_refresher(self, request: Request, asked: SessionExpires | None) -> bool:
        """Whether we are to refresh (§9, table 2): a peer without `timer` cannot, a named party shall, else whoever did."""
        if not supports_timer(request):
            return True
        if asked is not None and asked.refresher is not None:
            return asked.refresher == "uas"
        return self._is_refresher if self._interval_s else True

    # -- the clock ----------------------------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """The call ends."""
        self._switch_off()
        self._is_enabled = False

    def on_refresh_refused(self, now: float) -> None:
        """A refresh by re-INVITE was refused by a peer that is still there."""
        if self._interval_s:
            self._try_later(now)

    def _start(self, interval_s: int, now: float, *, is_refresher: bool) -> None:
        self._interval_s = min(max(interval_s, _SHORTEST_S), _LONGEST_S)
        self._is_refresher = is_refresher
        self._due_at = now + self._interval_s - min(32.0, self._interval_s / 3)
        if is_refresher:
            self._set_alarm(now + self._interval_s / 2, self._refresh)
        else:
            self._set_alarm(self._due_at, self._expire)

    def _try_later(self, now: float) -> None:
        """A refresh did not succeed: the next one comes halfway to when the peer would hang up; behind that, there is no hurry."""
        left_s = self._due_at - now
        wait_s = max(left_s / 2, _NOT_NOW_S) if left_s > _NOT_NOW_S else self._interval_s / 2
        self._set_alarm(now + wait_s, self._refresh)

    def _switch_off(self) -> None:
        self._interval_s = 0
        self._core.layer.timers.cancel(self._alarm)

    def _set_alarm(self, at: float, action: Callable[[float], None]) -> None:
        self._core.layer.timers.cancel(self._alarm)
        self._alarm = self._core.layer.timers.start(at, action, self._call)

    def _expire(self, now: float) -> None:
        if self._interval_s and not self._call.expire(now):
            self._set_alarm(now + _NOT_NOW_S, self._expire)

    def _refresh(self, now: float) -> None:
        if not self._interval_s:
            return
        self._set_alarm(now + _NOT_NOW_S, self._refresh)
        if not self._call.is_active:
            return
        try:
            if self._peer_allows_update or self._call.local_sdp is None:
                self._core.layer.timers.cancel(self._alarm)
                self._send_update(now)
            elif self._call.renegotiation.refresh(now):
                self._core.layer.timers.cancel(self._alarm)
        except LocalProtocolError:
            self._try_later(now)

    def _send_update(self, now: float) -> None:
        dialog = self._call.dialog
        if dialog is None:
            return
        headers = (("Supported", self._core.supported), *self.request_headers())
        make = partial(in_dialog, self._core, dialog, "UPDATE", headers)
        OutgoingRequest(self._core, make, self._call.credentials, self._on_update_outcome).send(now)

    def _on_update_outcome(self, code: int, reason: str, response: Response | None, flow: Flow | None, now: float) -> None:
        del flow
        if not self._is_enabled:
            return
        if response is not None and code < 300:
            if self._call.dialog is not None:
                self._call.dialog.refresh_target(response)
            self.take_response(response, now)
        elif code in (408, 481) or response is None:
            self._call.lose(code, reason, response, now)
        elif code == 422 and self.take_422(response):
            self._refresh(now)
        elif code in _NO_UPDATE_CODES and self._peer_allows_update:
            self._peer_allows_update = False
            self._refresh(now)
        elif self._interval_s:
            self._try_later(now)

    def _learn(self, message: Request | Response) -> None:
        methods = message.headers.split("Allow")
        if methods:
            self._peer_allows_update = "UPDATE" in methods


def _parse_seconds(text: str) -> int:
    digits = text.strip(LWS)
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 10 and int(digits) > 0):
        raise ParseError("seconds", expected="a positive number", found=text)
    return int(digits)
