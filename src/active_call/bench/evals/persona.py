"""A persona: who calls, what they say and when, and what must happen. YAML enters, a checked `Persona` leaves; reads no other file.

The format is described in docs/evals.md. An error names the place in the file and what was expected.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

NOISES = ("hiss", "music")
SOUNDS = ("cough", "music")
_STEPS: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "listen": (frozenset({"timeout_s", "silence_ms"}), frozenset()),
    "say": (frozenset({"text"}), frozenset({"text"})),
    "interrupt": (frozenset({"text", "after_s"}), frozenset({"text"})),
    "backchannel": (frozenset({"text", "after_s"}), frozenset({"text"})),
    "sound": (frozenset({"sound", "after_s"}), frozenset({"sound"})),
    "press": (frozenset({"digits"}), frozenset({"digits"})),
    "pause": (frozenset({"seconds"}), frozenset({"seconds"})),
    "hang_up": (frozenset(), frozenset()),
    "expect_hangup": (frozenset({"timeout_s"}), frozenset()),
}
"""Each step with its allowed and its required keys."""
_SHORT = {"say": "text", "press": "digits", "pause": "seconds"}
"""Steps whose single value may follow their name: `- say: hello`."""
_EXPECT = {"heard": list, "understood": list, "events": list, "tools": list, "digits": str, "transfer": str, "ended_by": str}
_LIMITS = frozenset({"max_reply_ms", "max_stop_ms", "max_seconds"})
_SECONDS = frozenset({"timeout_s", "after_s", "seconds"})


@dataclass(frozen=True, slots=True)
class Step:
    """One action of the caller. `values` holds its checked keys."""

    kind: str
    values: Mapping[str, Any]

    @property
    def spoken(self) -> tuple[str | float, ...]:
        """The speech: sentences, and pauses in seconds between them."""
        text = self.values.get("text", ())
        return (text,) if isinstance(text, str) else tuple(text)

    def seconds(self, name: str, default: float) -> float:
        """A duration of the step."""
        return float(self.values.get(name, default))


@dataclass(frozen=True, slots=True)
class Persona:
    """One caller for one call. `noise_snr_db`: speech over noise. `expect` and `limits` are checked after the call."""

    name: str
    steps: tuple[Step, ...]
    voice: str = "espeak:en-us"
    noise: str = ""
    noise_snr_db: float = 20.0
    quick: bool = False
    expect: Mapping[str, Any] = field(default_factory=dict)
    limits: Mapping[str, float] = field(default_factory=dict)


def load_persona(path: Path) -> Persona:
    """The persona of a file. Raises ValueError that names file and place, OSError for a file that cannot be read."""
    try:
        return parse_persona(yaml.safe_load(path.read_text(encoding="utf-8")), path.stem)
    except (ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: {error}") from error


def parse_persona(value: Any, name: str) -> Persona:
    """The persona of a mapping as YAML gives it. Raises ValueError that names the place."""
    if not isinstance(value, dict):
        raise ValueError("expected a mapping with `steps`")
    unknown = set(value) - {"name", "voice", "noise", "quick", "steps", "expect", "limits"}
    if unknown:
        raise ValueError(f"unknown keys {sorted(map(str, unknown))}")
    steps = value.get("steps")
    if not isinstance(steps, list) or not steps:
        raise ValueError("steps: expected a list of at least one step")
    noise = value.get("noise") or {}
    if not isinstance(noise, dict) or set(noise) - {"kind", "snr_db"} or (noise and noise.get("kind") not in NOISES):
        raise ValueError(f"noise: expected kind (one of {', '.join(NOISES)}) and snr_db")
    return Persona(
        name=str(value.get("name", name)),
        steps=tuple(_step(f"steps[{number}]", one) for number, one in enumerate(steps)),
        voice=_voice(value.get("voice", "espeak:en-us")),
        noise=noise.get("kind", ""),
        noise_snr_db=_number("noise.snr_db", noise.get("snr_db", 20.0), low=-20.0),
        quick=bool(value.get("quick", False)),
        expect=_expect(value.get("expect") or {}),
        limits=_limits(value.get("limits") or {}),
    )


def _step(place: str, value: Any) -> Step:
    if isinstance(value, str):
        value = {value: {}}
    if not isinstance(value, dict) or len(value) != 1:
        raise ValueError(f"{place}: expected one step, such as `say: hello`")
    ((kind, rest),) = value.items()
    if kind not in _STEPS:
        raise ValueError(f"{place}: {kind!r} is none of {', '.join(_STEPS)}")
    if not isinstance(rest, dict):
        rest = {_SHORT[kind]: rest} if kind in _SHORT and rest is not None else {}
    allowed, needed = _STEPS[kind]
    if not needed <= rest.keys() <= allowed:
        raise ValueError(f"{place}: {kind} takes {sorted(allowed)} and needs {sorted(needed)}")
    for name in _SECONDS & rest.keys():
        _number(f"{place}.{name}", rest[name])
    if "text" in rest:
        _check_text(place, rest["text"])
    if kind == "sound" and rest["sound"] not in SOUNDS:
        raise ValueError(f"{place}.sound: {rest['sound']!r} is none of {', '.join(SOUNDS)}")
    if kind == "press":
        rest = {"digits": str(rest["digits"])}
        if not rest["digits"] or set(rest["digits"]) - set("0123456789*#ABCD"):
            raise ValueError(f"{place}.digits: {rest['digits']!r} are no telephone digits")
    return Step(kind, rest)


def _check_text(place: str, text: Any) -> None:
    parts: Sequence[Any] = [text] if isinstance(text, str) else text if isinstance(text, list) else []
    if not parts or not isinstance(parts[0], str) or not isinstance(parts[-1], str):
        raise ValueError(f"{place}.text: expected a sentence, or sentences with pauses in seconds between them")
    for part in parts:
        if not isinstance(part, str):
            _number(f"{place}.text", part)
        elif not part.strip():
            raise ValueError(f"{place}.text: a sentence is empty")


def _voice(value: Any) -> str:
    voice = str(value)
    if voice.partition(":")[0] not in ("espeak", "flite", "piper"):
        raise ValueError(f"voice: {voice!r}; expected espeak:NAME, flite:NAME or piper:NAME")
    return voice


def _expect(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict) or set(value) - set(_EXPECT):
        raise ValueError(f"expect: expected a mapping with keys of {', '.join(_EXPECT)}")
    for name, one in value.items():
        if _EXPECT[name] is list and not isinstance(one, list):
            raise ValueError(f"expect.{name}: expected a list")
    if value.get("ended_by", "agent") not in ("agent", "caller"):
        raise ValueError("expect.ended_by: expected agent or caller")
    return {name: [str(item) for item in one] if _EXPECT[name] is list else str(one) for name, one in value.items()}


def _limits(value: Any) -> dict[str, float]:
    if not isinstance(value, dict) or set(value) - _LIMITS:
        raise ValueError(f"limits: expected a mapping with keys of {', '.join(sorted(_LIMITS))}")
    return {name: _number(f"limits.{name}", one) for name, one in value.items()}


def _number(place: str, value: Any, *, low: float = 0.0) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < low or value > 600_000:
        raise ValueError(f"{place}: {value!r}; expected a number from {low:g} on")
    return float(value)
