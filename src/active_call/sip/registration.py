"""One registration: our contact bound to an address of record at a registrar until it is closed (RFC 3261 §10.2).

    register ──> REGISTER ──2xx──> registered ──at 50-90% of the granted time, or its connection is lost──> REGISTER
                    ├──2xx with an address other than our Contact's──> REGISTER, and the old binding is removed
                    ├──401, 407──> again with credentials
                    ├──423───────> again with the registrar's Min-Expires
                    └──else──────> failed ──back-off──> REGISTER
    close ──> REGISTER with Expires 0 ──any outcome──> unregistered

Every REGISTER of one registration has the same Call-ID and the next CSeq (§10.2.4). Responses, timers and lost connections go in. REGISTERs
come out, and RegistrationChanged whenever the state or its details change; a repeated refusal is reported once. The back-off doubles with
jitter, so that many endpoints do not return at once (RFC 5626 §4.5). A refusal waits ten times as long as a timeout; after an
outage of an hour the next try comes within four minutes.
"""

from __future__ import annotations

import contextlib
from typing import Protocol

from active_call.base.errors import LocalProtocolError, ParseError
from active_call.sip.dialog.requests import Attempt, OutgoingRequest, add_body, outside
from active_call.sip.events import Flow, RegistrationChanged, RegistrationHandle, RegistrationSpec, RegistrationState, Target
from active_call.sip.ports import RegistrationPort
from active_call.sip.routing import uri_of
from active_call.sip.syntax.grammar import LWS
from active_call.sip.syntax.headers import NameAddr, format_name_addr, parse_name_addr
from active_call.sip.syntax.message import Request, Response
from active_call.sip.syntax.uri import Uri
from active_call.sip.transaction.hop_finder import retry_after_s
from active_call.sip.transaction.origin import Origin
from active_call.sip.transaction.request_writer import goes_by_sips
from active_call.sip.transaction.timers import Timer

_BACK_OFF_S = 30.0
_REFUSED_BACK_OFF_S = 300.0
_MAX_BACK_OFF_S = 1800.0
"""RFC 5626 §4.5: base-time if all flows have failed, and max-time."""
_MAX_OUTAGE_BACK_OFF_S = 240.0
"""The same for a registrar that is away or overloaded: we get no calls until the next REGISTER after its return."""
_MAX_RETRY_AFTER_S = 3600
_MIN_REFRESH_S = 5.0
"""Lower bound of the refresh interval, for a registrar that grants a very short one."""
_LONGEST_S = 7 * 24 * 3600
_MAX_MOVES = 2
"""Limit for following a NAT that shows a new port each time."""
_AFTER_LOSS_S = 2.0
"""A connection is often lost for many clients at once: each waits up to this long before it registers again."""


class RegistrationTable(Protocol):
    """The table of registrations. A registration adds itself when it starts and removes itself when it is over."""

    def add(self, registration: Registration) -> None:
        """Add a registration that has started."""

    def remove(self, registration: Registration) -> None:
        """Remove a registration that is over. No effect if it is not in the table."""


