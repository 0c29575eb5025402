"""The answer of a model while it comes: its text is parsed into steps, and a deadline says when the model has failed.

In: pieces of text. Out: steps, and whether earlier ones must be taken back. A model that writes nothing for `MODEL_PATIENCE_S` has failed,
and so has one that goes on writing, but nothing for the caller, for `REASONING_PATIENCE_S`.
"""

from __future__ import annotations

from active_call.agent.reply.parser import ReplyParser, is_progress
from active_call.agent.reply.sentences import FIRST_CUT_WORDS
from active_call.agent.reply.steps import Step

MODEL_PATIENCE_S = 10.0
"""A model that has said nothing for so long has failed."""
REASONING_PATIENCE_S = 30.0
"""A model that goes on writing, but nothing for the caller, has failed after so long."""


class ModelStream:
    """One answer, from the request to its end. `is_prefilled`: it begins in the middle of the model's reasoning.

    `first_cut_words`: from how many words on its first piece may end at a comma.
    """

    def __init__(self, now: float, *, is_prefilled: bool, first_cut_words: int = FIRST_CUT_WORDS) -> None:
        self._parser = ReplyParser(first_cut_words=first_cut_words, is_prefilled=is_prefilled)
        self._progress_due_at = now + REASONING_PATIENCE_S
        self.deadline = now + MODEL_PATIENCE_S
        """When the model has failed, if nothing comes before."""
        self.has_written = False
        """Something for the caller has come."""
        self.is_unanswered = False
        """The model has called something that says nothing to the caller by itself: with no words beside it, it is asked to go on."""

    def feed(self, text: str, now: float) -> list[Step]:
        """The steps that are sure after `text`."""
        steps = self._parser.feed(text)
        if is_progress(steps):
            self.has_written = True
            self._progress_due_at = now + REASONING_PATIENCE_S
        self.deadline = min(now + MODEL_PATIENCE_S, self._progress_due_at)
        return steps

    def flush(self, now: float) -> list[Step]:
        """The steps of the text so far: a tool call ends it, and more text may follow."""
        steps = self._parser.flush()
        self.has_written = self.has_written or is_progress(steps)
        self._progress_due_at = now + REASONING_PATIENCE_S
        self.deadline = now + MODEL_PATIENCE_S
        return steps

    def finish(self) -> list[Step]:
        """The steps that are left at the end of the text."""
        return self._parser.finish()

    def take_retraction(self) -> bool:
        """Whether the steps before the last ones turned out to be reasoning; told once."""
        return self._parser.take_retraction()
