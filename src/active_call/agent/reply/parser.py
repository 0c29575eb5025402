"""Turns what a model or a script says into the steps of a reply: sentences and actions.

In: text in pieces. Out: steps, as soon as they are sure. The text goes through the layers in one order: reasoning is taken out
(`reply.reasoning`), what is written for machines (`reply.structured`), tags (`directives`), and the words become sentences (`sentences`).
No layer sees what an earlier one has taken. The values of a script are put in behind the tags (`reply.values`). A JSON form of a reply is
`{"text", "waitInputTimeout", "tools": [{"name", …}]}`. How steps are said is `voice`'s business.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, assert_never

import msgspec

from active_call.agent.playbook.templates import Rendered, mask_expressions
from active_call.agent.reply.reasoning import ReasoningFilter, without_reasoning
from active_call.agent.reply.sentences import FIRST_CUT_WORDS, SentenceSplitter
from active_call.agent.reply.structured import Dropped, Form, Found, Plain, StructuredForms, without_code
from active_call.agent.reply.tags import Part, TagParser, UnknownTag, WaitInput, Words, make_tag
from active_call.agent.reply.values import NO_VALUES, Values, keep_apart
from active_call.agent.reply.voice import Remainder, Sentence, Step

_LATE_TAG = re.compile(r"""<(?:set_var|http|collect)\b(?:"[^"]*"|'[^']*'|[^>"'])*>""", re.IGNORECASE)
_JSON_FORM = re.compile(r"(?<!\{)\{\s*[\"'](?:text|tools|waitInputTimeout)\b")
MAX_WAIT_S = 3600
"""A model may not wait longer for the caller."""


class ReplyParser:
    """One reply, from its first piece to `finish`. `is_prefilled`: it begins in the middle of the model's reasoning."""

    def __init__(self, *, first_cut_words: int = FIRST_CUT_WORDS, values: Values = NO_VALUES, is_prefilled: bool = False) -> None:
        self._first_cut_words = first_cut_words
        self._values = values
        self._reasoning = ReasoningFilter(is_prefilled=is_prefilled)
        self._has_retraction = False
        self._begin_layers()

    def _begin_layers(self) -> None:
        self._forms = StructuredForms()
        self._tags = TagParser(self._values)
        self._splitter = SentenceSplitter(first_cut_words=self._first_cut_words)
        self._emotion = ""

    def feed(self, piece: str) -> list[Step]:
        """The steps that `piece` makes sure."""
        return self._steps(self._reasoning.feed(piece), is_last=False)

    def finish(self) -> list[Step]:
        """The steps that are left."""
        return self._steps(self._reasoning.finish(), is_last=True)

    def take_retraction(self) -> bool:
        """Whether the steps before those that were handed out last turned out to be reasoning, and must not be said; told once."""
        found, self._has_retraction = self._has_retraction, False
        return found

    def _steps(self, text: str, *, is_last: bool) -> list[Step]:
        if self._reasoning.take_retraction():
            self._has_retraction = True
            self._begin_layers()
        steps: list[Step] = []
        for found in self._forms.feed(text):
            self._take(found, steps)
        if is_last:
            for found in self._forms.finish():
                self._take(found, steps)
            self._read(self._tags.finish(), steps)
            self._flush(steps)
        return steps

    def _take(self, found: Found, steps: list[Step]) -> None:
        match found:
            case Plain(text):
                self._read(self._tags.feed(text), steps)
            case Form(fields):
                self._flush_tags(steps)
                self._read_form(fields, steps)
            case Dropped(text, reason):
                self._flush_tags(steps)
                steps.append(UnknownTag(self._values.plain(text), reason))
            case _:
                assert_never(found)

    def _flush_tags(self, steps: list[Step]) -> None:
        """A form ends what stands before it, as a tag does."""
        self._read(self._tags.finish(), steps)
        self._flush(steps)

    def _read(self, parts: list[Part], steps: list[Step]) -> None:
        for part in parts:
            if isinstance(part, Words):
                if part.emotion != self._emotion:
                    self._flush(steps)
                    self._emotion = part.emotion
                said = self._splitter.feed(self._values.words(part.text))
                steps.extend(Sentence(text, self._emotion) for text in said)
            else:
                self._flush(steps)
                steps.append(part)

    def _flush(self, steps: list[Step]) -> None:
        steps.extend(Sentence(text, self._emotion) for text in self._splitter.flush())

    def _read_form(self, fields: Mapping[str, Any], steps: list[Step]) -> None:
        if isinstance(fields.get("text"), str):
            self._read(self._tags.feed(without_code(without_reasoning(fields["text"]))), steps)
            self._read(self._tags.finish(), steps)
            self._flush(steps)
        seconds = self._values.number(fields.get("waitInputTimeout"))
        if isinstance(seconds, (int, float)) and not isinstance(seconds, bool) and seconds > 0:
            steps.append(WaitInput(float(min(seconds, MAX_WAIT_S))))
        tools = fields.get("tools")
        steps.extend(_json_tool(tool, self._values) for tool in (tools if isinstance(tools, list) else ()))


def read_whole(text: str) -> list[Step]:
    """The steps of a text that is known to its end and has no values in it."""
    return read_rendered(Rendered((text,)))


def read_rendered(rendered: Rendered) -> list[Step]:
    """The steps of a filled-in template: its own tags are acted on, its values are words or stand in attributes, whatever they hold."""
    text, values = keep_apart(rendered.parts)
    reader = ReplyParser(first_cut_words=0, values=values)
    steps = reader.feed(text)
    rest = reader.finish()
    return rest if reader.take_retraction() and not steps else [*steps, *rest]


def plain_words(text: str) -> list[Step]:
    """`text` as sentences, nothing in it acted on."""
    splitter = SentenceSplitter(first_cut_words=0)
    return [Sentence(sentence) for sentence in (*splitter.feed(text), *splitter.flush())]


def split_late(source: str) -> tuple[str, Remainder | None]:
    """Part a template behind the first tag that may set a variable, so that what follows is filled in afterwards.

    A template with blocks (`{% if … %}`) stays whole, and so does one with a JSON form: neither can be cut in two.
    """
    masked = mask_expressions(source)
    match = None if "{%" in source or _JSON_FORM.search(masked) else _LATE_TAG.search(masked)
    if match is None or not source[match.end() :].strip():
        return source, None
    return source[: match.end()], Remainder(source[match.end() :])


def is_progress(steps: Iterable[Step]) -> bool:
    """Something in `steps` is for the caller."""
    return any(not isinstance(step, UnknownTag) for step in steps)


def _json_tool(tool: Any, values: Values) -> Step:
    if not isinstance(tool, dict) or not isinstance(tool.get("name"), str):
        return UnknownTag(str(tool)[:80], "a tool without a name")
    given: dict[str, Any] = {**tool}
    for key in ("arguments", "params", "parameters"):
        inner = given.pop(key, None)
        if isinstance(inner, Mapping):
            given.update(inner)
    attributes = {str(key).lower(): _as_text(value) for key, value in given.items() if value is not None and key != "name"}
    return make_tag(tool["name"].lower(), values.attributes(attributes), values.plain(str(tool)))


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