class Registration:
    """See the module. `start` sends the first REGISTER."""

    def __init__(self, port: RegistrationPort, table: RegistrationTable, spec: RegistrationSpec) -> None:
        self._port = port
        self._table = table
        self._spec = spec
        self._call_id = port.randomness.uuid()
        self._tag = port.new_tag()
        self._cseq = 0
        self._asked_s = spec.expires_s
        self._request: Request | None = None
        self._flow: Flow | None = None
        self._registrar: str | None = None
        self._timer: Timer | None = None
        self._n_failures = 0
        self._bound_until = 0.0
        self._bound_contact = ""
        self._hop: Flow | None = None
        self._n_moves = 0
        self._is_busy = False
        self._is_closing = False
        self._has_left = False
        self._told: RegistrationChanged | None = None
        self.handle = RegistrationHandle(port.new_tag())

    def start(self, now: float) -> None:
        """Send the first REGISTER. Raises LocalProtocolError and removes the registration if the REGISTER cannot be built."""
        self._table.add(self)
        try:
            self._send(now)
        except LocalProtocolError:
            self._forget()
            raise

    def close(self, now: float) -> None:
        """Remove the binding; RegistrationChanged(`unregistered`) follows. A second call has no effect."""
        if self._is_closing:
            return
        self._is_closing = True
        self._port.timers.cancel(self._timer)
        if not self._is_busy:
            self._leave(now)

    def handle_connection_lost(self, flow: Flow, now: float) -> None:
        """`flow` was closed. If we registered over it, calls would have arrived on it (RFC 5626 §4.4), so register again."""
        if self._flow is None or self._flow.connection_id is None or self._flow.connection_id != flow.connection_id:
            return
        self._flow = None
        if not self._is_busy and not self._is_closing:
            self._set_timer(now + self._port.randomness.uniform(0.0, _AFTER_LOSS_S))

    def refresh(self, now: float) -> None:
        """Our address has changed: register again at once, unless a REGISTER is open."""
        if self._told is not None and not self._is_busy and not self._is_closing:
            self._set_timer(now)

    def registrar_host(self, now: float) -> str | None:
        """The address of the registrar while the binding lasts. Calls come from there."""
        return self._registrar if now < self._bound_until else None

    # -- requests -----------------------------------------------------------------------------------------------------------------------

    def _send(self, now: float) -> None:
        OutgoingRequest(self._port, self._make, self._spec.credentials, self._on_outcome).send(now)
        self._is_busy = True

    def _make(self) -> Attempt:
        request, target = self._new_request()
        expires_s = 0 if self._has_left else self._asked_s
        add_body(request, (("Expires", str(expires_s)), ("Allow", self._port.config.allow_header), *self._spec.headers))
        self._request = request
        return request, target, Origin(self._contact_user, None, self._spec.local_host)

    def _take_back(self, contact: str, now: float) -> None:
        """Our address has changed: remove the old binding before it expires. The outcome is ignored."""

        def make() -> Attempt:
            request, target = self._new_request()
            add_body(request, (("Contact", contact), ("Expires", "0"), *self._spec.headers))
            return request, target, Origin(None, None, self._spec.local_host)

        with contextlib.suppress(LocalProtocolError):
            OutgoingRequest(self._port, make, self._spec.credentials, lambda *_: None).send(now)

    def _new_request(self) -> tuple[Request, Target]:
        spec = self._spec
        self._cseq += 1
        return outside(
            self._port,
            "REGISTER",
            spec.registrar_uri,
            from_value=format_name_addr(spec.aor_uri, display=spec.display, parameters={"tag": self._tag}),
            to_uri=spec.aor_uri,
            call_id=self._call_id,
            cseq=self._cseq,
            proxy=spec.proxy,
            transport=spec.transport,
        )

    @property
    def _contact_user(self) -> str:
        if self._spec.contact_user is not None:
            return self._spec.contact_user
        try:
            return uri_of(self._spec.aor_uri).user or ""
        except ParseError:
            return ""

    def _on_timer(self, now: float) -> None:
        try:
            self._send(now)
        except LocalProtocolError as error:
            self._fail(503, str(error), None, now)

    def _set_timer(self, at: float) -> None:
        self._port.timers.cancel(self._timer)
        self._timer = self._port.timers.start(at, self._on_timer)

    # -- outcomes -----------------------------------------------------------------------------------------------------------------------

    def _on_outcome(self, code: int, reason: str, response: Response | None, flow: Flow | None, now: float) -> None:
        self._is_busy = False
        if self._has_left:
            self._report("unregistered", code, reason, 0)
            self._forget()
        elif response is not None and code < 300:
            self._succeed(response, flow, now)
        elif response is not None and code == 423 and self._raise_interval(response) and not self._is_closing:
            self._on_timer(now)
        else:
            self._fail(code, reason, response, now)
        if self._is_closing and not self._has_left:
            self._leave(now)

    def _succeed(self, response: Response, flow: Flow | None, now: float) -> None:
        granted_s = min(self._granted_s(response), _LONGEST_S)
        if granted_s <= 0:
            self._fail(response.code, "The registrar keeps no binding", response, now)
            return
        self._n_failures = 0
        self._flow = self._hop = flow
        self._registrar = flow.remote.host if flow is not None else None
        bound, was_bound = self._bound_contact, now < self._bound_until
        self._bound_contact = "" if self._request is None else self._request.headers.get("Contact") or ""
        self._bound_until = now + granted_s
        if self._is_closing:
            return
        if was_bound and self._is_still_bound(bound, response):
            self._take_back(bound, now)
        if self._is_seen_elsewhere() and self._n_moves < _MAX_MOVES:
            self._n_moves += 1
            self._set_timer(now)
            return
        self._n_moves = 0
        self._set_timer(now + max(_MIN_REFRESH_S, granted_s * self._port.randomness.uniform(0.5, 0.9)))
        self._report("registered", response.code, response.reason, granted_s)

    def _is_seen_elsewhere(self) -> bool:
        """Whether the registrar's response shows another address of ours than the registered Contact."""
        request, hop = self._request, self._hop
        if request is None or hop is None or "Contact" not in request.headers:
            return False
        listeners = self._port.listeners
        if listeners.seen_by(hop.remote.host) is None:
            return False
        by_sips = goes_by_sips(request)
        contact = listeners.contact(hop.transport, self._contact_user, None, self._spec.local_host, hop.remote.host, by_sips=by_sips)
        return contact != request.headers.get("Contact")

    def _fail(self, code: int, reason: str, response: Response | None, now: float) -> None:
        if self._is_closing:
            return
        is_passing = response is None or code in (408, 480, 491) or (500 <= code < 600 and code not in (501, 505))
        base_s, max_s = (_BACK_OFF_S, _MAX_OUTAGE_BACK_OFF_S) if is_passing else (_REFUSED_BACK_OFF_S, _MAX_BACK_OFF_S)
        wait_s = min(max_s, base_s * 2 ** min(self._n_failures, 10)) * self._port.randomness.uniform(0.5, 1.0)
        self._n_failures += 1
        self._set_timer(now + max(wait_s, min(retry_after_s(response), _MAX_RETRY_AFTER_S)))
        self._report("failed", code, reason, None)

    def _raise_interval(self, response: Response) -> bool:
        """Whether a 423 asks for a longer interval than ours, so that a retry makes sense (§10.2.8)."""
        least_s = _seconds(response.headers.get("Min-Expires"))
        if least_s is None or not self._asked_s < least_s <= _LONGEST_S:
            return False
        self._asked_s = least_s
        return True

    def _leave(self, now: float) -> None:
        """Send the last REGISTER, unless there is no binding to remove."""
        if now >= self._bound_until:
            self._report("unregistered", 0, "", 0)
            self._forget()
            return
        self._has_left = True
        try:
            self._send(now)
        except LocalProtocolError as error:
            self._report("unregistered", 503, str(error), 0)
            self._forget()

    def _report(self, state: RegistrationState, code: int, reason: str, expires_s: int | None) -> None:
        event = RegistrationChanged(self._spec.name, state, code, reason, expires_s)
        told, self._told = self._told, event
        if told is None or (told.state, told.expires_s) != (state, expires_s) or (state == "failed" and told.code != code):
            self._port.emit(event)

    def _forget(self) -> None:
        self._port.timers.cancel(self._timer)
        self._table.remove(self)

    def _granted_s(self, response: Response) -> int:
        """The granted lifetime of our contact in seconds (§10.2.4): its `expires`, else the Expires header, else what we asked for.

        A registrar may list other contacts, add parameters to ours, or rewrite it. A single contact that does not match ours counts as
        ours.
        """
        general = _seconds(response.headers.get("Expires"))
        contacts = _contacts_of(response)
        ours = [contact for contact in contacts if self._is_ours(contact)] or (contacts if len(contacts) == 1 else [])
        own = _seconds(ours[0].parameters.get("expires")) if ours else None
        if own is not None:
            return own
        return general if general is not None else self._asked_s

    def _is_still_bound(self, contact: str, response: Response) -> bool:
        """Whether the registrar lists our old `contact` beside the new one.

        A registrar that rewrites contacts treats both as the same binding, and removing the old one would remove the new one.
        """
        with contextlib.suppress(ParseError):
            before, now = _place(parse_name_addr(contact).uri), _place(parse_name_addr(self._bound_contact).uri)
            return before != now and before in {_place(listed.uri) for listed in _contacts_of(response)}
        return False

    def _is_ours(self, contact: NameAddr) -> bool:
        sent = None if self._request is None else self._request.headers.get("Contact")
        try:
            return sent is not None and _place(contact.uri) == _place(parse_name_addr(sent).uri)
        except ParseError:
            return False


def _place(uri: Uri) -> tuple[str | None, str, int | None]:
    return uri.decoded_user or None, uri.host.lower(), uri.port


def _contacts_of(response: Response) -> list[NameAddr]:
    found = []
    for text in response.headers.split("Contact"):
        try:
            found.append(parse_name_addr(text))
        except ParseError:
            continue
    return found


def _seconds(text: str | None) -> int | None:
    digits = (text or "").strip(LWS)
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 10 else None
