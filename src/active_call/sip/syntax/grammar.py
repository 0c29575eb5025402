"""The lexical elements of SIP: tokens, quoted strings, lists and parameters (RFC 3261 §25.1).

Unfolded text goes in, pieces of text come out. This module knows no header names. Bytes are decoded as UTF-8 with surrogate escapes, so
that everything a peer sent can be sent back byte for byte. Every function is linear in its input: no pattern backtracks over text from an
unknown source.
"""

from __future__ import annotations

import re

from active_call.base.errors import ParseError

LWS = " \t\r\n"
"""Linear white space. `str.strip()` alone would also remove Unicode spaces, which are text."""

_TOKEN = re.compile(r"[A-Za-z0-9\-.!%*_+`'~]+\Z")
_BARE_VALUE = re.compile(r"[A-Za-z0-9\-.!%*_+`'~\[\]:]+\Z")
# Possessive quantifiers never backtrack, so the time is linear in the length.
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_UP_TO_BRACKET = re.compile(r'[^"<]*+(?:"(?:[^"\\]|\\.)*+"[^"<]*+)*+', re.DOTALL)
_WHOLE_OR_SEPARATOR = {separator: re.compile(r'"(?:[^"\\]|\\.)*+(?:"|.*+)|<[^>]*+>?|' + separator, re.DOTALL) for separator in (",", ";")}
"""A whole quoted string or bracketed URI (an unclosed one extends to the end), or the separator."""
_BLANK_OR_CONTROL = re.compile(r"[\x00-\x20\x7f]")


def decode_text(data: bytes) -> str:
    """Decode bytes from the wire to text without loss."""
    return data.decode("utf-8", "surrogateescape")


def encode_text(text: str) -> bytes:
    """The inverse of `decode_text`. A lone surrogate that does not stand for a byte becomes a question mark."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")


def is_token(text: str) -> bool:
    """Whether `text` is a `token`: a method, a header name, an unquoted parameter value."""
    return _TOKEN.match(text) is not None


def quote(text: str) -> str:
    """`text` as a quoted-string."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def unquote(text: str) -> str:
    """The content of a quoted-string, and any other text unchanged."""
    if len(text) >= 2 and text[0] == '"' and text[-1] == '"':
        inner = text[1:-1]
        return _without_escapes(inner) if "\\" in inner else inner
    return text


def _without_escapes(text: str) -> str:
    """Remove each backslash that escapes a character; two become one. Works on whole pieces: one match per escape costs 50 times more."""
    pieces = text.split("\\\\")
    last = "\\" if pieces[-1].endswith("\\") else ""  # a backslash at the end escapes nothing
    return "\\".join(piece.replace("\\", "") for piece in pieces) + last


def end_of_quoted(text: str, start: int) -> int:
    """The index after the quoted-string that opens at `start`. Raises ParseError if it is never closed."""
    match = _QUOTED.match(text, start)
    if match is None:
        raise ParseError("quoted string", expected="a closing quote", found=text[start:])
    return match.end()


def split_outside(text: str, separator: str) -> list[str]:
    """The pieces of `text` between separators (`,` or `;`) outside quotes and angle brackets, verbatim.

    An unclosed quote or bracket includes the rest of the text. The parser of that piece then reports it as malformed.
    """
    if separator not in text:
        return [text]
    if '"' not in text and "<" not in text:
        return text.split(separator)
    pieces: list[str] = []
    start = 0
    for match in _WHOLE_OR_SEPARATOR[separator].finditer(text):
        if match.group() == separator:
            pieces.append(text[start : match.start()])
            start = match.end()
    pieces.append(text[start:])
    return pieces


def split_list(text: str) -> list[str]:
    """The elements of a comma-separated header value, stripped, without empty ones."""
    if "," not in text:
        only = text.strip(LWS)
        return [only] if only else []
    return [element for piece in split_outside(text, ",") if (element := piece.strip(LWS))]


def find_bracket(text: str) -> int | None:
    """The index of the first `<` outside quoted strings; -1 if there is none, None if a quote before it is never closed."""
    if text[:1] == "<":
        return 0
    match = _UP_TO_BRACKET.match(text)
    end = match.end() if match is not None else 0
    if end == len(text):
        return -1
    return end if text[end] == "<" else None


def parse_parameters(text: str, *, is_lenient: bool = False) -> dict[str, str | None]:
    """`;name=value;flag` as a dict in order: names in lower case, values unquoted, None for a flag. Of equal names the first one counts.

    Empty parameters (`;;`, a trailing semicolon) are ignored, because many senders write them. Text before the first semicolon must be
    blank. Raises ParseError for a name that is not a token, or a value that is not a token, a host or a quoted-string. With `is_lenient`
    such a parameter is ignored.
    """
    parameters: dict[str, str | None] = {}
    text = text.strip(LWS)
    if not text:
        return parameters
    if text[0] != ";":
        raise ParseError("parameters", expected="';'", found=text)
    for piece in split_outside(text[1:], ";"):
        if not piece.strip(LWS):
            continue
        try:
            name, value = _parameter(piece)
        except ParseError:
            if not is_lenient:
                raise
            continue
        parameters.setdefault(name, value)
    return parameters


def _parameter(piece: str) -> tuple[str, str | None]:
    name, equals, value = piece.partition("=")
    name = name.strip(LWS).lower()
    if not is_token(name):
        raise ParseError("parameter", expected="a name", found=piece)
    return name, _parameter_value(value.strip(LWS)) if equals else None


def _parameter_value(text: str) -> str:
    if text.startswith('"'):
        if end_of_quoted(text, 0) != len(text):
            raise ParseError("parameter value", expected="nothing behind the quoted string", found=text)
        return unquote(text)
    if '"' in text or "<" in text or _BLANK_OR_CONTROL.search(text):
        raise ParseError("parameter value", expected="a token, a host or a quoted string", found=text)
    return text


def format_parameters(parameters: dict[str, str | None]) -> str:
    """`;name=value` for each parameter. A value is quoted if necessary."""
    return "".join(f";{name}" if value is None else f";{name}={format_value(value)}" for name, value in parameters.items())


def format_value(value: str) -> str:
    """A parameter value, quoted unless it is a token or a host."""
    return value if _BARE_VALUE.match(value) else quote(value)


def unescape(text: str) -> str:
    """Decode the `%XX` escapes of a URI. Malformed ones stay."""
    if "%" not in text:
        return text
    raw = re.sub(rb"%([0-9A-Fa-f]{2})", lambda match: bytes((int(match.group(1), 16),)), encode_text(text))
    return decode_text(raw)
