"""A vendor's answer that does not end: only its beginning is read, and nothing of it is decoded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest

from active_call.base.errors import ProviderError
from active_call.providers.http import MAX_ANSWER_BYTES, MAX_ERROR_BYTES, StatusError, check_status, post
from active_call.providers.llm.server_sent_events import events_of

PIECE = b"[" * 65_536
N_PIECES = 1000


class Endless(httpx.AsyncByteStream):
    """A body of 64 MB that counts what is read of it."""

    def __init__(self) -> None:
        self.n_read = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for _ in range(N_PIECES):
            self.n_read += len(PIECE)
            yield PIECE


async def stream(http: httpx.AsyncClient) -> None:
    async for _ in events_of(http, "llm", "https://llm.example/v1", headers={}, body={}):
        pass


async def checked(http: httpx.AsyncClient) -> None:
    async with http.stream("POST", "https://tts.example/") as response:
        await check_status("tts", response)


async def transcribed(http: httpx.AsyncClient) -> None:
    response = await post("asr", http, "https://asr.example/", json={})
    if not response.is_success:
        raise StatusError("asr", response.status_code, response.text)


@pytest.mark.parametrize("ask", [stream, transcribed])
def test_answer_in_one_json_text_is_read_up_to_a_limit(ask: Callable[[httpx.AsyncClient], Awaitable[object]]) -> None:
    body = Endless()

    async def run() -> None:
        transport = httpx.MockTransport(lambda _: httpx.Response(200, headers={"Content-Type": "application/json"}, stream=body))
        async with httpx.AsyncClient(transport=transport) as http:
            with pytest.raises(ProviderError, match="more than"):
                await ask(http)

    asyncio.run(run())
    assert body.n_read <= MAX_ANSWER_BYTES + 2 * len(PIECE)


@pytest.mark.parametrize("ask", [stream, checked, transcribed])
def test_body_of_an_error_is_read_up_to_a_limit(ask: Callable[[httpx.AsyncClient], Awaitable[object]]) -> None:
    body = Endless()

    async def run() -> None:
        transport = httpx.MockTransport(lambda _: httpx.Response(500, headers={"Content-Type": "text/html"}, stream=body))
        async with httpx.AsyncClient(transport=transport) as http:
            with pytest.raises(StatusError, match="HTTP 500"):
                await ask(http)

    asyncio.run(run())
    assert body.n_read <= MAX_ERROR_BYTES + 2 * len(PIECE)
