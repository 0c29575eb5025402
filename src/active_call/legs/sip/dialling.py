"""Build the INVITE of an outbound call: rewrite the callee, find the trunk, set From, To, Contact, credentials, transport and SRTP.

The options of a call and the operator's rules go in, an INVITE without SDP comes out. This module knows no sockets and resolves no names:
the caller passes our address towards the callee. The order: `[[rewrites]]` on the callee; its trunk; the trunk's number format; the first
matching rule of `[[trunk_rules]]`.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from active_call.base.errors import ActiveCallError, ParseError
from active_call.contract.options import CallOption, SipOption
from active_call.legs.sip.rewriting import HeaderRule, Rewrite, rewritten, rule_for
from active_call.legs.trunks.numbers import written
from active_call.legs.trunks.policy import TrunkPolicy, Trunks
from active_call.net.addresses import is_ip
from active_call.sdp.negotiation import SrtpPolicy
from active_call.sip import events as sip
from active_call.sip.syntax.grammar import find_bracket
from active_call.sip.syntax.headers import parse_name_addr
from active_call.sip.syntax.uri import Uri, format_host_port, parse_uri

DEFAULT_USER = "active-call"


class Invitation(Struct, frozen=True):
    """An INVITE without its SDP. `srtp`: the offer uses SRTP. `may_fall_back`: after a 488 a second INVITE offers plain RTP.

    `takes`: which later offers of the peer are accepted.
    """

    invite: sip.OutboundInvite
    srtp: bool
    may_fall_back: bool = False
    takes: SrtpPolicy = SrtpPolicy.PREFERRED


class DialPlan(Struct, frozen=True):
    """The operator's settings for outbound calls. `accounts`: a registrar's host and the credentials for calls through it.

    `display_names`: a registrar's host, and the display name for calls through it that set none.
    """

    trunks: Trunks
    rewrites: tuple[Rewrite, ...] = ()
    rules: tuple[HeaderRule, ...] = ()
    accounts: tuple[tuple[str, sip.Credentials], ...] = ()
    display_names: tuple[tuple[str, str], ...] = ()
    enable_srtp: bool = False
    has_tls: bool = True

    def callee_uri(self, callee: str) -> Uri:
        """The URI to dial. A number without a host uses the first trunk that has a server. Raises ActiveCallError."""
        if not callee:
            raise ActiveCallError("callee: missing; expected a SIP address such as sip:+15551234567@example.com")
        text = rewritten(callee.strip(), self.rewrites)
        number = text.removeprefix("tel:")
        if "@" not in text and (text.startswith("tel:") or number.lstrip("+").replace("-", "").isdigit()):
            text = f"sip:{number.partition(';')[0]}@{self._way_out(callee)}"
        elif ":" not in text.partition("@")[0]:
            text = f"sip:{text}"
        try:
            uri = parse_uri(text)
        except ParseError as error:
            raise ActiveCallError(f"callee: {error}") from error
        if uri.scheme not in ("sip", "sips") or not uri.host:
            raise ActiveCallError(f"callee: {text!r} is not a SIP address; expected sip:user@host")
        parameters = {name: value for name, value in uri.parameters.items() if name != "method"}
        return replace(uri, parameters=parameters, headers=None)  # not allowed in a Request-URI (RFC 3261 §19.1.1)

    def trunk_for(self, uri: Uri) -> TrunkPolicy | None:
        """The trunk that leads to `uri`."""
        return self.trunks.of_callee(uri.host)

    def invitation(self, callee: str, option: CallOption, local_host: str, *, has_secrets: bool = True) -> Invitation:
        """The INVITE for a call to `callee`, which comes from `callee_uri`. `local_host`: our address towards it. Raises ActiveCallError.

        Without `has_secrets` the INVITE contains no credentials and no headers of the trunk or of our accounts.
        """
        chosen = option.sip or SipOption()
        to_uri = parse_uri(callee)
        trunk = self.trunk_for(to_uri)
        credentials = self._credentials(to_uri.host, chosen, trunk, has_secrets=has_secrets)
        caller, display = split_caller(option.caller or (trunk.caller if trunk is not None else ""))
        display = display or next((name for host, name in self.display_names if _is_under(to_uri.host, host)), "")
        from_uri = self._from_uri(caller, credentials, to_uri, local_host)
        if trunk is not None:
            to_uri = _numbered(to_uri, trunk)
            from_uri = _numbered(from_uri, trunk)
        rule = rule_for(self.rules, from_uri, to_uri) or HeaderRule()
        contact = rule.new_contact
        contact_host = contact.host or (trunk.contact_host if trunk is not None else None)
        from_uri, to_uri = rule.new_from.apply(from_uri), rule.new_to.apply(to_uri)
        srtp, may_fall_back = self._encryption(chosen, trunk)
        own_headers = {name.lower() for name in chosen.headers}
        shown = trunk.headers if trunk is not None and has_secrets else {}
        general = tuple((name, text) for name, text in shown.items() if name.lower() not in own_headers)
        invite = sip.OutboundInvite(
            to_uri=str(to_uri),
            from_uri=str(from_uri),
            sdp=None,
            from_display=display,
            headers=(*general, *chosen.headers.items()),
            credentials=credentials,
            ring_timeout_s=float(option.handshake_timeout or 60),
            transport=self._transport(to_uri, trunk, srtp=srtp),
            local_host=local_host,
            contact=_contact(contact.user, contact_host, from_uri),
            trunk=trunk.name if trunk is not None else "",
            session_expires_s=None if trunk is None or trunk.session_timers else 0,
            unsupported=trunk.unsupported if trunk is not None else (),
            rules=sip.HopRules(large_by_tcp=self._large_by_tcp(parse_uri(callee), trunk)),
        )
        takes = trunk.srtp if trunk is not None and chosen.enable_srtp is None else None
        return Invitation(invite, srtp, may_fall_back, takes or SrtpPolicy.PREFERRED)

    # -- the parts

    def _way_out(self, callee: str) -> str:
        trunk = next((trunk for trunk in self.trunks if trunk.address), None)
        if trunk is None:
            raise ActiveCallError(f"callee: {callee!r} is a number; it needs a host, or a [[trunks]] entry with `server`")
        return trunk.address

    def _credentials(self, host: str, chosen: SipOption, trunk: TrunkPolicy | None, *, has_secrets: bool) -> tuple[sip.Credentials, ...]:
        """The call's own credentials, then the trunk's, then those of accounts."""
        found: list[sip.Credentials] = []
        if chosen.username:
            found.append(sip.Credentials(chosen.username, chosen.password or "", chosen.realm))
        if trunk is not None and has_secrets:
            found += trunk.credentials
        if has_secrets:
            found += [credentials for account, credentials in self.accounts if _is_under(host, account)]
        realms = trunk.realms if trunk is not None else ()
        return tuple(entry for one in found for entry in with_realms(one, host, realms))

    def _from_uri(self, caller: str, credentials: Sequence[sip.Credentials], callee: Uri, local_host: str) -> Uri:
        if caller.startswith(("sip:", "sips:", "tel:")) or "@" in caller:
            text = caller if ":" in caller.partition("@")[0] else f"sip:{caller}"
        else:
            user = caller or (credentials[0].username if credentials else DEFAULT_USER)
            text = f"sip:{user}@{format_host_port(local_host if is_ip(callee.host) else callee.host)}"
        try:
            return parse_uri(text)
        except ParseError as error:
            raise ActiveCallError(f"caller: {error}") from error

    def _encryption(self, chosen: SipOption, trunk: TrunkPolicy | None) -> tuple[bool, bool]:
        if chosen.enable_srtp is not None:
            return chosen.enable_srtp, False
        if trunk is not None and trunk.srtp is not None:
            return trunk.srtp is not SrtpPolicy.OFF, trunk.srtp is SrtpPolicy.PREFERRED
        return self.enable_srtp, False

    def _large_by_tcp(self, to_uri: Uri, trunk: TrunkPolicy | None) -> bool:
        """Whether large requests use TCP. They do not if UDP was configured explicitly: carriers without TCP drop the attempt silently."""
        if trunk is not None and trunk.large_requests is not None:
            return trunk.large_requests == "tcp"
        return "udp" not in (to_uri.transport, trunk.transport if trunk is not None else None)

    def transport(self, to_uri: Uri, option: CallOption) -> sip.TransportName | None:
        """The transport of a call to that address; None if DNS may choose."""
        trunk = self.trunk_for(to_uri)
        return self._transport(to_uri, trunk, srtp=self._encryption(option.sip or SipOption(), trunk)[0])

    def _transport(self, to_uri: Uri, trunk: TrunkPolicy | None, *, srtp: bool) -> sip.TransportName | None:
        """The transport of the address, else of the trunk, else TLS if the SDP has SRTP keys."""
        named = to_uri.transport or ("tls" if to_uri.scheme == "sips" else None)
        return named or (trunk.transport if trunk is not None else None) or ("tls" if srtp and self.has_tls else None)  # type: ignore[return-value]


def with_realms(credentials: sip.Credentials, host: str, realms: Sequence[str] = ()) -> tuple[sip.Credentials, ...]:
    """`credentials`, also for the realms in the carrier's challenges.

    Guides tell users to enter the carrier's host as realm, but its challenges contain another one. So a realm that equals the host answers
    any realm of that host.
    """
    if credentials.realm is None:
        return (credentials,)
    others = tuple(replace(credentials, realm=realm) for realm in realms if realm != credentials.realm)
    is_host = _is_under(host, credentials.realm) or _is_under(credentials.realm, host)
    return (credentials, *others, *((replace(credentials, realm=None),) if is_host else ()))


def split_caller(text: str) -> tuple[str, str]:
    """The caller's address or number, and the display name before it: `"Harbour Bakery" <sip:+15550100@example.com>`.

    Raises ActiveCallError.
    """
    name, bracket, rest = text.rpartition("<")
    if not bracket:
        return text, ""
    scheme = "" if ":" in rest else "sip:"  # a number only
    if find_bracket(text) is None:
        raise ActiveCallError(f"caller: display name: expected balanced quotes, found {text!r}")
    try:
        named = parse_name_addr(f"{name}<{scheme}{rest}")
    except ParseError as error:
        raise ActiveCallError(f"caller: {error}") from error
    return named.uri_text.removeprefix(scheme), named.display or ""


def _numbered(uri: Uri, trunk: TrunkPolicy) -> Uri:
    return uri if uri.user is None else replace(uri, user=written(uri.user, trunk.number_format, trunk.country_code))


def _contact(user: str | None, host: str | None, from_uri: Uri) -> str | None:
    if user is None and host is None:
        return None
    name = from_uri.user or "" if user is None else user
    return name if host is None else f"{name}@{host}"


def _is_under(host: str, parent: str) -> bool:
    return host.lower() == parent.lower() or host.lower().endswith("." + parent.lower())
