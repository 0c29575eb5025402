"""The quick way to read the most frequent message of a carrier, fifty times a second: the caller's sound. Pure.

Only the values that are needed are decoded, and base64 in the same step: 3 instead of 25 µs. A message that is anything else, or is not as
expected, is left to `messages.read_message`, which says what is wrong with it.
"""

from __future__ import annotations

from typing import Final

import msgspec

from active_call.legs.websocket.carriers.profile import StreamProfile

_PATHS: Final = (("media.payload",), ("media.track",), ("media.chunk",))
"""Where all carriers that send sound as JSON have these values. Another profile takes the long way."""
_MAX_CHUNK: Final = 10**15


class _Media(msgspec.Struct):
    payload: bytes
    track: str = ""
    chunk: str | int = ""


class _Message(msgspec.Struct):
    event: str
    media: _Media


_decoder: Final = msgspec.json.Decoder(_Message)


def read_sound(profile: StreamProfile, message: str) -> tuple[bytes, int | None] | None:
    """The encoded sound and its number. None: not a message with the caller's sound, or not one that can be read here."""
    try:
        read = _decoder.decode(message)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    media = read.media
    if profile.kinds.get(read.event) != "media" or (media.track and not media.track.startswith("inbound")):
        return None
    paths = profile.paths
    if (paths.get("payload"), paths.get("track"), paths.get("chunk")) != _PATHS:
        return None
    chunk = media.chunk
    if isinstance(chunk, str):
        if not chunk:
            return media.payload, None
        if not (chunk.isascii() and chunk.isdigit() and len(chunk) < 16):
            return None
        return media.payload, int(chunk)
    return (media.payload, chunk) if 0 <= chunk < _MAX_CHUNK else None
