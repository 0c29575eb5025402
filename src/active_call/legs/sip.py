"""The SIP side of the house: hands incoming calls to the call room, makes legs for outgoing ones, brings each event to its leg."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Protocol, TypeVar

from active_call.base.errors import ActiveCallError, ParseError
from active_call.base.world import World
from active_call.contract.options import CallOption
from active_call.legs.sip_leg import SipLeg
from active_call.legs.sip_media import LegMedia, MediaSettings
from active_call.media.client import MediaPool
from active_call.net.addresses import is_ip, is_wildcard, local_address_towards
from active_call.net.resolver import Resolver
from active_call.sdp.description import parse_description
from active_call.sip import events as sip
from active_call.sip.endpoint import Endpoint
from active_call.sip.headers import parse_name_addr
from active_call.sip.uri import Uri, parse_uri

log = logging.getLogger("active_call.sip")

SOMEWHERE_PUBLIC = "192.0.2.1"
"""RFC 5737 documentation address: only asked of the routing table, never sent to."""

T = TypeVar("T")


class Driver(Protocol):
    """Runs operations on the endpoint and carries out what follows from them."""

    def run(self, operation: Callable[[float], T]) -> T: ...


@dataclass(frozen=True, slots=True)
class SipSettings:
    """How this server places and answers SIP calls. `external_ip` None: the local address towards each peer."""

    external_ip: str | None
    enable_srtp: bool
    media: MediaSettings
    credentials: tuple[tuple[str, sip.Credentials], ...] = ()
    """Host of a registrar or trunk, and the credentials for calls through it."""
    has_tls: bool = True
    allowed: tuple[IPv4Network | IPv6Network, ...] = ()
    """Source ranges of the trunks; where there are any, an INVITE from elsewhere is refused."""


class SipGateway:
    """All SIP legs of this process, by the endpoint's handle. `on_incoming` gets the leg of each new inbound call."""

    def __init__(self, endpoint: Endpoint, pool: MediaPool, settings: SipSettings, world: World, resolver: Resolver) -> None:
        self.endpoint = endpoint
        self.settings = settings
        self._pool = pool
        self._world = world
        self._resolver = resolver
        self._driver: Driver | None = None
        self._on_incoming: Callable[[SipLeg], None] = lambda leg: leg.reject(503, "Not ready")
        self._on_registration: Callable[[sip.RegistrationChanged], None] = lambda _: None
        self._legs: dict[sip.CallHandle, SipLeg] = {}

    def connect(
        self, driver: Driver, on_incoming: Callable[[SipLeg], None], on_registration: Callable[[sip.RegistrationChanged], None]
    ) -> None:
        """Join the driver, the call room and the registrations; before this, calls are refused with 503."""
        self._driver = driver
        self._on_incoming = on_incoming
        self._on_registration = on_registration

    @property
    def n_legs(self) -> int:
        return len(self._legs)

    def run(self, operation: Callable[[Endpoint, float], T]) -> T:
        """Do something with the endpoint now, and send what comes of it."""
        assert self._driver is not None  # noqa: S101 (connect comes first)
        return self._driver.run(lambda now: operation(self.endpoint, now))

    def handle_events(self, events: list[sip.SipEvent]) -> None:
        """What the endpoint has to tell, in order."""
        for event in events:
            match event:
                case sip.IncomingCall():
                    self._incoming(event)
                case sip.RegistrationChanged():
                    self._on_registration(event)
                case sip.MessageDropped(flow, why, detail):
                    log.info("message dropped", extra={"why": why, "detail": detail, "peer": f"{flow.remote.host}:{flow.remote.port}"})
                case sip.PublicAddressSeen(transport, address, peer):
                    fields = {"transport": transport, "address": address.host, "port": address.port or "", "peer": peer.host}
                    log.info("public address learnt from a response", extra=fields)
                case _:
                    leg = self._legs.get(event.call) if event.call is not None else None
                    if leg is not None:
                        leg.handle(event)

    def adopt(self, handle: sip.CallHandle, leg: SipLeg) -> None:
        self._legs[handle] = leg

    def forget(self, handle: sip.CallHandle) -> None:
        self._legs.pop(handle, None)

    # -- inbound

    def _incoming(self, event: sip.IncomingCall) -> None:
        if not self._is_allowed(event.flow.remote.host):
            log.warning("call refused", extra={"why": "no trunk allows this address", "peer": event.flow.remote.host})
            self.run(lambda endpoint, now: endpoint.reject(event.call, 403, "Forbidden", now))
            return
        leg = SipLeg(
            self,
            self._sound(self.own_address_for(_address_to_face(event))),
            caller=_plain_uri(event.request.headers.get("From") or ""),
            callee=_plain_uri(event.request.headers.get("To") or ""),
            incoming=event,
        )
        self.adopt(event.call, leg)
        self._on_incoming(leg)

    def _is_allowed(self, host: str) -> bool:
        allowed = self.settings.allowed
        return not allowed or any(ip_address(host) in network for network in allowed)

    # -- outbound

    def new_leg(self, option: CallOption) -> SipLeg:
        """A leg that will dial `option.callee`. Raises ActiveCallError when that is no SIP address."""
        callee = option.callee or ""
        uri = _callee_uri(callee)
        return SipLeg(self, self._sound(self.own_address_for(uri.host)), caller=option.caller or "", callee=callee)

    async def invitation(self, leg: SipLeg, option: CallOption) -> tuple[sip.OutboundInvite, bool]:
        """The INVITE for `option`, still without its session description, and whether the sound is to be encrypted."""
        chosen = option.sip
        uri = _callee_uri(option.callee or "")
        srtp = self.settings.enable_srtp
        if chosen is not None and chosen.enable_srtp is not None:
            srtp = chosen.enable_srtp
        credentials = tuple(entry for host, entry in self.settings.credentials if _is_under(uri.host, host))
        if chosen is not None and chosen.username:
            credentials = (sip.Credentials(chosen.username, chosen.password or "", chosen.realm), *credentials)
        user = credentials[0].username if credentials else "active-call"
        transport = uri.transport or ("tls" if uri.scheme == "sips" or (srtp and self.settings.has_tls) else None)
        local_host = self.own_address_for(await self._address_of(uri, transport or "udp"))
        leg.speak_from(local_host)
        invite = sip.OutboundInvite(
            to_uri=str(uri),
            from_uri=_caller_uri(option.caller, user, uri, local_host),
            sdp=None,
            headers=tuple((chosen.headers if chosen else {}).items()),
            credentials=credentials,
            ring_timeout_s=float(option.handshake_timeout or 60),
            transport=transport,  # type: ignore[arg-type]
            local_host=local_host,
        )
        return invite, srtp

    async def _address_of(self, uri: Uri, transport: str) -> str:
        """Some address of the callee's host, to learn which of our own it will see."""
        if is_ip(uri.host):
            return uri.host
        return (await self._resolver.resolve(sip.LookUp(0, uri.host, uri.port, (transport,))))[0].host  # type: ignore[arg-type]

    def own_address_for(self, host: str) -> str:
        """The address that `host` is told as ours; for a name that is not resolved here, the one that faces the world."""
        external_ip = self.settings.external_ip
        towards = host.strip("[]") if is_ip(host) else ""
        if external_ip is not None and (not towards or (":" in external_ip) == (":" in towards)):
            return external_ip
        return self.endpoint.address_seen_by(towards or SOMEWHERE_PUBLIC) or self._own_ip(towards or SOMEWHERE_PUBLIC)

    def _own_ip(self, remote_host: str) -> str:
        bound = self.settings.media.bind_ip
        return local_address_towards(remote_host) if is_wildcard(bound) else bound

    def _sound(self, public_ip: str) -> LegMedia:
        return LegMedia(self._pool, self.settings.media, self._world.randomness, public_ip=public_ip)


