"""What web services are told of a call, in order, and what they did not ask for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from active_call.base.world import World
from active_call.call.events.subscription import EventLog
from active_call.call.events.webhooks import CallWebhooks, Wanted
from active_call.contract import events
from active_call.store.webhook_spool import Delivery
from active_call.testing.virtual_time import CountingRandomness, VirtualClock, run_virtually


class Call:
    id = "s.1"

    def __init__(self) -> None:
        self.log = EventLog()
        self.subscribe = self.log.subscribe

    def describe(self) -> Any:
        return SimpleNamespace(direction="inbound", caller="sip:a@b", callee="sip:c@d", trunk="", playbook="sales.md")


def test_services_are_told_what_they_want_of_a_call() -> None:
    async def story() -> None:
        told: list[Delivery] = []
        records: list[Mapping[str, Any] | None] = [
            None,
            {"status": "active"},
            {"status": "answered", "recording": "/x/a.wav", "recordingMs": 900},
        ]

        async def deliver(delivery: Delivery) -> None:
            told.append(delivery)

        async def read_record(_: str) -> Mapping[str, Any] | None:
            return records.pop(0)

        world = World(VirtualClock(asyncio.get_running_loop()), CountingRandomness())
        wanted = [Wanted("all"), Wanted("turns", ("turn", "call.ended"))]
        webhooks, call = CallWebhooks(wanted, deliver, read_record, world), Call()
        webhooks.follow(call)  # type: ignore[arg-type]
        call.log.append(events.Answer(sdp="v=0"))
        call.log.append(events.Answer(sdp="v=0", refer=True))
        call.log.append(events.Turn(index=1, text="Hello.", timestamp=1_700_000_000_000))
        call.log.append(events.Transfer(state="calling", target="sip:x@y"))
        call.log.append(events.Hangup(reason="caller"))
        await asyncio.sleep(5)
        await webhooks.close()
        of = {name: [one.type for one in told if one.target == name] for name in ("all", "turns")}
        assert of["all"] == ["call.started", "call.answered", "call.transfer", "call.ended", "recording.ready"]
        assert of["turns"] == ["turn", "call.ended"]
        assert len({one.id for one in told}) == len(told) and [one.id for one in told] == sorted(one.id for one in told)
        turn = json.loads(next(one.body for one in told if one.type == "turn"))
        assert (turn["sessionId"], turn["timestamp"], turn["data"]["text"]) == ("s.1", 1_700_000_000_000, "Hello.")
        assert turn["call"] == {"direction": "inbound", "caller": "sip:a@b", "callee": "sip:c@d", "playbook": "sales.md"}
        ready = json.loads(next(one.body for one in told if one.type == "recording.ready"))
        assert ready["data"] == {"path": "/api/records/s.1/recording", "durationMs": 900}

    run_virtually(story())
