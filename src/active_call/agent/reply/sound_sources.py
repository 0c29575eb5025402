"""Which URLs a model may have played: those of hosts that the author of the playbook named, and whole values of the call's first variables.

A URL is a way out for data (`https://attacker.example/?q=…`), and callers can talk a model into naming one. Files and tones are not checked
here: the call has its own rules for files. The texts of the author are not checked at all, whatever they play.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from active_call.agent.playbook.scenes import Playbook
from active_call.agent.reply.tags import HoldTag, PlayTag, ReferTag, Tag, UnknownTag
from active_call.base.trust import Place, urls_of_values

_PLACE: Final = re.compile(r"(https?)://(?:[^\s@/?#\\]*@)?(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::([0-9]{1,5}))?(?=[/?#]|$)", re.IGNORECASE)
"""Anything else in the place of the host is refused: no two readers of URLs may see different hosts in it."""
_PORTS: Final = {"http": 80, "https": 443}
_OF_CALLERS: Final = frozenset(
    (
        "caller",
        "callee",
        "caller_number",
        "caller_name",
        "callee_number",
        "asserted_number",
        "diversion_number",
        "diversion_reason",
        "verstat",
    )
)
"""Variables whose values come from the caller's headers (`legs.sip.identity`)."""
_URL_BEGINS: Final = ("http://", "https://")


class SoundSources:
    """The sources of one call. `given`: the variables with which it began."""

    def __init__(self, playbook: Playbook, given: Mapping[str, Any]) -> None:
        scenes = [file for scene in playbook.scenes for file in scene.play]
        written = urls_of_values([msgspec.to_builtins(playbook.option), scenes])
        self._places = {place for url in (*written, *playbook.urls) if (place := _place_of(url)) is not None}
        self._hosts: list[str] = []
        for entry in (name.strip().lower() for name in playbook.http.allow):
            place = _place_of(f"http://{entry}") if re.search(r":[0-9]+$", entry) else None
            if place is not None:
                self._places.add(place)
            else:
                self._hosts.append(entry.strip("[]"))
        self._given = {value for name, value in given.items() if isinstance(value, str) and name not in _OF_CALLERS}

    def refusal(self, source: str) -> str:
        """Why a model may not have `source` played, in words for the model; empty if it may."""
        if not source[:8].lower().startswith(_URL_BEGINS) or source in self._given:
            return ""
        place = _place_of(source)
        if place is not None and (place in self._places or self._names(place[0])):
            return ""
        shown = place[0] if place is not None else "this"
        return f"{shown} is not a host that the playbook names; play only what your instructions name"

    def checked(self, tag: Tag) -> tuple[Tag, str]:
        """The tag of a model without a source that it may not use, and the reason; an UnknownTag if nothing is left of it."""
        match tag:
            case PlayTag(file) if reason := self.refusal(file):
                return UnknownTag("play", reason), reason
            case HoldTag(file) if reason := self.refusal(file):
                return replace(tag, file=""), reason
            case ReferTag(options=options) if options is not None and (reason := self.refusal(options.moh or "")):
                return replace(tag, options=replace(options, moh=None)), reason
            case _:
                return tag, ""

    def _names(self, host: str) -> bool:
        return any(name in ("*", host) or (name.startswith("*.") and host.endswith(name[1:])) for name in self._hosts)


def _place_of(url: str) -> Place | None:
    match = _PLACE.match(url)
    if match is None:
        return None
    scheme, literal, name, port = match.groups()
    return (literal or name).lower().rstrip("."), int(port) if port else _PORTS[scheme.lower()]
