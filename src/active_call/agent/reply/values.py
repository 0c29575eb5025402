"""Keep the values that were filled into a template apart from the template's own text.

In: the parts of a rendered template. Out: a text to parse, in which each value is one private-use character, and `Values`, which replaces
these by the values after the parser has found words or attributes. So a value is never parsed as a tag, a mood, JSON or a fence. In an
attribute that is an address, a value after a literal beginning cannot change the structure of the address; in a JSON body it stays a
string. An unquoted value in a JSON form (`{"text": {{ v | tojson }}}`) is exactly one JSON value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import quote

import msgspec

from active_call.agent.playbook.template_sandbox import Value

_FIRST, _LAST = 0xF0000, 0xFFFFD
"""Unicode's supplementary private use area A: no language uses these characters."""
_BARE = chr(0x100000)
"""Prefix of an unquoted value in JSON."""
_TOKEN = re.compile(f"{_BARE}?[{chr(_FIRST)}-{chr(_LAST)}]")
_PRIVATE = re.compile(f"[{_BARE}{chr(_FIRST)}-{chr(_LAST)}]")
_STRING_OR_TOKEN = re.compile(rf'"(?:[^"\\]|\\.)*"|[{chr(_FIRST)}-{chr(_LAST)}]', re.DOTALL)
_BARE_STRING = re.compile(f'"({_BARE}[{chr(_FIRST)}-{chr(_LAST)}])"')
_FENCE = re.compile(r"`{3,}|~{3,}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_CLIMBING = re.compile(r"(?<![^/\\])\.\.(?=[/\\]|$)")
_FREE_TEXT = frozenset({"body", "value", "prompt"})
"""Attributes that may contain line breaks and tabs."""
_SAFE_IN_USER = "+*#()!~'%,&=$/"
_SAFE_IN_PATH = "%+,:@!$'()*"
_SAFE_IN_HOST = "%:[]"


class Values:
    """The values of one rendered template."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._texts = tuple(texts)

    def words(self, text: str) -> str:
        """`text` with its values, to be spoken. A value cannot open a code fence."""
        return self._put(text, lambda value, _: _FENCE.sub(" ", value))

    def plain(self, text: str) -> str:
        """`text` with its values, unchanged."""
        return self._put(text, lambda value, _: value)

    def attributes(self, attributes: Mapping[str, str]) -> dict[str, str]:
        """The attributes of a tag with their values."""
        return {name: self.attribute(name, text) for name, text in attributes.items()}

    def attribute(self, name: str, text: str) -> str:
        """One attribute with its values, safe as an address, a body or a header field."""
        if name == "url":
            filled = self._put(text, lambda value, place: _in_url(value, text[:place]))
        elif name in ("file", "moh"):
            filled = _without_climbing(self._put(text, lambda value, place: _in_url(value, text[:place])), text)
        elif name in ("to", "caller", "target"):
            filled = self._put(text, lambda value, place: _in_address(value, text, place))
        elif name == "body" and _TOKEN.search(text) and _is_json(text):
            whole = _BARE_STRING.sub(lambda match: self._json_of(match.group(1)), text)
            filled = self._put(whole, lambda value, _: msgspec.json.encode(value).decode()[1:-1])
        else:
            filled = self.plain(text)
        return filled if name in _FREE_TEXT else _CONTROL.sub(" ", filled)

    def number(self, value: object) -> object:
        """A number that was written as an unquoted expression. Any other value of a JSON form is returned unchanged."""
        if not isinstance(value, str) or not value.startswith(_BARE):
            return value
        found = _decoded(self.plain(value))
        return found if isinstance(found, (int, float)) else None

    def _json_of(self, token: str) -> str:
        """The JSON text of an unquoted value."""
        written = self._texts[ord(token[-1]) - _FIRST]
        found = _decoded(written)
        return msgspec.json.encode(written if found is None and written != "null" else found).decode()

    def _put(self, text: str, write: Callable[[str, int], str]) -> str:
        def value(match: re.Match[str]) -> str:
            token = match.group()
            index = ord(token[-1]) - _FIRST
            text = self._texts[index] if index < len(self._texts) else ""
            return write(_as_words(text) if token.startswith(_BARE) else text, match.start())

        return _TOKEN.sub(value, text)


NO_VALUES = Values()


def keep_apart(parts: Iterable[str]) -> tuple[str, Values]:
    """The text to parse, and the values in it."""
    written: list[str] = []
    texts: list[str] = []
    for part in parts:
        if not isinstance(part, Value):
            written.append(_PRIVATE.sub("", part))
        elif len(texts) <= _LAST - _FIRST:
            written.append(chr(_FIRST + len(texts)))
            texts.append(str.__str__(part))
    return "".join(written), Values(texts)


def quote_bare(text: str) -> str:
    """The JSON with each unquoted value replaced by a string."""
    return _STRING_OR_TOKEN.sub(lambda match: f'"{_BARE}{match.group()}"' if match.group()[0] != '"' else match.group(), text)


def _as_words(text: str) -> str:
    """The text of a JSON string; anything else unchanged."""
    found = _decoded(text)
    return found if isinstance(found, str) else text


def _decoded(text: str) -> Any:
    """The JSON value; None if it is not JSON."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def one_line(text: str) -> str:
    """`text` without characters that end a header field."""
    return _CONTROL.sub(" ", text).strip()


def _in_url(value: str, before: str) -> str:
    """A value at the beginning is the address itself. A later value cannot leave its part of the address."""
    if "://" not in before:
        return value
    _, slash, _ = before.partition("://")[2].partition("/")
    if "?" in before or "#" in before:
        return quote(value, safe="%", errors="replace")
    return quote(value, safe=_SAFE_IN_PATH if slash else _SAFE_IN_HOST, errors="replace")


def _in_address(value: str, text: str, place: int) -> str:
    """A value before an `@` is the user or part of it. After it, it is the host or inside a parameter or a header."""
    before = text[:place]
    if "@" in text[place + 1 :]:
        return quote(value, safe=_SAFE_IN_USER, errors="replace")
    if "?" in before or ";" in before:
        return quote(value, safe="%+:", errors="replace")
    return quote(value, safe=_SAFE_IN_HOST + ";=", errors="replace") if "@" in before else value


def _without_climbing(path: str, written: str) -> str:
    """A value in a path cannot lead out of the folder that is written before it."""
    if not written or _TOKEN.match(written) or ".." in written:
        return path
    return _CLIMBING.sub("", path)


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False
    return True
