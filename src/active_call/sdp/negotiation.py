"""Offer/answer for one audio stream (RFC 3264, RFC 3551, RFC 4568, RFC 4733).

Descriptions, our address, codecs and keys go in; our descriptions and an `Agreement` come out. This module has no state and opens nothing.
The caller provides ports, keys and the session's id and version, and increments the version with every changed description.

An offer with RTP/SAVP is answered with SRTP, one with RTP/AVP with plain RTP, unless the policy forbids it. An offer with RTP/AVP and
crypto lines leaves the choice to us ("best effort": in no RFC, but common in phones and gateways); with `LocalMedia.best_effort` it is
answered with SRTP. The first supported codec in the offerer's order is used. The answer contains only this codec and its telephone-event,
with the offered numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from active_call.base.errors import LocalProtocolError, ParseError, RemoteProtocolError
from active_call.sdp.codecs import (
    CODECS,
    Codec,
    Format,
    choose_numbers,
    describe_codec,
    describe_event,
    find_codec,
    find_event,
    first_common_codec,
    offered_maps,
    receivable_formats,
)
from active_call.sdp.crypto import SUITES, CryptoAgreement, CryptoKey, first_usable, format_crypto, read_key
from active_call.sdp.description import (
    Attribute,
    MediaDescription,
    Origin,
    SessionDescription,
    format_description,
    is_unspecified,
    parse_description,
)
from active_call.sdp.media_address import address_refusal, is_host_name, is_ip_address

__all__ = [
    "Agreement",
    "CryptoAgreement",
    "CryptoKey",
    "Direction",
    "Format",
    "LocalMedia",
    "NegotiationError",
    "SrtpPolicy",
    "accept_answer",
    "build_offer",
    "negotiate_answer",
]

Direction = Literal["sendrecv", "sendonly", "recvonly", "inactive"]
PLAIN_PROTOCOLS = ("RTP/AVP", "RTP/AVPF")
SECURE_PROTOCOLS = ("RTP/SAVP", "RTP/SAVPF")
_SENDING = ("sendrecv", "sendonly")
_RECEIVING = ("sendrecv", "recvonly")
MAX_NAMED = 6
"""Maximum number of offered items named in a refusal."""
DEFAULT_PTIME_MS = 20
SHORTEST_PTIME_MS, LONGEST_PTIME_MS = 10, 60


class SrtpPolicy(StrEnum):
    """The encryption policy: `REQUIRED` refuses plain offers, `OFF` encrypted ones, `PREFERRED` neither."""

    OFF = "off"
    PREFERRED = "preferred"
    REQUIRED = "required"


class NegotiationError(RemoteProtocolError):
    """Offer and answer have nothing in common (488 in SIP). `reason` says what was offered and what we support."""

    code = "negotiation_error"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class LocalMedia(Struct, frozen=True):
    """Our side: the public address (without brackets) and RTP port for the peer, and our codecs, best first.

    `suites`: the SRTP suites that we accept. `rtcp_mux`: RTCP may use the RTP port if the peer offers that. `peer`: the source address of
    the peer's signalling, if known; the media addresses that it may name depend on it. `best_effort`: answer an offer with RTP/AVP and a
    usable crypto line with SRTP, if `srtp` is `PREFERRED`.
    """

    ip: str
    port: int
    codecs: tuple[str, ...] = ("pcmu", "pcma")
    ptime_ms: int = DEFAULT_PTIME_MS
    srtp: SrtpPolicy = SrtpPolicy.PREFERRED
    suites: tuple[str, ...] = SUITES
    rtcp_mux: bool = False
    peer: str = ""
    best_effort: bool = False


class Agreement(Struct, frozen=True):
    """The negotiated parameters of the stream.

    `send_…` numbers are the peer's, `receive_…` numbers ours. They differ only if the peer answered with other numbers than offered.
    `formats` is all that may arrive, the negotiated codec first: a peer may send any codec of the offer (RFC 3264 §6.1), and some use the
    numbers of their answer. `on_hold`: the peer does not receive our audio now. `ptime_ms`: the packet duration that the peer wants.
    `event_clock_hz`: the clock of telephone-event, normally the codec's. `remote_rtcp` is None if there is no port for it; with `rtcp_mux`
    it is the RTP port, on both sides. `send_parameters` is the peer's `a=fmtp` for the codec.

    If the peer names a host instead of an address, `remote_ip` is empty and `remote_host` is the name. The host in `remote_rtcp` is then
    the same as for RTP. `may_be_silent`: the peer sends nothing during silence (`a=silenceSupp`, RFC 3108). `best_effort`: SRTP is used
    under RTP/AVP.
    """

    codec: str
    clock_hz: int
    send_payload_type: int
    receive_payload_type: int
    send_event_type: int | None
    receive_event_type: int | None
    event_clock_hz: int
    remote_ip: str
    remote_port: int
    remote_rtcp: tuple[str, int] | None
    send: bool
    receive: bool
    on_hold: bool
    ptime_ms: int
    crypto: CryptoAgreement | None = None
    formats: tuple[Format, ...] = ()
    send_parameters: str = ""
    rtcp_mux: bool = False
    remote_host: str = ""
    may_be_silent: bool = False
    best_effort: bool = False


def build_offer(
    local: LocalMedia,
    *,
    keys: tuple[CryptoKey, ...] = (),
    srtp: bool | None = None,
    session_id: int,
    version: int,
    direction: Direction = "sendrecv",
    previous: bytes | None = None,
    best_effort: bool = False,
) -> bytes:
    """Our offer of one audio stream: RTP/SAVP with a crypto line for each of `keys` if `srtp` (None: if there are keys), else RTP/AVP.

    `best_effort`: RTP/AVP with crypto lines, for a peer that has accepted SRTP that way.

    In an existing session `previous` is our last description: its other sections stay in place as refused ones, and its payload types keep
    their meaning (RFC 3264 §8). Raises LocalProtocolError for `srtp` without keys or an unknown codec.
    """
    secure = bool(keys) if srtp is None else srtp
    if secure and not keys:
        raise LocalProtocolError("an SRTP offer needs a key")
    if not local.codecs or any(name not in CODECS for name in local.codecs):
        raise LocalProtocolError(f"no offer can be made of the codecs {local.codecs}")
    last = None if previous is None else parse_description(previous)
    codecs, events = choose_numbers(local.codecs, None if last is None else _audio_of(last))
    attributes = [line for codec, number in codecs for line in describe_codec(codec, number)]
    attributes += [line for clock_hz, number in events for line in describe_event(number, clock_hz)]
    section = MediaDescription(
        "audio",
        local.port,
        "RTP/SAVP" if secure and not best_effort else "RTP/AVP",
        tuple(str(number) for _, number in (*codecs, *events)),
        attributes=(*attributes, *_closing_attributes(local, keys if secure else (), direction)),
    )
    return format_description(_ours(local, session_id, version, _in_place(section, last)))


def negotiate_answer(
    offer: bytes | SessionDescription,
    local: LocalMedia,
    *,
    key_for: Callable[[str], bytes],
    session_id: int,
    version: int,
    direction: Direction = "sendrecv",
) -> tuple[bytes, Agreement]:
    """Our answer to an offer, and the agreement.

    `key_for` returns our sending key for a suite, if one is needed. `direction` is what we want; the answer allows no more than the offer
    (RFC 3264 §6.1). Raises ParseError for a malformed offer, NegotiationError (488) if nothing in it is acceptable.
    """
    theirs = parse_description(offer) if isinstance(offer, bytes) else offer
    index, (codec, payload_type) = _choose_section(theirs, local)
    section = theirs.media[index]
    remote_ip, remote_host = _remote_address(theirs, section, local.peer)
    _require_family(remote_ip, local)
    crypto = _answer_crypto(section, local, key_for)
    maps = offered_maps(section)
    event = find_event(maps, codec.clock_hz)
    peer_sends, peer_takes, on_hold = _peer_flows(theirs, section, remote_ip)
    ours = _direction_of(direction in _SENDING and peer_takes, direction in _RECEIVING and peer_sends)
    keys = () if crypto is None else (CryptoKey(crypto.tag, crypto.suite, crypto.send_key),)
    is_muxed = local.rtcp_mux and section.get("rtcp-mux") is not None
    attributes = describe_codec(codec, payload_type) + ([] if event is None else describe_event(event.payload_type, event.clock_hz))
    answered = MediaDescription(
        "audio",
        local.port,
        section.protocol,
        (str(payload_type), *(() if event is None else (str(event.payload_type),))),
        attributes=(*attributes, *([Attribute("rtcp-mux")] if is_muxed else []), *_closing_attributes(local, keys, ours)),
    )
    sections = tuple(answered if at == index else _refused(other) for at, other in enumerate(theirs.media))
    agreement = Agreement(
        codec=codec.name,
        clock_hz=codec.clock_hz,
        send_payload_type=payload_type,
        receive_payload_type=payload_type,
        send_event_type=None if event is None else event.payload_type,
        receive_event_type=None if event is None else event.payload_type,
        event_clock_hz=codec.clock_hz if event is None else event.clock_hz,
        remote_ip=remote_ip,
        remote_port=section.port,
        remote_rtcp=(remote_ip, section.port) if is_muxed else _remote_rtcp(section, remote_ip, local.peer),
        send=ours in _SENDING,
        receive=ours in _RECEIVING,
        on_hold=on_hold,
        ptime_ms=_wanted_ptime(section),
        crypto=crypto,
        formats=_agreed_first(receivable_formats(maps, local.codecs), payload_type),
        send_parameters=section.fmtp(payload_type) or "",
        rtcp_mux=is_muxed,
        remote_host=remote_host,
        may_be_silent=_may_be_silent(theirs, section),
        best_effort=crypto is not None and section.protocol in PLAIN_PROTOCOLS,
    )
    return format_description(replace(_ours(local, session_id, version, sections), timing=theirs.timing)), agreement


def is_without_audio(offer: bytes) -> bool:
    """Whether an offer has audio streams and all have port 0: the peer has disabled audio (RFC 3264 §8.2). Raises ParseError."""
    audio = [section for section in parse_description(offer).media if section.media == "audio"]
    return bool(audio) and all(section.port == 0 for section in audio)


def decline_all(offer: bytes, local: LocalMedia, *, session_id: int, version: int) -> bytes:
    """An answer that refuses all offered streams by port 0 (RFC 3264 §6). Raises ParseError."""
    theirs = parse_description(offer)
    sections = tuple(_refused(section) for section in theirs.media)
    return format_description(replace(_ours(local, session_id, version, sections), timing=theirs.timing))


def accept_answer(
    offer: bytes | SessionDescription, answer: bytes | SessionDescription, *, keys: tuple[CryptoKey, ...] = (), peer: str = ""
) -> Agreement:
    """The agreement from the peer's answer to our `offer`. `keys` are those of the offer; `peer` is as in `LocalMedia`.

    Raises ParseError for a malformed answer, NegotiationError for one that refuses the audio or does not match the offer.
    """
    ours = parse_description(offer) if isinstance(offer, bytes) else offer
    theirs = parse_description(answer) if isinstance(answer, bytes) else answer
    offered, section = _answered_pair(ours, theirs)
    our_maps, their_maps = offered_maps(offered), offered_maps(section)
    receive_types = {codec.name: found for codec in CODECS.values() if (found := find_codec(our_maps, codec)) is not None}
    common = first_common_codec(their_maps, tuple(receive_types))
    if common is None:
        raise NegotiationError(f"no codec of our offer in the answer: it has {_codec_names(section)}, we offered {_codec_names(offered)}")
    codec, send_type = common
    remote_ip, remote_host = _remote_address(theirs, section, peer)
    send_event = find_event(their_maps, codec.clock_hz)
    receive_event = find_event(our_maps, codec.clock_hz if send_event is None else send_event.clock_hz)
    peer_sends, peer_takes, held = _peer_flows(theirs, section, remote_ip)
    direction = ours.direction_of(offered)
    crypto = _accepted_crypto(offered, section, keys)
    return Agreement(
        codec=codec.name,
        clock_hz=codec.clock_hz,
        send_payload_type=send_type,
        receive_payload_type=receive_types[codec.name],
        send_event_type=None if send_event is None else send_event.payload_type,
        receive_event_type=None if receive_event is None else receive_event.payload_type,
        event_clock_hz=codec.clock_hz if send_event is None else send_event.clock_hz,
        remote_ip=remote_ip,
        remote_port=section.port,
        remote_rtcp=_remote_rtcp(section, remote_ip, peer),
        send=direction in _SENDING and peer_takes,
        receive=direction in _RECEIVING and peer_sends,
        on_hold=direction in _SENDING and held,
        ptime_ms=_wanted_ptime(section),
        crypto=crypto,
        formats=_agreed_first(receivable_formats((*our_maps, *their_maps), tuple(receive_types)), receive_types[codec.name]),
        send_parameters=section.fmtp(send_type) or "",
        remote_host=remote_host,
        may_be_silent=_may_be_silent(theirs, section),
        best_effort=crypto is not None and section.protocol in PLAIN_PROTOCOLS,
    )


# -- choosing ----------------------------------------------------------------------------------------------------------------------------


def _choose_section(theirs: SessionDescription, local: LocalMedia) -> tuple[int, tuple[Codec, int]]:
    """The audio section to answer, preferring encrypted ones, and its codec."""
    refusals: list[str] = []
    for protocols in (SECURE_PROTOCOLS, PLAIN_PROTOCOLS):
        for index, section in enumerate(theirs.media):
            if section.media != "audio" or section.port == 0 or section.protocol not in protocols:
                continue
            choice = first_common_codec(offered_maps(section), local.codecs)
            if choice is None:
                refusals.append(f"no common codec: offered {_codec_names(section)}, supported {', '.join(local.codecs)}")
            elif protocols is SECURE_PROTOCOLS and first_usable(section.cryptos(), local.suites) is None:
                suites = _some(crypto.suite for crypto in section.cryptos()) or "no usable crypto line"
                refusals.append(f"no common SRTP suite: offered {suites}, supported {', '.join(local.suites)} without MKI")
            elif protocols is PLAIN_PROTOCOLS and local.srtp is SrtpPolicy.REQUIRED:
                refusals.append("encrypted media is required: offered RTP/AVP, supported RTP/SAVP")
            elif protocols is SECURE_PROTOCOLS and local.srtp is SrtpPolicy.OFF:
                refusals.append("encrypted media is switched off: offered RTP/SAVP, supported RTP/AVP")
            else:
                return index, choice
    if refusals:
        raise NegotiationError(_some(refusals, between="; "))
    found = _some(f"{section.media} {section.port} {section.protocol}" for section in theirs.media) or "no media"
    keys = " with SDES, not DTLS" if any("TLS" in section.protocol for section in theirs.media) else ""
    raise NegotiationError(f"no usable audio: offered {found}, supported audio over RTP/AVP or RTP/SAVP{keys}")


def _answered_pair(ours: SessionDescription, theirs: SessionDescription) -> tuple[MediaDescription, MediaDescription]:
    """Our active audio section and the one that answers it, by position (RFC 3264 §6)."""
    index = _live_audio(ours)
    if index is None:
        raise LocalProtocolError("the offer has no live audio section")
    if index >= len(theirs.media) or theirs.media[index].media != "audio":
        raise NegotiationError("the answer has no section for the offered audio")
    offered, section = ours.media[index], theirs.media[index]
    if section.port == 0:
        raise NegotiationError("the answer refuses the offered audio")
    if (section.protocol in SECURE_PROTOCOLS) != (
        offered.protocol in SECURE_PROTOCOLS
    ) or section.protocol not in SECURE_PROTOCOLS + PLAIN_PROTOCOLS:
        raise NegotiationError(f"the answer changes the protocol: offered {offered.protocol}, answered {section.protocol}")
    return offered, section


def _answer_crypto(section: MediaDescription, local: LocalMedia, key_for: Callable[[str], bytes]) -> CryptoAgreement | None:
    is_asked_for = section.protocol in SECURE_PROTOCOLS or (local.best_effort and local.srtp is SrtpPolicy.PREFERRED)
    if not is_asked_for or (chosen := first_usable(section.cryptos(), local.suites)) is None:
        return None
    line, receive_key = chosen
    suite = line.suite.upper()
    return CryptoAgreement(suite, send_key=key_for(suite), receive_key=receive_key, tag=line.tag)


def _accepted_crypto(offered: MediaDescription, section: MediaDescription, keys: tuple[CryptoKey, ...]) -> CryptoAgreement | None:
    """The keys of both sides.

    The answer's crypto line must have tag and suite of one of ours (RFC 4568 §7.1.3); under RTP/AVP it may be absent.
    """
    if section.protocol not in SECURE_PROTOCOLS and not (offered.cryptos() and section.cryptos()):
        return None
    for line in section.cryptos():
        for key in keys:
            if (line.tag, line.suite.upper()) == (key.tag, key.suite) and (receive_key := read_key(line)) is not None:
                return CryptoAgreement(key.suite, send_key=key.key, receive_key=receive_key, tag=key.tag)
    raise NegotiationError("no crypto line in the answer fits one of the offer")


# -- the peer's section ------------------------------------------------------------------------------------------------------------------


def _remote_address(theirs: SessionDescription, section: MediaDescription, peer: str) -> tuple[str, str]:
    """The address in `c=`, or a host name, which is also allowed (RFC 8866 §5.7)."""
    address = theirs.address_of(section)
    if address is None:
        raise ParseError("SDP", expected="c= for the session or the media")
    if not is_ip_address(address) and is_host_name(address):
        return "", address
    refusal = address_refusal(address, peer)
    if refusal:
        raise NegotiationError(refusal)
    return address, ""


def _require_family(address: str, local: LocalMedia) -> None:
    if address and not is_unspecified(address) and (":" in address) != (":" in local.ip):
        raise NegotiationError(f"no common address family: offered {address}, supported {'IPv6' if ':' in local.ip else 'IPv4'}")


def _may_be_silent(theirs: SessionDescription, section: MediaDescription) -> bool:
    """Whether silence suppression is on for the peer's media (RFC 3108 §5.6.3.2)."""
    return (theirs.attribute_of(section, "silencesupp") or "").strip().lower().startswith("on")


