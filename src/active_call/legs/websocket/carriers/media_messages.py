"""The quick way to read the most frequent message of a carrier, fifty times a second: the caller's sound. Pure.

Only the values that are needed are decoded, and base64 in the same step: 3 instead of 25 µs. A message that is anything else, or is not as
expected, is left to `messages.read_message`, which says what is wrong with it.
"""

from __future__ import annotations

from typing import Final

import msgspec

from active_call.legs.websocket.carriers.profile import StreamProfile

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
    """The encoded sound and its number. None: not a message with the caller's sound, or not one that can be read here.

    A profile without `plain_media` takes the long way.
    """
    try:
        read = _decoder.decode(message)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    media = read.media
    track, chunk = media.track, media.chunk
    if read.event != profile.plain_media or (track != "inbound" and track and not track.startswith("inbound")):
        return None
    if isinstance(chunk, str):
        if not chunk:
            return media.payload, None
        if not (chunk.isascii() and chunk.isdigit() and len(chunk) < 16):
            return None
        return media.payload, int(chunk)
    return (media.payload, chunk) if 0 <= chunk < _MAX_CHUNK else None
