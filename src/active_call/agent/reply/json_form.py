"""The JSON form of a reply: `{"text", "waitInputTimeout", "tools": [{"name", …}]}`.

In: the fields of a form. Out: its text, and the steps after the text. `text` is parsed as a reply again, without the two layers before
tags: a form within a form and reasoning within a form are dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from active_call.agent.reply.reasoning import without_reasoning
from active_call.agent.reply.steps import Step
from active_call.agent.reply.structured import without_code
from active_call.agent.reply.tags import CallTag, HttpTag, UnknownTag, WaitInput, is_action, make_tag
from active_call.agent.reply.values import Values, one_line
from active_call.agent.tools.http_tool import HEADER_NAME

MAX_WAIT_S = 3600
"""Maximum wait for the caller that a model may set, in seconds."""


def text_of_form(fields: Mapping[str, Any]) -> str | None:
    """The text of the form with tags; None if it has none."""
    text = fields.get("text")
    return without_code(without_reasoning(text)) if isinstance(text, str) else None


def actions_of_form(fields: Mapping[str, Any], values: Values) -> list[Step]:
    """The steps after the text: the wait for the caller, and the tools, which are tags with other names."""
    steps: list[Step] = []
    seconds = values.number(fields.get("waitInputTimeout"))
    if isinstance(seconds, (int, float)) and not isinstance(seconds, bool) and seconds > 0:
        steps.append(WaitInput(float(min(seconds, MAX_WAIT_S))))
    tools = fields.get("tools")
    steps.extend(_json_tool(tool, values) for tool in (tools if isinstance(tools, list) else ()))
    return steps


def _json_tool(tool: Any, values: Values) -> Step:
    if not isinstance(tool, dict) or not isinstance(tool.get("name"), str):
        return UnknownTag(str(tool)[:80], "a tool without a name")
    given: dict[str, Any] = {**tool}
    for key in ("arguments", "params", "parameters"):
        inner = given.pop(key, None)
        if isinstance(inner, Mapping):
            given.update(inner)
    headers = given.get("headers")
    attributes = {str(key).lower(): _as_text(value) for key, value in given.items() if value is not None and key != "name"}
    made = make_tag(tool["name"].lower(), values.attributes(attributes), values.plain(str(tool)))
    if isinstance(made, HttpTag) and isinstance(headers, Mapping):
        named = {str(name): one_line(values.plain(_as_text(value))) for name, value in headers.items() if HEADER_NAME.fullmatch(str(name))}
        return replace(made, headers=named)
    if isinstance(made, UnknownTag) and not is_action(tool["name"].lower()):
        arguments = {key: value for key, value in given.items() if key != "name"}
        return CallTag(tool["name"], values.plain(msgspec.json.encode(arguments).decode()))
    return made


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
