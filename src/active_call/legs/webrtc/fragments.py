"""SDP fragments that contain only ICE data (RFC 8840 §9; RFC 9725 §4.3), and how they change an offer. Pure."""

from __future__ import annotations

import re
from typing import Final

from msgspec import Struct

from active_call.base.errors import ParseError
from active_call.legs.webrtc.description import MAX_CANDIDATES

MAX_CHARACTERS: Final = 64 * 1024
_VALUE: Final = re.compile(r"[A-Za-z0-9+/=_-]{4,256}")
_ICE_LINES: Final = ("a=ice-ufrag:", "a=ice-pwd:", "a=candidate:", "a=end-of-candidates", "a=remote-candidates")


class Fragment(Struct, frozen=True):
    """Ufrag and password are empty if the fragment does not contain them."""

    ufrag: str
    password: str
    candidates: tuple[str, ...]


def read_fragment(text: str) -> Fragment:
    """Parse `application/trickle-ice-sdpfrag`. Raises ParseError."""
    if len(text) > MAX_CHARACTERS:
        raise ParseError("SDP fragment", expected=f"at most {MAX_CHARACTERS} characters", found=str(len(text)))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    odd = next((line for line in lines if not re.match(r"[a-z]=", line)), None)
    if odd is not None or not lines:
        raise ParseError("SDP fragment", expected="lines such as a=candidate:…", found=(odd or "")[:80])
    ufrag, password = _first(lines, "a=ice-ufrag:"), _first(lines, "a=ice-pwd:")
    if bool(ufrag) != bool(password) or not all(_VALUE.fullmatch(one) for one in (ufrag, password) if one):
        raise ParseError("SDP fragment", expected="a=ice-ufrag and a=ice-pwd", found=f"{ufrag[:40]!r}, {password[:40]!r}")
    candidates = tuple(line.removeprefix("a=candidate:") for line in lines if line.startswith("a=candidate:"))
    if len(candidates) > MAX_CANDIDATES:
        raise ParseError("SDP fragment", expected=f"at most {MAX_CANDIDATES} candidates", found=str(len(candidates)))
    return Fragment(ufrag, password, candidates)


def _first(lines: list[str], start: str) -> str:
    return next((line.removeprefix(start) for line in lines if line.startswith(start)), "")


def with_ice(offer: str, fragment: Fragment) -> str:
    """`offer` with its ufrag, password and candidates replaced by those of the fragment, in every section."""
    added = [f"a=ice-ufrag:{fragment.ufrag}", f"a=ice-pwd:{fragment.password}"]
    added += [f"a=candidate:{one}" for one in fragment.candidates]
    head, *sections = re.split(r"(?m)^(?=m=)", offer)
    return "".join(
        _without_ice(one) + "".join(f"{line}\r\n" for line in lines) for one, lines in [(head, []), *((each, added) for each in sections)]
    )


def _without_ice(part: str) -> str:
    kept = [line for line in part.splitlines() if line and not line.startswith(_ICE_LINES)]
    return "".join(f"{line}\r\n" for line in kept)


def fragment_of(answer: str) -> str:
    """The fragment for our answer."""
    lines = answer.splitlines()
    group = [line for line in lines if line.startswith("a=group:")]
    media = next((line for line in lines if line.startswith("m=audio")), "m=audio 9 UDP/TLS/RTP/SAVPF 0")
    mid = [line for line in lines if line.startswith("a=mid:")][:1]
    ice = [line for line in lines if line.startswith(_ICE_LINES)]
    return "".join(f"{line}\r\n" for line in (*group, media, *mid, *ice))
