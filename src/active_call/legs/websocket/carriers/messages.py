"""Messages of a carrier's media stream: texts and bytes go in, frozen values come out, and vice versa. Pure.

Every value is checked here once. An undecodable message raises FrameError and has no other effect.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

import msgspec
from msgspec import Struct

from active_call.base.errors import ActiveCallError
from active_call.legs.sip.plain_text import plain
from active_call.legs.websocket.carriers.media_messages import read_sound
from active_call.legs.websocket.carriers.profile import StreamProfile

MAX_MESSAGE_CHARACTERS: Final = 512 * 1024
"""A second of 48 kHz PCM in base64 takes 128 KiB."""
MAX_PARAMETERS: Final = 64
MAX_VALUE_CHARACTERS: Final = 2000
DIGITS: Final = frozenset("0123456789*#ABCD")
_CODECS: Final = {
    "audio/x-mulaw": "pcmu",
    "audio/mulaw": "pcmu",
    "mulaw": "pcmu",
    "pcmu": "pcmu",
    "audio/x-alaw": "pcma",
    "pcma": "pcma",
    "audio/x-l16": "pcm",
    "audio/l16": "pcm",
    "l16": "pcm",
    "audio/x-raw": "pcm",
    "raw/slin": "pcm",
    "base64": "pcm",
    "g722": "g722",
    "opus": "opus",
}
"""Our codec names by the carriers' names, in lower case. `base64` and `raw/slin`: linear PCM in Exotel's older documents."""
_RATE: Final = re.compile(r"rate=(\d{4,6})|(\d{4,6})")


class FrameError(ActiveCallError):
    """A message of the carrier cannot be decoded."""

    code = "bad_request"


class Started(Struct, frozen=True):
    """The stream begins. `codec`: ours; `rate_hz`: for `pcm`. `parameters`: values from the user's call flow."""

    stream_id: str
    call_id: str
    caller: str
    callee: str
    codec: str
    rate_hz: int
    encoding: str
    """The carrier's name of the codec."""
    parameters: Mapping[str, str]


class Sound(Struct, frozen=True):
    """The caller's sound, encoded. `chunk`: its number, from 1; None if the carrier does not number."""

    data: bytes
    chunk: int | None = None


class Digit(Struct, frozen=True):
    """The caller has pressed a key."""

    digit: str


class Played(Struct, frozen=True):
    """The sound before this mark has been played or cleared."""

    mark: str


class Stopped(Struct, frozen=True):
    """The stream is over: the call has ended, or its call flow continues without us."""


class Other(Struct, frozen=True):
    """A message without an effect. `event`: its name."""

    event: str


Message = Started | Sound | Digit | Played | Stopped | Other


def read_message(profile: StreamProfile, message: str | bytes) -> Message:
    """Decode a message of the carrier. Raises FrameError, which says what was expected."""
    if isinstance(message, bytes):
        if not profile.is_binary:
            raise FrameError("a binary message; expected JSON texts")
        return Sound(message)
    if len(message) > MAX_MESSAGE_CHARACTERS:
        raise FrameError(f"a message of {len(message)} characters; expected at most {MAX_MESSAGE_CHARACTERS}")
    sound = read_sound(profile, message)
    if sound is not None:
        return Sound(*sound)
    try:
        body = msgspec.json.decode(message)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise FrameError(f"a text message that is not JSON: {error}") from error
    if not isinstance(body, dict) or not isinstance(body.get("event"), str):
        raise FrameError("a message without `event`")
    event = body["event"]
    match profile.kinds.get(event):
        case "start":
            return _started(profile, body)
        case "media":
            return _sound(profile, body)
        case "digit":
            digit = _text(profile, body, "digit").upper()
            if digit not in DIGITS:
                raise FrameError(f"{event}: expected one of 0-9 * # A-D, found {digit[:20]!r}")
            return Digit(digit)
        case "played":
            return Played(_text(profile, body, "mark"))
        case "stop":
            return Stopped()
    return Other(event[:80])


