"""What stands before the routes: types and sizes of bodies, failures, and the headers of every answer."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, WebSocket
from starlette.requests import ClientDisconnect, Request

from active_call.api.answers import add_error_answers
from active_call.api.origins import OriginRules
from active_call.api.walls import MAX_BODY_BYTES, Walls

CONSOLE = Path(__file__).parents[2] / "src/active_call/api/console"


def an_app() -> FastAPI:
    app = FastAPI()

    @app.post("/echo")
    async def echo(request: Request) -> dict[str, int]:
        return {"n_bytes": len(await request.body())}

    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError("secret detail")

    @app.get("/call/stream/{name}/{token}")
    async def stream(name: str, token: str) -> None:
        raise RuntimeError

    @app.get("/number")
    async def number(n: int) -> int:
        return n

    @app.websocket("/socket")
    async def socket(socket: WebSocket) -> None:
        await socket.accept()
        await socket.close()

    add_error_answers(app)
    app.add_middleware(Walls, rules=OriginRules())
    return app


def with_client(story: Callable[[httpx.AsyncClient], Awaitable[Any]]) -> Any:
    async def go() -> Any:
        transport = httpx.ASGITransport(an_app(), client=("127.0.0.1", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            return await story(http)

    return asyncio.run(go())


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 200), ("application/json; charset=utf-8", 200), ("Application/JSON", 200), ("application/problem+json", 200),
        ("text/plain", 415), ("application/x-www-form-urlencoded", 415), ("multipart/form-data; boundary=x", 415), ("", 415),
        ("text/plain; application/json", 415), ("application/json; charset=utf-16", 415), ("application/jsonp", 415),
    ],
)  # fmt: skip
def test_body_has_to_be_json(content_type: str, status: int) -> None:
    response = with_client(lambda http: http.post("/echo", content=b"{}", headers={"Content-Type": content_type}))
    assert response.status_code == status
    if status == 415:
        assert response.json()["code"] == "unsupported_media_type"


def test_body_without_a_type_is_refused() -> None:
    assert with_client(lambda http: http.post("/echo", content=b"{}")).status_code == 415


def test_body_that_says_it_is_too_large_is_refused_unread() -> None:
    headers = {"Content-Type": "application/json"}
    assert with_client(lambda http: http.post("/echo", content=b" " * MAX_BODY_BYTES, headers=headers)).status_code == 200
    response = with_client(lambda http: http.post("/echo", content=b" " * (MAX_BODY_BYTES + 1), headers=headers))
    assert (response.status_code, response.json()["code"]) == (413, "too_large")


def test_body_of_unknown_length_is_refused_when_it_has_become_too_large() -> None:
    async def endless() -> Any:
        while True:
            yield b" " * 65536

    response = with_client(lambda http: http.post("/echo", content=endless(), headers={"Content-Type": "application/json"}))
    assert (response.status_code, response.json()["code"]) == (413, "too_large")


def test_every_refusal_is_json_with_error_and_code(caplog: pytest.LogCaptureFixture) -> None:
    async def story(http: httpx.AsyncClient) -> list[httpx.Response]:
        asked = [("GET", "/nothing"), ("DELETE", "/echo"), ("GET", "/number?n=x"), ("GET", "/broken")]
        return [await http.request(method, path) for method, path in asked]

    responses = with_client(story)
    told = [(response.status_code, response.json()["code"]) for response in responses]
    assert told == [(404, "not_found"), (405, "method_not_allowed"), (400, "bad_request"), (500, "internal_error")]
    assert all(set(response.json()) == {"error", "code"} for response in responses)
    assert "secret detail" not in responses[-1].text
    assert [record.message for record in caplog.records if record.levelno >= logging.ERROR] == ["request failed"]


def test_answers_carry_the_headers_that_bind_a_browser() -> None:
    headers = with_client(lambda http: http.get("/number?n=1")).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["cache-control"] == "no-store"
    assert "default-src 'none'" in headers["content-security-policy"]


def test_client_that_leaves_while_sending_is_a_line_for_debugging(caplog: pytest.LogCaptureFixture) -> None:
    async def go() -> None:
        async def receive() -> Any:
            return {"type": "http.disconnect"}

        sent: list[Any] = []
        headers = [(b"host", b"localhost"), (b"content-type", b"application/json"), (b"content-length", b"100")]
        scope = {"type": "http", "method": "POST", "path": "/echo", "query_string": b"", "headers": headers, "client": ("127.0.0.1", 1)}

        async def send(message: Any) -> None:
            sent.append(message)

        await an_app()(scope, receive, send)

    with caplog.at_level(logging.INFO):
        asyncio.run(go())
    assert caplog.records == []
    assert issubclass(ClientDisconnect, Exception)


@pytest.mark.parametrize(
    ("origin", "accepted"), [("http://localhost", True), ("http://evil.example", False), (None, True), ("null", False)]
)
def test_socket_of_a_foreign_page_is_refused(origin: str | None, accepted: bool) -> None:
    async def go() -> list[str]:
        headers = [(b"host", b"localhost"), *([(b"origin", origin.encode())] if origin is not None else [])]
        scope = {"type": "websocket", "path": "/socket", "query_string": b"", "headers": headers, "scheme": "ws", "subprotocols": []}
        sent: list[str] = []

        async def receive() -> Any:
            return {"type": "websocket.connect"}

        async def send(message: Any) -> None:
            sent.append(message["type"])

        await an_app()(scope, receive, send)
        return sent

    assert asyncio.run(go())[0] == ("websocket.accept" if accepted else "websocket.close")


def test_console_makes_no_html_of_what_others_have_said_and_loads_nothing_from_elsewhere() -> None:
    page = (CONSOLE / "index.html").read_text(encoding="utf-8")
    own = [file for file in (*CONSOLE.rglob("*.js"), *CONSOLE.parent.glob("javascript/**/*.js")) if "vendor" not in file.parts]
    script = "".join(file.read_text(encoding="utf-8") for file in own)
    assert len(own) > 10
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(", "srcdoc", "javascript:"):
        assert way not in script
    assert "<script>" not in page
    assert "style=" not in page
    assert set(re.findall(r"http://[^\"]*", page + script)) <= {"http://localhost:8080"}
    assert "https://" not in page + script


@pytest.mark.parametrize("headers", [{"X-A": "a" * 33_000}, {f"X-{n}": "a" for n in range(4000)}])
def test_headers_that_come_whole_have_a_bound_too(headers: dict[str, str]) -> None:
    response = with_client(lambda http: http.get("/number?n=1", headers=headers))
    assert (response.status_code, response.json()["code"]) == (431, "too_large")
    assert with_client(lambda http: http.get("/number?n=1&x=" + "a" * 33_000)).status_code == 431


@pytest.mark.parametrize("types", [("application/json", "text/plain"), ("text/plain", "application/json")])
def test_each_of_two_types_of_a_body_counts(types: tuple[str, str]) -> None:
    headers = [("Content-Type", one) for one in types]
    assert with_client(lambda http: http.post("/echo", content=b"{}", headers=headers)).status_code == 415


def test_token_in_the_path_of_a_stream_is_not_in_the_log_of_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    with_client(lambda http: http.get("/call/stream/plivo/s3cret"))
    (record,) = [record for record in caplog.records if record.message == "request failed"]
    assert record.__dict__["path"] == "/call/stream/plivo/…"
