"""Follows the turn detector: does what it wants to know, and prepares the reply while it waits.

In: the floor's last verdict. Out: orders to the recogniser to finish, questions to a model of the sound, requests to the language model
before the turn is over. It never ends a turn itself.
"""

from __future__ import annotations

from active_call.agent.effects import EndUtterance, JudgeTurn
from active_call.agent.outbox import Outbox
from active_call.agent.reply.replies import Replies
from active_call.agent.script import words_of
from active_call.agent.turn.floor import Floor
from active_call.agent.turn.turn_detector import WaitUntil

LIKELY = 0.5
"""The turn is more likely over than not: the model is asked."""


class EndOfTurnWatch:
    """One call's. `speculates`: the language model may be asked before the turn is over."""

    def __init__(self, floor: Floor, replies: Replies, outbox: Outbox, *, speculates: bool) -> None:
        self._floor = floor
        self._replies = replies
        self._outbox = outbox
        self._speculates = speculates
        self._n_questions = 0
        self._is_asked = False
        """The model of the sound was asked about this pause."""
        self._speculated = ""

    def voice_began(self) -> None:
        """The pause is over."""
        self._is_asked = False

    def is_current(self, question: int) -> bool:
        """Whether the answer to that question is about the present pause."""
        return self._is_asked and question == self._n_questions

    def follow(self, said: str, now: float) -> None:
        """Do what the last verdict asks for. `said`: the caller's words of this turn so far."""
        if self._floor.is_caller_speaking or not self._floor.is_claimed:
            return
        verdict = self._floor.verdict
        if not isinstance(verdict, WaitUntil):
            return
        if verdict.wants_text and self._floor.facts.text_asked_at is None:
            self._floor.text_asked(now)
            self._outbox.put(EndUtterance())
        if verdict.wants_judgement and not self._is_asked:
            self._is_asked = True
            self._n_questions += 1
            self._outbox.put(JudgeTurn(self._n_questions))
        if verdict.probability >= LIKELY:
            self.prepare(said, now)

    def prepare(self, said: str, now: float) -> None:
        """Ask the language model about `said` before the turn is over, where that is allowed."""
        if self._speculates and said:
            self._speculated = said
            self._replies.speculate(said, now)

    def heard(self, said: str) -> None:
        """The caller has said `said` so far: what was asked about other words is not wanted."""
        if self._speculated and words_of(said) != words_of(self._speculated):
            self.give_up("the caller said more")

    def give_up(self, reason: str) -> None:
        """Nothing is prepared any more."""
        self._speculated = ""
        self._replies.stop_speculating(reason)

    def turn_ended(self) -> None:
        """The turn was taken: what was asked is adopted, or over."""
        self._speculated = ""
        self._is_asked = False
