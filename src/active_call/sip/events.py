"""What goes into and comes out of the SIP core: flows and transmits, operations' arguments, events.

The core (`endpoint.Endpoint`) is sans-IO. The driver (`net.sip_driver`) feeds it bytes and time and carries out its transmits; legs
(`legs.sip`) call its operations and read its events. All values are frozen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NewType

from active_call.base.addresses import Reach

if TYPE_CHECKING:
    from active_call.sip.syntax.message import Request, Response
    from active_call.sip.syntax.uri import Uri

TransportName = Literal["udp", "tcp", "tls", "ws", "wss"]
CallHandle = NewType("CallHandle", str)
"""Names one INVITE usage inside the endpoint; unrelated to the Call-ID header."""
TransactionToken = NewType("TransactionToken", str)
"""Names one request, outside or inside a dialog, that waits for its final response."""
RegistrationHandle = NewType("RegistrationHandle", str)
"""Names one registration inside the endpoint."""
RegistrationState = Literal["registered", "failed", "unregistered"]


@dataclass(frozen=True, slots=True)
class Address:
    """An IP address (no brackets for IPv6) or host name, and a port."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Flow:
    """Where a message came from, and so where its responses go back to (RFC 3261 §18.2.2, RFC 3581).

    `connection_id` names a stream connection and is None for UDP; `local` is the listening or connecting socket's own address.
    """

    transport: TransportName
    local: Address
    remote: Address
    connection_id: int | None = None


@dataclass(frozen=True, slots=True)
class HopRules:
    """What each place of a next hop has to be, whether a URI or the DNS has named it."""

    least: Reach = Reach.NOWHERE
    """No address of a smaller reach, whether the URI has it or DNS gives it."""
    not_ourselves: bool = False
    """None of our own listening sockets."""
    large_by_tcp: bool = True
    """A request too large for a datagram goes by TCP (RFC 3261 §18.1.1); False: by UDP all the same."""


@dataclass(frozen=True, slots=True)
class Target:
    """A next hop: as a URI names it, or one of the places that the resolver has found for that (RFC 3263).

    `host` is a name or address as the URI gives it, or an address that was found; `name` is then what the URI said, and is what a TLS
    certificate must hold (RFC 5922). `port` None means: by SRV or the transport's default. `flow`, when given, is a connection to use as
    long as it lives. `local` is our own address towards that place, where it is known. `any_transport`: the URI leaves the choice of the
    transport to us, so DNS may make it (RFC 3263 §4.1). `alternatives` are tried when no place of the target can be reached. `rules` hold
    for each place of the target.
    """

    transport: TransportName
    host: str
    port: int | None = None
    flow: Flow | None = None
    name: str | None = None
    local: str | None = None
    any_transport: bool = False
    alternatives: tuple[Target, ...] = field(default=(), compare=False)
    rules: HopRules = field(default=HopRules(), compare=False)


@dataclass(frozen=True, slots=True)
class LookUp:
    """A question to the resolver (RFC 3263): at which places does `host` take requests? Answered by `Endpoint.handle_look_up`.

    Of several `transports` DNS may choose; where it does not, the first is meant.
    """

    id: int
    host: str
    port: int | None
    transports: tuple[TransportName, ...]


@dataclass(frozen=True, slots=True)
class Transmit:
    """Bytes to send, to a place that is resolved. When sending fails, the driver reports `id` to `Endpoint.handle_transport_error`."""

    id: int
    data: bytes
    destination: Flow | Target


@dataclass(frozen=True, slots=True)
class Listener:
    """One listening socket as the outside sees it: what goes into Via and Contact for messages of that transport.

    A wildcard `public` host (`0.0.0.0`, `::`) stands for: the local address of the flow that the message belongs to. `learnt` is where
    peers beyond private networks see this socket; a `public` that is not the bound address is configured and comes first.
    """

    transport: TransportName
    bound: Address
    public: Address
    learnt: Address | None = None


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user's digest credentials. `realm` None answers any realm."""

    username: str
    password: str
    realm: str | None = None


HeaderList = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Redirection:
    """What becomes of one Contact of a 3xx. Without `uri` it is not followed: `refused_by` is a stable word, `why` is for people."""

    uri: str
    keeps_secrets: bool = False
    """Credentials and headers of the call go along; else only what any peer may know."""
    rules: HopRules = HopRules()
    refused_by: str = ""
    why: str = ""


