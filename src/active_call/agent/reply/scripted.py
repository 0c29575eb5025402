"""Parse texts that are complete: a playbook's own, filled in. They pass the layers of `reply.parser` in one piece."""

from __future__ import annotations

import re

from active_call.agent.markup import TAG_BODY
from active_call.agent.playbook.templates import Rendered, mask_expressions
from active_call.agent.reply.parser import ReplyParser
from active_call.agent.reply.sentences import SentenceSplitter
from active_call.agent.reply.steps import Remainder, Sentence, Step
from active_call.agent.reply.values import keep_apart

_LATE_TAG = re.compile(rf"<(?:set_var|http|collect)\b{TAG_BODY}>", re.IGNORECASE)
_JSON_FORM = re.compile(r"(?<!\{)\{\s*[\"'](?:text|tools|waitInputTimeout)\b")


def read_rendered(rendered: Rendered) -> list[Step]:
    """The steps of a filled-in template. Its own tags are executed; its values are words or parts of attributes, whatever they contain."""
    text, values = keep_apart(rendered.parts)
    reader = ReplyParser(first_cut_words=0, values=values)
    steps = reader.feed(text)
    rest = reader.finish()
    return rest if reader.take_retraction() and not steps else [*steps, *rest]


def plain_words(text: str) -> list[Step]:
    """`text` as sentences; nothing in it is executed."""
    splitter = SentenceSplitter(first_cut_words=0)
    return [Sentence(sentence) for sentence in (*splitter.feed(text), *splitter.flush())]


def split_late(source: str) -> tuple[str, Remainder | None]:
    """Split a template after the first tag that may set a variable, so that the rest is filled in afterwards.

    A template with blocks (`{% if … %}`) or with a JSON form is not split, because neither can be cut in two.
    """
    masked = mask_expressions(source)
    match = None if "{%" in source or _JSON_FORM.search(masked) else _LATE_TAG.search(masked)
    if match is None or not source[match.end() :].strip():
        return source, None
    return source[: match.end()], Remainder(source[match.end() :])
