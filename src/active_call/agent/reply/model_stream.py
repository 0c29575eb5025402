"""The streamed answer of a model: its text is parsed into steps, with a deadline for its failure.

In: pieces of text. Out: steps, and whether earlier ones must be retracted. A model that writes nothing for `MODEL_PATIENCE_S` has failed,
and so has one that writes nothing for the caller for `REASONING_PATIENCE_S`.
"""

from __future__ import annotations

from active_call.agent.reply.parser import ReplyParser, is_progress
from active_call.agent.reply.sentences import FIRST_CUT_WORDS
from active_call.agent.reply.steps import Step

MODEL_PATIENCE_S = 10.0
"""Timeout without any output of the model."""
REASONING_PATIENCE_S = 30.0
"""Timeout of a model that keeps writing, but nothing for the caller."""


class ModelStream:
    """One answer from the request to its end. `is_prefilled`: it begins inside the model's reasoning.

    `first_cut_words`: minimum number of words before its first piece may end at a comma.
    """

    def __init__(self, now: float, *, is_prefilled: bool, first_cut_words: int = FIRST_CUT_WORDS) -> None:
        self._parser = ReplyParser(first_cut_words=first_cut_words, is_prefilled=is_prefilled)
        self._progress_due_at = now + REASONING_PATIENCE_S
        self.deadline = now + MODEL_PATIENCE_S
        """When the model has failed if nothing arrives."""
        self.has_written = False
        """Whether output for the caller has arrived."""
        self.is_unanswered = False
        """The model has called something without speech of its own. Without words beside it, the model is asked to continue."""

    def feed(self, text: str, now: float) -> list[Step]:
        """The steps that are certain after `text`."""
        steps = self._parser.feed(text)
        if is_progress(steps):
            self.has_written = True
            self._progress_due_at = now + REASONING_PATIENCE_S
        self.deadline = min(now + MODEL_PATIENCE_S, self._progress_due_at)
        return steps

    def flush(self, now: float) -> list[Step]:
        """The steps of the text so far. A tool call ends it, and more text may follow."""
        steps = self._parser.flush()
        self.has_written = self.has_written or is_progress(steps)
        self._progress_due_at = now + REASONING_PATIENCE_S
        self.deadline = now + MODEL_PATIENCE_S
        return steps

    def finish(self) -> list[Step]:
        """The remaining steps at the end of the text."""
        return self._parser.finish()

    def take_retraction(self) -> bool:
        """Whether the steps before the last ones turned out to be reasoning; True once."""
        return self._parser.take_retraction()
