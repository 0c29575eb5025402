"""The conversation so far: what the caller said, and of what we said only the part that was heard.

In: lines. Out: the lines as a window of prompts for a model. It must not know how a line was spoken or recognised.
"""

from __future__ import annotations

from dataclasses import dataclass

from active_call.agent.effects import Prompt

WINDOW_LINES = 60
"""How many lines a model is shown: some ten minutes of talk."""

USER = "user"
AGENT = "assistant"
SYSTEM = "system"

_PRESSED = "[pressed "


def pressed(digit: str) -> str:
    """The caller's line for a key."""
    return f"{_PRESSED}{digit}]"


def is_pressed(text: str) -> bool:
    """Whether a line of the caller is a key and not words."""
    return text.startswith(_PRESSED)


@dataclass(frozen=True, slots=True)
class Line:
    """One thing said: `role` is user, assistant or, for what the model alone needs to know, system."""

    role: str
    text: str


class History:
    """All lines of a call."""

    def __init__(self) -> None:
        self.lines: list[Line] = []

    def add(self, role: str, text: str) -> None:
        self.lines.append(Line(role, text))

    def prompts(self) -> tuple[Prompt, ...]:
        """The last lines; what one side said in a row is one message."""
        merged: list[Prompt] = []
        for line in self.lines[-WINDOW_LINES:]:
            if merged and merged[-1].role == line.role != SYSTEM:
                merged[-1] = Prompt(line.role, f"{merged[-1].text} {line.text}")
            else:
                merged.append(Prompt(line.role, line.text))
        return tuple(merged)
