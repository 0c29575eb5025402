"""Parse the output of a model or a script into the steps of a reply: sentences and actions.

In: text in pieces. Out: steps, as soon as they are certain. The text passes four layers in this order. None sees what an earlier one has
removed, so JSON in reasoning is not executed and a tool call written as text is not spoken:

    1  reasoning    `reasoning.ReasoningFilter`   removes the model's reasoning; may retract everything before it
    2  structured   `structured.StructuredForms`  removes text for machines; a JSON form becomes text and actions
    3  tags         `tags.TagParser`              removes tags, which become actions and moods
    4  words        `sentences.SentenceSplitter`  splits sentences and makes them speakable; inserts the values of a script

`ReplyParser` is the only place that joins them. `reply.queue` speaks the steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, assert_never

from active_call.agent.reply.json_form import actions_of_form, text_of_form
from active_call.agent.reply.reasoning import ReasoningFilter
from active_call.agent.reply.sentences import FIRST_CUT_WORDS, SentenceSplitter
from active_call.agent.reply.steps import Sentence, Step
from active_call.agent.reply.structured import Dropped, Form, Found, Plain, StructuredForms
from active_call.agent.reply.tags import Part, TagParser, UnknownTag, Words
from active_call.agent.reply.values import NO_VALUES, Values


class ReplyParser:
    """One reply from its first piece to `finish`. `is_prefilled`: it begins inside the model's reasoning."""

    def __init__(self, *, first_cut_words: int = FIRST_CUT_WORDS, values: Values = NO_VALUES, is_prefilled: bool = False) -> None:
        self._first_cut_words = first_cut_words
        self._values = values
        self._reasoning = ReasoningFilter(is_prefilled=is_prefilled)
        self._has_retraction = False
        self._begin_layers()

    def _begin_layers(self) -> None:
        """Reset the layers after reasoning."""
        self._forms = StructuredForms()
        self._tags = TagParser(self._values)
        self._splitter = SentenceSplitter(first_cut_words=self._first_cut_words)
        self._emotion = ""

    def feed(self, piece: str) -> list[Step]:
        """The steps that `piece` makes certain."""
        return self._after_reasoning(self._reasoning.feed(piece), is_last=False)

    def flush(self) -> list[Step]:
        """The steps of the text so far, which is complete. More text may follow."""
        steps: list[Step] = []
        self._end(steps)
        return steps

    def finish(self) -> list[Step]:
        """The remaining steps."""
        return self._after_reasoning(self._reasoning.finish(), is_last=True)

    def take_retraction(self) -> bool:
        """Whether the steps before those returned last turned out to be reasoning and must not be spoken; True once."""
        found, self._has_retraction = self._has_retraction, False
        return found

    # -- the layers, each of which passes on to the next

    def _after_reasoning(self, text: str, *, is_last: bool) -> list[Step]:
        if self._reasoning.take_retraction():
            self._has_retraction = True
            self._begin_layers()
        steps: list[Step] = []
        self._after_forms(self._forms.feed(text), steps)
        if is_last:
            self._end(steps)
        return steps

    def _after_forms(self, found: Iterable[Found], steps: list[Step]) -> None:
        for part in found:
            match part:
                case Plain(text):
                    self._after_tags(self._tags.feed(text), steps)
                case Form(fields):
                    self._end_tags(steps)
                    self._read_form(fields, steps)
                case Dropped(text, reason):
                    self._end_tags(steps)
                    steps.append(UnknownTag(self._values.plain(text), reason))
                case _:
                    assert_never(part)

    def _read_form(self, fields: Mapping[str, Any], steps: list[Step]) -> None:
        text = text_of_form(fields)
        if text is not None:
            self._after_tags(self._tags.feed(text), steps)
            self._end_tags(steps)
        steps.extend(actions_of_form(fields, self._values))

    def _after_tags(self, parts: Iterable[Part], steps: list[Step]) -> None:
        for part in parts:
            if isinstance(part, Words):
                if part.emotion != self._emotion:
                    self._end_words(steps)
                    self._emotion = part.emotion
                said = self._splitter.feed(self._values.words(part.text))
                steps.extend(Sentence(text, self._emotion) for text in said)
            else:
                self._end_words(steps)
                steps.append(part)

    # -- the end of a text, a form or a sentence, layer by layer

    def _end(self, steps: list[Step]) -> None:
        self._after_forms(self._forms.finish(), steps)
        self._end_tags(steps)

    def _end_tags(self, steps: list[Step]) -> None:
        self._after_tags(self._tags.finish(), steps)
        self._end_words(steps)

    def _end_words(self, steps: list[Step]) -> None:
        steps.extend(Sentence(text, self._emotion) for text in self._splitter.flush())


def is_progress(steps: Iterable[Step]) -> bool:
    """Whether `steps` contain something for the caller."""
    return any(not isinstance(step, UnknownTag) for step in steps)
