"""Streamed answers of HTTP vendors, line by line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from active_call.base.errors import ProviderError
from active_call.providers import http
from active_call.providers.http import lines_of
from active_call.providers.llm.server_sent_events import events_of


class Pieces(httpx.AsyncByteStream):
    def __init__(self, *pieces: bytes) -> None:
        self._pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece


def lines(*pieces: bytes) -> list[str]:
    async def run() -> list[str]:
        return [line async for line in lines_of("vendor", httpx.Response(200, stream=Pieces(*pieces)))]

    return asyncio.run(run())


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_lines_are_the_same_in_pieces_of_any_size(size: int) -> None:
    body = 'one\r\ntwo ü \u2028 "x"\n\nthree\rfour\nend'.encode()
    assert lines(*(body[at : at + size] for at in range(0, len(body), size))) == ["one", 'two ü \u2028 "x"', "", "three", "four", "end"]


def test_line_without_an_end_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MAX_LINE_BYTES", 1000)
    with pytest.raises(ProviderError, match="a line of more than"):
        lines(*[b"x" * 100] * 1000)


def events(body: bytes, kind: str = "text/event-stream; charset=utf-8") -> list[object]:
    async def run() -> list[object]:
        transport = httpx.MockTransport(lambda _: httpx.Response(200, content=body, headers={"content-type": kind}))
        async with httpx.AsyncClient(transport=transport) as client:
            return [event async for event in events_of(client, "vendor", "http://vendor/", headers={}, body={})]

    return asyncio.run(run())


def test_events_are_read_with_comments_and_data_in_several_lines() -> None:
    first = b'\xef\xbb\xbfevent: a\ndata: {"n":\ndata:1}\nid: 3\n\n'
    rest = b': keep-alive\n\nretry: 5\r\ndata: {"n": 2}\r\n\r\ndata: [DONE]\n\ndata: {"n": 3'
    assert events(first + rest) == [{"n": 1}, {"n": 2}]


def test_page_in_place_of_events_is_an_error() -> None:
    with pytest.raises(ProviderError, match="not an event stream but 'text/html'"):
        events(b"<html></html>", "text/html")
