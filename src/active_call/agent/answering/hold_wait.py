"""Wait through hold music and queue announcements of an outbound call until a person speaks.

In: verdicts about who has answered, and recognised texts. Out: whether the agent waits, and the words of the person who ends the wait.
While it waits, sound of the other side does not take the turn, and the agent says nothing: no answer, no follow-up, no filler. A person is
detected by a greeting, or by a few words that match no phrase of a machine. Long texts are announcements.
"""

from __future__ import annotations

from active_call.agent.answering.classifier import SURE
from active_call.agent.answering.phrases import RANK, Kind, is_greeting, matches, normalised

FEW_WORDS = 8


class HoldWait:
    """The wait of one call."""

    def __init__(self) -> None:
        self.is_waiting = False
        """The other side plays music or asks to hold."""

    def answered_by(self, kind: str | None, confidence: float | None) -> bool:
        """Take a verdict. True if the wait begins or ends."""
        was_waiting = self.is_waiting
        self.is_waiting = kind == "hold" and (confidence or 0.0) >= SURE
        return self.is_waiting != was_waiting

    def is_person(self, text: str) -> bool:
        """Whether the final `text` is from a person who has answered. If so, the wait is over."""
        words = normalised(text)
        machines: list[Kind] = [kind for kind in RANK if kind != "human"]
        is_machine = any(matches(kind, words) for kind in machines)
        found = bool(words) and not is_machine and (is_greeting(words) or len(words.split()) <= FEW_WORDS)
        self.is_waiting = self.is_waiting and not found
        return found
