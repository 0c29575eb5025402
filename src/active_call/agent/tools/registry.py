"""The tools that a model may call: names, JSON schemas and behaviour. Pure: the caller runs them.

In: tools, at the start of a call; arguments as a model wrote them. Out: schemas for the model; arguments that match a schema, or the reason
why they do not, in words that a model can act on.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Struct, field

from active_call.agent.reply.tags import Tag
from active_call.agent.tools.http_tool import HttpTool
from active_call.base import pattern_search
from active_call.base.errors import ConfigError

TOOL_TIMEOUT_S = 30.0
"""Timeout of a tool without a result."""

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
"""Function names that all vendors accept."""

AT_SILENCE = "silence"
"""A late result is spoken about when the agent has finished speaking and the caller is silent."""
AT_ONCE = "now"
"""A late result stops the agent's speech after the current sentence."""
AT_NEXT_TURN = "next"
"""The result does not start a reply: the model gets it after the caller's next turn."""
RESULT_TIMES = (AT_SILENCE, AT_ONCE, AT_NEXT_TURN)

TOOLS_IN_TEXT = (
    'To use one of the following tools, answer with {"text": "what the caller hears meanwhile", "tools": [{"name": "…", …its arguments}]} '
    "and nothing else; the result comes back to you as [Result of …]."
)
"""The instructions for a model without native tool calls."""
MAX_PATTERN_CHARS = 1_000
"""A longer text is not checked against a schema's pattern."""

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
}


class ToolSchema(Struct, frozen=True):
    """The description of a tool for the model. `parameters` is a JSON schema of type object."""

    name: str
    description: str
    parameters: Mapping[str, Any]


class Tool(Struct, frozen=True):
    """One tool."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=lambda: {"type": "object", "properties": {}})
    say_meanwhile: str = ""
    """What the agent says when the tool starts and the model has said nothing."""
    cancellable: bool = True
    """An interruption by the caller cancels it. Otherwise it keeps running, and the model gets its result later."""
    timeout_s: float = TOOL_TIMEOUT_S
    result_at: str = AT_SILENCE
    """When the agent speaks about a result that arrives after the reply that asked for it: one of `RESULT_TIMES`."""
    http: HttpTool | None = None
    """Set if it is an HTTP request, which the conversation fills in."""
    lower: Callable[[Mapping[str, Any]], Tag] | None = None
    """Set if it is an action of a reply: the call is converted to this tag, which is executed in its place between the words."""
    is_answered: bool = False
    """For an action: ask the model to continue if it has said nothing with the call."""

    @property
    def schema(self) -> ToolSchema:
        """The description for the model."""
        return ToolSchema(self.name, self.description, self.parameters)


class ArgumentsError(Exception):
    """The arguments do not match the schema. The text says which, for the model."""


class ToolRegistry:
    """The tools of one call, by name."""

    def __init__(self, tools: Iterable[Tool] = ()) -> None:
        self._tools: dict[str, Tool] = {}
        for tool in tools:
            self.register(tool)

    def register(self, tool: Tool) -> None:
        """Add `tool`. Raises ConfigError for an invalid or duplicate name."""
        if not NAME.fullmatch(tool.name):
            raise ConfigError("tools", f"{tool.name!r} is not a valid name for a tool")
        if tool.name in self._tools:
            raise ConfigError("tools", f"there are two tools named {tool.name!r}")
        self._tools[tool.name] = tool

    def offer(self, tools: Iterable[Tool], note: Callable[..., None]) -> None:
        """Add the tools of a server. A tool with an invalid or duplicate name is skipped with a log entry."""
        for tool in tools:
            try:
                self.register(tool)
            except ConfigError as error:
                note("tool left out", tool=tool.name, reason=str(error))

    def get(self, name: str) -> Tool | None:
        """The tool with that name."""
        return self._tools.get(name)

    def schemas(self) -> tuple[ToolSchema, ...]:
        """The descriptions of all tools for the model, in the order of registration."""
        return tuple(tool.schema for tool in self._tools.values())

    def tools(self) -> tuple[Tool, ...]:
        """All tools in the order of registration."""
        return tuple(self._tools.values())

    def names(self) -> tuple[str, ...]:
        """All names."""
        return tuple(self._tools)


def described(schemas: Iterable[ToolSchema]) -> str:
    """The tools as text, for a model without native tool calls; empty if there are none."""
    lines = [
        f"- {one.name}: {one.description} Arguments: {msgspec.json.encode(dict(one.parameters).get('properties') or {}).decode()}"
        for one in schemas
    ]
    if not lines:
        return ""
    return "\n".join((TOOLS_IN_TEXT, *lines))


def read_arguments(tool: Tool, text: str) -> dict[str, Any]:
    """Parse the arguments of a call (JSON; empty: none) and check them by the tool's schema. Raises ArgumentsError."""
    try:
        decoded = msgspec.json.decode(text) if text.strip() else {}
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise ArgumentsError("the arguments are not JSON") from None
    if not isinstance(decoded, dict):
        raise ArgumentsError("the arguments are not a JSON object")
    _check_object(decoded, tool.parameters, "")
    return decoded


