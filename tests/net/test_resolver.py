"""The resolver with a look-up that is counted, and a clock that stands still."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from active_call.base.errors import TransportError
from active_call.net.resolver import KEEP_S, Resolver, look_up_addresses
from active_call.sip.events import Address, Target


class StillClock:
    def __init__(self) -> None:
        self.at = 1000.0

    def now(self) -> float:
        return self.at

    def utc_now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)


async def never(host: str, port: int | None, transport: str) -> list[Address]:
    raise AssertionError("an address literal needs no question")


@pytest.mark.parametrize(
    ("target", "address"),
    [
        (Target("udp", "192.0.2.7"), Address("192.0.2.7", 5060)),
        (Target("tls", "192.0.2.7"), Address("192.0.2.7", 5061)),
        (Target("tcp", "[2001:db8::1]", 7000), Address("2001:db8::1", 7000)),
    ],
)
def test_literal_is_its_own_answer_with_the_default_port_of_rfc3261(target: Target, address: Address) -> None:
    assert asyncio.run(Resolver(look_up=never).resolve(target)) == [address]


def test_answers_are_kept_for_a_while_and_without_repetitions() -> None:
    asked = []

    async def look_up(host: str, port: int | None, transport: str) -> list[Address]:
        asked.append(host)
        return [Address("192.0.2.1", 5060), Address("192.0.2.2", 5060), Address("192.0.2.1", 5060)]

    clock = StillClock()
    resolver = Resolver(look_up=look_up, clock=clock)
    target = Target("udp", "Trunk.example.com")
    assert resolver.known(target) is None
    assert asyncio.run(resolver.resolve(target)) == [Address("192.0.2.1", 5060), Address("192.0.2.2", 5060)]
    clock.at += KEEP_S - 0.1
    assert asyncio.run(resolver.resolve(Target("udp", "trunk.example.com"))) == resolver.known(target)
    assert len(asked) == 1
    clock.at += 0.1
    asyncio.run(resolver.resolve(target))
    assert len(asked) == 2


def test_look_up_that_hangs_ends_at_its_deadline() -> None:
    async def hang(host: str, port: int | None, transport: str) -> list[Address]:
        await asyncio.Event().wait()
        return []

    with pytest.raises(TransportError, match=r"trunk\.example\.com: no answer"):
        asyncio.run(Resolver(look_up=hang, deadline_s=0.01).resolve(Target("tcp", "trunk.example.com")))


def test_name_without_address_and_name_that_is_none_are_transport_errors() -> None:
    async def empty(host: str, port: int | None, transport: str) -> list[Address]:
        return []

    with pytest.raises(TransportError, match="no address"):
        asyncio.run(Resolver(look_up=empty).resolve(Target("tcp", "a.example")))
    with pytest.raises(TransportError):
        asyncio.run(Resolver().resolve(Target("tcp", "x" * 70 + ".example")))


def test_system_look_up_knows_localhost() -> None:
    found = asyncio.run(look_up_addresses("localhost", 5070, "udp"))
    assert {entry.host for entry in found} & {"127.0.0.1", "::1"}
    assert {entry.port for entry in found} == {5070}
