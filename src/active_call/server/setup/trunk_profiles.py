"""The carriers' profiles: what is published of each, shipped as data files `profiles/NAME.toml`.

In: a name. Out: a frozen `Profile`. Raises ValueError for a name that nobody has shipped, naming the nearest. `TrunkKeys` are the keys that
a profile and a `[[trunks]]` entry have in common; what an entry says wins.
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
    """What a profile says of a carrier, and an entry of `[[trunks]]` may say otherwise. None: nothing is known, or wanted."""

    allow: tuple[Cidr, ...] = ()
    """Source ranges of the carrier's signalling. Once any trunk has some, whoever is outside every list is a stranger."""
    domains: tuple[NonEmpty, ...] = ()
    """Hosts of callees and registrars that are the carrier's; `*` stands for any part of a name."""
    realms: tuple[NonEmpty, ...] = ()
    """Digest realms of the carrier, answered whatever `realm` says."""
    register_: Flag | None = Field(default=None, alias="register")
    """Whether REGISTER makes sense there; false keeps `[[sip_registrations]]` of that host from registering unless they say so."""
    transport: SipTransport | None = None
    """Transport of outbound calls whose address names none."""
    srtp: SrtpChoice | None = None
    """`required`: no call without SRTP. `preferred`: both are taken, SRTP is offered, plain RTP after a 488. `off`: no SRTP. None: both are
    taken, `enable_srtp` decides about offers. The call's own `sip.enableSrtp` wins over it for outbound calls."""
    srtp_best_effort: Flag | None = None
    """With `srtp = "preferred"`: whether an offer with RTP/AVP and `a=crypto` lines, which leaves the choice to us, is answered with SRTP;
    None: it is. False: it is answered with plain RTP, for peers that offer keys and cannot use them."""
    codecs: CodecNames | None = None
    """Offered and taken on this trunk instead of the general `codecs`."""
    session_timers: Flag | None = None
    """False: outbound calls do not ask for a session timer (RFC 4028)."""
    prack: Flag | None = None
    """False: outbound calls do not offer reliable provisional responses (RFC 3262)."""
    early_media: Flag | None = None
    """The carrier sends sound before the answer. For information."""
    number_format: NumberFormat | None = None
    """How numbers are written on the trunk: `+e164`, `e164` (without +), `national`, `as_given`."""
    country_code: Annotated[str, Field(pattern=r"^[1-9][0-9]{0,2}$")] | None = None
    """Country calling code for `national` numbers, without +."""
    contact_host: HostPort | None = None
    """`host[:port]` that Contact names on this trunk, both ways, for carriers that know us by name only."""
    large_requests: Literal["tcp", "udp"] | None = None
    """How requests beyond 1300 bytes go where the transport is UDP. None: by UDP where `transport` or the address names it, else by TCP
    (RFC 3261 §18.1.1), and by UDP for ten minutes where TCP has failed."""
    outbound_cps: Annotated[Number, Field(gt=0)] | None = None
    """New calls a second that the carrier takes from us; more of them wait."""
    options_interval: Annotated[Number, BeforeValidator(lambda value: in_unit(value, "s")), Field(ge=0)] | None = None
    """Seconds between OPTIONS to `server`, by which the trunk is watched; 0 or None sends none."""


class Profile(TrunkKeys):
    """A carrier as published."""

    title: NonEmpty
    """Its name for people."""
    media: tuple[Cidr, ...] = ()
    """Ranges its media come from. For information, and for firewalls."""
    options_min_interval: Annotated[Number, Field(gt=0)] | None = None
    """OPTIONS more often than this are held against us, in seconds."""
    notes: tuple[NonEmpty, ...] = ()
    """What an operator should know."""


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
