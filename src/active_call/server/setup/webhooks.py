"""The webhooks of the configuration: the spool of deliveries, the events of each webhook, and the tasks that send them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from active_call.base.world import World
from active_call.call.events.webhooks import CallWebhooks, Wanted
from active_call.server.config.config import Config
from active_call.store.records import RecordStore, RecordsUnavailable
from active_call.store.webhook_delivery import WebhookDelivery, WebhookTarget
from active_call.store.webhook_spool import WebhookSpool

DEFAULT_FOLDER = "./config/cdr"


def make_webhooks(config: Config, http: httpx.AsyncClient, records: RecordStore, world: World) -> tuple[WebhookDelivery, CallWebhooks]:
    """The delivery and the follower of calls. The spool is beside the call records."""
    folder = Path(getattr(config.callrecord, "root", DEFAULT_FOLDER) or DEFAULT_FOLDER) / "webhooks"
    targets = {one.name: WebhookTarget(one.name, one.url, one.secret, one.headers) for one in config.webhooks}
    delivery = WebhookDelivery(WebhookSpool(folder), targets, http, world)

    async def read_record(session_id: str) -> Mapping[str, Any] | None:
        try:
            return await records.get(session_id)
        except RecordsUnavailable:
            return None

    wanted = [Wanted(one.name, one.events) for one in config.webhooks]
    return delivery, CallWebhooks(wanted, delivery.add, read_record, world)
