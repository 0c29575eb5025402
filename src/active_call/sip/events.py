"""The values that enter and leave the SIP core: flows, transmits, arguments of operations, events.

The core (`endpoint.Endpoint`) is sans-IO. The driver (`net.sip_driver`) feeds it bytes and time and sends its transmits. Legs (`legs.sip`)
call its operations and read its events. All values are frozen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, NewType

from msgspec import Struct, field

from active_call.base.addresses import Reach

if TYPE_CHECKING:
    from active_call.sip.syntax.message import Request, Response
    from active_call.sip.syntax.uri import Uri

TransportName = Literal["udp", "tcp", "tls", "ws", "wss"]
CallHandle = NewType("CallHandle", str)
"""Identifies one INVITE usage in the endpoint. Unrelated to the Call-ID header."""
TransactionToken = NewType("TransactionToken", str)
"""Identifies one request, inside or outside a dialog, that waits for its final response."""
RegistrationHandle = NewType("RegistrationHandle", str)
"""Identifies one registration in the endpoint."""
RegistrationState = Literal["registered", "failed", "unregistered"]


class Address(Struct, frozen=True):
    """An IP address (no brackets for IPv6) or host name, and a port."""

    host: str
    port: int


class Flow(Struct, frozen=True):
    """The path that a message arrived on. Its responses go back the same way (RFC 3261 §18.2.2, RFC 3581).

    `connection_id` identifies a stream connection and is None for UDP. `local` is the address of our listening or connecting socket.
    """

    transport: TransportName
    local: Address
    remote: Address
    connection_id: int | None = None


class HopRules(Struct, frozen=True):
    """Conditions that every target of a next hop must meet, whether it comes from a URI or from DNS."""

    least: Reach = Reach.NOWHERE
    """Minimum reach. An address with a smaller reach is not used."""
    not_ourselves: bool = False
    """Do not use our own listening sockets."""
    large_by_tcp: bool = True
    """Send a request that is too large for a datagram by TCP (RFC 3261 §18.1.1). False: send it by UDP anyway."""


class Target(Struct, frozen=True):
    """A next hop: as a URI names it, or one of the addresses that the resolver found for it (RFC 3263).

    `host` is a name or address from the URI, or a resolved address. In the latter case `name` is the host of the URI, which the TLS
    certificate must contain (RFC 5922). `port` None means: from SRV or the transport's default. `flow`, if set, is a connection to use
    while it is open. `local` is our own address towards that target, if known. `any_transport`: the URI names no transport, so DNS may
    choose one (RFC 3263 §4.1). `alternatives` are tried if no address of the target can be reached. `rules` apply to every address of the
    target.
    """

    transport: TransportName
    host: str
    port: int | None = None
    flow: Flow | None = None
    name: str | None = None
    local: str | None = None
    any_transport: bool = False
    alternatives: tuple[Target, ...] = ()
    rules: HopRules = HopRules()

    @property
    def place(self) -> tuple[object, ...]:
        """All but `alternatives` and `rules`: targets of one place are equal."""
        return self.transport, self.host, self.port, self.flow, self.name, self.local, self.any_transport

    def __eq__(self, other: object) -> bool:
        return self.place == other.place if isinstance(other, Target) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.place)


class LookUp(Struct, frozen=True):
    """A question to the resolver (RFC 3263): at which addresses does `host` accept requests? `Endpoint.handle_look_up` takes the answer.

    DNS may choose among several `transports`. If it does not, the first one is used.
    """

    id: int
    host: str
    port: int | None
    transports: tuple[TransportName, ...]


class Transmit(Struct, frozen=True):
    """Bytes to send to a resolved target. If sending fails, the driver reports `id` to `Endpoint.handle_transport_error`."""

    id: int
    data: bytes
    destination: Flow | Target


class Listener(Struct, frozen=True):
    """One listening socket as seen from outside: what Via and Contact contain for messages of that transport.

    A wildcard `public` host (`0.0.0.0`, `::`) stands for the local address of the message's flow. `learnt` is the address at which peers
    outside private networks see this socket. A `public` that differs from the bound address is configured and takes precedence.
    """

    transport: TransportName
    bound: Address
    public: Address
    learnt: Address | None = None


class Credentials(Struct, frozen=True):
    """Digest credentials of a user. `realm` None matches any realm."""

    username: str
    password: str
    realm: str | None = None


HeaderList = tuple[tuple[str, str], ...]


class Redirection(Struct, frozen=True):
    """The decision about one Contact of a 3xx. Without `uri` it is not followed: `refused_by` is a stable id, `why` is for people."""

    uri: str
    keeps_secrets: bool = False
    """Keep credentials and headers of the call. False: send only the headers that any peer may see."""
    rules: HopRules = HopRules()
    refused_by: str = ""
    why: str = ""


Redirects = Callable[["Uri", str], Redirection]
"""Decides about a Contact of a 3xx. The second argument is the address that sent the 3xx."""


class OutboundInvite(Struct, frozen=True):
    """The arguments of an outgoing call. `to_uri` is also the Request-URI. `proxy` is a preloaded route or outbound proxy URI."""

    to_uri: str
    from_uri: str
    sdp: bytes | None
    from_display: str = ""
    headers: HeaderList = ()
    credentials: tuple[Credentials, ...] = ()
    proxy: str | None = None
    ring_timeout_s: float = 60.0
    call_id: str | None = None
    transport: TransportName | None = None
    """Overrides the transport that the URI names or implies."""
    local_host: str | None = None
    """Goes into Via and Contact if the listener's public host is a wildcard address."""
    contact: str | None = None
    """`user[@host[:port]]` of our Contact; None: the user of From, at our own address."""
    trunk: str = ""
    """Name of the trunk that the call counts for."""
    session_expires_s: int | None = None
    """The session interval to ask for instead of the endpoint's; 0 asks for none (RFC 4028)."""
    unsupported: tuple[str, ...] = ()
    """Option tags that this call does not offer although the endpoint supports them."""
    rules: HopRules = HopRules()
    redirects: Redirects | None = None
    """None: a 3xx is followed only to the host that was called."""


