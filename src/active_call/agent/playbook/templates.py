"""Render prompts, greetings and headers with the variables: Jinja2 in a sandbox.

In: a template and variables. Out: text in parts, so that the template's own text can be told from the values in it; and an error for the
log if rendering failed, because a bad template must not end a call. An undefined variable is empty. `{{ X-Twilio-CallSid }}`, a subtraction
in plain Jinja, is the SIP header of that name; a name that begins with `x-` is a subtraction only if a variable `x` exists.
`template_sandbox` limits the cost.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any

import jinja2
from msgspec import Struct

from active_call.agent.playbook.template_sandbox import METER, Meter, Value, compile_template
from active_call.base import pattern_search

MAX_OUTPUT_CHARS = 64 * 1024
"""Maximum length of a template's own text, in characters. The same limit applies to all values together."""

MAX_EXPRESSIONS = 1000
MAX_EXPRESSION_CHARS = 20_000
"""To compile them takes about a tenth of a second, in which all calls wait."""

_HEADERS = "_sip_headers"
_WHO_CALLS = frozenset(
    ("diversion", "history-info", "identity", "p-asserted-identity", "privacy", "reason", "remote-party-id", "user-to-user")
)
"""Headers of RFC 5806, 7044, 8224, 3325, 3323, 3326 and 7433 that templates always see."""
_STRING = r""""(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'"""
_QUOTED = re.compile(_STRING, re.DOTALL)
_OPENING = re.compile(r"\{\{|\{%|\{#")
_CLOSERS = {"{{": "}}", "{%": "%}", "{#": "#}"}
_HEADER_NAME = re.compile(rf"({_STRING})|(?<![\w.\])-])([Xx])((?:-[A-Za-z][A-Za-z0-9_]*)(?:-[A-Za-z0-9_]+)*)(?![\w(])")
_AUTHORS_ERRORS = (
    jinja2.TemplateError, ArithmeticError, AttributeError, AssertionError, LookupError, MemoryError, RecursionError, TypeError, ValueError,
)  # fmt: skip


class Rendered(Struct, frozen=True):
    """A filled-in template. In `parts` a `Value` came from an expression; everything else is the template's own text. `error` is a reason
    for the log, empty without an error.
    """

    parts: tuple[str, ...]
    error: str = ""

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(self.parts)


class SipHeaders(Mapping[str, str]):
    """Header fields by name, case-insensitive. A missing one is undefined, which renders as empty text."""

    def __init__(self, headers: Mapping[str, str] | None = None) -> None:
        self._values = {name.lower(): value for name, value in (headers or {}).items()}
        self._names = list(headers or {})

    def __getitem__(self, name: str) -> str:
        return self._values[str(name).lower()]

    def __contains__(self, name: object) -> bool:
        return str(name).lower() in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._values)


def visible_headers(headers: Mapping[str, str], extract: list[str | dict[str, str]]) -> SipHeaders:
    """The headers that templates may see: those named by `extract` (`{name, pattern}`: the matching part), else all `X-*` headers and those
    that identify the caller and the reason of the call.
    """
    if not extract:
        return SipHeaders({name: value for name, value in headers.items() if (key := name.lower())[:2] == "x-" or key in _WHO_CALLS})
    every = SipHeaders(headers)
    seen: dict[str, str] = {}
    for entry in extract:
        name, pattern = (entry, "") if isinstance(entry, str) else (entry.get("name", ""), entry.get("pattern", ""))
        if name not in every:
            continue
        found = _search(pattern, every[name])
        if found is not None:
            seen[name] = found
    return SipHeaders(seen)


def render(template: str, variables: Mapping[str, Any], sip: Mapping[str, str] | None = None) -> Rendered:
    """Render `template`. `sip` is what `{{ sip["X-Name"] }}` and `{{ X-Name }}` look up. Never raises.

    On failure the result is the text outside of all expressions and blocks. A tag inside a block must not be acted on if its condition is
    unknown.
    """
    if "{" not in template:
        return Rendered((template,))
    headers = sip if isinstance(sip, SipHeaders) else SipHeaders(sip)
    own = frozenset(name for name in ("x", "X") if name in variables)
    try:
        compiled = _compiled(template, own)
        return _bounded(compiled.generate({"sip": headers, **variables, _HEADERS: headers, METER: Meter()}))
    except _AUTHORS_ERRORS as error:
        return Rendered((_text_outside(template),), f"{type(error).__name__}: {error}"[:300])


