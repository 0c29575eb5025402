"""Whether media may be sent to the address in a description, given the peer's signalling address.

Addresses go in, reasons come out. A description comes from outside. An address that means another host here (loopback, link-local) or many
hosts (multicast, broadcast) would direct our media at a third party. RFC 6890, RFC 8866 §9.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import Final

from active_call.base.addresses import Reach, reach_of
from active_call.sdp.description import is_unspecified

_LABEL: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME: Final = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*\.?\Z")
_LOCAL: Final = {Reach.LOOPBACK: "a loopback", Reach.LINK: "a link-local"}


@lru_cache(maxsize=1024)
def is_ip_address(text: str) -> bool:
    """Whether `text` is an address literal without brackets."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def is_host_name(text: str) -> bool:
    """Whether `text` may be a host name (RFC 1123, plus underscores, which occur in practice)."""
    return _NAME.match(text) is not None


def address_refusal(address: str, peer: str) -> str:
    """Why no media may be sent to `address`, named by a peer that signals from `peer` (empty: unknown). Empty if it may.

    The unspecified address means hold: no media is sent to it.
    """
    if not is_ip_address(address):
        return f"no media to {address}: not an IP address"
    if is_unspecified(address):
        return ""
    reach, peer_reach = reach_of(address), reach_of(peer)
    if reach is Reach.NOWHERE:
        return f"no media to {address}: not the address of one host"
    if reach in _LOCAL and peer_reach is not None and peer_reach is not reach:
        return f"no media to {address}: {_LOCAL[reach]} address, and the signalling comes from {peer}"
    return ""


def is_behind_nat(address: str, peer: str) -> bool:
    """Whether a peer with a public signalling address names a private one, which is on its side of a NAT and means another host on ours."""
    return reach_of(peer) is Reach.WORLD and reach_of(address) in (Reach.PRIVATE, Reach.LOOPBACK)


def is_name_behind_nat(name: str, peer: str) -> bool:
    """The same for a name of the peer's own network: without a dot, or below .local (RFC 6762) or .localhost (RFC 6761)."""
    name = name.rstrip(".").lower()
    return reach_of(peer) is Reach.WORLD and ("." not in name or name.endswith((".local", ".localhost")))
