"""How a carrier writes a message: compact names, missing blanks, folded lines, a body whose type it does not name.

Enters: a `Message` with long lower-case names. Leaves: octets. RFC 3261 sections 7.3.1 and 7.3.3.
"""

from __future__ import annotations

from active_call.testing.phone.sip import Message
from active_call.testing.trunk.switches import Switches

_COMPACT = {
    "from": "f",
    "to": "t",
    "call-id": "i",
    "contact": "m",
    "supported": "k",
    "allow-events": "u",
    "content-type": "c",
    "refer-to": "r",
}
_FOLDED = frozenset({"from", "to", "contact", "via", "x-padding", "record-route"})
_NAMES = {"cseq": "CSeq", "call-id": "Call-ID", "p-asserted-identity": "P-Asserted-Identity"}


def encode(message: Message, switches: Switches) -> bytes:
    """The octets of a message, written the way the switches ask for."""
    lines = [message.start]
    n_vias = len(message.all("via"))
    seen_vias = 0
    for name, value in message.headers:
        if name == "content-type" and switches.content_type_missing:
            continue
        seen_vias += name == "via"
        written = "-".join(part.capitalize() for part in name.split("-")) if name not in _NAMES else _NAMES[name]
        blank = " "
        if switches.compact_headers:
            is_last_via = name == "via" and n_vias > 1 and seen_vias == n_vias
            written = "v" if is_last_via else _COMPACT.get(name, written)
            blank = "" if len(written) == 1 or name in ("cseq", "max-forwards", "privacy") else " "
        if switches.folded_headers and name in _FOLDED:
            value = value.replace(" ", "\r\n  ", 1) if " " in value else f"\r\n\t{value}"
        lines.append(f"{written}:{blank}{value}")
    lines += [f"{'l:' if switches.compact_headers else 'Content-Length: '}{len(message.body)}", "", ""]
    return "\r\n".join(lines).encode() + message.body