def _peer_flows(theirs: SessionDescription, section: MediaDescription, remote_ip: str) -> tuple[bool, bool, bool]:
    """Whether the peer sends, whether it receives, and whether that means hold. With 0.0.0.0 it does not receive (RFC 3264 §8.4)."""
    direction = theirs.direction_of(section)
    takes = direction in _RECEIVING and not is_unspecified(remote_ip)
    return direction in _SENDING, takes, not takes


def _direction_of(sends: bool, receives: bool) -> Direction:
    if sends:
        return "sendrecv" if receives else "sendonly"
    return "recvonly" if receives else "inactive"


def _remote_rtcp(section: MediaDescription, remote_ip: str, peer: str) -> tuple[str, int] | None:
    """`a=rtcp` if it has a usable address (Meta sends 9 at 0.0.0.0), else the RTP port plus one (RFC 3550 §11).

    A host name there counts as the host of RTP, and so does an address to which no media may be sent.
    """
    named = section.rtcp()
    if named is not None and named[0] != 0 and not (named[1] is not None and is_unspecified(named[1])):
        port, address = named
        return (address if address is not None and not address_refusal(address, peer) else remote_ip), port
    return (remote_ip, section.port + 1) if section.port < 65_535 else None


def _wanted_ptime(section: MediaDescription) -> int:
    """The packet duration that the peer wants (RFC 8866 §6.4), limited to what we can send."""
    wanted = section.milliseconds("ptime") or DEFAULT_PTIME_MS
    longest = section.milliseconds("maxptime") or LONGEST_PTIME_MS
    return max(SHORTEST_PTIME_MS, min(wanted, longest, LONGEST_PTIME_MS))


