"""Telephone tones and DTMF digits as samples, at any rate, exact in frequency, level and cadence.

A tone's name and country, a description like `440+480/2000,0/4000`, or digits go in; samples come out. Pure. The tones of countries are
data: `tones.toml`. ITU-T E.180 (levels, cadences), Q.23 and Q.24 (push-button signals), G.711 (definition of 0 dBm0).

Every part starts and ends with a raised cosine of 5 ms within its length to avoid clicks. Each part starts with phase 0.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from collections.abc import Iterator
from functools import lru_cache
from importlib import resources
from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from active_call.base.errors import MediaError
from active_call.media.send.mixer import Samples

DEFAULT_COUNTRY: Final = "us"
TOTAL_DBM0: Final = -10.0
EDGE_MS: Final = 5.0
PIECE_MS: Final = 500
MAX_PART_MS: Final = 600_000
MAX_PARTS: Final = 256
MAX_DIGIT_MS: Final = 10_000
MAX_DIGITS_MS: Final = 40_000
"""Maximum duration of the digits of one order with their pauses, because they are rendered in one piece."""
OVERLOAD_DBM0: Final = 3.14
"""Level of a sine at 16-bit full scale: the overload point of A-law (3.17 for mu-law)."""
DTMF_ROWS_HZ: Final = (697.0, 770.0, 852.0, 941.0)
DTMF_COLUMNS_HZ: Final = (1209.0, 1336.0, 1477.0, 1633.0)
DTMF_KEYS: Final = ("123A", "456B", "789C", "*0#D")
DTMF_LOW_DBM0: Final = -9.0
DTMF_HIGH_DBM0: Final = -7.0
"""2 dB of twist, as telephones send it."""

_PART = re.compile(r"([0-9.+*]+)(?:@(-?[0-9.]+))?(?:/([0-9.]+))?")
_ALIASES: Final = {"uk": "gb"}


class Component(Struct, frozen=True):
    """One sine. It is modulated by another (depth 90 %) if `modulation_hz` is not 0."""

    frequency_hz: float
    level_dbm0: float
    modulation_hz: float = 0.0


class Part(Struct, frozen=True):
    """Simultaneous sines for `duration_ms`; no sines mean silence. A duration of 0 never ends."""

    components: tuple[Component, ...]
    duration_ms: float


class Tone(Struct, frozen=True):
    """A sequence of parts, once or repeated."""

    parts: tuple[Part, ...]
    repeats: bool = True

    @property
    def period_ms(self) -> float:
        """The duration of all parts, 0 if the tone does not end."""
        return 0.0 if any(not part.duration_ms for part in self.parts) else sum(part.duration_ms for part in self.parts)


def parse_tone(text: str) -> Tone:
    """Parse a tone description in the syntax of `tones.toml`. Raises MediaError."""
    body, once, _ = text.partition("!")
    if body.count(",") >= MAX_PARTS or body.count("+") >= MAX_PARTS:
        raise MediaError(f"a tone may have at most {MAX_PARTS} parts")
    parts: list[Part] = []
    for item in body.split(","):
        match = _PART.fullmatch(item.strip())
        if match is None:
            raise MediaError(f"tone {text!r}: expected frequencies/milliseconds, found {item!r}")
        try:
            parts.append(_part(match[1], match[2], match[3]))
        except ValueError as error:
            raise MediaError(f"tone {text!r}: {error}") from None
    if len(parts) > 1 and any(not part.duration_ms for part in parts):
        raise MediaError(f"tone {text!r}: only a tone with one part may have no length")
    return Tone(tuple(parts), repeats=not once)


def _part(frequencies: str, level: str | None, duration: str | None) -> Part:
    pairs = [frequency.partition("*") for frequency in frequencies.split("+")]
    hertz = [(float(carrier), float(modulation or 0)) for carrier, _, modulation in pairs]
    if any(not 0 <= carrier < 4000 or not 0 <= modulation < 4000 for carrier, modulation in hertz):
        raise ValueError("frequencies must be below 4000 Hz")
    sounding = [pair for pair in hertz if pair[0] > 0]
    each_dbm0 = float(level) if level else TOTAL_DBM0 - 10 * np.log10(max(len(sounding), 1))
    duration_ms = float(duration or 0)
    if duration and not 1 <= duration_ms <= MAX_PART_MS:
        raise ValueError(f"a part must last 1 to {MAX_PART_MS} ms")
    if each_dbm0 > 0:
        raise ValueError("the level must not be above 0 dBm0")
    return Part(tuple(Component(carrier, each_dbm0, modulation) for carrier, modulation in sounding), duration_ms)


@lru_cache(maxsize=1)
def _tables() -> dict[str, dict[str, str]]:
    return tomllib.loads(resources.files("active_call.media").joinpath("tones.toml").read_text("utf-8"))


def network_tone(name: str, country: str = DEFAULT_COUNTRY) -> Tone:
    """The tone `name` (dial, ringback, busy, congestion, sit, beep) as it sounds in `country`. Raises MediaError."""
    tables = _tables()
    code = _ALIASES.get(country.lower(), country.lower())
    table = tables.get(code)
    if table is None:
        raise MediaError(f"tone {country}/{name}: unknown country; known are {', '.join(sorted(tables))}")
    described = {**tables["default"], **tables.get(table.get("same_as", ""), {}), **table}.get(name)
    if described is None or name == "same_as":
        raise MediaError(f"tone {country}/{name}: unknown tone; known are {', '.join(tables['default'])}")
    return parse_tone(described)


def dtmf(digits: str, on_ms: float = 100.0, off_ms: float = 100.0) -> Tone:
    """The DTMF signals for `digits`, each followed by a pause; `,` and `w` pause for a second. Raises MediaError."""
    if not (EDGE_MS <= on_ms <= MAX_DIGIT_MS and 0 <= off_ms <= MAX_DIGIT_MS):
        raise MediaError(f"a digit must last {EDGE_MS:g} to {MAX_DIGIT_MS} ms")
    if sum(1000.0 if digit in ",wW" else on_ms + off_ms for digit in digits) > MAX_DIGITS_MS:
        raise MediaError(f"the digits last more than {MAX_DIGITS_MS} ms")
    parts: list[Part] = []
    for digit in digits.upper():
        if digit in ",W":
            parts.append(Part((), 1000.0))
            continue
        row = next((index for index, keys in enumerate(DTMF_KEYS) if digit in keys), None)
        if row is None:
            raise MediaError(f"{digit!r} is not a digit (0-9, *, #, A-D)")
        low = Component(DTMF_ROWS_HZ[row], DTMF_LOW_DBM0)
        high = Component(DTMF_COLUMNS_HZ[DTMF_KEYS[row].index(digit)], DTMF_HIGH_DBM0)
        parts += [Part((low, high), on_ms), Part((), off_ms)]
    if not parts:
        raise MediaError("there are no digits to send")
    return Tone(tuple(parts), repeats=False)


def tone_of(source: str) -> Tone | None:
    """The tone for a source like `tone:busy`, `tone:fr/busy`, `tone:440/200,0/200` or `dtmf:12#`; None for other sources.

    `dtmf:12#/160` sets the length of a digit in ms. Raises MediaError for an unknown tone.
    """
    kind, _, rest = source.partition(":")
    if kind == "dtmf":
        digits, _, on_ms = rest.partition("/")
        if on_ms and not (on_ms.isascii() and on_ms.isdigit() and len(on_ms) <= 6 and 10 <= int(on_ms) <= MAX_DIGIT_MS):
            raise MediaError(f"{source[:80]}: a digit must last 10 to {MAX_DIGIT_MS} ms")
        return dtmf(digits, float(on_ms or 100))
    if kind != "tone":
        return None
    if rest[:1].isdigit():
        return parse_tone(rest)
    country, slash, name = rest.partition("/")
    return network_tone(name, country) if slash else network_tone(rest)


def render(tone: Tone, rate_hz: int, first: int, n_samples: int) -> Samples:
    """Samples `first` to `first + n_samples` of `tone`. After the end of a tone that does not repeat there is silence."""
    stop = first + n_samples
    out = np.zeros(n_samples, np.float64)
    bounds = _bounds(tone, rate_hz)
    if bounds is None:
        out[:] = _part_samples(tone.parts[0], rate_hz, first, stop, 0)
        return _quantised(out)
    position = first
    while position < stop:
        lap, place = divmod(position, bounds[-1])
        if lap and not tone.repeats:
            break
        index = bisect_right(bounds, place) - 1
        n_part = bounds[index + 1] - bounds[index]
        start = lap * bounds[-1] + bounds[index]
        end = min(start + n_part, stop)
        out[position - first : end - first] = _part_samples(tone.parts[index], rate_hz, position - start, end - start, n_part)
        position = end
    return _quantised(out)


def length(tone: Tone, rate_hz: int) -> int:
    """Samples until `tone` ends or repeats; 0 if it does neither."""
    bounds = _bounds(tone, rate_hz)
    return bounds[-1] if bounds else 0


def pieces(tone: Tone, rate_hz: int, *, repeat: bool = False) -> Iterator[bytes]:
    """The tone in pieces of half a second, s16le. Endless if the tone repeats or `repeat` is set."""
    if repeat and tone.period_ms:
        tone = Tone(tone.parts)
    n_piece, end, first = PIECE_MS * rate_hz // 1000, length(tone, rate_hz), 0
    while tone.repeats or not end or first < end:
        n = min(n_piece, end - first) if end and not tone.repeats else n_piece
        yield render(tone, rate_hz, first, n).astype("<i2").tobytes()
        first += n


def _bounds(tone: Tone, rate_hz: int) -> list[int] | None:
    """The boundaries of the parts in samples. None if the tone is one endless part."""
    if not tone.period_ms:
        return None
    return [0, *(round(float(end_ms) * rate_hz / 1000) for end_ms in np.cumsum([part.duration_ms for part in tone.parts]))]


def _quantised(sound: NDArray[np.float64]) -> Samples:
    return np.rint(np.clip(sound, -32768, 32767)).astype(np.int16)


def _part_samples(part: Part, rate_hz: int, begin: int, end: int, n_total: int) -> NDArray[np.float64]:
    """Samples `begin` to `end` of a part of `n_total` samples, or of an endless part if `n_total` is 0."""
    n = np.arange(begin, end)
    t = n / rate_hz
    sound = np.zeros(len(n))
    for component in part.components:
        amplitude = 32768 * 10 ** ((component.level_dbm0 - OVERLOAD_DBM0) / 20)
        sine = np.sin(2 * np.pi * component.frequency_hz * t)
        if component.modulation_hz:
            sine *= (1 + 0.9 * np.sin(2 * np.pi * component.modulation_hz * t)) / np.sqrt(1 + 0.9**2 / 2)
        sound += amplitude * sine
    edge = EDGE_MS * rate_hz / 1000
    distance = n + 0.5 if not n_total else np.minimum(n + 0.5, n_total - n - 0.5)
    return np.asarray(sound * (0.5 - 0.5 * np.cos(np.pi * np.minimum(distance / edge, 1.0))))
