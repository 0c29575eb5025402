"""The outbound guard decides who may be called. It checks every call that we place, every transfer that we request and every redirection.

An address and the requester go in; a `Permit` comes out, or NotAllowed with a stable rule. There are three kinds of requesters:

    api     a client of the HTTP API, the command line, an author's own code: any address
    agent   the agent: a target that the playbook or the configuration lists
    peer    a REFER or a 3xx of the other side: its trunk's own hosts, or a listed destination; no private address, no address of ours

The number rules are the same for all three. This module knows trunks and addresses. `outbound_usage` counts calls and minutes;
`destinations` matches patterns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from active_call.base.addresses import Reach, reach_of
from active_call.base.errors import NotAllowed, ParseError
from active_call.contract.options import CallOption, SipOption
from active_call.legs.trunks.destinations import names_address, names_host, names_number, number_forms, possible_numbers
from active_call.legs.trunks.outbound_usage import NO_LIMITS, HourlyLimits
from active_call.legs.trunks.policy import TrunkPolicy, Trunks
from active_call.sip import events as sip
from active_call.sip.routing import DEFAULT_PORTS, TRANSPORTS, is_address
from active_call.sip.syntax.uri import Uri, parse_uri

Asker = Literal["api", "agent", "peer"]

COSTLY_NUMBERS = ("+1900*", "+1976*", "+870*", "+881*", "+882*", "+883*", "+979*")
"""Premium-rate numbers of North America and the world, satellite and international networks (ITU-T E.164.D): typical toll-fraud targets."""

OUTBOUND_RULES = {
    "outbound_address": "the address cannot be called",
    "outbound_number": "the number is not among the allowed numbers",
    "outbound_domain": "the host is neither the trunk's nor listed in [outbound] domains",
    "outbound_private": "the address is in a private network, and the requesting peer is not",
    "outbound_loop": "the call would return to this server, or to a party that diverted it",
    "outbound_target": "neither the playbook nor the configuration lists this target of a transfer",
    "outbound_calls": "the limit of outbound calls per hour is reached",
    "outbound_minutes": "the limit of outbound minutes per hour is reached",
}
"""Every rule that refuses an outbound call, with its description."""


NO_RULES = sip.HopRules()


class OutboundPolicy(Struct, frozen=True):
    """The `[outbound]` settings."""

    domains: tuple[str, ...] = ()
    """Hosts to which a peer may send us, in addition to the trunks' own."""
    numbers: tuple[str, ...] = ()
    """Patterns of allowed numbers; empty: all."""
    deny_numbers: tuple[str, ...] = COSTLY_NUMBERS
    """Patterns of forbidden numbers."""
    transfer_targets: tuple[str, ...] = ()
    """Targets that agents and peers may request, in addition to those that a playbook lists."""
    limits: HourlyLimits = NO_LIMITS


EVERYTHING = OutboundPolicy()


class OutboundRequest(Struct, frozen=True):
    """The requester of an outbound call. `trunk` and `peer` belong to the call in which it is requested."""

    by: Asker = "api"
    trunk: str = ""
    peer: str = ""
    """The source address of that call's peer; empty if unknown."""
    is_listed: bool = False
    """The playbook or the configuration contains the address."""
    diverted_from: tuple[str, ...] = ()
    """Values of Diversion and History-Info of that call."""
    headers: tuple[tuple[str, str], ...] = ()
    """Headers that the peer's Refer-To sets in the INVITE, such as Replaces."""


class Permit(Struct, frozen=True):
    """What may be called, and how. `is_own`: the target belongs to the trunk of the call in which it is requested."""

    uri: Uri
    is_own: bool = True
    rules: sip.HopRules = NO_RULES
    takes_secrets: bool = True
    """The target is the host and port of the trunk that leads there, so that trunk's credentials and headers may be sent there."""
    headers: tuple[tuple[str, str], ...] = ()
    """Headers of the requester. They are always sent."""

    @property
    def keeps_secrets(self) -> bool:
        """Whether the credentials and headers of the call itself may be sent there."""
        return self.is_own and self.takes_secrets

    def option_for(self, option: CallOption) -> CallOption:
        """The options of the call with the requester's headers.

        Its own credentials and headers stay only if the destination may see them.
        """
        chosen = option.sip
        if chosen is not None and not self.keeps_secrets:
            chosen = SipOption(enable_srtp=chosen.enable_srtp)
        if self.headers:
            chosen = chosen or SipOption()
            chosen = msgspec.structs.replace(chosen, headers={**chosen.headers, **dict(self.headers)})
        return msgspec.structs.replace(option, sip=chosen)