def _agreed_first(formats: tuple[Format, ...], payload_type: int) -> tuple[Format, ...]:
    return tuple(sorted(formats, key=lambda item: item.payload_type != payload_type))


def _codec_names(section: MediaDescription) -> str:
    return _some(f"{rtpmap.name}/{rtpmap.clock_hz}" for rtpmap in offered_maps(section)) or "none that is known"


def _some(found: Iterable[str], between: str = ", ") -> str:
    """The first few distinct items: a description may have thousands, and a refusal must fit into one packet."""
    different = list(dict.fromkeys(found))
    more = [f"{len(different) - MAX_NAMED} more"] if len(different) > MAX_NAMED else []
    return between.join([*different[:MAX_NAMED], *more])


# -- our section -------------------------------------------------------------------------------------------------------------------------


def _ours(local: LocalMedia, session_id: int, version: int, sections: tuple[MediaDescription, ...]) -> SessionDescription:
    return SessionDescription(Origin("-", str(session_id), str(version), local.ip), address=local.ip, media=sections)


def _closing_attributes(local: LocalMedia, keys: tuple[CryptoKey, ...], direction: str) -> list[Attribute]:
    return [Attribute("ptime", str(local.ptime_ms)), *(format_crypto(key) for key in keys), Attribute(direction)]


def _in_place(section: MediaDescription, last: SessionDescription | None) -> tuple[MediaDescription, ...]:
    """The new section at the position of the active audio in our last description; the others are refused."""
    if last is None:
        return (section,)
    index = _live_audio(last)
    if index is None:
        return (*(_refused(other) for other in last.media), section)
    return tuple(section if at == index else _refused(other) for at, other in enumerate(last.media))


def _live_audio(description: SessionDescription) -> int | None:
    return next((at for at, section in enumerate(description.media) if section.media == "audio" and section.port != 0), None)


def _audio_of(description: SessionDescription) -> MediaDescription | None:
    index = _live_audio(description)
    return None if index is None else description.media[index]


def _refused(section: MediaDescription) -> MediaDescription:
    return MediaDescription(section.media, 0, section.protocol, section.formats or ("0",))
