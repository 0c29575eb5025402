"""Fills the variables into prompts, greetings and headers: Jinja2 in a sandbox.

In: a template and variables. Out: text, and an error for the log when something was wrong with it: a bad template never ends a call.
An undefined variable is empty. `{{ X-Twilio-CallSid }}`, in plain Jinja a subtraction, is the SIP header of that name; a name that begins
with `x-` stays a subtraction only when a variable `x` exists. What a template may cost is bounded: its loops, its multiplications, its
output.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

MAX_OUTPUT_CHARS = 64 * 1024
MAX_LOOP = 1000
MAX_LOOP_DEPTH = 2
MAX_NUMBER_DIGITS = 100

_HEADERS = "_sip_headers"
_WHO_CALLS = frozenset(
    ("diversion", "history-info", "identity", "p-asserted-identity", "privacy", "reason", "remote-party-id", "user-to-user")
)
"""Headers of RFC 5806, 7044, 8224, 3325, 3323, 3326 and 7433 that templates see without being named."""
_STRING = r""""(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'"""
_QUOTED = re.compile(_STRING, re.DOTALL)
_OPENING = re.compile(r"\{\{|\{%")
_CLOSERS = {"{{": "}}", "{%": "%}"}
_HEADER_NAME = re.compile(rf"({_STRING})|(?<![\w.\])-])([Xx])((?:-[A-Za-z][A-Za-z0-9_]*)(?:-[A-Za-z0-9_]+)*)(?![\w(])")
_GROWING_METHODS = frozenset({"format", "format_map", "ljust", "rjust", "center", "zfill", "expandtabs", "replace", "join", "translate"})
_GROWING_FILTERS = ("center", "format", "indent", "batch", "slice", "pprint", "xmlattr", "wordwrap")
_AUTHORS_ERRORS = (
    jinja2.TemplateError, ArithmeticError, AttributeError, AssertionError, LookupError, MemoryError, RecursionError, TypeError, ValueError,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rendered:
    """A filled-in template. `error` is empty when all went well, else a reason for the log."""

    text: str
    error: str = ""


class SipHeaders(Mapping[str, str]):
    """Header fields by name, in any case; an absent one is undefined, which renders as nothing."""

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
    """The headers that templates may see: those that `extract` names (`{name, pattern}`: the part that matches), else every `X-*` and
    those that say who calls and why.
    """
    if not extract:
        return SipHeaders({name: value for name, value in headers.items() if name.lower().startswith("x-") or name.lower() in _WHO_CALLS})
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
    """Fill in `template`. `sip` is what `{{ sip["X-Name"] }}` and `{{ X-Name }}` look up. Never raises."""
    if "{" not in template:
        return Rendered(template)
    headers = sip if isinstance(sip, SipHeaders) else SipHeaders(sip)
    own = frozenset(name for name in ("x", "X") if name in variables)
    try:
        compiled = _compiled(template, own)
        return _bounded(compiled.generate({"sip": headers, **variables, _HEADERS: headers}))
    except _AUTHORS_ERRORS as error:
        return Rendered(_map_expressions(template, lambda _: ""), f"{type(error).__name__}: {error}"[:300])


def _bounded(pieces: Iterator[str]) -> Rendered:
    parts: list[str] = []
    size = 0
    for piece in pieces:
        parts.append(piece)
        size += len(piece)
        if size > MAX_OUTPUT_CHARS:
            return Rendered("".join(parts)[:MAX_OUTPUT_CHARS], f"the text is longer than {MAX_OUTPUT_CHARS} characters and was cut")
    return Rendered("".join(parts))


def _search(pattern: str, value: str) -> str | None:
    if not pattern:
        return value
    try:
        match = re.search(pattern, value)
    except re.error:
        return None
    if match is None:
        return None
    return match.group(1) if match.re.groups else match.group(0)


def _name_headers(source: str, own: frozenset[str]) -> str:
    """Write `X-Name` inside expressions as a look-up of that header, except where `own` has the variable that it may start with."""

    def name(match: re.Match[str]) -> str:
        if match.group(1) is not None or match.group(2) in own:
            return match.group(0)
        return f'{_HEADERS}["{match.group(2)}{match.group(3)}"]'

    return _map_expressions(source, lambda expression: _HEADER_NAME.sub(name, expression))


def _map_expressions(source: str, change: Callable[[str], str]) -> str:
    """`source` with each `{{ … }}` and `{% … %}` put through `change`. A closer inside a string does not close."""
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
    """Where the expression ends that begins with `opening`; None when it never does."""
    closer, position = _CLOSERS[opening.group()], opening.end()
    while position < len(source):
        if source.startswith(closer, position):
            return position + len(closer)
        quoted = _QUOTED.match(source, position) if source[position] in "\"'" else None
        position = quoted.end() if quoted else position + 1
    return None


@lru_cache(maxsize=512)
def _compiled(template: str, own: frozenset[str]) -> jinja2.Template:
    source = _name_headers(template, own)
    _check(_ENVIRONMENT.parse(source))
    return _ENVIRONMENT.from_string(source)


def _check(tree: nodes.Template) -> None:
    """Refuse what could run for long: deep loops, recursion, macros."""
    if any(tree.find_all((nodes.Macro, nodes.CallBlock))):
        raise jinja2.TemplateError("macros are not available here")
    for loop in tree.find_all(nodes.For):
        if loop.recursive:
            raise jinja2.TemplateError("recursive loops are not available here")
    if _loop_depth(tree) > MAX_LOOP_DEPTH:
        raise jinja2.TemplateError(f"loops may be nested {MAX_LOOP_DEPTH} deep")


def _loop_depth(node: nodes.Node) -> int:
    inner = max((_loop_depth(child) for child in node.iter_child_nodes()), default=0)
    return inner + isinstance(node, nodes.For)


def _short_range(*args: int) -> range:
    found = range(*args)
    if len(found) > MAX_LOOP:
        raise jinja2.TemplateError(f"range() gives {MAX_LOOP} numbers at most")
    return found


class _Environment(ImmutableSandboxedEnvironment):
    """The sandbox, with what makes text or numbers grow out of hand taken away."""

    intercepted_binops = frozenset(["*", "**", "%"])

    def call_binop(self, context: jinja2.runtime.Context, operator: str, left: Any, right: Any) -> Any:
        both_numbers = isinstance(left, (int, float)) and isinstance(right, (int, float))
        if not both_numbers:
            raise jinja2.TemplateError(f"{operator} works on numbers only")
        if operator == "**" and (abs(right) > MAX_NUMBER_DIGITS or abs(left) > 10**6):
            raise jinja2.TemplateError("the power is too large")
        if operator == "*" and max(abs(left), abs(right)) > 10**MAX_NUMBER_DIGITS:
            raise jinja2.TemplateError("the number is too large")
        return super().call_binop(context, operator, left, right)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if isinstance(obj, (str, bytes)) and attr in _GROWING_METHODS:
            return False
        return super().is_safe_attribute(obj, attr, value)


def _environment() -> _Environment:
    environment = _Environment(undefined=jinja2.ChainableUndefined, autoescape=False, keep_trailing_newline=True)
    environment.globals = {"range": _short_range, "dict": dict}
    for name in _GROWING_FILTERS:
        environment.filters.pop(name, None)
    return environment


_ENVIRONMENT = _environment()


def find_mistake(template: str) -> tuple[int, str] | None:
    """The line in `template`, from 1, and the reason why it cannot be filled in; None when it can, whatever the variables are."""
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
    """Where the block or expression begins whose end is missed at the end of the text."""
    block = re.search(r"innermost block that needs to be closed is '(\w+)'", reason)
    if block is not None:
        openings = list(re.finditer(rf"\{{%-?\s*{block.group(1)}\b", template))
    elif "end of template" in reason or "end of print statement" in reason:
        openings = [opening for opening in _OPENING.finditer(template) if _end_of_expression(template, opening) is None]
    else:
        return None
    return template.count("\n", 0, openings[0 if block is None else -1].start()) + 1 if openings else None
