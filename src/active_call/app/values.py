"""The return values of the methods of a `Call`. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


class Speech(str):
    """What the caller said: a text, with `confidence` (0 to 1, None if the recogniser gives none) and its times (ms since 1970).

    `is_pressed`: the text is digits that were pressed (`ask` with `keys`); they have no confidence and no times.
    """

    confidence: float | None
    started_ms: int | None
    ended_ms: int | None
    is_pressed: bool

    def __new__(
        cls,
        text: str,
        confidence: float | None = None,
        started_ms: int | None = None,
        ended_ms: int | None = None,
        *,
        is_pressed: bool = False,
    ) -> Speech:
        speech = super().__new__(cls, text)
        speech.confidence, speech.started_ms, speech.ended_ms = confidence, started_ms, ended_ms
        speech.is_pressed = is_pressed
        return speech


@dataclass(frozen=True, slots=True)
class Heard:
    """What the caller heard of a text or a file."""

    text: str
    """The words that were heard; of a file: empty."""
    is_complete: bool
    """False: it was cut short, by the caller or by the next prompt."""
    duration_ms: int


@dataclass(frozen=True, slots=True)
class TransferResult:
    """The result of a transfer that reached its target."""

    target: str
    has_returned: bool
    """True: the target has hung up and the caller is back in this call. False: the caller is with the target, this call is over."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a conversation."""

    result: Any = None
    """The argument of the agent's `finish`."""
    transcript: tuple[tuple[str, str], ...] = ()
    """Who (`caller` or `agent`) said what; of the agent only what was heard."""
