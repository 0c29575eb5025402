"""Turns what a model or a script says into the steps of a reply: sentences and actions.

In: text in pieces. Out: steps, as soon as they are sure. Beside the tags it reads the JSON form of a reply: `{"text", "waitInputTimeout",
"tools": [{"name", …}]}`, bare when the whole reply is JSON, or in a fence marked json anywhere. How steps are said is `voice`'s business.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from active_call.agent.directives import Part, ReplyParser, UnknownTag, WaitInput, Words, make_tag
from active_call.agent.sentences import FIRST_CUT_WORDS, SentenceSplitter
from active_call.agent.voice import Remainder, Sentence, Step

MAX_JSON_CHARS = 32_768

_FENCE = "```json"
_FENCE_END = "```"
_LATE_TAG = re.compile(r"""<(?:set_var|http|collect)\b(?:"[^"]*"|'[^']*'|[^>"'])*>""", re.IGNORECASE)


class ReplyReader:
    """One reply, from its first piece to `finish`."""

    def __init__(self, *, first_cut_words: int = FIRST_CUT_WORDS) -> None:
        self._tags = ReplyParser()
        self._splitter = SentenceSplitter(first_cut_words=first_cut_words)
        self._emotion = ""
        self._held = ""
        """What may yet turn out to be the beginning of JSON."""
        self._json: str | None = None
        """The JSON so far, while inside it."""
        self._has_begun = False
        self._is_bare = False

    def feed(self, piece: str) -> list[Step]:
        """The steps that `piece` makes sure."""
        steps: list[Step] = []
        self._held += piece
        while self._advance(steps):
            pass
        return steps

    def finish(self) -> list[Step]:
        """The steps that are left."""
        steps: list[Step] = []
        if self._json is not None:
            self._read_json(self._json + self._held, steps)
        else:
            self._read(self._tags.feed(self._held), steps)
        self._held, self._json = "", None
        self._read(self._tags.finish(), steps)
        steps.extend(Sentence(text, self._emotion) for text in self._splitter.flush())
        return steps

    def _advance(self, steps: list[Step]) -> bool:
        """Take what is sure off `_held`; False when more must come first."""
        if self._json is not None:
            return self._inside_json(steps)
        if not self._has_begun:
            self._held = self._held.lstrip()
            if not self._held:
                return False
            self._has_begun = True
            if self._held[0] == "{":
                self._json, self._is_bare = "", True
                return True
        place = self._held.find(_FENCE)
        if place >= 0:
            self._read(self._tags.feed(self._held[:place]), steps)
            self._held, self._json = self._held[place + len(_FENCE) :], ""
            return True
        keep = _overlap(self._held, _FENCE)
        self._read(self._tags.feed(self._held[: len(self._held) - keep]), steps)
        self._held = self._held[len(self._held) - keep :]
        return False

    def _inside_json(self, steps: list[Step]) -> bool:
        place = -1 if self._is_bare else self._held.find(_FENCE_END)
        if place >= 0:
            self._read_json(self._held[:place], steps)
            self._held, self._json = self._held[place + len(_FENCE_END) :], None
            return True
        if len(self._held) > MAX_JSON_CHARS:
            steps.append(UnknownTag(self._held[:80], "JSON without an end"))
            self._held = ""
        return False

    def _read(self, parts: list[Part], steps: list[Step]) -> None:
        for part in parts:
            if isinstance(part, Words):
                if part.emotion != self._emotion:
                    self._flush(steps)
                    self._emotion = part.emotion
                steps.extend(Sentence(text, self._emotion) for text in self._splitter.feed(part.text))
            else:
                self._flush(steps)
                steps.append(part)

    def _flush(self, steps: list[Step]) -> None:
        steps.extend(Sentence(text, self._emotion) for text in self._splitter.flush())

    def _read_json(self, text: str, steps: list[Step]) -> None:
        try:
            reply = msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError):
            reply = None
        if not isinstance(reply, dict):
            if self._is_bare:  # it only looked like JSON
                self._read(self._tags.feed(text), steps)
            else:
                steps.append(UnknownTag(text[:80], "not JSON"))
            return
        if isinstance(reply.get("text"), str):
            self._read(self._tags.feed(reply["text"]), steps)
            self._flush(steps)
        if isinstance(reply.get("waitInputTimeout"), (int, float)):
            steps.append(WaitInput(float(reply["waitInputTimeout"])))
        tools = reply.get("tools")
        steps.extend(_json_tool(tool) for tool in (tools if isinstance(tools, list) else ()))


def read_whole(text: str) -> list[Step]:
    """The steps of a text that is known to its end."""
    reader = ReplyReader(first_cut_words=0)
    return [*reader.feed(text), *reader.finish()]


def split_late(source: str) -> tuple[str, Remainder | None]:
    """Part a template behind the first tag that may set a variable, so that what follows is filled in afterwards.

    A template with blocks (`{% if … %}`) stays whole: a block cannot be cut in two.
    """
    match = None if "{%" in source else _LATE_TAG.search(source)
    if match is None or not source[match.end() :].strip():
        return source, None
    return source[: match.end()], Remainder(source[match.end() :])


def _json_tool(tool: Any) -> Step:
    if not isinstance(tool, dict) or not isinstance(tool.get("name"), str):
        return UnknownTag(str(tool)[:80], "a tool without a name")
    given: dict[str, Any] = {**tool}
    for key in ("arguments", "params", "parameters"):
        inner = given.pop(key, None)
        if isinstance(inner, Mapping):
            given.update(inner)
    attributes = {str(key).lower(): _as_text(value) for key, value in given.items() if value is not None and key != "name"}
    return make_tag(tool["name"].lower(), attributes, str(tool))


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _overlap(text: str, mark: str) -> int:
    """How many characters at the end of `text` may be the beginning of `mark`."""
    return next((length for length in range(min(len(mark) - 1, len(text)), 0, -1) if text.endswith(mark[:length])), 0)