class RegistrationSpec(Struct, frozen=True):
    """The arguments of a registration. Every RegistrationChanged carries its `name`."""

    name: str
    registrar_uri: str
    """The Request-URI: `sip:` and the registrar's host, optionally with port and `;transport=`."""
    aor_uri: str
    """The address of record; used in From and To."""
    credentials: tuple[Credentials, ...] = ()
    expires_s: int = 3600
    display: str = ""
    """The display name in From."""
    contact_user: str | None = None
    """The user part of our Contact; None: that of the address of record."""
    headers: HeaderList = ()
    proxy: str | None = None
    transport: TransportName | None = None
    local_host: str | None = None
    """Goes into Via and Contact if the listener's public host is a wildcard address."""


# -- events ------------------------------------------------------------------------------------------------------------------------------


class IncomingCall(Struct, frozen=True):
    """A new INVITE. 100 has been sent. `ring`, `answer` or `reject` must follow."""

    call: CallHandle
    request: Request
    flow: Flow
    sdp: bytes | None
    replaces: CallHandle | None = None
    """The active call that this one replaces (RFC 3891). The leg connects the two and hangs up the replaced one."""
    trunk: str = ""
    """Name of the trunk whose range contains the source; empty if none does."""


class CallProgress(Struct, frozen=True):
    """A provisional response (101–199) to our INVITE; `sdp` is its session description, if any."""

    call: CallHandle
    response: Response
    sdp: bytes | None


class CallAnswered(Struct, frozen=True):
    """Our INVITE got a 2xx; the ACK has been sent. `unreadable_contact`: the Contact of the answer if no request can be sent to it.

    In-dialog requests then go where the INVITE went.
    """

    call: CallHandle
    response: Response
    sdp: bytes | None
    unreadable_contact: str = ""


class CallConfirmed(Struct, frozen=True):
    """The ACK to our 2xx has arrived; `sdp` is the answer to a delayed offer, if any."""

    call: CallHandle
    sdp: bytes | None


class ProvisionalAcknowledged(Struct, frozen=True):
    """The peer has sent PRACK for our provisional response, so our responses reach it."""

    call: CallHandle


class CallEnded(Struct, frozen=True):
    """The call is over, whichever side ended it. Emitted exactly once per call, as its last event.

    `cause`: `rejected` (final 3xx–6xx to our INVITE), `cancelled` (the peer's CANCEL, or ours), `remote_bye`, `local_bye`, `no_ack`,
    `timeout` (no response to a request), `transport` (could not be sent), `local_reject`, `session_expired` (the peer did not refresh the
    session in time, RFC 4028), `error` (an internal error). `code` and `reason` are those of the final response, if there is one. `message`
    is the request or response that ended the call.
    """

    call: CallHandle
    cause: str
    code: int | None = None
    reason: str = ""
    message: Request | Response | None = None


class OfferReceived(Struct, frozen=True):
    """A re-INVITE or UPDATE of the peer. Answer with `answer_offer` or `refuse_offer`. `sdp` None: the peer asks for our offer."""

    call: CallHandle
    sdp: bytes | None
    request: Request


class OfferAcknowledged(Struct, frozen=True):
    """The ACK to our 2xx for the re-INVITE `cseq`, which carried an offer, has arrived: the peer has our answer."""

    call: CallHandle
    cseq: int


class OfferAnswered(Struct, frozen=True):
    """The peer has answered our re-INVITE (`code` 2xx, with `sdp`) or refused it."""

    call: CallHandle
    code: int
    sdp: bytes | None


class RequestReceived(Struct, frozen=True):
    """Another in-dialog request (INFO, MESSAGE, NOTIFY …). Answer with `respond(token, …)`."""

    call: CallHandle
    token: TransactionToken
    request: Request


class RequestCompleted(Struct, frozen=True):
    """The final response to our non-INVITE request. 408: no response arrived. 503: it could not be sent."""

    token: TransactionToken
    code: int
    reason: str
    response: Response | None
    call: CallHandle | None = None


