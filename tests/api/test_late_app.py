"""The HTTP application that is made when it is asked for."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from typing import Any

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from active_call.api import late_app
from active_call.api.late_app import LateApp
from active_call.api.origins import OriginRules


class Services:
    """What the early answers need."""

    class registry:  # noqa: N801
        is_accepting = False

    origins = OriginRules()
    access = None

    def __init__(self, token: str | None = None) -> None:
        self.token = token

    def health(self) -> dict[str, Any]:
        return {"status": "ok", "calls": 3}


async def ask(
    app: LateApp,
    path: str,
    method: str = "GET",
    host: str = "127.0.0.1",
    client: str = "127.0.0.1",
    headers: tuple[tuple[bytes, bytes], ...] = (),
) -> tuple[int, Any]:
    told: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        told.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"host", host.encode()), *headers],
        "server": ("127.0.0.1", 8080),
        "client": (client, 9),
    }
    await app(scope, receive, send)
    return told[0]["status"], told[1]["body"]


@pytest.mark.parametrize(
    ("token", "client", "headers", "sees_all"),
    [
        (None, "127.0.0.1", (), True),
        (None, "203.0.113.9", (), False),
        (None, "127.0.0.1", ((b"x-forwarded-for", b"203.0.113.9"),), False),
        ("s3cret", "127.0.0.1", (), False),
        ("s3cret", "203.0.113.9", ((b"authorization", b"Bearer wrong"),), False),
        ("s3cret", "203.0.113.9", ((b"authorization", b"Bearer s3cret"),), True),
    ],
)
def test_strangers_learn_the_status_alone(token: str | None, client: str, headers: tuple[tuple[bytes, bytes], ...], sees_all: bool) -> None:
    async def story() -> None:
        status, body = await ask(LateApp(Services(token)), "/health", client=client, headers=headers)  # type: ignore[arg-type]
        assert (status, json.loads(body)) == (200, {"status": "ok", "calls": 3} if sees_all else {"status": "ok"})

    asyncio.run(story())


def test_health_and_readiness_are_answered_before_the_application_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(late_app, "_make", lambda services: pytest.fail("made"))

    async def story() -> None:
        app = LateApp(Services())  # type: ignore[arg-type]
        status, body = await ask(app, "/health")
        assert (status, json.loads(body)) == (200, {"status": "ok", "calls": 3})
        assert json.loads((await ask(app, "/health", host="elsewhere.example"))[1]) == {"status": "ok"}
        status, body = await ask(app, "/ready")
        assert (status, json.loads(body)) == (503, {"accepting": False})

    asyncio.run(story())


def test_application_is_made_once_in_a_thread_and_requests_wait_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    made_in: list[int] = []
    may_end = threading.Event()

    async def whole(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse(f"whole {scope['path']}")(scope, receive, send)

    def make(services: Any) -> Any:
        made_in.append(threading.get_ident())
        assert may_end.wait(30)
        return whole

    monkeypatch.setattr(late_app, "_make", make)

    async def story() -> None:
        app = LateApp(Services())  # type: ignore[arg-type]
        first, second = asyncio.ensure_future(ask(app, "/list")), asyncio.ensure_future(ask(app, "/call", "POST"))
        while not made_in:
            await asyncio.sleep(0.001)
        assert (await ask(app, "/health"))[0] == 200  # the loop goes on, and so does this
        assert not first.done()
        first.cancel()  # a client that leaves takes nothing from the other
        may_end.set()
        assert (await second)[1] == b"whole /call"
        assert (await ask(app, "/health"))[1] == b"whole /health"
        assert len(made_in) == 1
        assert made_in[0] != threading.get_ident()

    asyncio.run(story())


def test_failure_to_make_the_application_is_the_request_s_and_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes: list[Any] = [OSError("too many open files"), PlainTextResponse("here")]

    def make(services: Any) -> Any:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(late_app, "_make", make)

    async def story() -> None:
        app = LateApp(Services())  # type: ignore[arg-type]
        assert (await ask(app, "/list"))[0] == 500
        assert await ask(app, "/list") == (200, b"here")

    asyncio.run(story())


def test_start_of_a_server_loads_none_of_what_few_calls_need() -> None:
    unwanted = (
        *("fastapi", "alembic", "aioice", "OpenSSL", "cryptography", "av", "dns", "rich", "openai", "onnxruntime"),
        *("sqlalchemy", "asyncpg", "uvicorn", "websockets"),
        *("active_call.testing", "active_call.client", "active_call.server.commands.main", "active_call.server.doctor.report"),
    )
    program = (
        "import sys\nfrom active_call.server.preloading import load_httpx, preload_modules\npreload_modules()\n"
        "before = set(sys.modules)\nload_httpx()\n"
        "import active_call.server.commands.serve\nfrom active_call.server import launching, starter_files\n"
        f"print(*(name for name in {unwanted} if name in sys.modules), *({{'asyncio'}} & before))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split() == []


def test_modules_loaded_before_the_fork_are_needed_by_the_server_and_by_its_children() -> None:
    def loaded(program: str) -> set[str]:
        code = f"import sys\nfrom active_call.server import preloading\n{program}\nprint(*sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
        return set(done.stdout.split())

    before = loaded("preloading._load(preloading.SHARED)")
    assert before <= loaded("preloading.preload_modules()")
    assert before <= loaded("import active_call.server.commands.serve, active_call.server.launching, active_call.server.starter_files")
    assert {"numpy", "msgspec"} <= before


def test_values_that_a_server_loads_are_structs() -> None:
    """A frozen dataclass takes twenty times as long to make as a struct, and a server has 500. Struct fields cannot be left out of `repr`
    or of comparisons, so values with a secret or a cache stay dataclasses.
    """
    program = (
        "import dataclasses, sys\nfrom active_call.server.preloading import preload_modules\npreload_modules()\n"
        "import active_call.server.commands.serve\nfrom active_call.server import launching, starter_files\n"
        "modules = [module for name, module in sorted(sys.modules.items()) if name.startswith('active_call.')]\n"
        "values = {value for module in modules for value in vars(module).values() if isinstance(value, type)}\n"
        "values = [value for value in values if value.__module__.startswith('active_call.') and dataclasses.is_dataclass(value)]\n"
        "frozen = [value for value in values if value.__dataclass_params__.frozen]\n"
        "plain = lambda one: all(field.repr and field.compare and field.hash is None and field.init for field in dataclasses.fields(one))\n"
        "print(*(f'{value.__module__}.{value.__name__}' for value in frozen if plain(value)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split() == []
