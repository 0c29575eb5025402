"""Offers of browsers and our answers to them (RFC 8829, RFC 8839, RFC 8842), based on the offer/answer of `sdp.negotiation`. Pure.

A browser's audio section is processed like one of plain RTP: codecs, payload types and directions are negotiated as in SIP. The additions
of WebRTC (ICE, certificate fingerprint, BUNDLE) are read from the offer and added to the answer. Sections other than audio are refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from active_call.base.errors import ParseError
from active_call.sdp.description import Attribute, MediaDescription, SessionDescription, format_description, parse_description
from active_call.sdp.negotiation import Agreement, LocalMedia, NegotiationError, SrtpPolicy, negotiate_answer

PROTOCOLS: Final = ("UDP/TLS/RTP/SAVPF", "UDP/TLS/RTP/SAVP", "RTP/SAVPF", "RTP/SAVP")
"""Protocols of browsers and of older clients (RFC 8829 §5.1.2)."""
LOOPBACK: Final = "127.0.0.1"
MAX_CANDIDATES: Final = 64
"""Maximum number of candidates per offer. A browser on a machine with many addresses has a dozen."""
_FINGERPRINT: Final = re.compile(r"(?i)(sha-(?:1|224|256|384|512))\s+([0-9a-f]{2}(?::[0-9a-f]{2})+)")
_ICE: Final = re.compile(r"[A-Za-z0-9+/=_-]{4,256}")


class BrowserOffer(Struct, frozen=True):
    """The parts of an offer beyond the audio. `fingerprints`: (hash, value in upper case); one must match the certificate."""

    description: SessionDescription
    audio: int
    """The index of the audio section."""
    ufrag: str
    password: str
    fingerprints: tuple[tuple[str, str], ...]
    setup: str
    candidates: tuple[str, ...]
    """Values of `a=candidate`, without the attribute name."""
    is_lite: bool
    mid: str
    """The identification of the audio section (RFC 5888); empty if it has none."""

    @property
    def we_are_client(self) -> bool:
        """Whether we start the DTLS handshake (RFC 8842 §5.3: the answerer does, unless the offerer insists on it)."""
        return self.setup != "active"


class Ours(Struct, frozen=True):
    """The parts of our answer beyond the audio."""

    ufrag: str
    password: str
    fingerprint: str
    """SHA-256 fingerprint of our certificate."""
    candidates: Sequence[str]
    is_lite: bool = False


def read_offer(offer: str) -> BrowserOffer:
    """Parse a browser's offer. Raises ParseError, or NegotiationError (488) if it has no usable audio, no ICE or no fingerprint."""
    theirs = parse_description(offer.encode("utf-8", "replace"))
    index = next((at for at, one in enumerate(theirs.media) if _is_live_audio(one)), None)
    if index is None:
        raise NegotiationError("the offer has no audio")
    section = theirs.media[index]
    if section.protocol.upper() not in PROTOCOLS:
        raise NegotiationError(f"the audio section has protocol {section.protocol}; expected {PROTOCOLS[0]}")
    fingerprints = tuple(
        (match[1].lower(), match[2].upper())
        for one in (*section.attributes, *theirs.attributes)
        if one.name == "fingerprint" and (match := _FINGERPRINT.fullmatch((one.value or "").strip()))
    )
    if not fingerprints:
        raise NegotiationError("the offer has no usable a=fingerprint")
    candidates = tuple(section.get_all("candidate"))
    if len(candidates) > MAX_CANDIDATES:
        raise NegotiationError(f"the offer has {len(candidates)} candidates; expected at most {MAX_CANDIDATES}")
    return BrowserOffer(
        description=theirs,
        audio=index,
        ufrag=_ice_value(theirs, section, "ice-ufrag"),
        password=_ice_value(theirs, section, "ice-pwd"),
        fingerprints=fingerprints,
        setup=theirs.attribute_of(section, "setup") or "actpass",
        candidates=candidates,
        is_lite=any(one.name == "ice-lite" for one in theirs.attributes),
        mid=section.get("mid") or "",
    )


