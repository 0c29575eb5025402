"""Bodies of requests, and their schemas for the OpenAPI page."""

from __future__ import annotations

from typing import Any

from fastapi import Request

from active_call.api.openapi import ref
from active_call.contract import wire
from active_call.contract.json_text import decode_json, type_name


async def json_object(request: Request) -> dict[str, Any]:
    """The JSON object in the body. Raises ContractError."""
    body = decode_json(await request.body())
    if not isinstance(body, dict):
        raise wire.ContractError("", f"expected a JSON object as the body, found {type_name(body)}")
    return body


def body_schema(cls: Any) -> dict[str, Any]:
    """A reference to the named schema of a contract type, for the OpenAPI page."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": ref(cls)}}}}
