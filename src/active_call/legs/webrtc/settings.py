"""What the configuration says of calls with browsers. Imports nothing of ICE and DTLS, which are loaded for the first such call."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

CODECS: Final = ("opus", "g722", "pcmu", "pcma")
"""What is agreed on with browsers, as far as the configuration allows it."""


@dataclass(frozen=True, slots=True)
class IceSettings:
    """What all calls of this server use. `public_ip`: an address that is ours behind a one-to-one NAT; empty if there is none."""

    stun: tuple[str, int] | None = None
    turn: tuple[str, int] | None = None
    turn_username: str | None = None
    turn_password: str | None = None
    turn_tls: bool = False
    """Over TCP, always (RFC 7065 `turns:`)."""
    turn_transport: str = "udp"
    """How we reach the TURN server: `udp` or `tcp`."""
    public_ip: str = ""
    is_lite: bool = False
    """Tell browsers that the checks are theirs to make (RFC 8445, section 2.5), and no candidates but our own addresses."""


@dataclass(frozen=True, slots=True)
class BrowserSettings:
    """What all calls with browsers of this server use."""

    ice: IceSettings = field(default_factory=IceSettings)
    codecs: tuple[str, ...] = CODECS
