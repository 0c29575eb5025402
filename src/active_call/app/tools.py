"""Tools: Python functions that a language model may call. `@tool` marks a method of an Agent or a function.

The model sees the name, the docstring, and a JSON schema made from the parameters' annotations. What it passes is checked and converted by
these annotations before the function runs. A parameter annotated with `Call` gets the call, and is not shown to the model.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, overload

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from active_call.agent.tools.registry import RESULT_TIMES, TOOL_TIMEOUT_S, Tool
from active_call.app.call import Call
from active_call.call.conversation.tool_execution import ToolFunction

F = TypeVar("F", bound=Callable[..., Any])

ResultTime = Literal["silence", "now", "next"]
"""The values of `registry.RESULT_TIMES`."""

_MARK = "__active_call_tool__"


@dataclass(frozen=True, slots=True)
class ToolOptions:
    """The options of a tool; see `tool`."""

    name: str
    say_meanwhile: str = ""
    cancellable: bool = True
    timeout: float = TOOL_TIMEOUT_S
    result_at: ResultTime = "silence"


@overload
def tool(function: F, /) -> F: ...
@overload
def tool(
    *, name: str = "", say_meanwhile: str = "", cancellable: bool = True, timeout: float = TOOL_TIMEOUT_S, result_at: ResultTime = "silence"
) -> Callable[[F], F]: ...
def tool(
    function: F | None = None,
    /,
    *,
    name: str = "",
    say_meanwhile: str = "",
    cancellable: bool = True,
    timeout: float = TOOL_TIMEOUT_S,
    result_at: ResultTime = "silence",
) -> F | Callable[[F], F]:
    """Mark a function, or a method of an Agent, as a tool of the language model. Its docstring says what it is for.

    `say_meanwhile`: what the agent says while it runs, if the model says nothing. `cancellable`: an interruption cancels it;
    else it runs on, and the model gets its result later. `timeout`: seconds after which it fails. `result_at`: when a result that
    comes late is spoken about: at the next `silence`, `now` (after the current sentence), or `next` (never by itself: nobody waits, and the
    model sees it at the caller's next turn). A text that it returns is shown to the model as it is, anything else as JSON; the message of
    an exception, too.
    """

    if result_at not in RESULT_TIMES:
        raise ValueError(f"result_at: unknown time {result_at!r} (known: {', '.join(RESULT_TIMES)})")

    def mark(marked: F) -> F:
        setattr(marked, _MARK, ToolOptions(name or marked.__name__, say_meanwhile, cancellable, timeout, result_at))
        return marked

    return mark if function is None else mark(function)


def is_tool(value: object) -> bool:
    """Whether `value` is marked with `@tool`."""
    return hasattr(value, _MARK)


def bind_tool(function: Callable[..., Any], call: Call) -> tuple[Tool, ToolFunction]:
    """A function in the form for conversation and execution. Raises TypeError for parameters without annotation."""
    options: ToolOptions = getattr(function, _MARK, None) or ToolOptions(function.__name__)
    hints = typing.get_type_hints(inspect.unwrap(function), include_extras=True)
    fields: dict[str, Any] = {}
    given: list[str] = []
    for parameter in inspect.signature(function).parameters.values():
        hint = hints.get(parameter.name)
        if hint is Call:
            given.append(parameter.name)
        elif hint is None or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise TypeError(f"tool {options.name}: the parameter {parameter.name!r} needs a name and an annotation")
        else:
            fields[parameter.name] = (hint, Field() if parameter.default is parameter.empty else parameter.default)
    model = create_model(options.name, __config__=ConfigDict(extra="forbid"), **fields)
    described = Tool(
        name=options.name,
        description=inspect.getdoc(function) or "",
        parameters=_schema(model),
        say_meanwhile=options.say_meanwhile,
        cancellable=options.cancellable,
        timeout_s=options.timeout,
        result_at=options.result_at,
    )
    return described, _runner(function, model, dict.fromkeys(given, call))


def _runner(function: Callable[..., Any], model: type[BaseModel], given: Mapping[str, Call]) -> ToolFunction:
    def arguments_of(raw: Mapping[str, Any]) -> dict[str, Any]:
        try:
            checked = model.model_validate(raw)
        except ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
            raise ValueError(f"wrong arguments: {problems}") from None
        return {name: getattr(checked, name) for name in type(checked).model_fields} | dict(given)

    if inspect.iscoroutinefunction(function):

        async def run_async(**raw: Any) -> Any:
            return await function(**arguments_of(raw))

        return run_async

    def run(**raw: Any) -> Any:
        return function(**arguments_of(raw))

    return run


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema()
    schema.pop("title", None)
    for described in schema.get("properties", {}).values():
        described.pop("title", None)
    return schema
