"""The second layer of a reply: find text for machines, so that no later layer speaks or executes it.

In: text without reasoning, cut anywhere. Out: `Plain` text, `Form` (a JSON object, decoded) and `Dropped`. Machine text is: JSON objects,
bare or fenced; fenced code; tool calls written as text; HTML comments. A truncated JSON form yields its `text` as far as it arrived.
`json_form` interprets forms. Attributes of the playbook tags may contain JSON and are passed on unchanged.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from active_call.agent.reply.values import quote_bare
from active_call.base.repair import repaired

MAX_FORM_CHARS = 32_768
"""A longer form is dropped."""
MAX_TAG_CHARS = 8192

OWN_TAGS = ("hangup", "refer", "goto", "play", "set_var", "http", "message", "collect")
_BLOCKS = (
    r"(?:\w{1,20}[:_])?(?:tool_?calls?|function_?calls?|tool_code|tool_use|tool_responses?|tool_results?|function_results?|invoke"
    r"|tools?|functions?|execute|action|arg_key|arg_value)"
)
_CALLED = ("functions", "function", "default_api", "tools", "multi_tool_use")
"""Prefixes of function names that models write in text: `functions.lookup({…})`."""
_CALLED_BEGUN = "|".join(sorted({name[:length] for name in _CALLED for length in range(1, len(name) + 1)}, key=len, reverse=True))
_START = re.compile(
    rf"""(?P<fence>```|^[ \t]*~~~)
    |(?P<json>\{{\s*(?:["}}]|'\w+'\s*:)|\[\s*\{{\s*["'])
    |(?P<own><(?:{"|".join(OWN_TAGS)})\b)
    |(?P<block><(?P<name>{_BLOCKS})(?=[\s>=])[^<>\n]*>)
    |(?P<calls>\[(?:TOOL_CALLS|TOOL_RESULTS|AVAILABLE_TOOLS|ARGS)\])
    |(?P<call>(?<![\w.])(?:print\()?(?:{"|".join(_CALLED)})\.[A-Za-z_]\w{{0,60}}\s{{0,3}}\()
    |(?P<comment><!--)""",
    re.IGNORECASE | re.VERBOSE | re.MULTILINE,
)
_BEGUN = re.compile(
    r"`{1,2}\Z|^[ \t]*~{1,2}\Z|\{\s*(?:'\w*'?\s*)?\Z|\[\s*(?:\{\s*)?\Z|\[[A-Z_]{1,15}\Z|<[!\w:-]{0,40}\Z|<[\w:]{1,40}[\s=][^<>\n]{0,200}\Z"
    rf"|(?<![\w.])(?:print\()?(?:(?:{'|'.join(_CALLED)})\.(?:[A-Za-z_]\w{{0,60}}\s{{0,3}})?|{_CALLED_BEGUN})\Z|(?<![\w.])p(?:r(?:i(?:n(?:t\(?)?)?)?)?\Z",
    re.IGNORECASE | re.MULTILINE,
)
"""Matches a possible beginning of a form."""
_INFO = re.compile(r"[ \t]*([\w+#.-]*)")
_TEXT_KEY = re.compile(r"""["']text["']\s*:\s*(["'])((?:[^"'\\]|\\.|(?!\1)["'])*)""", re.DOTALL)
_PROSE = ("text", "txt", "plaintext", "markdown", "md")


class Plain(Struct, frozen=True):
    """Text for the next layer."""

    text: str


class Form(Struct, frozen=True):
    """A JSON object. A truncated or broken one has only its `text`."""

    fields: Mapping[str, Any]


class Dropped(Struct, frozen=True):
    """Text for a machine that is not executed; for the log."""

    text: str
    reason: str


Found = Plain | Form | Dropped


class StructuredForms:
    """One reply from its first piece to `finish`."""

    def __init__(self) -> None:
        self._buffer = ""
        self._kind = ""
        """What the buffer is inside of: a fence, json, a block, calls, a comment; empty in text."""
        self._end = ""
        self._json = _Braces()
        self._searched = 0
        """Number of characters of the current form that were searched for its end."""
        self._passed = 0
        """Number of characters of the buffer that were searched for the start of a form."""
        self._is_line_start = True
        """Whether the buffer begins at the start of a line."""

    def feed(self, piece: str) -> list[Found]:
        """The parts that are certain after `piece`."""
        self._buffer += piece
        return self._read(at_end=False)

    def finish(self) -> list[Found]:
        """The remaining parts. A form without its end yields what arrived of its text."""
        found = self._read(at_end=True)
        kind, rest = self._kind, self._buffer
        self._buffer = self._kind = ""
        if not kind:
            return [*found, Plain(rest)] if rest else found
        if kind == "json":
            return [*found, _form_of(rest)]
        if kind == "fence":
            return [*found, *_fence(rest, is_cut=True)]
        return [*found, Dropped(rest[:80], "a tool call without its end")]

    def _read(self, *, at_end: bool) -> list[Found]:
        found: list[Found] = []
        while self._in_form(found) if self._kind else self._in_text(found, at_end=at_end):
            pass
        return found

    def _in_text(self, found: list[Found], *, at_end: bool) -> bool:
        start = _START.search(self._buffer, self._passed)
        if start is not None and start.group("own"):
            return self._own_tag(start.start(), found, at_end=at_end)
        if start is not None and start.group().lstrip().startswith("~") and start.start() == 0 and not self._is_line_start:
            self._passed = start.end()
            return True
        if start is None:
            begun = None if at_end else _BEGUN.search(self._buffer, max(self._passed, len(self._buffer) - 260))
            self._give(begun.start() if begun else len(self._buffer), found)
            return False
        self._give(start.start(), found)
        self._searched = 0
        self._kind = str(start.lastgroup if start.lastgroup != "name" else "block")
        length = start.end() - start.start()
        if self._kind in ("json", "call"):
            self._json = _Braces("()" if self._kind == "call" else "{}[]")
        else:
            self._buffer = self._buffer[length:]
        self._end = {"fence": start.group().strip(), "comment": "-->"}.get(self._kind, "")
        if self._kind == "block":
            self._end = f"</{start.group('name')}>"
        return True

    def _own_tag(self, start: int, found: list[Found], *, at_end: bool) -> bool:
        end = tag_end(self._buffer[start : start + MAX_TAG_CHARS])
        if end or at_end or len(self._buffer) - start >= MAX_TAG_CHARS:
            self._passed = start + (end or 1)
            return True
        self._give(start, found)
        return False

    def _give(self, length: int, found: list[Found]) -> None:
        if length:
            given = self._buffer[:length]
            found.append(Plain(given))
            self._is_line_start = not given[given.rfind("\n") + 1 :].strip() and ("\n" in given or self._is_line_start)
        self._buffer, self._passed = self._buffer[length:], 0

    def _in_form(self, found: list[Found]) -> bool:
        end = self._json.find_end(self._buffer) if self._kind in ("json", "call") else self._find_end()
        if end is None:
            if self._kind == "comment":
                self._buffer, self._searched = self._buffer[1 - len(self._end) :], 0
            elif len(self._buffer) > MAX_FORM_CHARS:
                found.append(Dropped(self._buffer[:80], "a form without an end"))
                keep = len(self._end) - 1 if self._end else 0
                self._buffer = self._buffer[-keep:] if keep else ""
                self._searched = 0
                self._json.forget()
            return False
        inner, self._buffer = self._buffer[: end[0]], self._buffer[end[1] :]
        kind, self._kind = self._kind, ""
        self._is_line_start = False
        if kind == "json":
            found.append(_form_of(inner))
        elif kind == "fence":
            found.extend(_fence(inner))
        elif kind in ("block", "call"):
            found.append(Dropped(inner[:80], "a tool call written as text"))
        return True

    def _find_end(self) -> tuple[int, int] | None:
        if not self._end:
            return None  # to the end of the reply
        end = re.compile(re.escape(self._end), re.IGNORECASE).search(self._buffer, self._searched)
        self._searched = max(0, len(self._buffer) - len(self._end))
        return None if end is None else end.span()


class _Braces:
    """Finds the end of a JSON value. Each character is examined once."""

    def __init__(self, pairs: str = "{}[]") -> None:
        self._openers, self._closers = pairs[::2], pairs[1::2]
        self._place = 0
        self._depth = 0
        self._is_in_string = self._is_escaped = False

    def forget(self) -> None:
        """Reset for a new text."""
        self._place = 0

    def find_end(self, text: str) -> tuple[int, int] | None:
        """The end of the value in `text`, twice (inside, after); None if it has not arrived."""
        while self._place < len(text):
            char = text[self._place]
            self._place += 1
            if self._is_in_string:
                self._is_in_string = char != '"' or self._is_escaped
                self._is_escaped = char == "\\" and not self._is_escaped
            elif char == '"':
                self._is_in_string = True
            elif char in self._openers:
                self._depth += 1
            elif char in self._closers:
                self._depth -= 1
                if self._depth <= 0:
                    return self._place, self._place
        return None


def _form_of(text: str) -> Form | Dropped:
    text = quote_bare(text)
    try:
        decoded = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        decoded = _repaired(text) or _text_of(text)
    if not isinstance(decoded, dict):
        return Dropped(text[:80], "not JSON")
    if "text" not in decoded and ("arguments" in decoded or "parameters" in decoded):
        return Dropped(text[:80], "a tool call written as text")
    return Form(decoded)


def _repaired(text: str) -> Any:
    """Parse an object after replacing escaped lone surrogates by U+FFFD; None if it is still not JSON."""
    try:
        return repaired(json.loads(text))
    except (ValueError, RecursionError):
        return None


def _text_of(text: str) -> dict[str, str] | None:
    """The `text` of a truncated or broken object, as far as it arrived."""
    match = _TEXT_KEY.search(text)
    if match is None:
        return None
    written = match.group(2)
    if match.group(1) == "'":
        return {"text": written.replace("\\'", "'")}
    written = written.replace("\n", "\\n").replace("\t", "\\t").replace("\r", "")
    for cut in range(7):  # an escape may be truncated too
        try:
            return {"text": msgspec.json.decode(f'"{written[: len(written) - cut]}"', type=str)}
        except (msgspec.DecodeError, UnicodeError):
            continue
    return None


def _fence(inner: str, *, is_cut: bool = False) -> list[Found]:
    info = _INFO.match(inner)
    language = info.group(1).lower() if info else ""
    body = inner[info.end() :] if info else inner
    if language in _PROSE:
        return [Plain(body)]
    if language != "json" and not body.lstrip().startswith(("{", "[")):
        return [Dropped(inner[:80], "code is not spoken")]
    form = _form_of(body)
    return [form] if isinstance(form, Form) or language == "json" or is_cut else [Dropped(inner[:80], "code is not spoken")]


def tag_end(text: str) -> int:
    """The index after the `>` that closes the tag at the front of `text`, or 0. A `>` in quotes does not count."""
    if ">" not in text:
        return 0
    quote = ""
    for index, char in enumerate(text):
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'" and text[index - 1] == "=":
            quote = char
        elif char == ">":
            return index + 1
    return 0


def without_code(text: str) -> str:
    """A complete text without text for machines. For the text inside a form, which is not parsed as a form again."""
    forms = StructuredForms()
    return "".join(part.text for part in (*forms.feed(text), *forms.finish()) if isinstance(part, Plain))
