"""Inputs and outputs of routes that the framework cannot see: media types, further statuses, bodies other than JSON."""

from __future__ import annotations

from typing import Any, Final

from active_call.api.records import ANY_BYTES, SOUND_TYPES

Contents = dict[str, dict[str, Any]]
"""Schemas by media type, in the form of OpenAPI's `content`."""

_TEXT: Final[dict[str, Any]] = {"schema": {"type": "string"}}
_BYTES: Final[dict[str, Any]] = {"schema": {"type": "string", "format": "binary"}}
_ANYTHING: Final[dict[str, Any]] = {"schema": {}}
SDP: Final[Contents] = {"application/sdp": _TEXT}
FRAGMENT: Final[Contents] = {"application/trickle-ice-sdpfrag": _TEXT}
_SOUND: Final[Contents] = dict.fromkeys([*SOUND_TYPES.values(), ANY_BYTES], _BYTES)
_STATUS: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["status", "id"],
    "properties": {"status": {"type": "string", "enum": ["killed", "sent", "not_found"]}, "id": {"type": "string"}},
}
_PLAYBOOK: Final[dict[str, Any]] = {"type": "object", "required": ["content"], "properties": {"content": {"type": "string"}}}
_NAMED_PLAYBOOK: Final[dict[str, Any]] = {**_PLAYBOOK, "properties": {"name": {"type": "string"}, "content": {"type": "string"}}}
_SESSION: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["session_id", "sdp"],
    "properties": {"session_id": {"type": "string"}, "sdp": {"type": "string"}},
}
_NOT_KEPT: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["status", "error", "code"],
    "properties": {"status": {"const": "error"}, "error": {"type": "string"}, "code": {"type": "string"}},
}
_UNKNOWN_CALL: Final = {"404": ("There is no such call.", {"application/json": {"schema": _STATUS}})}

ANSWERS: Final[dict[tuple[str, str], dict[str, tuple[str, Contents]]]] = {
    ("get", "/ready"): {"503": ("No new calls are taken.", {"application/json": {"schema": {"type": "object"}}})},
    ("get", "/kill/{session_id}"): _UNKNOWN_CALL | {"200": ("The call is being ended.", {"application/json": {"schema": _STATUS}})},
    ("delete", "/call/{session_id}"): _UNKNOWN_CALL | {"200": ("The call is being ended.", {"application/json": {"schema": _STATUS}})},
    ("post", "/command/{session_id}"): _UNKNOWN_CALL | {"200": ("The command is on its way.", {"application/json": {"schema": _STATUS}})},
    ("get", "/events/{session_id}"): {"200": ("The events, until `hangup`.", {"text/event-stream": _TEXT})},
    ("get", "/api/console/calls"): {"200": ("The calls, again whenever one changes.", {"text/event-stream": _TEXT})},
    ("get", "/listen/{session_id}"): {"200": ("The sound, until the call is over.", {"audio/wav": _BYTES, "audio/L16": _BYTES})},
    ("get", "/api/playbooks/{name}"): {
        "200": (
            "The playbook; as JSON where `Accept` asks for it.",
            {"text/markdown": _TEXT, "application/json": {"schema": _NAMED_PLAYBOOK}},
        )
    },
    ("get", "/api/records/{record_id}/recording"): {
        "200": ("The file.", _SOUND),
        "206": ("A part of it, by `Range`.", _SOUND),
        "416": ("No such part.", {}),
    },
    ("post", "/call/webrtc"): {
        "201": ("Our answer, in the form of the request.", {**SDP, "application/json": {"schema": _SESSION}}),
        "504": ("The call had no answer in time.", {}),
    },
    ("patch", "/call/{session_id}"): {
        "200": ("Our answer, or our side of the fragment.", {**SDP, **FRAGMENT}),
        "204": ("The candidates are taken.", {}),
        "412": ("`If-Match` names an older path.", {}),
        "428": ("A fragment needs `If-Match`.", {}),
    },
    ("post", "/api/console/talks/{talk_id}"): {"409": ("The agent still answers the line before.", {})},
    ("post", "/precache"): {
        "400": ("The request is wrong.", {"application/json": {"schema": _NOT_KEPT}}),
        "500": ("The vendor has not made the sound, or it cannot be kept.", {"application/json": {"schema": _NOT_KEPT}}),
    },
}
"""Responses by status: their meaning and content. Error responses without content have the usual body."""

BODIES: Final[dict[tuple[str, str], Contents]] = {
    ("post", "/api/playbooks/{name}"): {"text/markdown": _TEXT, "application/json": {"schema": _PLAYBOOK}},
    ("post", "/api/console/playbook"): {"application/json": {"schema": _PLAYBOOK}},
    ("post", "/call/webrtc"): SDP,
    ("patch", "/call/{session_id}"): {**SDP, **FRAGMENT},
}
"""Bodies of requests, in addition to the known ones."""
STREAM_ANSWERS: Final = "/call/stream/{name}/answer"
STREAM_CONTENTS: Final[Contents] = {"text/xml": _TEXT, "application/xml": _TEXT, "application/json": _ANYTHING}
