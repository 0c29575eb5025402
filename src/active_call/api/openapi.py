"""Extends the framework's `/openapi.json`: named schemas of the contract, examples, and every refusal with its body."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI

from active_call.api.openapi_contents import ANSWERS, BODIES, STREAM_ANSWERS, STREAM_CONTENTS
from active_call.api.walls import error_code
from active_call.contract import commands
from active_call.contract.requests import BeginTalk, BrowserCall, PlaceCall, PrecacheSpeech, RunPlaybook, TalkTurn
from active_call.contract.schemas import PREFIX, command_schemas, schemas_of

NAMED: Final = (PlaceCall, PrecacheSpeech, RunPlaybook, BrowserCall, BeginTalk, TalkTurn)
"""Bodies of requests."""
OPEN_PATHS: Final = frozenset({"/health", "/ready", "/"})
REFUSALS: Final = {
    400: "The request has a mistake; `error` says where.",
    401: "A token is required.",
    403: "The scope of the token is too small; or there is no token and the client is not on this machine; or the number is forbidden.",
    404: "It does not exist.",
    413: "The body is too large.",
    415: "The body is not of this type.",
    429: "Too many requests; `Retry-After` says when to try again.",
    500: "An internal error of the server; see its log.",
    503: "No room now, or the records cannot be read; `Retry-After` says when to try again.",
}
EXAMPLES: Final[dict[tuple[str, str], dict[str, Any]]] = {
    ("post", "/call"): {"callee": "sip:+18005551234@example.com", "playbook": "sales.md", "vars": {"name": "Ann"}},
    ("post", "/command/{session_id}"): {"command": "tts", "text": "One moment, please."},
    ("post", "/precache"): {"text": "Good morning.", "cacheKey": "greeting"},
    ("post", "/api/playbook/run"): {"playbook": "sales.md"},
    ("post", "/api/console/talks"): {"playbook": "sales.md"},
    ("post", "/api/console/talks/{talk_id}"): {"text": "When do you open?"},
}
_ERROR: Final = {
    "title": "Error",
    "type": "object",
    "required": ["error", "code"],
    "properties": {
        "error": {"type": "string", "description": "For people: what is wrong, where, and what was expected."},
        "code": {"type": "string", "description": "For programs: a stable error code."},
    },
}


def describe_fully(app: FastAPI) -> None:
    """Make `app.openapi` return the full description."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            _complete(plain())  # cached there
        return plain()

    app.openapi = openapi  # type: ignore[method-assign]


def ref(cls: Any) -> dict[str, Any]:
    """A reference to the schema of a request's body."""
    return {"$ref": PREFIX + ("Command" if cls is commands.Command else cls.__name__)}


def _complete(described: dict[str, Any]) -> None:
    schemas = described.setdefault("components", {}).setdefault("schemas", {})
    command, of_commands = command_schemas()
    schemas.update(schemas_of(NAMED)[1], **of_commands, Command=command, ErrorBody=_ERROR)
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for path, item in described["paths"].items():
        for method, operation in item.items():
            responses = operation.setdefault("responses", {})
            responses.pop("422", None)  # an invalid request is a 400 here
            _add_contents(method, path, operation)
            for status, about in REFUSALS.items():
                if _may_refuse(status, path, operation):
                    responses.setdefault(str(status), _refusal(status, about))
            example = EXAMPLES.get((method, path))
            for content in operation.get("requestBody", {}).get("content", {}).values() if example else ():
                content.setdefault("example", example)


def _add_contents(method: str, path: str, operation: dict[str, Any]) -> None:
    """Describe bodies and responses that the framework does not know."""
    if (method, path) in BODIES:
        operation.setdefault("requestBody", {"required": True, "content": {}})["content"].update(BODIES[method, path])
    if path == STREAM_ANSWERS:
        operation["responses"]["200"] = {"description": "The document.", "content": STREAM_CONTENTS}
    for status, (about, content) in ANSWERS.get((method, path), {}).items():
        if content or status in ("204", "416"):
            operation["responses"][status] = {"description": about, **({"content": content} if content else {})}
        else:
            operation["responses"][status] = _refusal(int(status), about)
    if (method, path) == ("post", "/call/webrtc"):
        operation["responses"].pop("200", None)  # a created call is a 201


def _may_refuse(status: int, path: str, operation: dict[str, Any]) -> bool:
    if path in OPEN_PATHS:
        return status == 503
    if status in (413, 415):
        return "requestBody" in operation
    return status != 404 or "{" in path or "requestBody" in operation


def _refusal(status: int, about: str) -> dict[str, Any]:
    example = {"error": "callee: missing" if status == 400 else about, "code": error_code(status)}
    return {"description": about, "content": {"application/json": {"schema": {"$ref": PREFIX + "ErrorBody"}, "example": example}}}
