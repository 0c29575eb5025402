"""Sends deliveries from the spool to their web services: signed, at least once, with growing pauses.

Signed by the Standard Webhooks specification (v1): `webhook-id`, `webhook-timestamp`, and `webhook-signature: v1,BASE64` of the
HMAC-SHA256 of `ID.TIMESTAMP.BODY`. A secret that begins with `whsec_` is base64, any other one is used unchanged.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import httpx

from active_call.base.world import World
from active_call.store.webhook_spool import Delivery, WebhookSpool

log = logging.getLogger("active_call.store")

DEADLINE_S: Final = 10.0
FIRST_PAUSE_S: Final = 1.0
MAX_PAUSE_S: Final = 600.0
GIVE_UP_AFTER_S: Final = 3 * 24 * 3600.0
GIVE_UP_AFTER_ATTEMPTS: Final = 100
"""At least; three days have over 400. Without it, a clock that is set forward would make dead letters of all that waits."""
AT_ONCE: Final = 8
"""The most deliveries at a time."""
LOOK_AGAIN_S: Final = 5.0
SECRET_PREFIX: Final = "whsec_"  # noqa: S105 (no secret)
RETRYABLE: Final = frozenset({404, 408, 409, 425, 429})
"""Statuses below 500 after which the same request may succeed: 404 while a service is being deployed."""


@dataclass(frozen=True, slots=True)
class WebhookTarget:
    """A web service. The spool stores `name`, so its URL may change while deliveries wait."""

    name: str
    url: str = field(repr=False)
    secret: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


def signature(secret: str, delivery_id: str, timestamp: int, body: bytes) -> str:
    """The value of `webhook-signature`."""
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX)) if secret.startswith(SECRET_PREFIX) else secret.encode()
    signed = f"{delivery_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


class WebhookDelivery:
    """Processes the spool until cancelled. The caller owns `client`."""

    def __init__(self, spool: WebhookSpool, targets: Mapping[str, WebhookTarget], client: httpx.AsyncClient, world: World) -> None:
        self._spool, self._targets, self._client, self._world = spool, dict(targets), client, world
        self._wake = asyncio.Event()
        self._under_way: set[str] = set()

    @property
    def spool(self) -> WebhookSpool:
        """Waiting deliveries and dead letters."""
        return self._spool

    async def add(self, delivery: Delivery) -> None:
        """Deliver this as soon as possible."""
        await self._spool.add(delivery)
        self._wake.set()

    async def replay(self, delivery_id: str) -> bool:
        """Deliver a dead letter again; False if there is none with that id."""
        found = await self._spool.replay(delivery_id)
        self._wake.set()
        return found

    async def run(self) -> None:
        """Run until cancelled; unfinished deliveries are retried at the next start."""
        await self._spool.load()
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._wake.clear()
                for delivery in self._due():
                    self._under_way.add(delivery.id)
                    tasks.create_task(self._deliver(delivery), name="webhook")
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._wait_s()):
                        await self._wake.wait()

    def _due(self) -> list[Delivery]:
        """Due deliveries. A pause longer than any rule allows means that the clock was set back."""
        now = self._now()
        waiting = [one for one in self._spool.waiting.values() if one.id not in self._under_way]
        due = [one for one in waiting if one.due_at <= now or one.due_at > now + 2 * MAX_PAUSE_S]
        return sorted(due, key=lambda one: one.id)[: AT_ONCE - len(self._under_way)]

    def _wait_s(self) -> float:
        if len(self._under_way) >= AT_ONCE:
            return LOOK_AGAIN_S
        times = [one.due_at for one in self._spool.waiting.values() if one.id not in self._under_way]
        return min(LOOK_AGAIN_S, max(0.0, min(times) - self._now())) if times else LOOK_AGAIN_S

    async def _deliver(self, delivery: Delivery) -> None:
        try:
            await self._settle(delivery, *await self._post(delivery))
        except Exception:  # a wall: one delivery
            log.exception("webhook could not be delivered", extra={"delivery": delivery.id})
            await self._spool.try_later(delivery, self._now() + MAX_PAUSE_S, "an error of this server; its log says more")
        finally:
            self._under_way.discard(delivery.id)
            self._wake.set()

    async def _post(self, delivery: Delivery) -> tuple[str, bool]:
        """Why it was not accepted, empty if it was; and whether a retry is allowed."""
        target = self._targets.get(delivery.target)
        if target is None:
            return f"the configuration has no webhook {delivery.target!r} any more", False
        body, timestamp = delivery.body.encode(), int(self._now())
        headers = {**target.headers, "Content-Type": "application/json", "webhook-id": delivery.id, "webhook-timestamp": str(timestamp)}
        if target.secret:
            headers["webhook-signature"] = signature(target.secret, delivery.id, timestamp, body)
        try:
            async with asyncio.timeout(DEADLINE_S):
                response = await self._client.post(target.url, content=body, headers=headers)
        except (httpx.HTTPError, TimeoutError, OSError) as error:
            return f"{type(error).__name__}: {error}", True
        except (httpx.InvalidURL, ValueError) as error:
            return f"{type(error).__name__}: {error}", False
        if response.is_success:
            return "", True
        return f"status {response.status_code}", response.status_code >= 500 or response.status_code in RETRYABLE

    async def _settle(self, delivery: Delivery, error: str, may_try_again: bool) -> None:
        if not error:
            await self._spool.taken(delivery)
            return
        fields = {"webhook": delivery.target, "delivery": delivery.id, "type": delivery.type, "reason": error}
        is_over = self._now() - delivery.created_at > GIVE_UP_AFTER_S and delivery.attempts >= GIVE_UP_AFTER_ATTEMPTS
        if is_over or not may_try_again:
            log.error("webhook was refused for good; it is a dead letter", extra=fields)
            await self._spool.make_dead_letter(delivery, error)
            return
        log.warning("webhook is tried again later", extra={**fields, "attempts": delivery.attempts + 1})
        pause_s = min(FIRST_PAUSE_S * 2.0 ** min(delivery.attempts, 20), MAX_PAUSE_S) * self._world.randomness.uniform(0.8, 1.2)
        await self._spool.try_later(delivery, self._now() + pause_s, error)

    def _now(self) -> float:
        return self._world.clock.utc_now().timestamp()
