"""The carriers' profiles: their published facts, shipped as data files `profiles/NAME.toml`.

A name enters; a frozen `Profile` leaves. Raises ValueError for an unknown name, with the nearest one. `TrunkKeys` are the keys that
a profile and a `[[trunks]]` entry share; the entry overrides the profile.
"""

from __future__ import annotations

import difflib
import tomllib
from functools import lru_cache
from importlib import resources
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from active_call.contract.durations import in_unit
from active_call.server.config.values import Cidr, CodecNames, Flag, HostPort, NonEmpty, Number, Section, SipTransport

NumberFormat = Literal["as_given", "+e164", "e164", "national"]
SrtpChoice = Literal["required", "preferred", "off"]


class TrunkKeys(Section):
    """The facts of a carrier in a profile, which an entry of `[[trunks]]` may override. None: unknown, or unset."""

    allow: tuple[Cidr, ...] = ()
    """Source ranges of the carrier's signalling. Once any trunk has ranges, sources outside all lists are unknown."""
    domains: tuple[NonEmpty, ...] = ()
    """Hosts of callees and registrars that belong to the carrier; `*` matches any part of a name."""
    realms: tuple[NonEmpty, ...] = ()
    """Digest realms of the carrier, answered whatever `realm` says."""
    register_: Flag | None = Field(default=None, alias="register")
    """Whether the carrier accepts REGISTER; false keeps `[[sip_registrations]]` of that host from registering unless they set it."""
    transport: SipTransport | None = None
    """Transport of outbound calls whose address names none."""
    srtp: SrtpChoice | None = None
    """`required`: no call without SRTP. `preferred`: both are accepted, SRTP is offered, plain RTP after a 488. `off`: no SRTP. None: both
    are accepted, and `enable_srtp` decides about offers. For outbound calls the call's own `sip.enableSrtp` overrides it.
    """
    srtp_best_effort: Flag | None = None
    """With `srtp = "preferred"`: whether an offer with RTP/AVP and `a=crypto` lines, which leaves the choice to us, is answered with SRTP;
    None: it is. False: it is answered with plain RTP, for peers that offer keys and cannot use them."""
    codecs: CodecNames | None = None
    """Offered and accepted on this trunk instead of the general `codecs`."""
    session_timers: Flag | None = None
    """False: outbound calls do not request a session timer (RFC 4028)."""
    prack: Flag | None = None
    """False: outbound calls do not offer reliable provisional responses (RFC 3262)."""
    early_media: Flag | None = None
    """The carrier sends early media. For information."""
    number_format: NumberFormat | None = None
    """The number format of the trunk: `+e164`, `e164` (without +), `national`, `as_given`."""
    country_code: Annotated[str, Field(pattern=r"^[1-9][0-9]{0,2}$")] | None = None
    """Country calling code for `national` numbers, without +."""
    contact_host: HostPort | None = None
    """`host[:port]` for Contact on this trunk, in both directions, for carriers that know us only by name."""
    large_requests: Literal["tcp", "udp"] | None = None
    """How requests over 1300 bytes are sent if the transport is UDP. None: by UDP if `transport` or the address names it, else by TCP
    (RFC 3261 §18.1.1), and by UDP for ten minutes after TCP has failed.
    """
    outbound_cps: Annotated[Number, Field(gt=0)] | None = None
    """New calls a second that the carrier accepts from us; further ones wait."""
    options_interval: Annotated[Number, BeforeValidator(lambda value: in_unit(value, "s")), Field(ge=0)] | None = None
    """Seconds between OPTIONS to `server`, which monitor the trunk; 0 or None sends none."""


class Profile(TrunkKeys):
    """The published facts of a carrier."""

    title: NonEmpty
    """Its display name."""
    media: tuple[Cidr, ...] = ()
    """Ranges of its media. For information, and for firewalls."""
    options_min_interval: Annotated[Number, Field(gt=0)] | None = None
    """The shortest interval of OPTIONS that the carrier tolerates, in seconds."""
    notes: tuple[NonEmpty, ...] = ()
    """Notes for the operator."""


def profile_names() -> list[str]:
    """The names of the shipped profiles, sorted."""
    folder = resources.files("active_call.server") / "profiles"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


@lru_cache(maxsize=64)
def load_profile(name: str) -> Profile:
    """The profile of that name. Raises ValueError."""
    known = profile_names()
    if name not in known:
        close = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.5)
        nearest = f"did you mean {close[0]!r}? Known" if close else "known"
        raise ValueError(f"there is no profile {name!r}; {nearest}: {', '.join(known)}")
    text = (resources.files("active_call.server") / "profiles" / f"{name}.toml").read_text(encoding="utf-8")
    return Profile.model_validate(tomllib.loads(text))