ANYTHING = OutboundRequest()


class OutboundGuard:
    """See the module. `is_ourselves` decides whether an address literal is one of our own sockets."""

    def __init__(self, policy: OutboundPolicy, trunks: Trunks, is_ourselves: Callable[[sip.Target], bool]) -> None:
        self.policy = policy
        self._trunks = trunks
        self._is_ourselves = is_ourselves

    def check(self, uri: Uri, request: OutboundRequest = ANYTHING) -> Permit:
        """Check whether `uri`, as it would be dialled, may be called. Raises NotAllowed."""
        trunk = self._trunks.of_callee(uri.host)
        self._check_number(uri, trunk)
        if request.by == "api":
            return Permit(_plain(uri))
        self._check_form(uri, request)
        if request.by == "agent":
            self._check_target(uri, request, trunk)
            return Permit(_plain(uri))
        return self._check_peer(uri, request, trunk)

    def redirect(self, uri: Uri, first: Uri, trunk: str, peer: str) -> sip.Redirection:
        """Check whether a Contact of a 3xx may be followed. `first`: the callee of the call; `peer`: the address that sent the 3xx."""
        is_same_host = uri.host.lower() == first.host.lower()
        is_same_place = is_same_host and uri.port == first.port
        is_known = is_same_place or (is_same_host and not (trunk and reach_of(uri.host) is Reach.LOOPBACK))
        try:
            permit = self.check(uri, OutboundRequest("peer", trunk, peer, is_listed=is_known))
        except NotAllowed as error:
            return sip.Redirection("", refused_by=error.rule, why=str(error))
        return sip.Redirection(str(permit.uri), keeps_secrets=permit.keeps_secrets or is_same_place, rules=permit.rules)

    # -- the parts

    def _check_number(self, uri: Uri, trunk: TrunkPolicy | None) -> None:
        user, country_code = uri.user or "", trunk.country_code if trunk is not None else None
        possible = possible_numbers(user, country_code)
        if not possible:
            return
        if names_number(self.policy.deny_numbers, possible):
            raise NotAllowed(f"{uri.user}: this number is forbidden by [outbound] deny_numbers", rule="outbound_number")
        if self.policy.numbers and not names_number(self.policy.numbers, number_forms(user, country_code)):
            raise NotAllowed(f"{uri.user}: this number is not allowed by [outbound] numbers", rule="outbound_number")

    def _check_form(self, uri: Uri, request: OutboundRequest) -> None:
        """Refuse `maddr` in an address that was not written by an author or an operator."""
        if "maddr" in uri.parameters and not (request.by == "agent" and request.is_listed):
            raise NotAllowed(f"{uri.host_port}: the address has maddr, which leads to another host", rule="outbound_address")

    def _check_target(self, uri: Uri, request: OutboundRequest, trunk: TrunkPolicy | None) -> None:
        """Refuse an agent's transfer target that is not listed."""
        is_home = trunk is not None and request.trunk in ("", trunk.name)
        if not request.is_listed and not names_address(self.policy.transfer_targets, uri, is_home=is_home):
            reason = f"{uri.user or ''}@{uri.host_port}: neither the playbook nor [outbound] transfer_targets lists this target"
            raise NotAllowed(reason, rule="outbound_target")

    def _check_peer(self, uri: Uri, request: OutboundRequest, trunk: TrunkPolicy | None) -> Permit:
        """Check a request of the peer: only its own trunk's hosts and listed destinations are allowed."""
        is_own = trunk is not None and trunk.name == request.trunk and _is_its_own(trunk, uri)
        is_listed = request.is_listed or names_address(self.policy.transfer_targets, uri, is_home=is_own)
        if not (is_own or is_listed or names_host(self.policy.domains, uri.host) or self._is_peer_itself(uri, request)):
            reason = f"{uri.host_port}: the host is neither the trunk's own nor listed in [outbound] domains"
            raise NotAllowed(reason, rule="outbound_domain")
        least = Reach.NOWHERE if is_listed and is_address(uri.host) else self._least(request, trunk if is_own else None)
        rules = sip.HopRules(least, not_ourselves=True)
        self._check_place(uri, rules)
        self._check_history(uri, request)
        return Permit(_plain(uri), is_own, rules, takes_secrets=_takes_secrets(trunk, uri), headers=request.headers)

    def _is_peer_itself(self, uri: Uri, request: OutboundRequest) -> bool:
        """For a peer without a trunk: whether `uri` is its own source address."""
        return not request.trunk and bool(request.peer) and uri.host.strip("[]") == request.peer

    def _least(self, request: OutboundRequest, trunk: TrunkPolicy | None) -> Reach:
        """The minimum reach of the target's addresses: that of the peer, or of its trunk if that is private."""
        seen = reach_of(request.peer) if request.peer else None
        reaches = [Reach.WORLD if seen is None else seen]
        if trunk is not None:
            literal = reach_of(trunk.server)
            reaches += [literal] if literal is not None else []
        return max(Reach.LOOPBACK, min(reaches))

    def _check_place(self, uri: Uri, rules: sip.HopRules) -> None:
        """Refuse an address literal that is private or our own. A name is checked after it is resolved."""
        reach = reach_of(uri.host)
        if reach is None:
            return
        if reach < rules.least:
            raise NotAllowed(f"{uri.host_port} is in a private network, and the peer that asks for it is not", rule="outbound_private")
        transport = TRANSPORTS.get(uri.transport or "", "tls" if uri.scheme == "sips" else "udp")
        if self._is_ourselves(sip.Target(transport, uri.host, uri.port or DEFAULT_PORTS[transport])):
            raise NotAllowed(f"{uri.host_port} is this server itself", rule="outbound_loop")

    def _check_history(self, uri: Uri, request: OutboundRequest) -> None:
        """Refuse a destination that the call was diverted from (RFC 5806, RFC 7044)."""
        for value in request.diverted_from:
            if any(_is_same_party(uri, text) for text in _uris_in(value)):
                raise NotAllowed(f"{uri.user or uri.host}: the call came from this address", rule="outbound_loop")


