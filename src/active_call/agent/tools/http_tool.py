"""HTTP tools that a playbook declares: build the request from a call's arguments, and read the answer. Pure.

In: valid arguments, the variables of the call, an answer. Out: a request; a text for the model. Values never change the structure of a
request: in the URL they are percent-encoded, in a JSON body they stay values, in a header field they contain no line break.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

import msgspec
from msgspec import Struct, field

from active_call.agent.playbook.template_sandbox import Value
from active_call.agent.playbook.templates import Rendered
from active_call.agent.reply.values import keep_apart, one_line
from active_call.agent.tools.json_path import MISSING, find

Fill = Callable[[str, Mapping[str, Any]], Rendered]
"""A template, and names that override the variables of the call → the template filled in."""

HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")
"""RFC 9110 §5.1."""
MAX_TEXT_CHARS = 8_000
"""Maximum length of one answer for the model."""
MAX_ERROR_CHARS = 300
_WITH_BODY = ("POST", "PUT", "PATCH")
_ONE_VALUE = re.compile(r"\s*\{\{\s*(?:args\.)?([A-Za-z_]\w*)\s*\}\}\s*")


class RequestError(Exception):
    """A request cannot be built from these arguments. The text says why, for the model."""


class HttpRequest(Struct, frozen=True):
    """A complete request."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | None = None


class HttpTool(Struct, frozen=True):
    """How a request is built from arguments, and what is read from its answer. `url`, `headers`, `body` and `result` are templates."""

    url: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    """A template, or a JSON value whose strings are templates. None: the arguments as JSON, if the method has a body."""
    select: tuple[str | int, ...] = ()
    """The part of a JSON answer for the model."""
    result: str = ""
    """The text for the model, with `response`, `status` and the arguments; empty: the answer, or the selected part."""
    variable: str = ""
    """The variable of the call that gets the same text."""
    hosts: tuple[str, ...] = ()
    """Further allowed hosts, in addition to that of `url`."""

    def request(self, arguments: Mapping[str, Any], fill: Fill) -> HttpRequest:
        """The request for `arguments`. Raises RequestError."""
        names = {"args": dict(arguments), **arguments}
        headers = {name: one_line(_rendered(fill(value, names))) for name, value in self.headers.items()}
        body, kind = self._body(arguments, names, fill)
        if body is not None and "content-type" not in {name.lower() for name in headers}:
            headers["Content-Type"] = kind
        return HttpRequest(self.method, _url(fill(self.url, names)), headers, body)

    def _body(self, arguments: Mapping[str, Any], names: Mapping[str, Any], fill: Fill) -> tuple[str | None, str]:
        if self.body is None:
            return (_json(dict(arguments)), "application/json") if self.method in _WITH_BODY else (None, "")
        if not isinstance(self.body, str):
            return _json(_filled(self.body, names, fill)), "application/json"
        rendered = fill(self.body, names)
        _rendered(rendered)
        text, values = keep_apart(rendered.parts)
        body = values.attribute("body", text)
        return body, "application/json" if body.lstrip()[:1] in ("{", "[") else "text/plain; charset=utf-8"

    def read(self, status: int, text: str, arguments: Mapping[str, Any], fill: Fill) -> tuple[str, bool]:
        """The text for the model, and whether it is an error."""
        if 300 <= status < 400:
            return f"HTTP {status}: the server sends the request elsewhere, which is not followed", True
        if status >= 400:
            return f"HTTP {status}: {' '.join(text.split())[:MAX_ERROR_CHARS]}".rstrip(": "), True
        try:
            answer: Any = msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            answer = text
        if self.select:
            answer = find(answer, self.select)
            if answer is MISSING:
                return "the answer does not have the selected part", True
        if not self.result:
            return _as_text(answer, status)[:MAX_TEXT_CHARS], False
        rendered = fill(self.result, {"args": dict(arguments), **arguments, "response": answer, "status": status})
        return rendered.text.strip()[:MAX_TEXT_CHARS] or "done", False


def _rendered(rendered: Rendered) -> str:
    if rendered.error:
        raise RequestError("the request cannot be filled in: its template in the playbook has a mistake")
    return rendered.text


def _url(rendered: Rendered) -> str:
    """The URL. A value inside it cannot leave its part of the URL, nor climb in the path."""
    _rendered(rendered)
    url = ""
    for part in rendered.parts:
        if isinstance(part, Value) and "://" in url:
            value = quote(str.__str__(part), safe="", errors="replace")
            url += value.replace(".", "%2E") if not value.strip(".") else value
        else:
            url += part
    if re.search(r"/(?:%2E){1,2}(?:[/?#]|$)", url, re.IGNORECASE):
        raise RequestError("'.' and '..' cannot be values in a URL")
    return url.strip()


def _filled(value: Any, names: Mapping[str, Any], fill: Fill) -> Any:
    """A JSON value with its strings filled in. A string that is a single argument expression becomes that argument with its type."""
    if isinstance(value, str):
        match = _ONE_VALUE.fullmatch(value)
        if match is not None and match[1] in names["args"]:
            return names["args"][match[1]]
        return _rendered(fill(value, names))
    if isinstance(value, Mapping):
        return {str(key): _filled(inner, names, fill) for key, inner in value.items()}
    return [_filled(inner, names, fill) for inner in value] if isinstance(value, list) else value


def _as_text(answer: Any, status: int) -> str:
    if isinstance(answer, str):
        return answer.strip() or f"HTTP {status}"
    return _json(answer)


def _json(value: Any) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except (TypeError, ValueError, UnicodeError):
        raise RequestError("the arguments cannot be written as JSON") from None
