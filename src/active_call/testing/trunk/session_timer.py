"""The trunk's side of session timers: who refreshes, when, and what happens if nobody does (RFC 4028).

Enters: Session-Expires of requests and responses of one call. Leaves: refreshes of ours, and violations. It must not know SDP.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from active_call.testing.phone.sip import Message
from active_call.testing.trunk.ports import CallPort

if TYPE_CHECKING:
    from active_call.testing.trunk.transactions import Timer


def read_expires(message: Message) -> tuple[int, str]:
    """Seconds and refresher of Session-Expires (or its compact form); 0 and empty when absent."""
    value = message.get("session-expires") or message.get("x")
    found = re.match(r"(\d+)", value)
    refresher = re.search(r";\s*refresher=(\w+)", value)
    return int(found.group(1)) if found else 0, refresher.group(1) if refresher else ""


class SessionTimer:
    """One call's timer. `agreed_s` is 0 while none runs."""

    def __init__(self, leg: CallPort) -> None:
        self._leg = leg
        self._timer: Timer | None = None
        self.agreed_s = 0
        self.we_refresh = False
        self.n_refreshes = 0
        """Refreshes that came from the peer."""

    def headers(self) -> list[tuple[str, str]]:
        """For a request of ours: the same party keeps refreshing, whoever sends the request."""
        switches = self._leg.switches
        seconds = self.agreed_s or switches.session_expires_s
        found: list[tuple[str, str]] = []
        if "timer" in switches.supported or switches.session_expires_s:
            found.append(("supported", ",".join(dict.fromkeys((*switches.supported, "timer")))))
        elif switches.supported:
            found.append(("supported", ",".join(switches.supported)))
        if not seconds:
            return found
        refresher = ("uac" if self.we_refresh else "uas") if self.agreed_s else switches.refresher
        found.append(("session-expires", f"{seconds};refresher={refresher}" if refresher else str(seconds)))
        if switches.min_se_s:
            found.append(("min-se", str(switches.min_se_s)))
        return found

    def on_response(self, response: Message) -> None:
        """A 2xx to a request of ours that offered a timer (section 7.2)."""
        asked = self.agreed_s or self._leg.switches.session_expires_s
        wanted = ("uac" if self.we_refresh else "uas") if self.agreed_s else self._leg.switches.refresher
        seconds, refresher = read_expires(response)
        judge = self._leg.judge
        if not asked:
            return
        if not seconds:
            if wanted == "uas":
                judge.add_violation("session-timer", "the peer was to refresh, its 2xx has no Session-Expires", response)
            self._start(asked, we_refresh=True)
            return
        if seconds > asked or seconds < self._leg.switches.min_se_s:
            judge.add_violation("session-timer", f"Session-Expires {seconds} answers {asked}", response)
        if refresher not in ("uac", "uas") or (wanted and refresher != wanted):
            judge.add_violation("session-timer", f"refresher {refresher!r} answers {wanted!r}", response)
        if refresher == "uac" and "timer" not in response.get("require"):
            judge.add_violation("session-timer", "refresher=uac without Require: timer", response)
        self._start(seconds, we_refresh=refresher == "uac")

    def on_request(self, request: Message) -> None:
        """An INVITE or UPDATE of the peer (section 9). The timer begins again."""
        asked, refresher = read_expires(request)
        if self.agreed_s:
            self.n_refreshes += 1
            if refresher and (refresher == "uas") != self.we_refresh:
                self._leg.judge.add_violation("session-timer", f"refresher={refresher} makes the other party refresh", request)
        if not asked and not self.agreed_s:
            return
        supported = "timer" in ",".join(request.all("supported"))
        seconds = min(asked or self.agreed_s, self._leg.switches.session_expires_s or asked or self.agreed_s)
        self._start(seconds, we_refresh=(self.we_refresh if self.agreed_s else refresher == "uas" or not supported))

    def begin_as_called(self, request: Message) -> None:
        """For the INVITE of a call to us: our own interval applies if the peer supports timers."""
        switches = self._leg.switches
        asked, refresher = read_expires(request)
        supported = "timer" in ",".join(request.all("supported"))
        if not switches.session_expires_s or not supported:
            return
        refresher = refresher or switches.refresher or "uac"
        self._start(min(asked or switches.session_expires_s, switches.session_expires_s), we_refresh=refresher == "uas")

    def is_too_brief(self, request: Message) -> bool:
        """Whether a peer that can do timers asks for less than we allow (section 8.1); then it gets 422."""
        asked, _ = read_expires(request)
        return "timer" in ",".join(request.all("supported")) and 0 < asked < self._leg.switches.min_se_s

    def headers_of_2xx(self) -> list[tuple[str, str]]:
        """For a 2xx of ours."""
        if not self.agreed_s:
            return []
        refresher = "uas" if self.we_refresh else "uac"
        found = [("session-expires", f"{self.agreed_s};refresher={refresher}")]
        return [("require", "timer"), *found] if refresher == "uac" else found

    def _start(self, seconds: int, *, we_refresh: bool) -> None:
        self.stop()
        self.agreed_s, self.we_refresh = seconds, we_refresh
        timers = self._leg.trunk.timers
        self._timer = timers.after(seconds / 2, self._refresh) if we_refresh else timers.after(seconds, self._expire)

    def stop(self) -> None:
        """Stop the timer: no refresh and no expiry."""
        if self._timer is not None:
            self._timer.cancel()

    def _refresh(self) -> None:
        leg = self._leg
        if leg.ended or not leg.switches.refreshes:
            return
        if leg.switches.refresh_method == "UPDATE":
            leg.update()
        else:
            leg.reinvite(offerless=leg.switches.refresh_method == "INVITE without offer")

    def _expire(self) -> None:
        if not self._leg.ended:
            self._leg.judge.add_violation("session-expired", f"no refresh within {self.agreed_s} s")
            self._leg.give_up("session expired")