def _is_its_own(trunk: TrunkPolicy, uri: Uri) -> bool:
    """Whether `uri` is the trunk's own host. On the loopback address another port is another service."""
    return reach_of(uri.host) is not Reach.LOOPBACK or not trunk.address or _port_of(trunk) == uri.port


def _takes_secrets(trunk: TrunkPolicy | None, uri: Uri) -> bool:
    """Whether credentials may be sent to `uri` at a peer's request: at the trunk's server only to its port, at other hosts to any port."""
    if reach_of(uri.host) is Reach.LOOPBACK:
        return trunk is not None and _port_of(trunk) == uri.port
    if trunk is None or uri.host.lower().rstrip(".") != trunk.server:
        return True
    own = _port_of(trunk)
    return uri.port == own if own is not None else uri.port in (None, *DEFAULT_PORTS.values())


def _port_of(trunk: TrunkPolicy) -> int | None:
    try:
        return parse_uri(f"sip:{trunk.address}").port
    except ParseError:
        return None


def _plain(uri: Uri) -> Uri:
    """The URI without parts that are not allowed in a Request-URI (RFC 3261 §19.1.1)."""
    return replace(uri, headers=None, parameters={name: value for name, value in uri.parameters.items() if name != "method"})


def _uris_in(value: str) -> list[str]:
    return [piece.partition(">")[0] for piece in value.split("<")[1:]]


def _is_same_party(uri: Uri, text: str) -> bool:
    try:
        other = parse_uri(text)
    except ParseError:
        return False
    return (uri.decoded_user or "", uri.host.lower()) == (other.decoded_user or "", other.host.lower())
