"""Bodies of requests, and their schemas for the OpenAPI page."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from fastapi import Request

from active_call.contract import wire
from active_call.contract.json_text import decode_json


async def json_object(request: Request) -> dict[str, Any]:
    """The JSON object in the body. Raises ContractError."""
    body = decode_json(await request.body())
    if not isinstance(body, dict):
        raise wire.ContractError("", f"the body is a JSON object, found {type(body).__name__}")
    return body


def body_schema(cls: Any) -> dict[str, Any]:
    """The JSON schema of a contract type, for the OpenAPI page."""
    (schema,), components = msgspec.json.schema_components([cls], ref_template="#/x-contract/{name}")
    inline = json.loads(json.dumps(schema))
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": _inlined(inline, components)}}}}


def _inlined(schema: Any, components: dict[str, Any]) -> Any:
    """`schema` with its references replaced by what they name; contract types do not refer to themselves."""
    if isinstance(schema, dict):
        if "$ref" in schema:
            return _inlined(components[schema["$ref"].rpartition("/")[2]], components)
        return {key: _inlined(value, components) for key, value in schema.items() if key != "discriminator"}
    if isinstance(schema, list):
        return [_inlined(entry, components) for entry in schema]
    return schema
