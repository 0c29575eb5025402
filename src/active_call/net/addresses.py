"""Find our address towards a peer. Uses sockets and knows no SIP."""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import socket


@functools.lru_cache(maxsize=4096)
def local_address_towards(remote_ip: str) -> str:
    """The local IP address for packets to `remote_ip`, by the routing table. Nothing is sent.

    Falls back to the loopback address of the same family if there is no route.
    """
    family = socket.AF_INET6 if ":" in remote_ip else socket.AF_INET
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((remote_ip, 9))
        return str(probe.getsockname()[0])
    return "::1" if family == socket.AF_INET6 else "127.0.0.1"


def is_wildcard(host: str) -> bool:
    """Whether `host` is a wildcard: `0.0.0.0`, `::` or empty."""
    return host in ("", "0.0.0.0", "::")


@functools.lru_cache(maxsize=1024)
def is_ip(host: str) -> bool:
    """Whether `host` is an IP address literal and not a name."""
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True
