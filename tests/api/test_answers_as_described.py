"""Schemathesis sends each route what its description allows and what it does not: every answer is one that the description has.

The application runs in this process, over a real registry and real records; nothing listens. The examples are the same in every run.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

sys.path.insert(0, str(Path(__file__).parent))

from test_app import PLAYBOOK, Api, an_api

from active_call.api.carrier_streams.access import StreamSettings
from active_call.base.errors import MediaError
from active_call.base.world import World
from active_call.call.speech.precaching import Precached
from active_call.contract import commands
from active_call.contract.options import CallOption
from active_call.contract.requests import PrecacheSpeech
from active_call.store.call_record import CallRecord
from active_call.store.webhook_delivery import WebhookDelivery
from active_call.store.webhook_spool import WebhookSpool

TOKEN = "sesame"
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]
N_EXAMPLES = 6
ENDLESS = {"/api/console/calls"}
ENDLESS_WHILE_ALIVE = {"/events/{session_id}", "/listen/{session_id}"}
STREAMS = "/call/stream/{name}/answer"
KNOWN = {"session_id": "c.live", "record_id": "c.done", "name": "main.md", "delivery_id": "nothing", "talk_id": "t.none"}
"""What there is, by the parameter of the path that names it."""


@schemathesis.serializer("application/sdp", "application/trickle-ice-sdpfrag")
def as_text(_: Any, value: Any) -> bytes:
    return str(value).encode("utf-8", "replace")


class NoMedia:
    """Has no room for a stream."""

    async def open_stream(self, *_: Any, **__: Any) -> None:
        raise MediaError("no room")


class Talk:
    """A call by text in which nothing is said; it ends with the second line."""

    scene = "main"

    def __init__(self) -> None:
        self.n_lines = 0

    @property
    def is_over(self) -> bool:
        return self.n_lines > 1

    def variables(self) -> dict[str, Any]:
        return {}

    async def says(self, text: str) -> None:
        self.n_lines += 1

    async def presses(self, digits: str) -> None:
        self.n_lines += 1

    async def settled(self) -> None: ...

    async def close(self) -> None: ...


class Running:
    """The application, its description, and requests to it."""

    def __init__(self, folder: Path) -> None:
        self.loop = asyncio.new_event_loop()
        self.api: Api
        self._folder = folder
        self._stack = AsyncExitStack()

    def open(self) -> None:
        self.run(self._open())

    def close(self) -> None:
        self.run(self._stack.aclose())
        self.loop.close()

    def run(self, work: Any) -> Any:
        return self.loop.run_until_complete(asyncio.wait_for(work, 120))

    async def _open(self) -> None:
        async def precache(wanted: PrecacheSpeech) -> Precached:
            return Precached("key", len(wanted.text), was_kept=False)

        outside = await self._stack.enter_async_context(httpx.AsyncClient())
        more = {
            "precache": precache,
            "begin_talk": lambda playbook, on_event: Talk(),
            "media": NoMedia(),
            "webhooks": WebhookDelivery(WebhookSpool(self._folder / "spool"), {}, outside, World()),
            "streams": StreamSettings(token=TOKEN),
        }
        (self._folder / "main.md").write_text(PLAYBOOK)
        (self._folder / "done.mp3").write_bytes(b"ID3")
        self.api = await self._stack.enter_async_context(an_api(self._folder, token=TOKEN, explain=dict, more=more))
        now = World().clock.utc_now()
        facts = {"direction": "inbound", "caller": "sip:a@b", "callee": "sip:c@d", "start_time": now, "end_time": now, "status": "answered"}
        self.api.records.write(CallRecord(session_id="c.done", call_id="x", recording=str(self._folder / "done.mp3"), **facts))
        while (await self.api.records.get("c.done")) is None:
            await asyncio.sleep(0.01)

    def retry_now(self) -> None:
        """There is a live call of the known id, whatever has become of the one before."""

        async def retry_now() -> None:
            live = self.api.registry.find(KNOWN["session_id"])
            if live is not None:
                live.send(commands.Hangup())
                while self.api.registry.find(KNOWN["session_id"]) is not None:
                    await asyncio.sleep(0.001)
            self.api.registry.place(CallOption(callee="sip:a@b"), session_id=KNOWN["session_id"])

        self.run(retry_now())

    def send(self, case: Case, token: str = TOKEN) -> httpx.Response:
        """The answer to a generated request."""
        request = case.as_transport_kwargs(base_url="http://127.0.0.1", headers={"Authorization": f"Bearer {token}"})
        request.pop("cookies", None)
        if "data" in request:
            request["content"] = request.pop("data")
        return self.run(self.api.http.request(**request))  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    server = Running(tmp_path_factory.mktemp("described"))
    server.open()
    yield server
    server.close()


@pytest.fixture(scope="module")
def operations(running: Running) -> list[Any]:
    document = running.run(running.api.http.get("/openapi.json")).json()
    return [found.ok() for found in schemathesis.openapi.from_dict(document).get_all_operations()]


def for_each(strategy: Any, n_examples: int, check: Callable[[Case], None]) -> None:
    """Check the same generated requests in every run."""
    calm = settings(
        max_examples=n_examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    calm(given(case=strategy)(check))()


def takes_more_than_a_path(operation: Any) -> bool:
    return bool(len(operation.body) or len(operation.query))


def test_routes_are_all_described(operations: list[Any]) -> None:
    assert len(operations) > 25
    labels = {operation.label for operation in operations}
    assert {"POST /call", "PATCH /call/{session_id}", "GET /api/records/{record_id}/recording", "POST /api/webhooks/replay"} <= labels


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["allowed", "forbidden"])
def test_any_request_is_answered_as_described(running: Running, operations: list[Any], mode: GenerationMode) -> None:
    def check(case: Case) -> None:
        case.validate_response(running.send(case), checks=CHECKS)

    for operation in operations:
        if operation.path in ENDLESS or (mode is GenerationMode.NEGATIVE and not takes_more_than_a_path(operation)):
            continue
        for_each(operation.as_strategy(generation_mode=mode), N_EXAMPLES, check)


def test_requests_for_what_exists_are_answered_as_described(running: Running, operations: list[Any]) -> None:
    seen: dict[str, set[int]] = {}
    for operation in operations:
        names = [parameter.name for parameter in operation.path_parameters]
        if not names or operation.path in ENDLESS_WHILE_ALIVE:
            continue

        def check(case: Case) -> None:
            running.retry_now()
            answer = running.send(case)
            seen.setdefault(case.operation.label, set()).add(answer.status_code)
            case.validate_response(answer, checks=CHECKS)

        known = {name: KNOWN[name] for name in names} | ({"name": "twilio"} if operation.path == STREAMS else {})
        for_each(operation.as_strategy(path_parameters=known), 3, check)
    for label in (
        "DELETE /call/{session_id}",
        "GET /kill/{session_id}",
        "GET /api/records/{record_id}/recording",
        "GET /api/playbooks/{name}",
    ):
        assert 200 in seen[label], label


def test_every_route_but_the_open_ones_refuses_a_wrong_token_as_described(running: Running, operations: list[Any]) -> None:
    for operation in operations:

        def check(case: Case) -> None:
            answer = running.send(case, token="wrong")
            case.validate_response(answer, checks=CHECKS)
            is_open = case.path in ("/health", "/ready")
            assert is_open or answer.status_code in (400, 401, 415, 429) or (answer.status_code, case.path) == (404, STREAMS), case.path

        for_each(operation.as_strategy(), 1, check)


def test_recording_is_sent_as_what_its_file_is(running: Running) -> None:
    async def fetch() -> httpx.Response:
        headers = {"Authorization": f"Bearer {TOKEN}", "Range": "bytes=0-1"}
        return await running.api.http.get("/api/records/c.done/recording", headers=headers)

    answer = running.run(fetch())
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (206, b"ID", "audio/mpeg")
