"""Reads IP address literals: the address, the key that limits count by, its reach (RFC 1918, 4193, 4291, 6598, 6890).

Literals enter; addresses, keys and a `Reach` leave. Knows no names and no sockets. For a sender's address use `parse_address`, which
unmaps IPv4-mapped addresses only. For a destination also use `embedded_ipv4`, which knows the other forms.
"""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

IpAddress = IPv4Address | IPv6Address


class Reach(IntEnum):
    """In rising order. A peer can send to addresses of its own reach or a wider one."""

    NOWHERE = 0
    """Unspecified, multicast, broadcast, reserved: not the address of a single host."""
    LOOPBACK = 1
    LINK = 2
    PRIVATE = 3
    WORLD = 4


_RANGES: Final = tuple(
    (ip_network(text), reach)
    for reach, texts in (
        (Reach.NOWHERE, ("0.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4", "::/128", "ff00::/8", "100::/64")),
        (Reach.LOOPBACK, ("127.0.0.0/8", "::1/128")),
        (Reach.LINK, ("169.254.0.0/16", "fe80::/10")),
        (Reach.PRIVATE, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7", "fec0::/10")),
    )
    for text in texts
)
_NAT64: Final = ip_network("64:ff9b::/96")
_COMPATIBLE: Final = ip_network("::/96")


@lru_cache(maxsize=1024)
def parse_address(text: str) -> IpAddress | None:
    """An address literal, with or without brackets or a zone; IPv4 mapped into IPv6 as IPv4. None for anything else."""
    try:
        address = ip_address(text.strip("[]").partition("%")[0])
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


@lru_cache(maxsize=4096)
def address_key(host: str) -> str:
    """The key that limits count an address by: an IPv4 address itself, the /64 of an IPv6 address."""
    address = parse_address(host)
    if isinstance(address, IPv6Address):
        return str(IPv6Network((int(address) >> 64 << 64, 64)))
    return host if address is None else str(address)


def embedded_ipv4(address: IpAddress) -> IPv4Address | None:
    """The IPv4 address to which packets for an IPv6 address go: mapped, compatible, NAT64, 6to4. None if there is none."""
    if isinstance(address, IPv4Address):
        return None
    if embedded := address.ipv4_mapped or address.sixtofour:
        return embedded
    is_compatible = address in _COMPATIBLE and int(address) > 0xFFFF
    return IPv4Address(int(address) & 0xFFFF_FFFF) if address in _NAT64 or is_compatible else None


@lru_cache(maxsize=4096)
def reach_of(host: str) -> Reach | None:
    """The reach of an address literal, with or without brackets; None for a name."""
    address = parse_address(host)
    if address is None:
        return None
    address = embedded_ipv4(address) or address
    return next((reach for network, reach in _RANGES if address in network), Reach.WORLD)
