"""The configuration of calls with browsers. Imports no ICE and DTLS code, which is loaded for the first such call."""

from __future__ import annotations

from typing import Final

from msgspec import Struct, field

CODECS: Final = ("opus", "g722", "pcmu", "pcma")
"""Codecs negotiated with browsers, if the configuration allows them."""


class IceSettings(Struct, frozen=True):
    """The ICE settings of all calls. `public_ip`: our address in front of a one-to-one NAT; empty if there is none."""

    stun: tuple[str, int] | None = None
    turn: tuple[str, int] | None = None
    turn_username: str | None = None
    turn_password: str | None = None
    turn_tls: bool = False
    """TLS to the TURN server, always over TCP (RFC 7065 `turns:`)."""
    turn_transport: str = "udp"
    """The transport to the TURN server: `udp` or `tcp`."""
    public_ip: str = ""
    is_lite: bool = False
    """ICE lite: the browser performs the connectivity checks (RFC 8445 §2.5), and we offer only our own addresses."""


class BrowserSettings(Struct, frozen=True):
    """The settings of all calls with browsers."""

    ice: IceSettings = field(default_factory=IceSettings)
    codecs: tuple[str, ...] = CODECS
