"""Versions of Anthropic's API: the newer one has no sampling fields, and newer models refuse them in each version."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from active_call.base.errors import ProviderError
from active_call.base.world import World
from active_call.providers.base import ChatMessage, ReplyRequest, Services, TextDelta
from active_call.providers.local.local_engines import EngineProcesses
from active_call.providers.registry import LlmSettings, create_responder
from active_call.testing.vendors.chat.anthropic import AnthropicServer

HELLO = ReplyRequest((ChatMessage("user", "Hi"),))


def replies(n_replies: int, **settings: Any) -> tuple[list[str], AnthropicServer]:
    """The texts of `n_replies` replies in a row by one adapter, and the simulator that wrote them."""

    async def run() -> tuple[list[str], AnthropicServer]:
        local = EngineProcesses()
        async with AnthropicServer() as server, httpx.AsyncClient() as http:
            options = LlmSettings("anthropic", **{"api_key": server.key, "base_url": server.http_url, **settings})
            model = create_responder(options, Services(World(), http, local, {}), attempts=1)
            said = ["".join([event.text async for event in model.reply(HELLO) if isinstance(event, TextDelta)]) for _ in range(n_replies)]
            await local.close()
            return said, server

    return asyncio.run(run())


def versions(server: AnthropicServer) -> list[str]:
    return [request.headers["anthropic-version"] for request in server.requests]


def test_request_without_temperature_uses_the_newest_version() -> None:
    said, server = replies(1)
    assert said == ["Hello there."] and versions(server) == ["2026-10-21"] and server.complaints == []


def test_temperature_uses_the_version_that_has_it() -> None:
    said, server = replies(1, temperature=0.2)
    assert said == ["Hello there."] and versions(server) == ["2023-06-01"] and server.complaints == []
    assert server.received[0]["temperature"] == 0.2


def test_temperature_that_the_model_refuses_is_left_out_from_then_on() -> None:
    said, server = replies(2, temperature=0.2, model="claude-opus-4-8", extra={"top_k": 5})
    assert said == ["Hello there."] * 2
    assert len(server.complaints) == 2 and all("deprecated" in complaint for complaint in server.complaints)
    assert versions(server) == ["2023-06-01", "2023-06-01", "2026-10-21", "2026-10-21"]


def test_refusal_of_another_field_is_reported_once() -> None:
    with pytest.raises(ProviderError, match="unknown field"):
        replies(1, temperature=0.2, extra={"shoe_size": 44})
