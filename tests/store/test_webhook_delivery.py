"""Webhooks: signed, at least once, with growing pauses, and dead letters that can be sent again."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import pytest

from active_call.base.world import SystemClock, World
from active_call.store import webhook_spool
from active_call.store.webhook_delivery import WebhookDelivery, WebhookTarget, signature
from active_call.store.webhook_spool import Delivery, WebhookSpool

WORLD = World()
TARGET = WebhookTarget("crm", "https://crm.example/hook?key=1", "s3cret", {"X-Tenant": "7"})


class SetClock(SystemClock):
    """The machine's clock after somebody has set it."""

    def __init__(self, by: timedelta) -> None:
        self.by = by

    def utc_now(self) -> datetime:
        return super().utc_now() + self.by


class Service:
    """Answers with the statuses that it was told, then with 200."""

    def __init__(self, *statuses: int | Exception) -> None:
        self.statuses = list(statuses)
        self.requests: list[httpx.Request] = []

    def handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        status = self.statuses.pop(0) if self.statuses else 200
        if isinstance(status, Exception):
            raise status
        return httpx.Response(status)


def deliver(
    folder: Path,
    service: Service,
    work: Callable[[WebhookDelivery], Awaitable[None]],
    *,
    target: WebhookTarget = TARGET,
    world: World = WORLD,
) -> None:
    async def story() -> None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(service.handle)) as client:
            delivery = WebhookDelivery(WebhookSpool(folder), {target.name: target}, client, world)
            running = asyncio.create_task(delivery.run())
            await asyncio.sleep(0.01)
            try:
                async with asyncio.timeout(10):
                    await work(delivery)
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)

    asyncio.run(story())


def a_delivery(name: str = "wh_1", target: str = "crm") -> Delivery:
    now = World().clock.utc_now().timestamp()
    return Delivery(name, target, "call.ended", now, json.dumps({"id": name, "text": "grüezi"}), "s.1")


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.json"))


def test_event_is_signed_and_gone_when_it_was_taken(tmp_path: Path) -> None:
    service = Service()

    async def work(delivery: WebhookDelivery) -> None:
        await delivery.add(a_delivery())
        await until(lambda: not delivery.spool.waiting)

    deliver(tmp_path, service, work)
    (request,) = service.requests
    timestamp = request.headers["webhook-timestamp"]
    signed = f"wh_1.{timestamp}.".encode() + request.content
    digest = hmac.new(b"s3cret", signed, hashlib.sha256).digest()
    assert request.headers["webhook-signature"] == "v1," + base64.b64encode(digest).decode()
    assert (request.headers["webhook-id"], request.headers["x-tenant"]) == ("wh_1", "7")
    assert json.loads(request.content)["text"] == "grüezi"
    assert files(tmp_path) == []


def test_secret_of_the_specification_signs_as_its_example_does() -> None:
    body = b'{"test": 2432232314}'
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    assert signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body) == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_busy_service_is_asked_again_and_a_restart_loses_nothing(tmp_path: Path) -> None:
    service = Service(503, httpx.ConnectError("no route"))

    async def first(delivery: WebhookDelivery) -> None:
        await delivery.add(a_delivery())
        await until(lambda: delivery.spool.waiting["wh_1"].attempts == 1)

    deliver(tmp_path, service, first)
    assert files(tmp_path) == ["waiting/wh_1.json"]

    async def second(delivery: WebhookDelivery) -> None:
        await until(lambda: not delivery.spool.waiting)

    deliver(tmp_path, service, second)
    assert [request.headers["webhook-id"] for request in service.requests] == ["wh_1"] * 3
    assert files(tmp_path) == []


def test_refused_event_is_a_dead_letter_that_can_be_sent_again(tmp_path: Path) -> None:
    service = Service(400)

    async def first(delivery: WebhookDelivery) -> None:
        await delivery.add(a_delivery())
        await delivery.add(a_delivery("wh_2", target="gone"))
        await until(lambda: len(delivery.spool.dead) == 2)
        assert delivery.spool.dead["wh_1"].described()["error"] == "status 400"
        assert "no webhook 'gone'" in delivery.spool.dead["wh_2"].error

    deliver(tmp_path, service, first)

    async def second(delivery: WebhookDelivery) -> None:
        assert sorted(delivery.spool.dead) == ["wh_1", "wh_2"]
        assert await delivery.replay("wh_1")
        assert not await delivery.replay("wh_9")
        await until(lambda: not delivery.spool.waiting)

    deliver(tmp_path, service, second)
    assert len(service.requests) == 2 and files(tmp_path) == ["dead/wh_2.json"]


def test_damaged_file_is_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "waiting").mkdir()
    (tmp_path / "waiting" / "wh_0.json").write_text("{")

    async def work(delivery: WebhookDelivery) -> None:
        await delivery.add(a_delivery())
        await until(lambda: not delivery.spool.waiting)

    deliver(tmp_path, Service(), work)
    assert "cannot be read" in caplog.text


@pytest.mark.parametrize("days", [-1000, 1000])
def test_clock_that_was_set_neither_delays_a_delivery_nor_makes_it_a_dead_letter(tmp_path: Path, days: int) -> None:
    service = Service(503, 503)

    async def first(delivery: WebhookDelivery) -> None:
        await delivery.add(a_delivery())
        await until(lambda: delivery.spool.waiting["wh_1"].attempts == 1)

    async def second(delivery: WebhookDelivery) -> None:
        await until(lambda: len(service.requests) == 2)
        await until(lambda: not delivery.spool.waiting)

    deliver(tmp_path, service, first)
    deliver(tmp_path, service, second, world=World(SetClock(timedelta(days=days))))
    assert len(service.requests) == 3
    assert files(tmp_path) == []


def test_deliveries_beyond_those_that_may_wait_are_dead_letters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook_spool, "MAX_WAITING", 3)

    async def story() -> None:
        spool = WebhookSpool(tmp_path)
        for n in range(5):
            await spool.add(a_delivery(f"wh_{n}"))
        assert sorted(spool.waiting) == ["wh_0", "wh_1", "wh_2"]
        assert {one.id: one.error for one in spool.dead.values()} == dict.fromkeys(("wh_3", "wh_4"), "too many deliveries wait")
        assert await spool.replay("wh_3")
        assert len(spool.waiting) == 4

    asyncio.run(story())
    assert files(tmp_path) == ["dead/wh_4.json", *(f"waiting/wh_{n}.json" for n in range(4))]
