"""`/asyncapi.json`: the sockets and the event stream for programs (AsyncAPI 3.0), made from the contract's types."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from fastapi import APIRouter

from active_call.base.version import __version__
from active_call.contract import commands, events
from active_call.contract.schemas import command_schemas, event_schemas, message_names

ABOUT: Final = "Phone calls over SIP, controlled by commands and reported by events."
SOCKETS: Final = {
    "/call/sip": "One call over SIP: commands in, events out.",
    "/call/webrtc": "A call with a browser, with sound over WebRTC.",
    "/call": "A call with the client itself, with sound as binary messages over the socket.",
}
QUERY: Final = {
    "id": "The session id of the call; the id of a live call joins it.",
    "dump": "True: the record keeps the complete SIP messages (also `dump_events`); it always has the events.",
    "ping": "Seconds between ping frames (also `ping_interval`); 0: none.",
    "serverSideTrack": "The name of what the server plays (also `server_side_track`).",
    "detach": "The call goes on when the socket closes.",
    "forward": "Refuse with 404 if there is no call with this id.",
    "linger": "How many seconds the call goes on after the socket closes.",
    "since": "Give the events after this number first.",
    "rate": "Sample rate of `pcm` sound, in Hz.",
    "token": "A token, for clients that cannot set headers.",
}
COMMAND_EXAMPLES: Final[dict[str, dict[str, Any]]] = {
    "invite": {"command": "invite", "option": {"callee": "sip:bob@example.com"}},
    "tts": {"command": "tts", "text": "Good morning.", "playId": "1"},
    "hangup": {"command": "hangup", "reason": "done"},
}


def asyncapi_routes() -> APIRouter:
    """`GET /asyncapi.json`."""
    router = APIRouter()

    @router.get("/asyncapi.json", include_in_schema=False)
    async def describe() -> dict[str, Any]:
        return asyncapi()

    return router


@cache
def asyncapi() -> dict[str, Any]:
    """The whole description."""
    given, told = message_names(commands.Command, "Command"), message_names(events.Event, "Event")
    schemas = {**command_schemas()[1], **event_schemas()[1]}
    messages = {name: _message(wire, name, COMMAND_EXAMPLES.get(wire)) for wire, name in given.items()}
    messages |= {name: _message(wire, name) for wire, name in told.items()}
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    for path, about in SOCKETS.items():
        key = path.strip("/").replace("/", "-")
        channels[key] = _channel(path, about, [*given.values(), *told.values()])
        operations[f"{key}-command"] = _operation("receive", key, list(given.values()))
        operations[f"{key}-event"] = _operation("send", key, list(told.values()))
    channels["events"] = {
        "address": "/events/{sessionId}",
        "description": "Server-sent events: `event: event` and `event: command`.",
        "parameters": {"sessionId": {"description": "The session id of the call."}},
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
    }
    operations["events"] = _operation("send", "events", list(messages))
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "active-call",
            "version": __version__,
            "description": ABOUT,
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages, "schemas": schemas},
    }


def _message(wire_name: str, schema: str, example: dict[str, Any] | None = None) -> dict[str, Any]:
    message: dict[str, Any] = {"name": wire_name, "payload": {"$ref": f"#/components/schemas/{schema}"}}
    return message if example is None else {**message, "examples": [{"payload": example}]}


def _channel(path: str, about: str, messages: list[str]) -> dict[str, Any]:
    query = {"type": "object", "properties": {name: {"type": "string", "description": text} for name, text in QUERY.items()}}
    return {
        "address": path,
        "description": about,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
        "bindings": {"ws": {"method": "GET", "query": query, "bindingVersion": "0.1.0"}},
    }


def _operation(action: str, channel: str, messages: list[str]) -> dict[str, Any]:
    named = [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in messages]
    return {"action": action, "channel": {"$ref": f"#/channels/{channel}"}, "messages": named}
