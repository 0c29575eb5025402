"""Execute what the turn detector asks for, and prepare the reply while it waits.

In: the floor's last verdict. Out: requests to the recogniser to finalise, questions to an audio turn model, speculative requests to the
language model. This module never ends a turn itself.
"""

from __future__ import annotations

from active_call.agent.effects import EndUtterance, JudgeTurn
from active_call.agent.outbox import Outbox
from active_call.agent.reply.replies import Replies
from active_call.agent.script import words_of
from active_call.agent.turn.floor import Floor
from active_call.agent.turn.turn_detector import WaitUntil

LIKELY = 0.42
"""From this probability on the model is asked speculatively."""


class EndOfTurnWatch:
    """The watch of one call. `speculates`: speculative requests are allowed."""

    def __init__(self, floor: Floor, replies: Replies, outbox: Outbox, *, speculates: bool) -> None:
        self._floor = floor
        self._replies = replies
        self._outbox = outbox
        self._speculates = speculates
        self._n_questions = 0
        self._is_asked = False
        """The audio turn model was asked about this pause."""
        self._speculated = ""

    def voice_began(self) -> None:
        """The pause is over."""
        self._is_asked = False

    def is_current(self, question: int) -> bool:
        """Whether the answer to that question is about the current pause."""
        return self._is_asked and question == self._n_questions

    def follow(self, said: str, now: float) -> None:
        """Execute the requests of the last verdict. `said`: the caller's words of this turn so far."""
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
        """Ask the language model about `said` before the end of the turn, if allowed."""
        if self._speculates and said:
            self._speculated = said
            self._replies.speculate(said, now)

    def heard(self, said: str) -> None:
        """The caller has said `said` so far: discard a request about other words."""
        if self._speculated and words_of(said) != words_of(self._speculated):
            self.give_up("the caller said more")

    def give_up(self, reason: str) -> None:
        """Discard the preparation."""
        self._speculated = ""
        self._replies.stop_speculating(reason)

    def turn_ended(self) -> None:
        """The turn was taken: the request has been adopted or discarded."""
        self._speculated = ""
        self._is_asked = False