def _bounded(pieces: Iterator[str]) -> Rendered:
    """The pieces up to the limits. Values have a separate limit, so that a long value does not displace the template's own text."""
    parts: list[str] = []
    room = {True: MAX_OUTPUT_CHARS, False: MAX_OUTPUT_CHARS}
    error = ""
    for piece in pieces:
        is_value = isinstance(piece, Value)
        if len(piece) > room[is_value]:
            error = f"the text is longer than {MAX_OUTPUT_CHARS} characters and was cut"
            piece = Value(piece[: room[is_value]]) if is_value else piece[: room[is_value]]
        parts.append(piece)
        room[is_value] -= len(piece)
        if error and not is_value:
            break
    return Rendered(tuple(parts), error)


def mask_expressions(template: str) -> str:
    """`template` with its expressions replaced by spaces, so that positions do not change."""
    return _map_expressions(template, lambda expression: " " * len(expression))


def _text_outside(template: str) -> str:
    first, last = template.find("{%"), template.rfind("%}")
    outside = template if first < 0 else template[:first] + (template[last + 2 :] if last > first else "")
    return _map_expressions(outside, lambda _: "")


def _search(pattern: str, value: str) -> str | None:
    if not pattern:
        return value
    try:
        match = pattern_search.search(pattern, value)
    except re.error:
        return None
    if match is None:
        return None
    return match.group(1) if match.re.groups else match.group(0)


def _name_headers(source: str, own: frozenset[str]) -> str:
    """Replace `X-Name` inside expressions by a look-up of that header, unless `own` has the variable that it may begin with."""

    def name(match: re.Match[str]) -> str:
        if match.group(1) is not None or match.group(2) in own:
            return match.group(0)
        return f'{_HEADERS}["{match.group(2)}{match.group(3)}"]'

    return _map_expressions(source, lambda expression: _HEADER_NAME.sub(name, expression))


def _map_expressions(source: str, change: Callable[[str], str]) -> str:
    """Apply `change` to each `{{ … }}`, `{% … %}` and `{# … #}` of `source`. A closing mark inside a string does not count."""
    parts: list[str] = []
    position = 0
    while opening := _OPENING.search(source, position):
        end = _end_of_expression(source, opening)
        if end is None:
            break
        parts += [source[position : opening.start()], change(source[opening.start() : end])]
        position = end
    return "".join([*parts, source[position:]])


def _end_of_expression(source: str, opening: re.Match[str]) -> int | None:
    """The end index of the expression or comment that begins with `opening`; None if it is not closed."""
    closer, position = _CLOSERS[opening.group()], opening.end()
    if closer == "#}":
        end = source.find(closer, position)
        return None if end < 0 else end + len(closer)
    while position < len(source):
        if source.startswith(closer, position):
            return position + len(closer)
        quoted = _QUOTED.match(source, position) if source[position] in "\"'" else None
        position = quoted.end() if quoted else position + 1
    return None


@lru_cache(maxsize=512)
def _compiled(template: str, own: frozenset[str]) -> jinja2.Template:
    sizes: list[int] = []

    def note(expression: str) -> str:
        sizes.append(len(expression))
        return expression

    _map_expressions(template, note)
    if len(sizes) > MAX_EXPRESSIONS or sum(sizes) > MAX_EXPRESSION_CHARS:
        raise jinja2.TemplateError(
            f"a template may have {MAX_EXPRESSIONS} expressions and blocks, of {MAX_EXPRESSION_CHARS} characters in all"
        )
    return compile_template(_name_headers(template, own))


def find_mistake(template: str) -> tuple[int, str] | None:
    """The line in `template` (from 1) and the reason why it cannot be rendered. None if it can, whatever the variables are."""
    if "{" not in template:
        return None
    try:
        _compiled(template, frozenset())
    except jinja2.TemplateSyntaxError as error:
        reason = error.message or "it cannot be read"
        return _line_of_opening(template, reason) or error.lineno, reason[:1].lower() + reason[1:]
    except _AUTHORS_ERRORS as error:
        return 1, str(error)
    return None


def _line_of_opening(template: str, reason: str) -> int | None:
    """The line of the block or expression that is not closed at the end of the text."""
    block = re.search(r"innermost block that needs to be closed is '(\w+)'", reason)
    if block is not None:
        openings = list(re.finditer(rf"\{{%-?\s*{block.group(1)}\b", template))
    elif "end of template" in reason or "end of print statement" in reason:
        openings = [opening for opening in _OPENING.finditer(template) if _end_of_expression(template, opening) is None]
    else:
        return None
    return template.count("\n", 0, openings[0 if block is None else -1].start()) + 1 if openings else None