def _is_live_audio(section: MediaDescription) -> bool:
    return section.media == "audio" and (section.port > 0 or section.get("bundle-only") is not None)


def _ice_value(theirs: SessionDescription, section: MediaDescription, name: str) -> str:
    value = theirs.attribute_of(section, name) or ""
    if not _ICE.fullmatch(value):
        raise NegotiationError(f"the offer has no usable a={name}")
    return value


def build_answer(
    offer: BrowserOffer, ours: Ours, codecs: tuple[str, ...], port: int, *, session_id: int, version: int = 1
) -> tuple[str, Agreement]:
    """Our answer and the resulting audio agreement. The media passes between us and the browser's transport at `port` on the loopback.

    `version`: incremented with every answer of a session. Raises NegotiationError (488) if no codec matches.
    """
    theirs = offer.description
    plain = tuple(_as_plain(one, port) if at == offer.audio else replace(one, port=0) for at, one in enumerate(theirs.media))
    local = LocalMedia(LOOPBACK, port, codecs, srtp=SrtpPolicy.OFF, rtcp_mux=True)
    data, agreement = negotiate_answer(
        replace(theirs, media=plain, address=LOOPBACK), local, key_for=_no_key, session_id=session_id, version=version
    )
    answer = parse_description(data)
    sections = tuple(
        _as_answered(one, offer, ours) if at == offer.audio else _as_refused(one, theirs.media[at]) for at, one in enumerate(answer.media)
    )
    head = [Attribute("msid-semantic", " WMS active-call")]
    if offer.mid and any(one.name == "group" and (one.value or "").startswith("BUNDLE") for one in theirs.attributes):  # RFC 8843 §7.3
        head.insert(0, Attribute("group", f"BUNDLE {offer.mid}"))
    if ours.is_lite:
        head.append(Attribute("ice-lite"))
    return format_description(replace(answer, address=None, attributes=(*answer.attributes, *head), media=sections)).decode(), agreement


def answered_codec(offer: BrowserOffer, codecs: tuple[str, ...]) -> str:
    """The codec that `build_answer` agrees on; empty if none matches."""
    nothing = Ours(ufrag="", password="", fingerprint="", candidates=())
    try:
        return build_answer(offer, nothing, codecs, 9, session_id=0)[1].codec
    except NegotiationError:
        return ""


def _as_plain(section: MediaDescription, port: int) -> MediaDescription:
    """The section as plain RTP to the loopback, where the browser's transport is."""
    left_out = {"rtcp", "crypto", "candidate", "fingerprint"}
    kept = tuple(one for one in section.attributes if one.name not in left_out)
    return replace(section, protocol="RTP/AVP", port=port, address=LOOPBACK, attributes=kept)


def _as_answered(section: MediaDescription, offer: BrowserOffer, ours: Ours) -> MediaDescription:
    added = [
        *_mid(offer.description.media[offer.audio]),
        Attribute("msid", "active-call audio"),
        Attribute("ice-ufrag", ours.ufrag),
        Attribute("ice-pwd", ours.password),
        Attribute("fingerprint", f"sha-256 {ours.fingerprint}"),
        Attribute("setup", "active" if offer.we_are_client else "passive"),
        *(Attribute("candidate", one) for one in ours.candidates),
        Attribute("end-of-candidates"),
    ]
    protocol = offer.description.media[offer.audio].protocol
    return replace(section, port=9, protocol=protocol, address="0.0.0.0", attributes=(*section.attributes, *added))


def _as_refused(section: MediaDescription, theirs: MediaDescription) -> MediaDescription:
    return replace(section, protocol=theirs.protocol, attributes=(*section.attributes, *_mid(theirs)))


def _mid(theirs: MediaDescription) -> list[Attribute]:
    return [Attribute("mid", theirs.get("mid"))] if theirs.get("mid") else []


def _no_key(suite: str) -> bytes:
    raise ParseError("SDP", expected="no a=crypto", found=suite)
