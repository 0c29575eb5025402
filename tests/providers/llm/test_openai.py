from __future__ import annotations

import asyncio
import contextlib
import json
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.responses import Response

from active_call.base.errors import ConfigError, ProviderError
from active_call.providers.base import ChatMessage, ReplyRequest, text_of_reply
from active_call.providers.llm.openai import create
from active_call.providers.openai_settings import find_server
from active_call.providers.settings import LlmSettings

REQUEST = ReplyRequest((ChatMessage("system", "Be brief."), ChatMessage("user", "Hi")), temperature=0.2)


def test_reply_streams_word_by_word_with_the_settings_of_the_request(
    serving: Callable[..., Any], services_with: Callable[..., Any]
) -> None:
    async def run() -> None:
        async with serving() as fake, services_with({"OPENAI_BASE_URL": fake.base_url, "OPENAI_API_KEY": "k"}) as services:
            fake.gate = asyncio.Event()
            responder = create(LlmSettings(model="m", temperature=0.9, max_tokens=50, extra={"top_k": 3}), services)
            words = text_of_reply(responder, REQUEST)
            assert await anext(words) == "Hello"
            fake.gate.set()
            assert [word async for word in words] == [" there", "."]
            (body,) = fake.received
            assert body["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
            assert (body["model"], body["temperature"], body["max_tokens"], body["top_k"], body["stream"]) == ("m", 0.2, 50, 3, True)
            assert body["authorization"] == "Bearer k"
            await responder.close()

    asyncio.run(run())


def test_local_server_needs_no_key_and_gets_none_of_the_environment(serving: Callable[..., Any], services_with: Callable[..., Any]) -> None:
    async def run() -> None:
        async with serving() as fake, services_with({"OPENAI_API_KEY": "secret"}) as services:
            responder = create(LlmSettings(model="m", base_url=fake.base_url), services)
            assert "".join([word async for word in text_of_reply(responder, REQUEST)]) == "Hello there."
            assert fake.received[0]["authorization"] is None
            await responder.close()

    asyncio.run(run())


@pytest.mark.parametrize(("status", "retryable"), [(400, False), (401, False), (429, True), (503, True)])
def test_refusal_says_whether_it_may_pass(
    status: int, retryable: bool, serving: Callable[..., Any], services_with: Callable[..., Any]
) -> None:
    async def run() -> None:
        async with serving() as fake, services_with() as services:
            fake.answers = [status]
            responder = create(LlmSettings(model="m", base_url=fake.base_url), services)
            with pytest.raises(ProviderError, match=f"told to say {status}") as caught:
                await anext(text_of_reply(responder, REQUEST))
            assert caught.value.retryable is retryable and len(fake.received) == 1
            await responder.close()

    asyncio.run(run())


def test_stream_that_breaks_is_a_retryable_provider_error(serving: Callable[..., Any], services_with: Callable[..., Any]) -> None:
    async def run() -> None:
        async with serving() as fake, services_with() as services:
            fake.stream_breaks = True
            responder = create(LlmSettings(model="m", base_url=fake.base_url), services)
            words = text_of_reply(responder, REQUEST)
            assert await anext(words) == "Hello"
            with pytest.raises(ProviderError, match="connection") as caught:
                await anext(words)
            assert caught.value.retryable
            await responder.close()

    asyncio.run(run())


def test_server_that_is_not_there_is_a_retryable_provider_error(services_with: Callable[..., Any]) -> None:
    async def run() -> None:
        async with services_with() as services:
            responder = create(LlmSettings(model="m", base_url="http://127.0.0.1:9/v1"), services)
            with pytest.raises(ProviderError, match="connection failed") as caught:
                await anext(text_of_reply(responder, REQUEST))
            assert caught.value.retryable
            await responder.close()

    asyncio.run(run())


def test_other_server_without_a_model_is_a_config_error(services_with: Callable[..., Any]) -> None:
    async def run() -> None:
        async with services_with() as services:
            with pytest.raises(ConfigError, match=r"llm\.model"):
                create(LlmSettings(base_url="http://127.0.0.1:9/v1"), services)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("error", "retryable"),
    [
        ({"message": "The server had an error", "type": "server_error"}, True),
        ({"message": "Slow down", "code": "rate_limit_exceeded"}, True),
        ({"message": "Provider returned error", "code": 502}, True),
        ({"message": "This key cannot do that", "type": "invalid_request_error", "code": {}}, False),
        ("This key cannot do that", False),
    ],
)
def test_error_within_a_stream_says_whether_it_may_pass(
    error: object, retryable: bool, serving: Callable[..., Any], services_with: Callable[..., Any]
) -> None:
    body = f"data: {json.dumps({'error': error})}\n\n"

    async def run() -> None:
        async with serving() as fake, services_with() as services:
            fake.refusal = lambda: Response(body, media_type="text/event-stream")
            responder = create(LlmSettings(model="m", base_url=fake.base_url), services)
            with pytest.raises(ProviderError, match=r"error|Slow down|This key") as caught:
                await anext(text_of_reply(responder, REQUEST))
            assert caught.value.retryable is retryable
            await responder.close()

    asyncio.run(run())


def test_connection_is_used_again_after_the_end_of_a_stream(services_with: Callable[..., Any]) -> None:
    """The end of the body may come later than the text that ends the stream."""
    n_connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal n_connections
        n_connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(re.search(rb"(?i)content-length: (\d+)", head)[1]))  # type: ignore[index]
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
                data = b'data: {"choices": [{"delta": {"content": "Hi"}}]}\n\ndata: [DONE]\n\n'
                writer.write(b"%x\r\n%s\r\n" % (len(data), data))
                await asyncio.sleep(0.05)
                writer.write(b"0\r\n\r\n")
        writer.close()
        await writer.wait_closed()
        closed.set()

    closed = asyncio.Event()

    async def run() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server, services_with() as services:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
            responder = create(LlmSettings(model="m", base_url=url), services)
            for _ in range(2):
                assert [word async for word in text_of_reply(responder, REQUEST)] == ["Hi"]
            await responder.close()
            await services.http.aclose()
            await asyncio.wait_for(closed.wait(), 5)

    asyncio.run(run())
    assert n_connections == 1


def test_vendors_package_is_not_loaded() -> None:
    """It is large, and its objects for each token cost more than all else that a token needs."""
    code = "import sys, active_call.providers.llm.openai; sys.exit('openai' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


def test_organization_and_project_are_named_to_openai_alone() -> None:
    environment = {"OPENAI_API_KEY": "k", "OPENAI_ORG_ID": "org-1", "OPENAI_PROJECT_ID": "proj-2"}
    account = {"OpenAI-Organization": "org-1", "OpenAI-Project": "proj-2"}
    assert find_server("llm", None, None, environment).headers == {"Authorization": "Bearer k", **account}
    assert find_server("llm", "http://127.0.0.1:9/v1", None, environment).headers == {}
    assert find_server("llm", None, None, {"OPENAI_API_KEY": "k"}).headers == {"Authorization": "Bearer k"}