class MessageDropped(Struct, frozen=True):
    """A received message was ignored. `why` is a stable id, `detail` is for people."""

    flow: Flow
    why: str
    detail: str = ""


class RedirectRefused(Struct, frozen=True):
    """A Contact of a 3xx to our call is not followed. `rule` is a stable id, `why` is for people."""

    call: CallHandle
    uri: str
    rule: str
    why: str


class RequestRefused(Struct, frozen=True):
    """A request outside our calls was refused without a leg event. `rule` is a stable id. `code` 0: not answered."""

    flow: Flow
    method: str
    rule: str
    code: int
    trunk: str = ""
    detail: str = ""
    user_agent: str = ""
    call_id: str = ""
    from_header: str = ""
    to_header: str = ""
    """From and To of an INVITE, shortened; empty for other methods."""


class TransferProgress(Struct, frozen=True):
    """Progress of the transfer that our REFER requested. After `final` nothing follows, and the call may be hung up at once.

    `code` and `reason` are the target's response as the peer reports it: 0 if its last NOTIFY contains none, 202 if it has announced that
    it sends no NOTIFY, 408 if it sends none. A refused REFER is reported only by RequestCompleted.
    """

    call: CallHandle
    code: int
    reason: str
    final: bool


class TransferRequested(Struct, frozen=True):
    """A REFER of the peer. Answer with `respond(token, 202, …)` and then `notify_transfer`, or with `respond(token, 603, …)`.

    `refer_to` is the URI without its embedded headers. `headers` are those headers, unescaped, for the INVITE to it (RFC 3261 §19.1.5).
    `replaces` is the Replaces value of an attended transfer. `referred_by` is the header as received.
    """

    call: CallHandle
    token: TransactionToken
    refer_to: str
    referred_by: str | None
    replaces: str | None
    headers: HeaderList = ()


class RegistrationChanged(Struct, frozen=True):
    """A registration has succeeded, failed or been removed. A repeated failure for the same reason is not reported again.

    `code` and `reason` are the registrar's. 408: no answer. 503: could not be sent. 0: there was no binding to remove. `expires_s` is the
    granted lifetime; the registration is refreshed before that.
    """

    name: str
    state: RegistrationState
    code: int
    reason: str
    expires_s: int | None = None


class PublicAddressSeen(Struct, frozen=True):
    """A peer outside private networks sees us at a new address. Messages to such peers carry it from now on."""

    transport: TransportName
    address: Address
    peer: Address


class InternalFault(Struct, frozen=True):
    """An internal error while one input was handled. All other inputs were handled. The call was ended if it is known.

    `where` is a stable id: `message`, `timer`, `connection_lost`, `hang_up`, `bye`.
    """

    where: str
    error: Exception
    call: CallHandle | None = None
    call_id: str = ""


SipEvent = (
    IncomingCall
    | CallProgress
    | CallAnswered
    | CallConfirmed
    | ProvisionalAcknowledged
    | CallEnded
    | OfferReceived
    | OfferAcknowledged
    | OfferAnswered
    | RequestReceived
    | RequestCompleted
    | MessageDropped
    | RequestRefused
    | RedirectRefused
    | TransferProgress
    | TransferRequested
    | RegistrationChanged
    | PublicAddressSeen
    | InternalFault
)


class EndpointConfig(Struct, frozen=True):
    """The configuration of the core. `listeners` may hold several of one transport; the first is preferred for new requests."""

    listeners: tuple[Listener, ...]
    user_agent: str
    answer_options: bool = True
    allow: tuple[str, ...] = ("INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "INFO", "MESSAGE", "PRACK", "UPDATE", "NOTIFY", "REFER")
    supported: tuple[str, ...] = ("timer", "100rel", "replaces", "norefersub")
    """Option tags in lower case. Without `timer` the endpoint uses no session timers."""
    refer_timeout_s: float = 60.0
    """How long an accepted REFER waits for a NOTIFY before the transfer is reported as 408."""
    prefer_reliable_provisionals: bool = False
    """Send 180 and 183 reliably (RFC 3262) to callers that support it. Callers that require it always get reliable ones."""
    session_expires_s: int = 1800
    """The session interval that our INVITEs ask for (RFC 4028); 0 asks for none. An interval that the peer asks for is always accepted."""
    learns_public_address: bool = False
    """Put the address at which a peer sees us (`received` and `rport` of its responses) into messages to it."""
    t1_s: float = 0.5
    t2_s: float = 4.0
    t4_s: float = 5.0
    next_hop_after_s: float = 4.0
    """How long a target may stay silent before the next address of its name is tried; Twilio asks for 4 s. The last one has 64*T1."""
    max_message_bytes: int = 65_535
    extra: dict[str, str] = field(default_factory=dict)

    @property
    def allow_header(self) -> str:
        """The value of our Allow header."""
        return ", ".join(self.allow)

    @property
    def supported_header(self) -> str:
        """The value of our Supported header."""
        return ", ".join(self.supported)