Redirects = Callable[["Uri", str], Redirection]
"""Judges a Contact of a 3xx, which has come from that address."""


@dataclass(frozen=True, slots=True)
class OutboundInvite:
    """What it takes to place a call. `to_uri` is also the request URI; `proxy` is a preloaded route or outbound proxy URI."""

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
    """Overrides the transport that the URI asks for or implies."""
    local_host: str | None = None
    """Goes into Via and Contact when the listener's public host is a wildcard address."""
    contact: str | None = None
    """`user[@host[:port]]` of our Contact; None: the user of From, at our own address."""
    trunk: str = ""
    """Name of the trunk that the call counts for."""
    session_expires_s: int | None = None
    """The session interval that is asked for instead of the endpoint's; 0 asks for none (RFC 4028)."""
    unsupported: tuple[str, ...] = ()
    """Option tags that this call does not offer, though the endpoint knows them."""
    rules: HopRules = HopRules()
    redirects: Redirects | None = None
    """None: a 3xx is followed to the host that was called, and nowhere else."""


@dataclass(frozen=True, slots=True)
class RegistrationSpec:
    """What it takes to register. `name` comes back in every RegistrationChanged."""

    name: str
    registrar_uri: str
    """The request URI: `sip:` and the registrar's host, perhaps with a port and `;transport=`."""
    aor_uri: str
    """The address of record that calls are made to; From and To."""
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
    """Goes into Via and Contact when the listener's public host is a wildcard address."""


# -- events ------------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class IncomingCall:
    """A new INVITE. 100 is already on its way; `ring`, `answer` or `reject` come next."""

    call: CallHandle
    request: Request
    flow: Flow
    sdp: bytes | None
    replaces: CallHandle | None = None
    """The live call that this one replaces (RFC 3891). The leg joins the two and hangs up the replaced one."""
    trunk: str = ""
    """Name of the trunk whose range it comes from; empty where none has it."""


@dataclass(frozen=True, slots=True)
class CallProgress:
    """A provisional response (101–199) to our INVITE; `sdp` when it carries a session description."""

    call: CallHandle
    response: Response
    sdp: bytes | None


@dataclass(frozen=True, slots=True)
class CallAnswered:
    """Our INVITE was answered by 2xx; the ACK is on its way. `unreadable_contact`: the Contact of the answer, where it names no place.

    Requests inside the call then go where the INVITE went.
    """

    call: CallHandle
    response: Response
    sdp: bytes | None
    unreadable_contact: str = ""


@dataclass(frozen=True, slots=True)
class CallConfirmed:
    """The ACK for our 2xx has arrived; `sdp` when it carries the answer to a delayed offer."""

    call: CallHandle
    sdp: bytes | None


@dataclass(frozen=True, slots=True)
class ProvisionalAcknowledged:
    """A PRACK has come for a provisional response of ours: the peer gets what we send."""

    call: CallHandle


@dataclass(frozen=True, slots=True)
class CallEnded:
    """The call is over, by either side and in any state. Exactly one per call; nothing follows it.

    `cause`: `rejected` (final 3xx–6xx to our INVITE), `cancelled` (peer's CANCEL, or ours), `remote_bye`, `local_bye`, `no_ack`,
    `timeout` (no response to a request), `transport` (could not be sent), `local_reject`, `session_expired` (the peer did not refresh the
    session in time, RFC 4028), `error` (an error of ours). `code` and `reason` are those of the final response, where there is one.
    `message` is the request or response that ended the call.
    """

    call: CallHandle
    cause: str
    code: int | None = None
    reason: str = ""
    message: Request | Response | None = None


@dataclass(frozen=True, slots=True)
class OfferReceived:
    """A re-INVITE or UPDATE inside the call; answer with `answer_offer` or `refuse_offer`. `sdp` None: the peer wants our offer."""

    call: CallHandle
    sdp: bytes | None
    request: Request


@dataclass(frozen=True, slots=True)
class OfferAcknowledged:
    """The ACK for our 2xx to the re-INVITE `cseq`, which had an offer, has arrived: the peer has our answer."""

    call: CallHandle
    cseq: int


@dataclass(frozen=True, slots=True)
class OfferAnswered:
    """The peer has answered our re-INVITE (`code` 2xx, with `sdp`) or refused it."""

    call: CallHandle
    code: int
    sdp: bytes | None


