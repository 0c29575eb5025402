"""What a simulated trunk does, as switches: one frozen record, and the four profiles as functions that fill it in.

A profile is what a carrier sends when nothing special is asked for; `dataclasses.replace` turns one behaviour on. It must not know how a
behaviour is carried out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

Transport = Literal["udp", "tcp", "tls"]
Refresher = Literal["", "uac", "uas"]
Challenge = Literal["", "twilio", "telnyx", "telnyx-register"]

GATEWAY = "172.25.0.9"
"""The carrier's inner gateway: an address that no one outside can reach, as carriers send it."""
TWILIO_ALLOW = ("ACK", "BYE", "CANCEL", "INVITE", "OPTIONS", "REFER", "NOTIFY")
TELNYX_ALLOW = ("INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "MESSAGE", "INFO", "UPDATE", "REFER", "NOTIFY")
PBX_ALLOW = ("INVITE", "ACK", "CANCEL", "OPTIONS", "BYE", "UPDATE", "INFO", "REFER", "NOTIFY", "MESSAGE", "PRACK")
NO_FAILOVER = frozenset({400, 404, 405, 410, 416, 482, 484, 486})
"""Finals that end Twilio's attempt, besides 2xx and 6xx; every other one goes on to the next address."""
TELNYX_FAILOVER = frozenset({408, 480, 503, 504})


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A final response in place of an answer. `headers` as (name, value)."""

    code: int
    reason: str
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Switches:
    """Every behaviour of a trunk. Seconds are real ones; tests shorten those that a carrier counts in minutes."""

    profile: str
    transport: Transport = "udp"

    # -- who it is
    n_hops: int = 0
    """Proxies between the edge and the gateway: Via entries are one more, 0 is a plain user agent without Record-Route."""
    gateway_contact: bool = False
    """Contact is the private gateway, which only the route set reaches."""
    contact_user: str = ""
    """User part of Contact; empty: the number."""
    contact_host: str = GATEWAY
    """Host of the private Contact; Twilio has sent one that begins with `+`."""
    encoded_contact: bool = False
    """As called side, Contact is `telnyx*<number>**<inner host>*5070*udp@telnyx.com`."""
    mapped_target: bool = False
    """Requests inside the dialog go to the port that the peer's NAT has opened, not to the one in its Contact."""
    from_host: str = ""
    """Host of From; empty: the edge."""
    to_host: str = ""
    """Host of To; empty: that of the Request-URI."""
    call_id_host: str = ""
    """What follows `@` in Call-ID; empty: nothing does."""
    max_forwards: int = 70
    number_plus: bool = True
    """Numbers begin with `+`."""
    display_name: str = ""
    """CNAM: shown in From, Contact and P-Asserted-Identity."""
    anonymous: bool = False
    """The caller withholds the number: From is anonymous, Privacy is id."""
    carrier_headers: Literal["", "twilio", "telnyx"] = ""
    """The carrier's own X- headers and how it asserts the caller."""
    identity_bytes: int = 0
    """Size of a SHAKEN Identity header, 0 for none."""
    call_token_bytes: int = 0
    """Size of X-Twilio-CallToken, 0 for none."""
    allow: tuple[str, ...] = PBX_ALLOW
    """Methods the trunk takes; any other one is answered 405 and held against the peer."""
    supported: tuple[str, ...] = ()

    # -- how it writes
    compact_headers: bool = False
    """Compact names, some without a blank after the colon, mixed with long ones."""
    folded_headers: bool = False
    """Long headers go on in a second line."""
    from_without_brackets: bool = False
    content_type_missing: bool = False
    multipart: bool = False
    """The description is one part of a multipart/mixed body, after another one."""
    padding_bytes: int = 0
    """Bytes of unknown headers, to make a datagram large."""

    # -- its session descriptions
    secure_media: bool = False
    payload_types: tuple[int, ...] = (0, 8, 101)
    ptime_ms: int = 20
    private_origin: bool = False
    """The address in o= is not the one in c=."""
    connection_at_media: bool = False
    """c= stands below each m= only."""
    other_media: tuple[str, ...] = ()
    """Further m-lines, `video`, `image` or `audio`, of which a voice agent refuses the first two; `<video` stands before the sound."""
    rtcp_attribute: bool = False
    supports_media: bool = False
    """Sound is really sent and listened to; otherwise the port is open and silent."""

    wraps: bool = False
    """The stream begins half a second before its sequence number, and with SRTP its rollover counter, wraps."""

    # -- how it calls
    delayed_offer: bool = False
    acknowledges: bool = True
    """False: the 2xx is never acknowledged, to see it repeated."""
    repeats_invite: bool = False
    """The INVITE goes out twice, as a datagram that the network doubled."""
    no_response_s: float = 4.0
    """Silence after which the next address is tried."""
    failover: Literal["", "twilio", "telnyx"] = ""
    session_expires_s: int = 0
    """Session-Expires of the INVITE, or of the 2xx as called side; 0 for none."""
    min_se_s: int = 0
    refresher: Refresher = ""
    refresh_method: Literal["INVITE", "UPDATE", "INVITE without offer"] = "INVITE"
    refreshes: bool = True
    """False: the trunk lets the session expire that it should refresh."""
    requires_100rel: bool = False

    # -- inside the dialog
    glares: bool = False
    """The peer's first re-INVITE crosses one of ours: both are answered 491."""
    checks_routes: bool = True
    """A request without the right Route is answered 481, one with another Request-URI than our Contact is not answered at all."""
    idle_close_s: float = 0.0
    """A connection on which nothing was sent for so long is cut without a TLS close_notify; 0: never."""
    marks_new_connections: bool = False
    """A 2xx to a request over a new connection has a Record-Route with `twnat`; who adopts it loses the dialog."""
    takes_transfers: bool = True
    refer_bye_limit_s: float = 32.0
    """How long after the last NOTIFY of a transfer the peer may wait with its BYE."""
    transfer_outcome: Literal[0, 200, 486] = 200
    """0: after the NOTIFY 100 nothing more is told."""

    # -- how it is called
    domain: str = ""
    """Host that a Request-URI must name, else the request is dropped silently; empty: any."""
    silent_s: float = 0.0
    """So long an INVITE gets no response at all; a CANCEL has to wait for one (RFC 3261 section 9.1)."""
    trying: str = "Trying"
    """Reason phrase of the 100."""
    challenge: Challenge = ""
    realm: str = "sip.example.com"
    username: str = "agent"
    password: str = "secret"
    checks_numbers: bool = False
    """Request-URI and From are +E.164, else 400."""
    caller_ids: tuple[str, ...] = ()
    """Numbers that may call; empty: any. Others get 403."""
    caller_refusal: Refusal = Refusal(code=403, reason="Invalid Caller ID")
    checks_security: bool = False
    """Secure trunk: TLS and SRTP both; insecure trunk: no SRTP. 488 otherwise."""
    refusal: Refusal | None = None
    """Every call is refused so."""
    progress: tuple[str, ...] = ("180",)
    """Provisional responses: `180`, `183` (with a description), and with a suffix such as `183/b` from another branch of a fork."""
    answering_branch: str = ""
    """Suffix of the branch that answers."""
    second_branch: str = ""
    """Another branch that answers as well, a moment later; the caller acknowledges it and ends it (RFC 3261 section 13.2.2.4)."""
    challenges_bye: bool = False
    """The peer's BYE needs credentials too, as behind Asterisk and Kamailio."""
    challenge_goes_stale: bool = False
    """The first credentials come too late: challenged once more, with `stale=true` and a new nonce."""
    progress_after_s: float = 0.02
    answer_after_s: float = 0.1
    """None of both counts while the call waits for PRACK. A negative value: the call is never answered."""
    answers_cancelled: bool = False
    """A CANCEL is answered 200, and so is the INVITE: they have crossed."""
    ack_limit_s: float = 32.0
    """Without an ACK for so long the call is given up with BYE."""
    tech_prefix: str = ""
    """Digits that a dialled number must begin with; without them the caller is challenged."""
    token: str = ""
    """X-Telnyx-Token that an INVITE must carry, 403 otherwise."""
    ban_after_options: int = 0
    """OPTIONS beyond so many within ten seconds are held against the peer; 0: any number."""

    # -- registrar
    registers: Literal["", "telnyx", "refused"] = ""
    granted_expires_s: int = 3600
    min_expires_s: int = 0
    """Shorter registrations get 423."""
    hides_expires: bool = True
    """The granted time stands in the Contact parameter only."""


def twilio_origination(transport: Transport = "tls", **switched: Any) -> Switches:
    """Twilio Elastic SIP Trunking towards us. Secure media when the transport is TLS, as secure trunking has it."""
    base = Switches(
        profile="twilio origination",
        transport=transport,
        n_hops=1,
        gateway_contact=True,
        from_host="trunk.pstn.example.com:5060",
        call_id_host="0.0.0.0",
        max_forwards=60,
        carrier_headers="twilio",
        allow=TWILIO_ALLOW,
        secure_media=transport == "tls",
        private_origin=True,
        failover="twilio",
        marks_new_connections=True,
    )
    return replace(base, **switched)


def twilio_termination(transport: Transport = "tls", **switched: Any) -> Switches:
    """Twilio Elastic SIP Trunking, called by us."""
    base = Switches(
        profile="twilio termination",
        transport=transport,
        n_hops=1,
        gateway_contact=True,
        carrier_headers="twilio",
        allow=TWILIO_ALLOW,
        secure_media=transport == "tls",
        private_origin=True,
        trying="trying -- your call is important to us",
        challenge="twilio",
        realm="sip.twilio.com",
        checks_numbers=True,
        checks_security=True,
        progress=("183",),
        registers="refused",
        marks_new_connections=True,
    )
    return replace(base, **switched)


def telnyx(transport: Transport = "tcp", **switched: Any) -> Switches:
    """Telnyx, both directions: three proxies, compact headers, numbers without a plus."""
    base = Switches(
        profile="telnyx",
        transport=transport,
        n_hops=2,
        gateway_contact=True,
        from_host="sip.telnyx.com",
        to_host="10.231.83.184",
        max_forwards=24,
        number_plus=False,
        carrier_headers="telnyx",
        allow=TELNYX_ALLOW,
        supported=("timer", "path"),
        compact_headers=True,
        payload_types=(0, 8, 9, 18, 102, 101, 103),
        rtcp_attribute=True,
        failover="telnyx",
        trying="Telnyx Trying",
        challenge="telnyx",
        realm="sip.telnyx.com",
        progress=("183",),
        registers="telnyx",
        granted_expires_s=3457,
    )
    return replace(base, **switched)


def generic_pbx(transport: Transport = "udp", **switched: Any) -> Switches:
    """A PBX on the local network: no proxies, a Contact that can be reached, everything else by switch."""
    return replace(Switches(profile="generic PBX", transport=transport, call_id_host="pbx.example.com"), **switched)
