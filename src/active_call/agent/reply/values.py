"""Keeps the values that were filled into a template apart from the template's own text.

In: the parts of a rendered template. Out: a text to parse, in which each value stands as one private character, and `Values`, which puts
the values back where the parser has found words or attributes. A value is therefore never read as a tag, a mood, JSON or a fence. In an
attribute that is an address, a value behind a literal beginning cannot change the address's structure; in a JSON body it stays a string.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from urllib.parse import quote

import msgspec

from active_call.agent.playbook.template_sandbox import Value

_FIRST, _LAST = 0xF0000, 0xFFFFD
"""Unicode's supplementary private use area A: no language writes these."""
_TOKEN = re.compile(f"[{chr(_FIRST)}-{chr(_LAST)}]")
_FENCE = re.compile(r"`{3,}|~{3,}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_CLIMBING = re.compile(r"(?<![^/\\])\.\.(?=[/\\]|$)")
_FREE_TEXT = frozenset({"body", "value", "prompt"})
"""Attributes that may hold lines and tabs."""
_SAFE_IN_USER = "+*#()!~'%,&=$/"
_SAFE_IN_PATH = "%+,:@!$'()*"
_SAFE_IN_HOST = "%:[]"


class Values:
    """The values of one rendered template."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._texts = tuple(texts)

    def words(self, text: str) -> str:
        """`text` with its values, to be spoken. A value opens no code fence."""
        return self._put(text, lambda value, _: _FENCE.sub(" ", value))

    def plain(self, text: str) -> str:
        """`text` with its values as they are."""
        return self._put(text, lambda value, _: value)

    def attributes(self, attributes: Mapping[str, str]) -> dict[str, str]:
        """The attributes of a tag with their values."""
        return {name: self.attribute(name, text) for name, text in attributes.items()}

    def attribute(self, name: str, text: str) -> str:
        """One attribute with its values: safe as an address, a body or a header field."""
        if name == "url":
            filled = self._put(text, lambda value, place: _in_url(value, text[:place]))
        elif name in ("file", "moh"):
            filled = _without_climbing(self._put(text, lambda value, place: _in_url(value, text[:place])), text)
        elif name in ("to", "caller", "target"):
            filled = self._put(text, lambda value, place: _in_address(value, text, place))
        elif name == "body" and _TOKEN.search(text) and _is_json(text):
            filled = self._put(text, lambda value, _: msgspec.json.encode(value).decode()[1:-1])
        else:
            filled = self.plain(text)
        return filled if name in _FREE_TEXT else _CONTROL.sub(" ", filled)

    def _put(self, text: str, write: Callable[[str, int], str]) -> str:
        def value(match: re.Match[str]) -> str:
            index = ord(match.group()) - _FIRST
            return write(self._texts[index], match.start()) if index < len(self._texts) else ""

        return _TOKEN.sub(value, text)


NO_VALUES = Values()


def keep_apart(parts: Iterable[str]) -> tuple[str, Values]:
    """The text to parse, and the values that stand in it."""
    written: list[str] = []
    texts: list[str] = []
    for part in parts:
        if not isinstance(part, Value):
            written.append(_TOKEN.sub("", part))
        elif len(texts) <= _LAST - _FIRST:
            written.append(chr(_FIRST + len(texts)))
            texts.append(str.__str__(part))
    return "".join(written), Values(texts)


def one_line(text: str) -> str:
    """`text` without what would end a header field."""
    return _CONTROL.sub(" ", text).strip()


def _in_url(value: str, before: str) -> str:
    """A value at the beginning is the address; behind it, it stays within its part of it."""
    if "://" not in before:
        return value
    _, slash, _ = before.partition("://")[2].partition("/")
    if "?" in before or "#" in before:
        return quote(value, safe="%", errors="replace")
    return quote(value, safe=_SAFE_IN_PATH if slash else _SAFE_IN_HOST, errors="replace")


def _in_address(value: str, text: str, place: int) -> str:
    """A value in front of an `@` is the user, or part of it; one behind it is the host, or within a parameter or a header."""
    before = text[:place]
    if "@" in text[place + 1 :]:
        return quote(value, safe=_SAFE_IN_USER, errors="replace")
    if "?" in before or ";" in before:
        return quote(value, safe="%+:", errors="replace")
    return quote(value, safe=_SAFE_IN_HOST + ";=", errors="replace") if "@" in before else value


def _without_climbing(path: str, written: str) -> str:
    """A value in a path does not lead out of the folder that is written in front of it."""
    if not written or _TOKEN.match(written) or ".." in written:
        return path
    return _CLIMBING.sub("", path)


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False
    return True
