"""Admission and drain: who is refused, and that nobody is forgotten."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "calls"))

from calls_kit import Engines, Records

from active_call.base.world import World
from active_call.call.directory import Directory, NoRoom
from active_call.call.routing import Playbooks
from active_call.call.session import CallServices
from active_call.contract.options import CallOption
from active_call.testing.fake_call import FakeLeg


def a_directory(http: httpx.AsyncClient, records: Records, *, has_room: bool = True) -> Directory:
    services = CallServices(World(), Engines(), http, records, Playbooks(Path, {}))  # type: ignore[arg-type]
    return Directory(services, None, None, lambda: has_room)  # type: ignore[arg-type]


def test_call_while_draining_is_a_503_and_running_calls_are_ended_with_a_record() -> None:
    async def story() -> None:
        records, running, late = Records(), FakeLeg(), FakeLeg()
        async with httpx.AsyncClient() as http:
            directory = a_directory(http, records)
            directory.handle_incoming(running)
            await asyncio.sleep(0.01)
            draining = asyncio.create_task(directory.drain(0.2))
            await asyncio.sleep(0.01)
            directory.handle_incoming(late)
            assert late.rejected == (503, "Draining")
            with pytest.raises(NoRoom):
                directory.place(CallOption(callee="sip:x@example.com"))
            await draining
        assert directory.sessions == {}
        assert [record.hangup_reason for record in records.written] == ["shutdown"]
        assert not [task for task in asyncio.all_tasks() if task.get_name().startswith(("call ", "s."))]

    asyncio.run(story())


def test_call_while_full_is_a_503_and_starts_nothing() -> None:
    async def story() -> None:
        leg = FakeLeg()
        async with httpx.AsyncClient() as http:
            directory = a_directory(http, Records(), has_room=False)
            directory.handle_incoming(leg)
            assert leg.rejected is not None
            assert leg.rejected[0] == 503
            assert directory.sessions == {}

    asyncio.run(story())
