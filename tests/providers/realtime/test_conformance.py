"""What every adapter of a speech-to-speech vendor owes, against simulators that refuse what the vendors refuse."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from realtime_talk import Talk

from active_call.base.world import World
from active_call.contract.options import RealtimeOption
from active_call.providers.base import RealtimeSession, Services
from active_call.providers.local.local_engines import EngineProcesses
from active_call.providers.realtime_model import AgentSound, RealtimeFailed, ReplyDone, Transcript
from active_call.providers.registry import create_realtime
from active_call.testing.vendors.realtime.gemini import GeminiLiveServer
from active_call.testing.vendors.realtime.openai import OpenAiRealtimeServer

SESSION = RealtimeSession("Be brief.")


@dataclass(frozen=True)
class Vendor:
    name: str
    server: Callable[[], Any]
    endpoint: Callable[[Any], str]
    model: str | None = None


VENDORS = [
    Vendor("openai", OpenAiRealtimeServer, lambda server: f"{server.http_url}/v1", "gpt-realtime"),
    Vendor("azure", lambda: OpenAiRealtimeServer(is_azure=True), lambda server: server.http_url, "gpt-realtime"),
    Vendor("gemini", GeminiLiveServer, lambda server: server.ws_url),
]
each_vendor = pytest.mark.parametrize("vendor", VENDORS, ids=lambda vendor: vendor.name)


@asynccontextmanager
async def conversing(vendor: Vendor, n_talks: int = 1) -> AsyncIterator[tuple[Any, list[Talk]]]:
    """The simulator, and conversations with it."""
    local = EngineProcesses()
    async with vendor.server() as server, httpx.AsyncClient() as http:
        option = RealtimeOption(provider=vendor.name, secret_key=server.key, endpoint=vendor.endpoint(server), model=vendor.model)
        model = create_realtime(option, Services(World(), http, local, {}))
        talks = [Talk(model, server, SESSION) for _ in range(n_talks)]
        try:
            yield server, talks
        finally:
            await asyncio.gather(*(talk.stream.close() for talk in talks))
            await model.close()
            await local.close()


async def one_reply(talk: Talk) -> None:
    """Ask, and wait for the end of the answer."""
    before = len(talk.of(ReplyDone))
    talk.stream.request_reply()
    async with asyncio.timeout(60):
        while len(talk.of(ReplyDone)) <= before:
            await asyncio.sleep(0.01)


@each_vendor
@pytest.mark.parametrize("n_talks", [200])
def test_many_conversations_at_once_keep_apart(vendor: Vendor, n_talks: int) -> None:
    async def run() -> None:
        async with conversing(vendor, n_talks) as (server, talks):
            server.script += [f"Answer {number}." for number in range(n_talks)]
            await asyncio.gather(*map(one_reply, talks))
            said = [[one.text for one in talk.of(Transcript) if one.is_final and one.speaker == "agent"] for talk in talks]
            assert sorted(said) == sorted([f"Answer {number}."] for number in range(n_talks))
            assert all(talk.of(AgentSound) and not talk.of(RealtimeFailed) for talk in talks) and server.complaints == []

    asyncio.run(run())


@each_vendor
def test_no_sound_at_all_and_empty_pieces_end_nothing(vendor: Vendor) -> None:
    async def run() -> None:
        async with conversing(vendor) as (server, (talk,)):
            for _ in range(3):
                talk.stream.push_audio(b"")
            server.script.append("Anybody there?")
            await one_reply(talk)
            assert not talk.of(RealtimeFailed) and server.complaints == []

    asyncio.run(run())


@each_vendor
@pytest.mark.parametrize("fault", ["wrong_types", "is_garbage"])
def test_vendor_that_talks_nonsense_for_a_while_ends_no_conversation(vendor: Vendor, fault: str) -> None:
    async def run() -> None:
        async with conversing(vendor) as (server, (talk,)):
            server.script += ["First."]
            await one_reply(talk)
            setattr(server.faults, fault, True)
            talk.stream.request_reply()
            await asyncio.sleep(0.05)
            setattr(server.faults, fault, False)
            await server.drop_all()
            server.script += ["Here again."]
            await one_reply(talk)
            assert not any(failure.is_over for failure in talk.of(RealtimeFailed))

    asyncio.run(run())


@each_vendor
@pytest.mark.parametrize("duration_s", [300, pytest.param(3_600, marks=pytest.mark.slow)])
def test_an_hour_of_sound_leaves_nothing_behind(vendor: Vendor, duration_s: int) -> None:
    async def run() -> None:
        async with conversing(vendor) as (server, (talk,)):
            connections = talk.stream._inner._connections
            quiet = bytes(2 * talk.rate_hz)
            for _ in range(duration_s):
                talk.stream.push_audio(quiet)
                async with asyncio.timeout(60):
                    while connections._sound_bytes > 4 * len(quiet):
                        await asyncio.sleep(0)
            server.script.append("Still here.")
            await one_reply(talk)
            held = [value for value in vars(connections).values() if hasattr(value, "__len__")]
            assert all(len(value) < 100 for value in held) and connections._sound_bytes <= 4 * len(quiet)
            assert not talk.of(RealtimeFailed) and server.complaints == [] and len(talk.events) < 100

    asyncio.run(run())
