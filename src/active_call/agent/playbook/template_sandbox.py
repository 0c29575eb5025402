"""The Jinja2 sandbox for templates, with a cost limit per rendering.

In: template source. Out: a compiled template, or TemplateError. Limits: every intermediate text, every list, the number of loop iterations,
and the total work (one `Meter` per rendering). Every result of an expression is output as a `Value`, so that it can be told from the
template's own text. This module does not know what the text is for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

MAX_TEXT_CHARS = 64 * 1024
"""Maximum length of an expression's result, in characters."""
MAX_ITEMS = 10_000
"""Maximum number of items in a list or mapping, including those of inner lists."""
MAX_LOOP = 1000
"""Maximum length of `range()`."""
MAX_LOOP_DEPTH = 2
MAX_NUMBER_DIGITS = 100
MAX_WORK = 1_000_000
"""The cost limit of one rendering: about a tenth of a second."""
STEP_COST = 20
"""The fixed cost of one operation, in addition to the characters that it handles."""

METER = "_meter"
"""The variable that holds the meter of a rendering."""

_UNWANTED_FILTERS = (
    "center", "format", "indent", "batch", "slice", "pprint", "xmlattr", "wordwrap", "urlize", "random",
)  # fmt: skip
"""Filters that make text grow without bound, write HTML, or are not deterministic."""
_SAFE_METHODS: Mapping[type, frozenset[str]] = {
    str: frozenset(
        (
            "capitalize", "casefold", "count", "endswith", "find", "index", "isalnum", "isalpha", "isascii", "isdecimal", "isdigit",
            "islower", "isnumeric", "isspace", "istitle", "isupper", "lower", "lstrip", "partition", "removeprefix", "removesuffix",
            "rfind", "rindex", "rpartition", "rsplit", "rstrip", "split", "splitlines", "startswith", "strip", "swapcase", "title", "upper",
        )
    ),
    bytes: frozenset(),
    int: frozenset(("bit_length", "is_integer", "real")),
    float: frozenset(("is_integer", "real")),
    dict: frozenset(("get", "items", "keys", "values")),
    list: frozenset(("count", "index")),
    tuple: frozenset(("count", "index")),
}  # fmt: skip
"""The methods of plain values that cannot make them grow."""


class Value(str):
    """A text that an expression has returned."""

    __slots__ = ()

    def __str__(self) -> str:
        return self


class Meter:
    """The cost of one rendering so far."""

    def __init__(self) -> None:
        self.work = 0

    def spend(self, work: int) -> None:
        """Add to the cost. Raises TemplateError above the limit."""
        self.work += work
        if self.work > MAX_WORK:
            raise jinja2.TemplateError("the template needs too much work")

    def look_at(self, value: Any) -> Any:
        """`value`, charged for being read or copied: 16 characters or one item cost as much as a character of output."""
        n_items = len(value) // 16 if isinstance(value, str) else len(value) if isinstance(value, (list, tuple, dict)) else 0
        self.spend(STEP_COST + n_items)
        return value

    def text(self, value: Any) -> str:
        """`value` as text. Raises TemplateError if it is too long."""
        text = value if isinstance(value, str) else str(self.sized(value))
        if len(text) > MAX_TEXT_CHARS:
            raise jinja2.TemplateError(f"a text has more than {MAX_TEXT_CHARS} characters")
        self.spend(STEP_COST + len(text))
        return text

    def sized(self, value: Any) -> Any:
        """`value`, with an iterator converted to a list. Raises TemplateError if it contains too much."""
        if isinstance(value, Iterator):
            value = list(islice(value, MAX_ITEMS + 1))
        cost = _size_of(value)
        if cost > MAX_TEXT_CHARS + STEP_COST * MAX_ITEMS:
            raise jinja2.TemplateError("a value is too large")
        self.spend(STEP_COST + cost)
        return value


def compile_template(source: str) -> jinja2.Template:
    """Compile `source`. Raises TemplateError."""
    return _ENVIRONMENT.from_string(source)


def _size_of(value: Any) -> int:
    """The number of characters in `value` including nested values. Counting stops at the limit."""
    total, left = 0, [value]
    while left:
        item = left.pop()
        if isinstance(item, str):
            total += len(item)
        elif isinstance(item, Mapping):
            left.extend(islice(item.keys(), MAX_ITEMS))
            left.extend(islice(item.values(), MAX_ITEMS))
        elif isinstance(item, (list, tuple, set, frozenset)):
            left.extend(islice(item, MAX_ITEMS))
        total += STEP_COST
        if len(left) > MAX_ITEMS or total > MAX_TEXT_CHARS + STEP_COST * MAX_ITEMS:
            return MAX_TEXT_CHARS + STEP_COST * MAX_ITEMS + 1
    return total


