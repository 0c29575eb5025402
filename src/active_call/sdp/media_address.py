"""Whether media may go where a description says: by what the address is, and by where the one who signals is.

Addresses enter, reasons leave. A description comes from outside; an address in it that means something else here than there (loopback, link
local) or means everybody (multicast, broadcast) would turn our sound on whoever it hits. Pure. RFC 6890, RFC 8866 section 9.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_LABEL: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME: Final = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*\.?\Z")
_BROADCAST: Final = ipaddress.IPv4Address("255.255.255.255")
_PRIVATE: Final = tuple(
    ipaddress.ip_network(text)
    for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "127.0.0.0/8", "fc00::/7", "fec0::/10", "::1/128")
)
_LINK_LOCAL: Final = tuple(ipaddress.ip_network(text) for text in ("169.254.0.0/16", "fe80::/10"))
_THIS_NETWORK: Final = ipaddress.ip_network("0.0.0.0/8")
_COMPATIBLE: Final = ipaddress.ip_network("::/96")
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")


def is_host_name(text: str) -> bool:
    """Whether `text` could be the name of a host (RFC 1123, underscores as they are met)."""
    return _NAME.match(text) is not None


def parse_ip(text: str) -> IpAddress | None:
    """The address, an IPv4 one also where it is written within IPv6; None for anything else."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return address if address.version == 4 else _inner(address)


def address_refusal(address: str, peer: str) -> str:
    """Why no media goes to the IP `address` that was named by a peer that signals from `peer` (empty: not known); empty when it may.

    The unspecified address means hold, and is no place to send to.
    """
    ip = parse_ip(address)
    if ip is None:
        return f"no media to {address}: not an IP address"
    if ip.is_unspecified:
        return ""
    if ip.is_multicast or ip == _BROADCAST or ip in _THIS_NETWORK or (ip.version == 4 and ip.is_reserved):
        return f"no media to {address}: not the address of one host"
    peer_ip = parse_ip(peer)
    if peer_ip is None:
        return ""
    if ip.is_loopback and not peer_ip.is_loopback:
        return f"no media to {address}: a loopback address, and the signalling comes from {peer}"
    if _is_in(ip, _LINK_LOCAL) and not _is_in(peer_ip, _LINK_LOCAL):
        return f"no media to {address}: a link-local address, and the signalling comes from {peer}"
    return ""


def is_behind_nat(address: str, peer: str) -> bool:
    """Whether a peer that signals from a public address names a private one: that is its own side of a NAT, and something else on ours."""
    ip, peer_ip = parse_ip(address), parse_ip(peer)
    return ip is not None and peer_ip is not None and _is_in(ip, _PRIVATE) and not _is_in(peer_ip, _PRIVATE + _LINK_LOCAL)


def _inner(address: ipaddress.IPv6Address) -> IpAddress:
    """The IPv4 address that an IPv6 one leads to (mapped, compatible, NAT64, 6to4); else the address itself."""
    embedded = address.ipv4_mapped or address.sixtofour
    if embedded is not None:
        return embedded
    is_compatible = address in _COMPATIBLE and int(address) > 0xFFFF
    return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF) if address in _NAT64 or is_compatible else address


def _is_in(ip: IpAddress, networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]) -> bool:
    return any(ip in network for network in networks)
