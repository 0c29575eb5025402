"""Waits through hold music and queue announcements of an outbound call until a person speaks.

In: who has answered, what is recognised. Out: whether the agent waits, and the words of the person who ends that. While it waits, no sound
of the other side takes the turn, and nothing is said: no answer, no follow-up, no filler. A person is known by words that greet, or by few
words of which none is a machine's; long texts are announcements.
"""

from __future__ import annotations

from active_call.agent.answering.classifier import SURE
from active_call.agent.answering.phrases import RANK, Kind, is_greeting, matches, normalised

FEW_WORDS = 8


class HoldWait:
    """Of one call."""

    def __init__(self) -> None:
        self.is_waiting = False
        """The other side plays music or asks to hold."""

    def answered_by(self, kind: str | None, confidence: float | None) -> bool:
        """It is told who answers. True when that begins or ends the waiting."""
        was_waiting = self.is_waiting
        self.is_waiting = kind == "hold" and (confidence or 0.0) >= SURE
        return self.is_waiting != was_waiting

    def is_person(self, text: str) -> bool:
        """Whether the final `text` is said by a person who has come to the telephone: then the waiting is over."""
        words = normalised(text)
        machines: list[Kind] = [kind for kind in RANK if kind != "human"]
        is_machine = any(matches(kind, words) for kind in machines)
        found = bool(words) and not is_machine and (is_greeting(words) or len(words.split()) <= FEW_WORDS)
        self.is_waiting = self.is_waiting and not found
        return found
