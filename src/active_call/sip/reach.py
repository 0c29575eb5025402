"""How far an IP address reaches: one machine, one link, a private network, the world (RFC 1918, 4193, 4291, 6598, 6890).

Address literals enter, a `Reach` leaves. Knows no names, no sockets. An IPv6 address that carries an IPv4 address counts as that one.
"""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network


class Reach(IntEnum):
    """In rising order: whoever is seen at one reach can be sent to an equal or a wider one."""

    NOWHERE = 0
    """Unspecified, multicast, broadcast, reserved: no request can go there."""
    LOOPBACK = 1
    LINK = 2
    PRIVATE = 3
    WORLD = 4


_RANGES = tuple(
    (ip_network(text), reach)
    for reach, texts in (
        (Reach.NOWHERE, ("0.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4", "::/128", "ff00::/8", "100::/64")),
        (Reach.LOOPBACK, ("127.0.0.0/8", "::1/128")),
        (Reach.LINK, ("169.254.0.0/16", "fe80::/10")),
        (Reach.PRIVATE, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7", "fec0::/10")),
    )
    for text in texts
)
_NAT64 = ip_network("64:ff9b::/96")
_COMPATIBLE = ip_network("::/96")


@lru_cache(maxsize=4096)
def reach_of(host: str) -> Reach | None:
    """The reach of an address literal, in brackets or not; None for a name."""
    try:
        address = ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return None
    address = _inner(address)
    return next((reach for network, reach in _RANGES if network.version == address.version and address in network), Reach.WORLD)


def _inner(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address that an IPv6 one stands for (mapped, compatible, NAT64, 6to4); else the address itself."""
    if isinstance(address, IPv4Address):
        return address
    embedded = address.ipv4_mapped or address.sixtofour
    if embedded is not None:
        return embedded
    is_compatible = address in _COMPATIBLE and int(address) > 0xFFFF
    return IPv4Address(int(address) & 0xFFFF_FFFF) if address in _NAT64 or is_compatible else address
