"""Headers that identify the hops of a carrier: Via, Record-Route, Contact, From, and the headers of its own.

Enters: the trunk's switches and edge. Leaves: header values. RFC 3261 sections 16.6, 20; RFC 3323, 3325, 5806, 8224.
"""

from __future__ import annotations

import secrets

from active_call.testing.trunk.ports import CarrierPort
from active_call.testing.trunk.switches import Switches


def vias(trunk: CarrierPort, branch: str = "") -> list[str]:
    """The Via of the edge, and behind it those of the inner hops."""
    switches, branch = trunk.switches, branch or f"z9hG4bK{secrets.token_hex(8)}"
    transport = switches.transport.upper()
    if switches.n_hops == 0:
        return [f"SIP/2.0/{transport} {trunk.edge};rport;branch={branch}"]
    inner = [f"SIP/2.0/UDP {switches.contact_host.strip('+')}:5060;rport=5060;branch={branch}_inner_1-2"]
    if switches.n_hops == 2:
        inner = ["SIP/2.0/UDP 10.255.0.2;branch=" + branch + ".0", "SIP/2.0/UDP 10.231.83.184:6050;received=10.231.83.184;branch=" + branch]
    return [f"SIP/2.0/{transport} {trunk.edge};branch={branch}", *inner]


def record_routes(trunk: CarrierPort) -> list[str]:
    """Record-Route of our requests, the edge first; double where the edge changes the transport (RFC 5658)."""
    switches, transport = trunk.switches, trunk.switches.transport
    if switches.n_hops == 0:
        return []
    if switches.n_hops == 2:
        tag = f"ftag={secrets.token_hex(4)}"
        return [
            f"<sip:{trunk.edge};transport={transport};r2=on;lr;{tag}>",
            f"<sip:10.255.0.2;r2=on;lr;{tag}>",
            f"<sip:10.231.83.184:6050;lr;tnx={secrets.token_hex(6)}>",
        ]
    if transport == "udp":
        return [f"<sip:{trunk.edge};lr>"]
    return [f"<sip:{trunk.edge};transport={transport};r2=on;lr>", f"<sip:{trunk.ip};r2=on;lr>"]


def contact(trunk: CarrierPort, user: str) -> str:
    """The URI of our Contact."""
    switches = trunk.switches
    user = switches.contact_user or user
    who = f"{user}@" if user else ""
    if switches.encoded_contact:
        return f"sip:telnyx*{user}**10.239.45.224*5070*udp@telnyx.com"
    if not switches.gateway_contact:
        return f"sip:{who}{trunk.edge};transport={switches.transport}"
    return f"sip:{who}{switches.contact_host}:5060;transport=udp"


def caller(trunk: CarrierPort, number: str) -> str:
    """The From value, tag included."""
    switches = trunk.switches
    tag = f"{secrets.randbelow(10**8):08d}_{secrets.token_hex(4)}_{secrets.token_hex(8)}"
    if switches.anonymous:
        return f'"Anonymous" <sip:anonymous@anonymous.invalid>;tag={tag}'
    uri = f"sip:{number}@{switches.from_host or trunk.edge}"
    if switches.from_without_brackets:
        return f"{uri};tag={tag}"
    name = f'"{switches.display_name}" ' if switches.display_name else ""
    if switches.compact_headers:
        name = f'"{switches.display_name or number}"'
    return f"{name}<{uri}>;tag={tag}"


def carrier_headers(switches: Switches, number: str, dialled: str) -> list[tuple[str, str]]:
    """Headers that the carrier adds to an INVITE."""
    found: list[tuple[str, str]] = []
    name = f'"{switches.display_name}" ' if switches.display_name else ""
    if switches.carrier_headers == "twilio":
        found += [
            ("p-asserted-identity", f"{name}<sip:{number}@203.0.113.7:5060>"),
            ("diversion", f"<sip:{dialled}@twilio.com>;reason=unconditional"),
            ("x-twilio-accountsid", f"AC{secrets.token_hex(16)}"),
            ("x-twilio-callsid", f"CA{secrets.token_hex(16)}"),
        ]
    elif switches.carrier_headers == "telnyx":
        found += [
            ("p-asserted-identity", f"<sip:{number}@sip.telnyx.com;verstat=TN-Validation-Passed-C>"),
            ("privacy", "none"),
            ("x-telnyx-session-id", secrets.token_hex(16)),
            ("x-telnyx-leg-id", secrets.token_hex(16)),
            ("allow-events", "talk,hold,conference,refer"),
        ]
    if switches.anonymous:
        found.append(("privacy", "id"))
    if switches.identity_bytes:
        token = secrets.token_urlsafe(switches.identity_bytes)[: switches.identity_bytes]
        found.append(("identity", f"{token};info=<https://cert.example.com/one.pem>;alg=ES256;ppt=shaken"))
        found.append(("x-twilio-verstat", "TN-Validation-Passed-A"))
    if switches.call_token_bytes:
        found.append(("x-twilio-calltoken", secrets.token_urlsafe(switches.call_token_bytes)[: switches.call_token_bytes]))
    n_left = switches.padding_bytes
    while n_left > 0:
        found.append(("x-padding", secrets.token_hex(min(n_left, 2000) // 2)))
        n_left -= 2000
    return found
