"""What each carrier's media-stream protocol says, read from the data files `profiles/NAME.toml`. Frozen values leave.

`paths` say where a value stands in a message: keys joined by dots, the first path that leads to something wins; an empty path is the whole
message. The messages of `send` are objects in which `$stream`, `$payload`, `$mark`, `$encoding` and `$rate` stand for values of the call.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any, Final

NAMES: Final = ("twilio", "telnyx", "plivo", "vonage", "exotel")


@dataclass(frozen=True, slots=True)
class AnswerProfile:
    """The document with which a carrier's answer URL is told to open the stream. Values go where `values_in` says."""

    media_type: str
    template: str
    values_in: str
    """`parameters`: elements inside the document; `query`: the WebSocket's URL; `json`: an object."""
    parameter: str = ""
    """One element, for `parameters`."""
    caller: str = "From"
    callee: str = "To"
    """How the carrier's request names the two numbers."""


@dataclass(frozen=True, slots=True)
class StreamProfile:
    """One carrier's protocol."""

    name: str
    title: str
    encoding: str
    """What is assumed where the carrier does not say."""
    rate_hz: int
    events: Mapping[str, str]
    """The carrier's names of `start`, `media`, `digit`, `played` (a mark comes back) and `stop`."""
    paths: Mapping[str, tuple[str, ...]]
    send: Mapping[str, Mapping[str, Any]]
    answer: AnswerProfile
    is_binary: bool = False
    """Sound goes as binary messages, both ways."""
    is_ordered: bool = True
    """Media messages come in their order."""
    min_piece_bytes: int = 0
    """Sound goes in pieces of at least so many bytes, before base64."""
    signature_header: str = ""
    """The carrier signs its requests with our secret, in this header."""
    token_header: str = ""
    """A token of ours may come in this header of the handshake."""
    has_basic_authentication: bool = False
    """A token of ours may come as the password of the URL."""
    kinds: Mapping[str, str] = field(default_factory=dict)
    """From the carrier's name of an event to ours."""


@cache
def stream_profile(name: str) -> StreamProfile | None:
    """The profile of that name; None if there is none."""
    if name not in NAMES:
        return None
    text = resources.files(__package__).joinpath("profiles", f"{name}.toml").read_text("utf-8")
    read = tomllib.loads(text)
    paths = {key: tuple(value) for key, value in read.pop("paths").items()}
    events, answer = read.pop("events"), AnswerProfile(**read.pop("answer"))
    kinds = {theirs: ours for ours, theirs in events.items()}
    return StreamProfile(name=name, events=events, paths=paths, answer=answer, kinds=kinds, **read)
