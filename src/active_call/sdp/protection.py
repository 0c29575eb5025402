"""Check whether an offer's encryption meets the trunk's policy (RFC 3264, RFC 4568), before a port is opened for it.

A description and a policy go in, a reason comes out. `negotiation` checks everything else about the description.
"""

from __future__ import annotations

import re

from active_call.base.errors import ParseError
from active_call.sdp.description import parse_description
from active_call.sdp.negotiation import PLAIN_PROTOCOLS, SECURE_PROTOCOLS, SrtpPolicy

_KEY_LINE = re.compile(
    r"(?im)(^|(?<=\r))([ \t]*(?:a[ \t]*=[ \t]*crypto:(?:[ \t]*\d+[ \t]+[A-Z0-9_]+(?=[ \t]))?|a[ \t]*=[ \t]*key-mgmt:|k=))[^\r\n]*"
)


def without_keys(description: str) -> str:
    """`description` for display: suites stay, keys are removed (RFC 4568 `inline:`, RFC 4567, the `k=` line of RFC 4566)."""
    return _KEY_LINE.sub(r"\2 (key left out)", description)


def protection_refusal(offer: bytes, policy: SrtpPolicy | None) -> str:
    """Why the offer is not acceptable under `policy`; empty if it is. The negotiation reports what does not parse."""
    if policy is None or policy is SrtpPolicy.PREFERRED:
        return ""
    try:
        media = parse_description(offer).media
    except ParseError:
        return ""
    protocols = [section.protocol for section in media if section.media == "audio" and section.port != 0]
    offered = ", ".join(dict.fromkeys(protocols))
    if policy is SrtpPolicy.REQUIRED and protocols and not any(protocol in SECURE_PROTOCOLS for protocol in protocols):
        return f"encrypted media is required on this trunk: offered {offered}, supported RTP/SAVP with SDES"
    if policy is SrtpPolicy.OFF and protocols and not any(protocol in PLAIN_PROTOCOLS for protocol in protocols):
        return f"encrypted media is switched off on this trunk: offered {offered}, supported RTP/AVP"
    return ""