def _callee_uri(callee: str) -> Uri:
    if not callee:
        raise ActiveCallError("callee: missing; expected a SIP address such as sip:+15551234567@example.com")
    text = callee if ":" in callee.partition("@")[0] else f"sip:{callee}"
    try:
        uri = parse_uri(text)
    except ParseError as error:
        raise ActiveCallError(f"callee: {error}") from error
    if uri.scheme not in ("sip", "sips") or not uri.host:
        raise ActiveCallError(f"callee: {callee!r} is no SIP address; expected sip:user@host")
    return uri


def _caller_uri(caller: str | None, user: str, callee: Uri, local_host: str) -> str:
    """Our From: a full URI as given; a number at the callee's host, where trunks expect it; else the account's user."""
    if caller and ":" in caller:
        return caller
    if caller and "@" in caller:
        return f"sip:{caller}"
    host = callee.host if not is_ip(callee.host) else local_host
    return f"sip:{caller or user}@{f'[{host}]' if ':' in host else host}"


def _address_to_face(event: sip.IncomingCall) -> str:
    """The caller's address; that of its sound where it has the other family, since sound is answered in its own."""
    caller = event.flow.remote.host
    try:
        description = parse_description(event.sdp or b"")
        addresses = [description.address_of(section) or "" for section in description.media]
    except ParseError:
        return caller
    offered = [address for address in addresses if is_ip(address) and not is_wildcard(address)]
    if not offered or any((":" in address) == (":" in caller) for address in offered):
        return caller
    return offered[0]


def _is_under(host: str, realm_host: str) -> bool:
    return host.lower() == realm_host.lower() or host.lower().endswith("." + realm_host.lower())


def _plain_uri(header: str) -> str:
    """The URI of a From or To header, without tags and parameters; the raw text where it cannot be read."""
    try:
        uri = parse_name_addr(header).uri
    except ParseError:
        return header
    user = f"{uri.user}@" if uri.user else ""
    return f"{uri.scheme}:{user}{uri.host}"
