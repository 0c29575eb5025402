"""The trust of a playbook file: the hosts that its author named, and the folder of the file."""

from __future__ import annotations

from pathlib import Path

import msgspec

from active_call.agent.playbook.scenes import Playbook
from active_call.base.trust import Place, Trust, urls_of_values
from active_call.net.outgoing import places_of


def trust_of(playbook: Playbook, folder: Path | None = None) -> Trust:
    """The trust for calls of a `playbook` written by the operator; `folder` is where its file is."""
    sources = [file for scene in playbook.scenes for file in scene.play]
    options = [msgspec.to_builtins(playbook.option), msgspec.to_builtins(playbook.llm), sources]
    hosts = places_of([*urls_of_values(options), *playbook.urls]) | listed_places(playbook.http.allow)
    return Trust(hosts, frozenset() if folder is None else frozenset({folder}))


def listed_places(names: list[str]) -> frozenset[Place]:
    """Those entries of `http.allow` that name a host with a port."""
    places = set()
    for name in names:
        host, colon, port = name.strip().lower().rpartition(":")
        if colon and port.isascii() and port.isdigit():
            places.add((host.strip("[]"), int(port)))
    return frozenset(places)