@dataclass(frozen=True, slots=True)
class RequestReceived:
    """Another request inside a call (INFO, MESSAGE, NOTIFY …), to be answered with `respond(token, …)`."""

    call: CallHandle
    token: TransactionToken
    request: Request


@dataclass(frozen=True, slots=True)
class RequestCompleted:
    """The final response to a request of ours that is not an INVITE; 408 where none came, 503 where it could not be sent."""

    token: TransactionToken
    code: int
    reason: str
    response: Response | None
    call: CallHandle | None = None


@dataclass(frozen=True, slots=True)
class MessageDropped:
    """Something that arrived was not acted on; `why` is a stable word, `detail` is for people."""

    flow: Flow
    why: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class RedirectRefused:
    """A Contact of a 3xx to a call of ours is not followed; `rule` is a stable word, `why` is for people."""

    call: CallHandle
    uri: str
    rule: str
    why: str


@dataclass(frozen=True, slots=True)
class RequestRefused:
    """A request that belongs to no call was refused before a leg heard of it. `rule` is a stable word; `code` 0: not answered."""

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
    """As they stood in an INVITE, shortened; empty for other methods."""


@dataclass(frozen=True, slots=True)
class TransferProgress:
    """How the transfer goes that a REFER of ours has asked for. After `final` nothing follows, and the call may be hung up at once.

    `code` and `reason` are what the target answered, as far as the peer tells: 0 when its last word does not say, 202 when it has announced
    not to tell anything, 408 when it stays silent. RequestCompleted alone reports a REFER that is refused.
    """

    call: CallHandle
    code: int
    reason: str
    final: bool


@dataclass(frozen=True, slots=True)
class TransferRequested:
    """A REFER inside a call, to be answered with `respond(token, 202, …)`, then `notify_transfer`; or `respond(token, 603, …)`.

    `refer_to` is the URI without its embedded headers, `headers` are those, resolved, for the INVITE to it (RFC 3261 §19.1.5), `replaces`
    is the value of the one that an attended transfer puts there, and `referred_by` the header as it came.
    """

    call: CallHandle
    token: TransactionToken
    refer_to: str
    referred_by: str | None
    replaces: str | None
    headers: HeaderList = ()


@dataclass(frozen=True, slots=True)
class RegistrationChanged:
    """A registration has succeeded, failed, or been taken back. A failure for the same reason as before is not reported again.

    `code` and `reason` are the registrar's; 408 no answer came, 503 it could not be sent, 0 there was nothing to take back. `expires_s` is
    what the registrar has granted; it is refreshed before that.
    """

    name: str
    state: RegistrationState
    code: int
    reason: str
    expires_s: int | None = None


@dataclass(frozen=True, slots=True)
class PublicAddressSeen:
    """A peer outside private networks sees us at another address than the last one did; messages to such peers name it from now on."""

    transport: TransportName
    address: Address
    peer: Address


@dataclass(frozen=True, slots=True)
class InternalFault:
    """An error of ours while one input was handled. The other inputs were handled, and the call was ended where it is known.

    `where` is a stable word: `message`, `timer`, `connection_lost`, `hang_up`, `bye`.
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


@dataclass(frozen=True, slots=True)
class EndpointConfig:
    """What the core says of itself. `listeners` may hold several of one transport; the first is preferred for new requests."""

    listeners: tuple[Listener, ...]
    user_agent: str
    answer_options: bool = True
    allow: tuple[str, ...] = ("INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "INFO", "MESSAGE", "PRACK", "UPDATE", "NOTIFY", "REFER")
    supported: tuple[str, ...] = ("timer", "100rel", "replaces", "norefersub")
    """Option tags in lower case. Without `timer` the endpoint takes no part in session timers."""
    refer_timeout_s: float = 60.0
    """How long an accepted REFER waits for a NOTIFY before the transfer counts as untold."""
    prefer_reliable_provisionals: bool = False
    """Send 180 and 183 reliably (RFC 3262) to callers that only support it; to those that require it they always are."""
    session_expires_s: int = 1800
    """The session interval that our INVITEs ask for (RFC 4028); 0 asks for none. What a peer asks for is agreed to either way."""
    learns_public_address: bool = False
    """Tell peers the address at which they see us (`received` and `rport` of their responses)."""
    t1_s: float = 0.5
    t2_s: float = 4.0
    t4_s: float = 5.0
    next_hop_after_s: float = 4.0
    """How long a place may stay silent before the next one of its name is tried; Twilio asks for 4 s. The last one has 64*T1."""
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
