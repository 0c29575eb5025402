"""Read the HTTP tools of a playbook's front matter (`tools`, or `llm.tools`) into `Tool`s.

In: plain values and their lines. Out: tools, and findings: a mistake names the tool and what was expected. Three forms are supported: a
list of tools with `name`, a mapping by name, and OpenAI's form (`{type: function, function: {…}}`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import msgspec

from active_call.agent.playbook.findings import Findings
from active_call.agent.playbook.option_reading import camel, read_group
from active_call.agent.playbook.templates import find_mistake
from active_call.agent.playbook.urls import urls_in
from active_call.agent.tools.http_tool import HEADER_NAME, HttpTool
from active_call.agent.tools.json_path import steps_of
from active_call.agent.tools.registry import AT_SILENCE, NAME, RESULT_TIMES, Tool
from active_call.contract import bounds
from active_call.contract.durations import Unit
from active_call.contract.options import Options

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD")
HTTP_TIMEOUT_S = 10
MAX_TOOLS = 64


class ToolOption(Options, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One HTTP tool as written."""

    aliases: ClassVar[dict[str, str]] = {"hosts": "allow"}
    durations: ClassVar[Mapping[str, Unit]] = {"timeout": "s"}

    name: bounds.Word = ""
    description: str = ""
    parameters: dict[str, Any] = msgspec.field(default_factory=dict)
    """A JSON schema of type object, or names with their schemas or descriptions. In the second form all are required."""
    url: bounds.Source = ""
    method: bounds.Word = "GET"
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    body: Any = None
    timeout: bounds.TimeoutS = HTTP_TIMEOUT_S
    """Timeout in seconds."""
    select: str = ""
    result: str = ""
    set_var: bounds.Name = ""
    say_meanwhile: str = ""
    cancellable: bool = True
    result_at: bounds.Word = AT_SILENCE
    allow: list[str] = msgspec.field(default_factory=list)


def read_tools(data: Any, key: str, line_of: Callable[[str], int], findings: Findings) -> tuple[Tool, ...]:
    """The tools under `key`."""
    if data is None:
        return ()
    entries = _entries(data, key, line_of, findings)
    if len(entries) > MAX_TOOLS:
        findings.error(line_of(key), f"{key}: {len(entries)} tools, expected at most {MAX_TOOLS}")
    tools: dict[str, Tool] = {}
    for path, entry in entries[:MAX_TOOLS]:
        option = read_group(entry, ToolOption, path, line_of, findings)
        tool = _tool(option, path, line_of, findings) if option is not None else None
        if tool is not None and tool.name in tools:
            findings.error(line_of(path), f"{path}: there are two tools named {tool.name!r}")
        elif tool is not None:
            tools[tool.name] = tool
    return tuple(tools.values())


def _entries(data: Any, key: str, line_of: Callable[[str], int], findings: Findings) -> list[tuple[str, dict[str, Any]]]:
    if isinstance(data, dict):
        written = [(f"{key}.{name}", {"name": str(name), **entry} if isinstance(entry, dict) else entry) for name, entry in data.items()]
    else:
        written = [(f"{key}[{index}]", entry) for index, entry in enumerate(data if isinstance(data, list) else [data])]
    entries = []
    for path, entry in written:
        if not isinstance(entry, dict):
            findings.error(line_of(path), f"{path}: expected a tool (name, description, parameters, url, …), found {type(entry).__name__}")
            continue
        inner = entry.get("function")
        if isinstance(inner, dict):  # OpenAI's form; our own keys are beside `function` or in it
            entry = {**{k: v for k, v in entry.items() if k not in ("type", "function")}, **inner}
            entry.pop("strict", None)
        entries.append((path, entry))
    return entries


def _tool(option: ToolOption, path: str, line_of: Callable[[str], int], findings: Findings) -> Tool | None:
    mistakes = list(_mistakes(option))
    for key, reason in mistakes:
        findings.error(line_of(f"{path}.{key}"), f"{path}.{camel(key)}: {reason}")
    if mistakes:
        return None
    http = HttpTool(
        url=option.url.strip(),
        method=option.method.upper(),
        headers=option.headers,
        body=option.body,
        select=steps_of(option.select),
        result=option.result,
        variable=option.set_var,
        hosts=tuple(option.allow),
    )
    return Tool(
        name=option.name,
        description=option.description,
        parameters=_schema(option.parameters),
        say_meanwhile=option.say_meanwhile,
        cancellable=option.cancellable,
        timeout_s=float(option.timeout or HTTP_TIMEOUT_S),
        result_at=option.result_at,
        http=http,
    )


def _mistakes(option: ToolOption) -> list[tuple[str, str]]:
    """Keys and their mistakes."""
    found: list[tuple[str, str]] = []
    if not NAME.fullmatch(option.name):
        found.append(("name", f"{option.name!r} is not a tool name; expected letters, digits, `_` and `-`"))
    if not re.match(r"https?://|\{\{", option.url.strip(), re.IGNORECASE):
        found.append(("url", f"expected an http(s) URL, found {option.url!r}" if option.url else "missing; expected a URL"))
    elif not option.allow and not urls_in((option.url,)):
        found.append(("url", "its host is a template; list the allowed hosts under `allow`"))
    if option.method.upper() not in METHODS:
        found.append(("method", f"unknown method {option.method!r} (known: {', '.join(METHODS)})"))
    if option.result_at not in RESULT_TIMES:
        found.append(("result_at", f"unknown time {option.result_at!r} (known: {', '.join(RESULT_TIMES)})"))
    found += [("headers", f"{name!r} is not a header name") for name in option.headers if not HEADER_NAME.fullmatch(name)]
    try:
        steps_of(option.select)
    except ValueError as error:
        found.append(("select", str(error)))
    for key, text in (("url", option.url), ("result", option.result), *(("headers", value) for value in option.headers.values())):
        mistake = find_mistake(text)
        if mistake is not None:
            found.append((key, f"the template cannot be filled in: {mistake[1]}"))
    found += [("parameters", reason) for reason in _schema_mistakes(_schema(option.parameters), "")]
    return found


def _schema(written: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON schema as written, or built from names with their schemas or descriptions."""
    if not written:
        return {"type": "object", "properties": {}}
    if written.get("type") == "object" or "properties" in written:
        return {"type": "object", **written}
    properties = {name: {"type": "string", "description": one} if isinstance(one, str) else one for name, one in written.items()}
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _schema_mistakes(schema: Any, path: str) -> list[str]:
    """Mistakes that a vendor would refuse or that would fail at every call."""
    if not isinstance(schema, Mapping):
        return [f"{path or 'the schema'} must be a mapping, found {type(schema).__name__}"]
    found: list[str] = []
    pattern = schema.get("pattern")
    if pattern is not None:
        try:
            re.compile(pattern)
        except (re.error, TypeError) as error:
            found.append(f"{path}: the pattern cannot be read: {error}")
    properties = schema.get("properties", {})
    if not isinstance(properties, Mapping):
        return [*found, f"{path}properties must be a mapping"]
    if not isinstance(schema.get("required", []), list):
        found.append(f"{path}required must be a list of names")
    elif missing := [name for name in schema.get("required", []) if name not in properties]:
        found.append(f"required names {', '.join(map(str, missing))}, which {path or 'the schema'} does not have")
    for name, inner in properties.items():
        found += _schema_mistakes(inner, f"{path}{name}.")
    return found