def _check_object(value: Mapping[str, Any], schema: Mapping[str, Any], path: str) -> None:
    properties = schema.get("properties") or {}
    missing = [key for key in schema.get("required") or () if key not in value]
    if missing:
        raise ArgumentsError(f"missing: {', '.join(path + key for key in missing)}")
    if schema.get("additionalProperties") is False:
        unknown = [key for key in value if key not in properties]
        if unknown:
            raise ArgumentsError(f"unknown: {', '.join(path + key for key in unknown)}")
    for key, inner in value.items():
        if isinstance(properties.get(key), Mapping):
            _check(inner, properties[key], path + key)


def _check(value: Any, schema: Mapping[str, Any], path: str) -> None:
    """Check type, enum, pattern, length, range, and nested values. The tool itself checks the rest of the schema."""
    kinds = schema.get("type")
    names = [kinds] if isinstance(kinds, str) else kinds if isinstance(kinds, list) else []
    if names and not any(_is_type(value, str(name)) for name in names):
        raise ArgumentsError(f"{path} must be {' or '.join(map(str, names))}")
    if "enum" in schema and value not in schema["enum"]:
        raise ArgumentsError(f"{path} must be one of {', '.join(map(str, schema['enum']))}")
    _check_bounds(value, schema, path)
    if isinstance(value, dict):
        _check_object(value, schema, f"{path}.")
    elif isinstance(value, list) and isinstance(schema.get("items"), Mapping):
        for index, inner in enumerate(value):
            _check(inner, schema["items"], f"{path}[{index}]")


def _fits(pattern: str, value: str) -> bool:
    """Whether `value` has the form. A pattern that Python cannot read, such as one of a tool server in JavaScript's syntax, allows all."""
    try:
        return pattern_search.search(pattern, value) is not None
    except re.error:
        return True


def _check_bounds(value: Any, schema: Mapping[str, Any], path: str) -> None:
    if isinstance(value, str):
        low, high, pattern = schema.get("minLength", 0), schema.get("maxLength", math.inf), schema.get("pattern")
        if not low <= len(value) <= high:
            raise ArgumentsError(f"{path} has {len(value)} characters, expected {_range(low, high)}")
        if isinstance(pattern, str) and (len(value) > MAX_PATTERN_CHARS or not _fits(pattern, value)):
            raise ArgumentsError(f"{path} does not match the pattern {pattern}")
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        low, high = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
        if not low <= value <= high:
            raise ArgumentsError(f"{path} is {value}, expected {_range(low, high)}")


def _range(low: float, high: float) -> str:
    if high == math.inf:
        return f"at least {low}"
    return f"at most {high}" if low in (0, -math.inf) else f"{low} to {high}"


def _is_type(value: Any, name: str) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    if name == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES.get(name, (object,)))
