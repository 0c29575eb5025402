"""The carriers' media-stream protocols, read from the data files `profiles/NAME.toml` into frozen values.

`paths` locate a value in a message: keys joined by dots; the first path that exists is used; an empty path is the whole message. The
messages of `send` are objects in which `$stream`, `$payload`, `$mark`, `$encoding` and `$rate` are replaced by values of the call.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any, Final

from msgspec import Struct, field

_PLAIN_PATHS: Final = {"payload": ("media.payload",), "track": ("media.track",), "chunk": ("media.chunk",)}
NAMES: Final = ("twilio", "telnyx", "plivo", "vonage", "exotel")


class AnswerProfile(Struct, frozen=True):
    """The document returned to a carrier's answer URL to make it open the stream. `values_in` says where values go."""

    media_type: str
    template: str
    values_in: str
    """`parameters`: elements inside the document; `query`: the WebSocket's URL; `json`: an object."""
    parameter: str = ""
    """One element, for `parameters`."""
    caller: str = "From"
    callee: str = "To"
    """The parameter names of the two numbers in the carrier's request."""


class StreamProfile(Struct, frozen=True):
    """One carrier's protocol."""

    name: str
    title: str
    encoding: str
    """The default if the carrier does not name one."""
    rate_hz: int
    events: Mapping[str, str]
    """The carrier's names for `start`, `media`, `digit`, `played` (a mark is returned) and `stop`."""
    paths: Mapping[str, tuple[str, ...]]
    send: Mapping[str, Mapping[str, Any]]
    answer: AnswerProfile
    is_binary: bool = False
    """Sound is sent as binary messages in both directions."""
    is_ordered: bool = True
    """Media messages arrive in order."""
    min_piece_bytes: int = 0
    """Minimum size of a piece of sound in bytes, before base64."""
    signature_header: str = ""
    """The header with the carrier's signature of the request, made with our secret."""
    token_header: str = ""
    """The handshake header in which our token may arrive."""
    has_basic_authentication: bool = False
    """Our token may arrive as the password of the URL."""
    kinds: Mapping[str, str] = field(default_factory=dict)
    """The carrier's event names mapped to ours."""
    plain_media: str = ""
    """The carrier's name of `media` if the values of that message are where all carriers have them that send sound as JSON."""


@cache
def stream_profile(name: str) -> StreamProfile | None:
    """The profile with that name; None if there is none."""
    if name not in NAMES:
        return None
    text = resources.files(__package__).joinpath("profiles", f"{name}.toml").read_text("utf-8")
    read = tomllib.loads(text)
    paths = {key: tuple(value) for key, value in read.pop("paths").items()}
    events, answer = read.pop("events"), AnswerProfile(**read.pop("answer"))
    kinds = {theirs: ours for ours, theirs in events.items()}
    plain_media = events.get("media", "") if _PLAIN_PATHS.items() <= paths.items() else ""
    return StreamProfile(name=name, events=events, paths=paths, answer=answer, kinds=kinds, plain_media=plain_media, **read)