def _started(profile: StreamProfile, body: Mapping[str, Any]) -> Started:
    told = _text(profile, body, "encoding") or profile.encoding
    encoding = told.partition(";")[0].strip()
    codec = _CODECS.get(encoding.lower())
    if codec is None:
        raise FrameError(f"start: unknown encoding {encoding[:40]!r}; expected one of {', '.join(sorted(set(_CODECS)))}")
    rate = _RATE.search(_text(profile, body, "rate_hz"))
    return Started(
        stream_id=_text(profile, body, "stream_id"),
        call_id=_text(profile, body, "call_id"),
        caller=_text(profile, body, "caller"),
        callee=_text(profile, body, "callee"),
        codec=codec,
        rate_hz=int(rate[1] or rate[2]) if rate is not None else profile.rate_hz,
        encoding=encoding,
        parameters=_parameters(_found(profile, body, "parameters")),
    )


def _sound(profile: StreamProfile, body: Mapping[str, Any]) -> Message:
    track = _text(profile, body, "track")
    if track and not track.startswith("inbound"):
        return Other(f"media of the {track[:20]} track")
    payload = _found(profile, body, "payload")
    if not isinstance(payload, str):
        raise FrameError("media: no payload; expected base64")
    try:
        data = base64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError) as error:
        raise FrameError(f"media.payload: not base64: {error}") from error
    chunk = _text(profile, body, "chunk")
    return Sound(data, int(chunk) if chunk.isascii() and chunk.isdigit() and len(chunk) < 16 else None)


@cache
def _steps(path: str) -> tuple[str, ...]:
    """The keys of a path."""
    return tuple(path.split(".")) if path else ()


def _found(profile: StreamProfile, body: Mapping[str, Any], key: str) -> Any:
    for path in profile.paths.get(key, ()):
        found: Any = body
        for step in _steps(path):
            found = found.get(step) if isinstance(found, dict) else None
        if found is not None:
            return found
    return None


def _text(profile: StreamProfile, body: Mapping[str, Any], key: str) -> str:
    """The value as a text; numbers are converted. Empty if it is missing."""
    return _shown(_found(profile, body, key))


def _shown(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    return plain(str(value))[:MAX_VALUE_CHARACTERS]


def _parameters(given: Any) -> dict[str, str]:
    """Parameters from an object, JSON of one, or pairs `a=1;b=2`. Plivo prefixes names with X-PH-."""
    if isinstance(given, str):
        try:
            given = msgspec.json.decode(given)
        except (msgspec.DecodeError, UnicodeError):
            pairs = (pair.partition("=") for pair in re.split(r"[;,]", given))
            given = {name.strip(): value.strip() for name, equals, value in pairs if equals}
    if not isinstance(given, dict):
        return {}
    known = {str(name).removeprefix("X-PH-"): _shown(value) for name, value in given.items() if _shown(value)}
    return {plain(name)[:200]: value for name, value in list(known.items())[:MAX_PARAMETERS] if name not in ("event", "content-type")}


class MessageWriter:
    """Builds our messages for one stream."""

    def __init__(self, profile: StreamProfile, started: Started) -> None:
        rate_hz = started.rate_hz if started.codec == "pcm" else 16_000 if started.codec in ("g722", "opus") else 8000
        self._profile = profile
        self._values: dict[str, Any] = {"$stream": started.stream_id, "$encoding": started.encoding, "$rate": rate_hz}
        before, _, after = self._written("media", {"$payload": "\x00"}).partition("\\u0000") if not profile.is_binary else ("", "", "")
        self._before, self._after = before, after

    def sound(self, data: bytes) -> str | bytes:
        """Encoded sound as a message."""
        return data if self._profile.is_binary else f"{self._before}{base64.b64encode(data).decode()}{self._after}"

    def mark(self, name: str) -> str:
        """A message that the carrier returns once the sound before it has been played."""
        return self._written("mark", {"$mark": name})

    def clear(self) -> str:
        """A message that makes the carrier drop its unplayed sound."""
        return self._written("clear", {})

    def _written(self, kind: str, values: Mapping[str, Any]) -> str:
        return msgspec.json.encode(_filled(self._profile.send[kind], {**self._values, **values})).decode()


def _filled(template: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(template, dict):
        return {key: _filled(value, values) for key, value in template.items()}
    return values.get(template, template) if isinstance(template, str) else template
