"""All SIP legs: create a leg for each incoming and outgoing call, and dispatch the endpoint's events to the legs."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from functools import partial
from ipaddress import ip_address
from typing import Protocol, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from active_call.base.errors import LimitReached, NotAllowed, ParseError, QuotaReached
from active_call.base.world import World
from active_call.contract.options import CallOption
from active_call.legs.sip.causes import warning_header
from active_call.legs.sip.dialling import DialPlan, split_caller
from active_call.legs.sip.identity import caller_of, plain_uri
from active_call.legs.sip.leg import SipLeg
from active_call.legs.sip.media import MediaSettings, SipMedia
from active_call.legs.sip.plain_text import plain
from active_call.legs.sip.ports import AddressedInvitation, InviteUsage
from active_call.legs.sip.refusals import Refusals, RefusedCall
from active_call.legs.sip.trace.log import SipTrace
from active_call.legs.sip.unreadable_headers import ignored_headers
from active_call.legs.trunks.outbound_guard import (
    ANYTHING,
    EVERYTHING,
    OUTBOUND_RULES,
    OutboundGuard,
    OutboundPolicy,
    OutboundRequest,
    Permit,
)
from active_call.legs.trunks.outbound_usage import NO_LIMITS, OutboundUsage, PlacedCall
from active_call.legs.trunks.policy import PacedCall, TrunkPolicy
from active_call.media.pool.pool import MediaPool
from active_call.net.addresses import is_ip, is_wildcard, local_address_towards
from active_call.net.resolver import Resolver
from active_call.sdp.description import parse_description
from active_call.sdp.negotiation import SrtpPolicy
from active_call.sdp.protection import protection_refusal
from active_call.sip import events as sip
from active_call.sip.access.access_list import RULES
from active_call.sip.endpoint import Endpoint
from active_call.sip.syntax.uri import Uri, parse_uri

log = logging.getLogger("active_call.sip")

_IP4 = b" IP4 "
_IP6 = b" IP6 "
"""Address types in a session description (RFC 4566 §5.7)."""

SOMEWHERE_PUBLIC = "192.0.2.1"
"""RFC 5737 documentation address. It is only looked up in the routing table; no packet is sent to it."""

T = TypeVar("T")


class Driver(Protocol):
    """Runs operations on the endpoint, then sends the messages and handles the events that result."""

    def run(self, operation: Callable[[float], T]) -> T: ...


class SipSettings(Struct, frozen=True):
    """How this server places and answers SIP calls. `external_ip` None: use the local address towards each peer."""

    external_ip: str | None
    media: MediaSettings
    dial_plan: DialPlan
    outbound: OutboundPolicy = EVERYTHING


class SipGateway:
    """All SIP legs of this process, by the endpoint's handle. `on_incoming` is called with the leg of each new inbound call."""

    def __init__(self, endpoint: Endpoint, pool: MediaPool, settings: SipSettings, world: World, resolver: Resolver) -> None:
        self.endpoint = endpoint
        self.trace = endpoint.observer = SipTrace(world.clock)
        self.settings = settings
        self._pool = pool
        self._world = world
        self._resolver = resolver
        self._driver: Driver | None = None
        self.refusals = Refusals(world.clock)
        self.usage = OutboundUsage(world.clock)
        self._n_waiting: Counter[str] = Counter()
        """By trunk: calls that wait for their turn and have not sent the INVITE yet."""
        self._on_incoming: Callable[[SipLeg], object] = lambda leg: leg.reject(503, "Not ready")
        self._on_registration: Callable[[sip.RegistrationChanged], None] = lambda _: None
        self.on_outside_answer: Callable[[sip.RequestCompleted], object] = lambda _: None
        """Called with each answer to a request outside of calls."""
        self.on_refused_call: Callable[[RefusedCall], object] = lambda _: None
        """Called with each INVITE that was refused before a leg was created."""
        self._legs: dict[sip.CallHandle, InviteUsage] = {}

    def connect(
        self, driver: Driver, on_incoming: Callable[[SipLeg], None], on_registration: Callable[[sip.RegistrationChanged], None]
    ) -> None:
        """Connect the driver and the handlers of calls and registrations. Before this, calls are refused with 503."""
        self._driver = driver
        self._on_incoming = on_incoming
        self._on_registration = on_registration

    @property
    def n_legs(self) -> int:
        return len(self._legs)

    def run(self, operation: Callable[[Endpoint, float], T]) -> T:
        """Run an operation on the endpoint now, and send the resulting messages."""
        assert self._driver is not None  # noqa: S101 (connect comes first)
        return self._driver.run(lambda now: operation(self.endpoint, now))

    def handle_events(self, events: list[sip.SipEvent]) -> None:
        """Handle the events of the endpoint, in order. An error in one ends its own call only."""
        for event in events:
            try:
                self._handle(event)
            except Exception as error:  # noqa: BLE001 (one event must not stop the others)
                self._handle_failed(event, error)

    def _handle(self, event: sip.SipEvent) -> None:
        match event:
            case sip.IncomingCall():
                self._incoming(event)
            case sip.RegistrationChanged():
                self._on_registration(event)
            case sip.MessageDropped(flow, why, detail):
                self.refusals.note_dropped(why, flow.remote.host, detail=detail, port=flow.remote.port)
            case sip.RequestRefused():
                self._request_refused(event)
            case sip.PublicAddressSeen(transport, address, peer):
                fields = {"transport": transport, "address": address.host, "port": address.port or "", "peer": peer.host}
                log.info("public address learnt from a response", extra=fields)
            case sip.RedirectRefused(uri=uri, rule=rule, why=why):
                self._note_outbound_refusal(rule, why, OutboundRequest("peer"), address=uri)
            case sip.RequestCompleted(call=None):
                self.on_outside_answer(event)
            case sip.InternalFault(where, error, _, call_id):
                log.error("error in the SIP core", exc_info=error, extra={"where": where, "call_id": call_id})
            case _:
                leg = self._legs.get(event.call) if event.call is not None else None
                if leg is not None:
                    self._note_ignored(event, leg.peer_address or leg.trunk or "unknown", leg.call_id)
                    leg.handle(event)

    def _note_ignored(self, event: sip.SipEvent, peer: str, call_id: str) -> None:
        for name in ignored_headers(event):
            self.refusals.note_ignored(name, peer, call_id=call_id)

    def _handle_failed(self, event: sip.SipEvent, error: Exception) -> None:
        """Log the error, and end the call of the event, even without a leg."""
        handle = getattr(event, "call", None)
        leg = self._legs.get(handle) if handle is not None else None
        fields = {"event": type(event).__name__, "call_id": leg.call_id if leg is not None else ""}
        log.error("event of a call could not be handled", exc_info=error, extra=fields)
        if handle is None:
            return
        try:
            self.run(lambda endpoint, now: endpoint.reject(handle, 500, "Server Internal Error", now) or endpoint.hang_up(handle, now))
            if leg is not None:
                leg.fail(str(error) or type(error).__name__)
        except Exception:
            log.exception("call could not be ended in order", extra=fields)
            self.forget(handle)

    def _request_refused(self, event: sip.RequestRefused) -> None:
        """Count and log a refusal. An INVITE that was answered with a code is also recorded."""
        self._note_refused(
            event.flow,
            event.rule,
            code=event.code or "none",
            method=event.method,
            trunk=event.trunk,
            detail=event.detail,
            user_agent=event.user_agent,
            call_id=event.call_id,
        )
        if event.method == "INVITE" and event.code:
            self.on_refused_call(
                RefusedCall(
                    event.rule,
                    event.code,
                    caller=plain(event.from_header),
                    callee=plain(event.to_header),
                    call_id=event.call_id,
                    host=event.flow.remote.host,
                    trunk=event.trunk,
                    detail=event.detail,
                )
            )

    def adopt(self, handle: sip.CallHandle, leg: InviteUsage) -> None:
        """See `ports.GatewayPort`."""
        self._legs[handle] = leg

    def leg_of(self, handle: sip.CallHandle) -> InviteUsage | None:
        """See `ports.GatewayPort`."""
        return self._legs.get(handle)

    def forget(self, handle: sip.CallHandle) -> None:
        """See `ports.GatewayPort`."""
        self._legs.pop(handle, None)

    def check_calls_at_place_of(self, leg: InviteUsage) -> None:
        """See `ports.GatewayPort`."""
        place = leg.media_place
        if place is None:
            return
        for handle, other in list(self._legs.items()):
            if other is not leg and other.media_place == place and self.endpoint.has_lost_connection(handle):
                log.info(
                    "media address of a running call is used by a new one", extra={"call_id": other.call_id, "new_call_id": leg.call_id}
                )
                self.run(partial(_check_peer, handle))

    # -- inbound

    def _incoming(self, event: sip.IncomingCall) -> None:
        self._note_ignored(event, event.flow.remote.host, event.request.call_id)
        trunk = self.settings.dial_plan.trunks.named(event.trunk)
        refusal = protection_refusal(event.sdp, trunk.srtp) if trunk is not None and event.sdp is not None else ""
        if trunk is not None and refusal:
            self._refuse_protection(event, trunk, refusal)
            return
        leg = SipLeg(
            self,
            self._media(self._own_address_for_media(event), trunk, peer=event.flow.remote.host),
            caller=caller_of(event.request),
            callee=plain_uri(event.request.headers.get("To") or ""),
            incoming=event,
            trunk=trunk,
        )
        self.adopt(event.call, leg)
        self._on_incoming(leg)

    def _own_address_for_media(self, event: sip.IncomingCall) -> str:
        """Our address in the family of the caller's media; in that of its signalling if there is no route to the media."""
        caller, media = event.flow.remote.host, _address_in_media_family(event)
        own = self.own_address_for(media)
        has_route = media == caller or not ip_address(own).is_loopback or ip_address(media).is_loopback
        return own if has_route else self.own_address_for(caller)

    def _refuse_protection(self, event: sip.IncomingCall, trunk: TrunkPolicy, refusal: str) -> None:
        """Refuse an offer that contradicts the trunk's `srtp` with 488. The handler is not called, and no port is opened."""
        rule = "srtp_off" if trunk.srtp is SrtpPolicy.OFF else "srtp_required"
        self._note_refused(event.flow, rule, code=488, trunk=trunk.name, call_id=event.request.call_id, detail=refusal)
        self.on_refused_call(
            RefusedCall(
                rule,
                488,
                caller=plain(event.request.headers.get("From") or ""),
                callee=plain(event.request.headers.get("To") or ""),
                call_id=event.request.call_id,
                host=event.flow.remote.host,
                trunk=trunk.name,
                detail=refusal,
            )
        )
        headers = (warning_header(refusal),)
        self.run(lambda endpoint, now: endpoint.reject(event.call, 488, "Not Acceptable Here", now, headers=headers))

    def _note_refused(self, flow: sip.Flow, rule: str, **fields: object) -> None:
        self.refusals.note_refused(rule, flow.remote.host, because=RULES.get(rule, ""), transport=flow.transport, **fields)

    # -- outbound

    def new_leg(self, option: CallOption, request: OutboundRequest = ANYTHING) -> SipLeg:
        """Create a leg that will dial `option.callee` on behalf of `request`.

        Raises ActiveCallError if that is not a SIP address, NotAllowed, LimitReached if its trunk is full or the hourly limit is reached.
        """
        plan = self.settings.dial_plan
        permit = self.check_outbound(option.callee or "", request)
        uri = permit.uri
        trunk = plan.trunk_for(uri)
        caller, _ = split_caller(option.caller or (trunk.caller if trunk is not None else ""))
        turn = None if trunk is None else self._take_turn(trunk)
        placed = self._count(trunk, turn)
        media = self._media(self.own_address_for(uri.host), trunk)
        return SipLeg(self, media, caller=caller, callee=str(uri), trunk=trunk, turn=turn, permit=permit, placed=placed)

    def check_outbound(self, callee: str, request: OutboundRequest = ANYTHING) -> Permit:
        """Check whether `callee` may be called. Raises NotAllowed, or ActiveCallError if it is not a SIP address."""
        try:
            return self.guard.check(self.settings.dial_plan.callee_uri(callee), request)
        except NotAllowed as error:
            self._note_outbound_refusal(error.rule, str(error), request)
            raise

    @property
    def guard(self) -> OutboundGuard:
        """The outbound guard with the current settings."""
        return OutboundGuard(self.settings.outbound, self.settings.dial_plan.trunks, self._is_ourselves)

    def count_transfer(self, trunk_name: str) -> PlacedCall:
        """See `ports.GatewayPort`."""
        placed = self._count(self.settings.dial_plan.trunks.named(trunk_name), None)
        placed.ended()
        return placed

    def withdraw_transfer(self, counted: PlacedCall) -> None:
        """See `ports.GatewayPort`."""
        self.usage.withdraw(counted)

    def end_used_up(self) -> None:
        """End calls that we placed if the minutes per hour are used up: those on the trunk, or all of them."""
        of_all, trunks = self.settings.outbound.limits, self.settings.dial_plan.trunks
        why_by_trunk: dict[str, str] = {}
        for leg in [leg for leg in self._legs.values() if leg.is_placed_by_us]:
            if leg.trunk not in why_by_trunk:
                trunk = trunks.named(leg.trunk)
                why_by_trunk[leg.trunk] = self.usage.why_over(leg.trunk, of_all, trunk.hourly if trunk is not None else NO_LIMITS)
            why = why_by_trunk[leg.trunk]
            if not why:
                continue
            log.warning("call ended: the minutes of an hour are used up", extra={"call_id": leg.call_id, "trunk": leg.trunk, "why": why})
            try:
                leg.hang_up(headers={}, by="system", cause="outbound_minutes", reason=why)
            except Exception as error:  # noqa: BLE001 (one call must not stop the others)
                leg.fail(str(error) or type(error).__name__)

    def _count(self, trunk: TrunkPolicy | None, turn: PacedCall | None) -> PlacedCall:
        name, limits = (trunk.name, trunk.hourly) if trunk is not None else ("", NO_LIMITS)
        try:
            return self.usage.begin(name, self.settings.outbound.limits, limits)
        except QuotaReached as error:
            if turn is not None:
                turn.settle()
            self._note_outbound_refusal(error.rule, str(error), ANYTHING, trunk=name)
            raise

    def _note_outbound_refusal(self, rule: str, detail: str, request: OutboundRequest, **fields: object) -> None:
        because = OUTBOUND_RULES.get(rule, "")
        self.refusals.note_refused(rule, request.peer or "ourselves", because=because, asked_by=request.by, detail=detail, **fields)

    def _is_ourselves(self, target: sip.Target) -> bool:
        return self.endpoint.is_own_socket(replace(target, local=local_address_towards(target.host)))

    def way_out(self, trunk: str) -> str:
        """The address of the named trunk, else of the first trunk that has one; empty if there is none."""
        addresses = {each.name: each.address for each in self.settings.dial_plan.trunks if each.address}
        return addresses.get(trunk) or next(iter(addresses.values()), "")

    def _take_turn(self, trunk: TrunkPolicy) -> PacedCall:
        n_calls = self.endpoint.n_calls_by_trunk.get(trunk.name, 0) + self._n_waiting[trunk.name]
        try:
            at = self.settings.dial_plan.trunks.turn(trunk, self._world.clock.now(), n_calls)
        except LimitReached as busy:
            self.refusals.note_refused(busy.rule, "ourselves", because=RULES[busy.rule], trunk=trunk.name, code=503, detail=str(busy))
            raise
        return PacedCall(self._n_waiting, trunk.name, at, self._world.clock)

    @property
    def offers_srtp(self) -> bool:
        """See `ports.GatewayPort`."""
        return self.settings.dial_plan.enable_srtp

    async def invitation(self, callee: str, permit: Permit, option: CallOption) -> AddressedInvitation:
        """See `ports.GatewayPort`."""
        uri, plan = parse_uri(callee), self.settings.dial_plan
        peer = await self._address_of(uri, plan.transport(uri, option) or "udp")
        local_host = self.own_address_for(peer)
        made = plan.invitation(callee, permit.option_for(option), local_host, has_secrets=permit.takes_secrets)
        trunk = made.invite.trunk
        rules = replace(permit.rules, large_by_tcp=made.invite.rules.large_by_tcp)
        redirects = partial(self._redirect, first=uri, trunk=trunk)
        return AddressedInvitation(replace(made, invite=replace(made.invite, rules=rules, redirects=redirects)), local_host, peer)

    def _redirect(self, uri: Uri, peer: str, *, first: Uri, trunk: str) -> sip.Redirection:
        """Whether a 3xx from `peer` may send our call to `uri`."""
        return self.guard.redirect(uri, first, trunk, peer)

    async def _address_of(self, uri: Uri, transport: str) -> str:
        """One address of the callee's host, to find our address towards it."""
        if is_ip(uri.host):
            return uri.host
        return (await self._resolver.resolve(sip.LookUp(0, uri.host, uri.port, (transport,))))[0].host  # type: ignore[arg-type]

    def own_address_for(self, host: str) -> str:
        """Our address towards `host`. For a name, which is not resolved here, it is the public one."""
        external_ip = self.settings.external_ip
        towards = host.strip("[]") if is_ip(host) else ""
        if external_ip is not None and (not towards or (":" in external_ip) == (":" in towards)):
            return external_ip
        return self.endpoint.address_seen_by(towards or SOMEWHERE_PUBLIC) or self._own_ip(towards or SOMEWHERE_PUBLIC)

    def _own_ip(self, remote_host: str) -> str:
        bound = self.settings.media.bind_ip
        return local_address_towards(remote_host) if is_wildcard(bound) else bound

    async def _addresses_of(self, name: str) -> tuple[str, ...]:
        """The addresses of a media host. Raises TransportError."""
        places = await self._resolver.resolve(sip.LookUp(0, name, 9, ("udp",)))  # a port avoids an SRV query
        return tuple(place.host for place in places)

    def _media(self, public_ip: str, trunk: TrunkPolicy | None, peer: str = "") -> SipMedia:
        media = self.settings.media
        if trunk is not None:
            media = replace(media, codecs=trunk.codecs or media.codecs, srtp=trunk.srtp or media.srtp, best_effort=trunk.best_effort_srtp)
        return SipMedia(self._pool, media, self._world.randomness, public_ip=public_ip, peer=peer, look_up=self._addresses_of)


def _check_peer(handle: sip.CallHandle, endpoint: Endpoint, now: float) -> None:
    endpoint.check_peer(handle, now)


def _address_in_media_family(event: sip.IncomingCall) -> str:
    """The caller's address, or its media address if that has the other IP family, because media is answered in its own family."""
    caller = event.flow.remote.host
    sdp = event.sdp or b""
    if (_IP6 if ":" in caller else _IP4) in sdp and (_IP4 if ":" in caller else _IP6) not in sdp:
        return caller  # nearly every call; the description is parsed once, for the answer
    try:
        description = parse_description(sdp)
        addresses = [description.address_of(section) or "" for section in description.media]
    except ParseError:
        return caller
    offered = [address for address in addresses if is_ip(address) and not is_wildcard(address)]
    if not offered or any((":" in address) == (":" in caller) for address in offered):
        return caller
    return offered[0]
