"""Whom the agent's `<http>` requests may reach, and what of an answer is taken. Sockets are httpx's fake ones."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import httpx
import pytest

from active_call.agent.playbook.parser import parse_playbook
from active_call.call.conversation.web_requests import MAX_ANSWER_BYTES, WebRequests, access_of

BOOK = """---
llm: {provider: openai, prompt: "Ask https://prompt.example/v1 when in doubt."}
http: {allow: ["api.example.com", "*.shop.example", "10.0.0.5:8080"]}
---
# Scene: main
<http url="http://127.0.0.1:9000/book?x={{ y }}"/> and <http url="https://{{ host }}/x"/> and <http url="https://half.{{ z }}.example/"/>
<!-- https://comment.example/ -->
"""


def ask(
    url: str,
    *,
    file: str = "main.md",
    book: str = BOOK,
    method: str = "GET",
    answer: Callable[[httpx.Request], httpx.Response] | None = None,
) -> str:
    """Which client was asked, or why none."""

    async def go() -> str:
        def client(name: str) -> httpx.AsyncClient:
            return httpx.AsyncClient(transport=httpx.MockTransport(answer or (lambda _: httpx.Response(200, text=name))))

        async with client("private") as private, client("guarded") as guarded:
            requests = WebRequests(access_of(parse_playbook(book, file=file, environment={})), private, guarded)
            try:
                return (await requests.request(method, url)).text
            except httpx.HTTPError as error:
                return f"refused: {error}"

    return asyncio.run(go())


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("https://api.example.com/x", "private"),
        ("https://api.example.com:8443/x", "private"),
        ("https://a.shop.example/", "guarded"),
        ("http://10.0.0.5:8080/", "private"),
        ("http://127.0.0.1:9000/other", "private"),
        ("https://prompt.example/", "private"),
    ],
)
def test_place_that_the_playbook_lists_is_asked(url: str, asked: str) -> None:
    assert ask(url) == asked
    assert ask(url, file="(inline)") == "guarded"


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8080/call", "http://localhost:9000/", "http://169.254.169.254/", "https://evil.example/", "https://shop.example/",
        "http://prompt.example/", "http://10.0.0.5/", "https://half.evil.example/", "https://comment.example/", "https://api.example.com.evil/",
        "https://api.example.com@evil.example/", "file:///etc/passwd", "ftp://api.example.com/", "//api.example.com", "", "http://", "gopher://x",
    ],
)  # fmt: skip
def test_place_that_it_does_not_list_is_not_asked(url: str) -> None:
    assert ask(url).startswith("refused")


def test_whole_internet_may_be_listed_and_is_guarded() -> None:
    book = "---\nhttp: {allow: ['*']}\n---\nHello.\n"
    assert ask("https://anything.example/", book=book) == "guarded"


def test_method_that_is_none_is_refused() -> None:
    assert ask("https://api.example.com/", method="CONNECT").startswith("refused")
    assert ask("https://api.example.com/", method="get\r\nx").startswith("refused")


def test_answer_is_bounded_and_redirects_are_answers() -> None:
    large = ask("https://api.example.com/", answer=lambda _: httpx.Response(200, content=b"x" * (MAX_ANSWER_BYTES + 1)))
    assert "more than" in large
    packed = ask("https://api.example.com/", answer=lambda _: httpx.Response(200, headers={"Content-Encoding": "gzip"}, content=b"x"))
    assert "refused" in packed
    moved = ask("https://api.example.com/", answer=lambda _: httpx.Response(302, headers={"Location": "http://127.0.0.1/"}, text="moved"))
    assert moved == "moved"
