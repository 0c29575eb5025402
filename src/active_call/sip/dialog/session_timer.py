"""Session timers of one call: a session that is not refreshed in time is over (RFC 4028).

    our INVITE, UPDATE      `request_headers` asks, `take_response` reads the agreement, `take_422` raises the interval that we ask for (§7)
    their INVITE, UPDATE    `too_small` refuses an interval below 90 s; `answer` agrees and returns the headers of the 2xx (§9)
    we refresh              at half the interval, by UPDATE if the peer allows it, else by re-INVITE with the unchanged description
    they refresh            BYE at interval - min(32 s, interval / 3) after the last refresh (§10)

Each message names the refresher as `uac` or `uas`. This module stores it as a party, us or them, and the party stays the same unless the
peer names the other one. A refresh that gets 408, 481 or no response ends the call (§10). Any other refusal comes from a live peer: the
refresh is repeated later, and the peer decides whether the session has expired. A peer without `timer` in Supported is never refused for
its interval and never gets `Require: timer`, because a proxy may have asked (§9).

Requests, responses and timers go in. Header fields, UPDATEs and a `Decision` come out: end the call, or refresh it by re-INVITE.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from active_call.base.errors import LocalProtocolError
from active_call.sip.dialog.decisions import Decision, EndCall, RefreshByInvite, peer_is_gone
from active_call.sip.dialog.ports import DialogPort
from active_call.sip.dialog.session_expires import MIN_INTERVAL_S, SessionExpires, min_se_of, session_expires_of, supports_timer
from active_call.sip.events import HeaderList
from active_call.sip.syntax.message import Request, Response
from active_call.sip.syntax.reason import Reason, format_reason
from active_call.sip.transaction.timers import Timer

_SHORTEST_S = 20
"""Lower bound for the interval of the peer. Without it a peer could make us refresh continuously."""
_LONGEST_S = 7 * 24 * 3600
_NOT_NOW_S = 5.0
"""Retry delay for a refresh that is due while another offer is open or before the ACK."""
_NO_UPDATE_CODES = frozenset((403, 405, 415, 420, 488, 501, 606))
"""Refusals of an UPDATE after which a re-INVITE may still work."""


class SessionTimer:
    """See the module."""

    def __init__(self, port: DialogPort, session_expires_s: int | None = None) -> None:
        self._port = port
        self._is_enabled = "timer" in port.config.supported
        wanted_s = port.config.session_expires_s if session_expires_s is None else session_expires_s
        self._asked_s = max(wanted_s, MIN_INTERVAL_S) if wanted_s > 0 and self._is_enabled else 0
        self._min_se_s = 0
        self._interval_s = 0
        self._due_at = 0.0
        self._is_refresher = False
        self._peer_allows_update = False
        self._has_raised = False
        self._is_over = False
        self._alarm: Timer | None = None

    # -- our requests -------------------------------------------------------------------------------------------------------------------

    def request_headers(self) -> HeaderList:
        """Headers for our INVITE or UPDATE: first the configured wish, later the agreement with the same refresher (§7.1, §7.4)."""
        if self._interval_s:
            expires = SessionExpires(self._interval_s, "uac" if self._is_refresher else "uas")
        elif self._asked_s and self._port.dialog is None:
            expires = SessionExpires(self._asked_s)
        else:
            return ()
        headers: HeaderList = (("Session-Expires", str(expires)),)
        return (*headers, ("Min-SE", str(self._min_se_s))) if self._min_se_s else headers

    def take_422(self, response: Response) -> bool:
        """Raise the interval to the Min-SE of a 422. True once, if the request should be repeated (§7.3)."""
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
        """Take the agreement from a 2xx to our INVITE or UPDATE; the interval starts now (§7.2). Without a named refresher, we refresh."""
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
        """The headers of our 2xx to an INVITE or UPDATE (§9). The agreed interval starts now."""
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
        """Whether we refresh (§9, table 2): a peer without `timer` cannot; else the named party does, else the previous one."""
        if not supports_timer(request):
            return True
        if asked is not None and asked.refresher is not None:
            return asked.refresher == "uas"
        return self._is_refresher if self._interval_s else True

    def check_peer(self, now: float) -> Decision:
        """Ask by a refresh, with or without an agreed interval, whether the peer still has the call (§10). No effect before the ACK."""
        if not self._port.is_active:
            return None
        if not self._peer_allows_update and self._port.descriptions.local is not None:
            return RefreshByInvite()
        with suppress(LocalProtocolError):
            self._send_update(now)
        return None

    # -- timers -------------------------------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Cancel the timers because the call ends."""
        self._switch_off()
        self._is_enabled = False
        self._is_over = True

    def on_refresh_sent(self) -> None:
        """A refresh by re-INVITE was sent. Its outcome sets the next timer."""
        self._port.cancel_timer(self._alarm)

    def on_refresh_refused(self, now: float) -> None:
        """A refresh by re-INVITE was refused by a live peer or could not be built."""
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
        """Schedule the next refresh halfway to the peer's BYE. After that time it is half an interval away."""
        left_s = self._due_at - now
        wait_s = max(left_s / 2, _NOT_NOW_S) if left_s > _NOT_NOW_S else self._interval_s / 2
        self._set_alarm(now + wait_s, self._refresh)

    def _switch_off(self) -> None:
        self._interval_s = 0
        self._port.cancel_timer(self._alarm)

    def _set_alarm(self, at: float, action: Callable[[float], Decision]) -> None:
        self._port.cancel_timer(self._alarm)
        self._alarm = self._port.set_timer(at, action)

    def _expire(self, now: float) -> Decision:
        """The peer has not refreshed in time (§10). A BYE waits until the state of the call allows one."""
        if not self._interval_s:
            return None
        if not self._port.is_active:
            self._set_alarm(now + _NOT_NOW_S, self._expire)
            return None
        reason = format_reason(Reason("SIP", 408, "Session expired"))
        return EndCall("session_expired", reason="Session expired", bye_headers=(("Reason", reason),))

    def _refresh(self, now: float) -> Decision:
        if not self._interval_s:
            return None
        self._set_alarm(now + _NOT_NOW_S, self._refresh)
        if not self._port.is_active:
            return None
        if not self._peer_allows_update and self._port.descriptions.local is not None:
            return RefreshByInvite()
        self._port.cancel_timer(self._alarm)
        try:
            self._send_update(now)
        except LocalProtocolError:
            self._try_later(now)
        return None

    def _send_update(self, now: float) -> None:
        headers = (("Supported", self._port.config.supported_header), *self.request_headers())
        self._port.send_request("UPDATE", headers, now, on_outcome=self._on_update_outcome)

    def _on_update_outcome(self, code: int, reason: str, response: Response | None, now: float) -> Decision:
        if self._is_over:
            return None
        if response is not None and code < 300:
            if self._port.dialog is not None:
                self._port.dialog.refresh_target(response)
            self.take_response(response, now)
        elif code in (408, 481) or response is None:
            return peer_is_gone(code, reason, response)
        elif code == 422 and self.take_422(response):
            return self._refresh(now)
        elif code in _NO_UPDATE_CODES and self._peer_allows_update:
            self._peer_allows_update = False
            return self._refresh(now)
        elif self._interval_s:
            self._try_later(now)
        return None

    def _learn(self, message: Request | Response) -> None:
        methods = message.headers.split("Allow")
        if methods:
            self._peer_allows_update = "UPDATE" in methods