def _meter(context: Context) -> Meter:
    found = context.get(METER)
    if not isinstance(found, Meter):
        raise jinja2.TemplateError("this name cannot be used for a variable")
    return found


@jinja2.pass_context
def _finalize(context: Context, value: Any) -> Value:
    return Value(_meter(context).text("" if isinstance(value, jinja2.Undefined) else value))


@jinja2.pass_context
def _concatenated(context: Context, parts: list[Any]) -> str:
    meter = _meter(context)
    return meter.text("".join(meter.text(part) for part in parts))


@jinja2.pass_context
def _sized(context: Context, value: Any) -> Any:
    return _meter(context).sized(value)


@jinja2.pass_context
def _looked_at(context: Context, value: Any) -> Any:
    return _meter(context).look_at(value)


@jinja2.pass_context
def _rounds(context: Context, items: Any, cost: int) -> list[Any]:
    """The items of a loop. Their cost is charged before the loop begins."""
    listed = list(islice(items, MAX_ITEMS + 1))
    if len(listed) > MAX_ITEMS:
        raise jinja2.TemplateError(f"a loop has more than {MAX_ITEMS} rounds")
    _meter(context).spend(len(listed) * cost)
    return listed


def _metered(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a filter so that its input and output are charged."""
    wants = getattr(getattr(function, "jinja_pass_arg", None), "name", "")

    @jinja2.pass_context
    def metered(context: Context, value: Any, *args: Any, **kwargs: Any) -> Any:
        meter = _meter(context)
        value = meter.sized(value)
        for argument in (*args, *kwargs.values()):
            meter.sized(argument)
        passed = {"context": (context,), "eval_context": (context.eval_ctx,), "environment": (context.environment,)}.get(wants, ())
        result = function(*passed, value, *args, **kwargs)
        return meter.text(result) if isinstance(result, str) else meter.sized(result)

    return metered


def _replace(value: Any, old: Any, new: Any, count: int | None = None) -> str:
    text, old, new = str(value), str(old), str(new)
    found = text.count(old) if count is None else min(text.count(old), count)
    if len(text) + found * len(new) > MAX_TEXT_CHARS:
        raise jinja2.TemplateError(f"a text has more than {MAX_TEXT_CHARS} characters")
    return text.replace(old, new, -1 if count is None else count)


@jinja2.pass_context
def _join(context: Context, value: Any, d: Any = "", attribute: Any = None) -> str:
    items = list(value) if attribute is None else list(context.environment.call_filter("map", value, [], {"attribute": attribute}, context))
    meter, between = _meter(context), str(d)
    texts = [meter.text(item) for item in items]
    if sum(map(len, texts)) + len(between) * len(texts) > MAX_TEXT_CHARS:
        raise jinja2.TemplateError(f"a text has more than {MAX_TEXT_CHARS} characters")
    return between.join(texts)


def _round(value: Any, precision: int = 0, method: str = "common") -> float:
    if abs(precision) > MAX_NUMBER_DIGITS:
        raise jinja2.TemplateError("round() does not support so many digits")
    return float(jinja2.filters.do_round(value, precision, method))  # type: ignore[arg-type]


@jinja2.pass_environment
def _sum_of_numbers(environment: jinja2.Environment, value: Any, attribute: Any = None, start: Any = 0) -> Any:
    items = list(value) if attribute is None else list(map(jinja2.filters.make_attrgetter(environment, attribute), value))
    if not all(isinstance(item, (int, float)) for item in (*items, start)):
        raise jinja2.TemplateError("sum() works on numbers only")
    return sum(items, start)


def _short_range(*args: int) -> range:
    found = range(*args)
    if len(found) > MAX_LOOP:
        raise jinja2.TemplateError(f"range() may give at most {MAX_LOOP} numbers")
    return found


class _Measured(NodeTransformer):
    """Inserts the meter into a template: into `~`, comparisons, slices, lists and loops.

    A filter block becomes a captured text, which is a value.
    """

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        """Meter `a ~ b`."""
        self.generic_visit(node)
        return _filter("_concatenated", nodes.List(node.nodes, lineno=node.lineno))

    def visit_Operand(self, node: nodes.Operand) -> nodes.Node:  # noqa: N802
        """Meter the right side of a comparison; `x in text` reads all of it."""
        self.generic_visit(node)
        node.expr = _filter("_looked_at", node.expr)
        return node

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:  # noqa: N802
        """Meter the left side of a comparison."""
        self.generic_visit(node)
        node.expr = _filter("_looked_at", node.expr)
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:  # noqa: N802
        """Meter a slice, which is a copy."""
        self.generic_visit(node)
        return _filter("_looked_at", node) if isinstance(node.arg, nodes.Slice) else node

    def visit_List(self, node: nodes.List) -> nodes.Node:  # noqa: N802
        """Meter a list."""
        self.generic_visit(node)
        return _filter("_sized", node)

    def visit_Dict(self, node: nodes.Dict) -> nodes.Node:  # noqa: N802
        """Meter a mapping."""
        self.generic_visit(node)
        return _filter("_sized", node)

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:  # noqa: N802
        """Meter a tuple."""
        self.generic_visit(node)
        return _filter("_sized", node) if node.ctx == "load" else node

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802
        """Meter a loop."""
        literal = sum(len(data.data) for data in node.find_all(nodes.TemplateData))
        operations = sum(1 for body in node.body for _ in body.find_all(nodes.Expr))
        self.generic_visit(node)
        node.iter = _filter("_rounds", node.iter, nodes.Const(STEP_COST * (1 + operations) + literal))
        return node

    def visit_FilterBlock(self, node: nodes.FilterBlock) -> list[nodes.Node]:  # noqa: N802
        """Turn a filter block into a captured text with the filter applied."""
        self.generic_visit(node)
        line = node.lineno
        captured = nodes.AssignBlock(nodes.Name("_captured", "store", lineno=line), node.filter, node.body, lineno=line)
        return [captured, nodes.Output([nodes.Name("_captured", "load", lineno=line)], lineno=line)]


def _filter(name: str, node: nodes.Node, *args: nodes.Expr) -> nodes.Filter:
    return nodes.Filter(node, name, list(args), [], None, None, lineno=node.lineno)


def _check(tree: nodes.Template) -> None:
    """Refuse constructs with unbounded run time: deep loops, recursion, macros, blocks."""
    if any(tree.find_all((nodes.Macro, nodes.CallBlock))):
        raise jinja2.TemplateError("macros are not available here")
    if any(tree.find_all((nodes.Block, nodes.Extends, nodes.Include, nodes.Import, nodes.FromImport))):
        raise jinja2.TemplateError("includes, imports and blocks are not available here")
    if any(loop.recursive for loop in tree.find_all(nodes.For)):
        raise jinja2.TemplateError("recursive loops are not available here")
    if _loop_depth(tree) > MAX_LOOP_DEPTH:
        raise jinja2.TemplateError(f"loops may be nested at most {MAX_LOOP_DEPTH} deep")


def _loop_depth(node: nodes.Node) -> int:
    inner = max((_loop_depth(child) for child in node.iter_child_nodes()), default=0)
    return inner + isinstance(node, nodes.For)


class _Environment(ImmutableSandboxedEnvironment):
    """The sandbox without operations that make text or numbers grow without bound."""

    intercepted_binops = frozenset(["+", "*", "**", "%"])

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        _check(tree)
        _Measured().visit(tree)
        return tree

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Apply an operator and charge its cost."""
        meter = _meter(context)
        both_numbers = isinstance(left, (int, float)) and isinstance(right, (int, float))
        if operator == "+" and not both_numbers:
            meter.sized(left), meter.sized(right)
            result = super().call_binop(context, operator, left, right)
            return meter.text(result) if isinstance(result, str) else meter.sized(result)
        if not both_numbers:
            raise jinja2.TemplateError(f"{operator} works on numbers only")
        if operator == "**" and (abs(right) > MAX_NUMBER_DIGITS or abs(left) > 10**6):
            raise jinja2.TemplateError("the power is too large")
        if max(abs(left), abs(right)) > 10**MAX_NUMBER_DIGITS and operator != "**":
            raise jinja2.TemplateError("the number is too large")
        return super().call_binop(context, operator, left, right)

    def call(self, context: Context, called: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call a method and charge the text or list that it belongs to, its arguments and its result."""
        meter = _meter(context)
        for value in (getattr(called, "__self__", None), *args, *kwargs.values()):
            meter.look_at(value)
        return meter.look_at(super().call(context, called, *args, **kwargs))

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Whether a template may use the attribute: only methods that cannot make a value grow."""
        if isinstance(obj, Meter):
            return False
        for kind, methods in _SAFE_METHODS.items():
            if isinstance(obj, kind):
                return attr in methods
        return super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """None, because `str.format` is not allowed."""
        return None  # its widths can make text grow


def _environment() -> _Environment:
    environment = _Environment(undefined=jinja2.ChainableUndefined, autoescape=False, keep_trailing_newline=True, finalize=_finalize)
    for name in _UNWANTED_FILTERS:
        environment.filters.pop(name, None)
    environment.filters.update(replace=_replace, join=_join, round=_round, sum=_sum_of_numbers)
    environment.filters = {name: _metered(function) for name, function in environment.filters.items()}
    environment.filters.update(_concatenated=_concatenated, _sized=_sized, _looked_at=_looked_at, _rounds=_rounds)
    environment.globals = {"range": _short_range, "dict": dict}
    return environment


_ENVIRONMENT = _environment()
