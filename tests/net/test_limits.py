"""What the net room refuses: rules alone in set time, then over real connections with a real core. Refusals are silent and counted."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.client import connect

from active_call.base.world import SystemRandomness
from active_call.net.limits import HALF_READ_S, LOG_EVERY_S, Admission, ConnectionLimits, Refusals
from active_call.net.resolver import Resolver
from active_call.net.sip_driver import ListenSpec, SipDriver
from active_call.sip.endpoint import Endpoint
from active_call.sip.events import Address, EndpointConfig

DEADLINE_S = 10.0
OPTIONS = (
    b"OPTIONS sip:us@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bK1;rport\r\nMax-Forwards: 70\r\n"
    b"From: <sip:a@b>;tag=1\r\nTo: <sip:us@127.0.0.1>\r\nCall-ID: x\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
)


class SetClock:
    def __init__(self) -> None:
        self.at = 1000.0

    def now(self) -> float:
        return self.at

    def utc_now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)


def test_rate_of_one_address_is_bounded_and_recovers_and_others_are_untouched() -> None:
    admission = Admission(ConnectionLimits(accepts_per_s=10.0, accept_burst=5))
    assert [admission.broken_rule("192.0.2.1", 0, 0.0) for _ in range(7)] == [None] * 5 + ["accept_rate"] * 2
    assert admission.broken_rule("192.0.2.2", 0, 0.0) is None
    assert [admission.broken_rule("192.0.2.1", 0, 0.21) for _ in range(3)] == [None, None, "accept_rate"]


def test_total_and_share_of_one_address_are_bounded() -> None:
    admission = Admission(ConnectionLimits(total=3, per_address=2))
    for _ in range(2):
        admission.opened("192.0.2.1")
    assert admission.broken_rule("192.0.2.1", 2, 0.0) == "connections_per_address"
    assert admission.broken_rule("192.0.2.2", 2, 0.0) is None
    assert admission.broken_rule("192.0.2.2", 3, 0.0) == "connections_total"
    admission.closed("192.0.2.1")
    assert admission.broken_rule("192.0.2.1", 2, 0.0) is None


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0.0, 0.5)), max_size=200))
def test_no_address_ever_gets_more_than_its_burst_and_rate(arrivals: list[tuple[str, float]]) -> None:
    admission = Admission(ConnectionLimits(accepts_per_s=10.0, accept_burst=5))
    now = 0.0
    taken: dict[str, list[float]] = {"a": [], "b": [], "c": []}
    for remote, gap in arrivals:
        now += gap
        if admission.broken_rule(remote, 0, now) is None:
            taken[remote].append(now)
    for times in taken.values():
        for begin in range(len(times)):
            for end in range(begin, len(times)):
                assert end - begin + 1 <= 5 + 10.0 * (times[end] - times[begin]) + 1e-6


def test_refusals_are_counted_each_and_logged_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    clock = SetClock()
    refusals = Refusals(clock, logging.getLogger("test.sip"))
    for _ in range(1000):
        refusals.note("accept_rate", "192.0.2.1")
    refusals.note("message_size", "192.0.2.1")
    clock.at += LOG_EVERY_S
    refusals.note("accept_rate", "192.0.2.2")
    assert refusals.counts == {"accept_rate": 1001, "message_size": 1}
    lines = [(record.message, vars(record)["why"], vars(record)["times"]) for record in caplog.records]
    assert lines == [
        ("connection dropped", "accept_rate", 1),
        ("connection dropped", "message_size", 1),
        ("connection dropped", "accept_rate", 1000),
    ]


@asynccontextmanager
async def serving(limits: ConnectionLimits | None = None) -> AsyncIterator[tuple[SipDriver, SetClock, dict[str, Address]]]:
    clock = SetClock()
    driver = SipDriver(
        Endpoint(EndpointConfig((), "us"), SystemRandomness()),
        clock,
        Resolver(),
        server_tls=None,
        client_tls=ssl.create_default_context,
        on_events=lambda events: None,
        limits=limits,
        logger=logging.getLogger("test.sip"),
    )
    listeners = await driver.listen([ListenSpec("tcp", "127.0.0.1", 0), ListenSpec("ws", "127.0.0.1", 0)])
    try:
        yield driver, clock, {entry.transport: entry.bound for entry in listeners}
    finally:
        await driver.close()


async def dial(address: Address, source: str = "127.0.0.1") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(address.host, address.port, local_addr=(source, 0))


async def end_of(reader: asyncio.StreamReader) -> bytes:
    """What still comes until the connection ends."""
    data = b""
    with suppress(ConnectionError):
        async with asyncio.timeout(DEADLINE_S):
            while piece := await reader.read(65_536):
                data += piece
    return data


async def until(condition: Any) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.mark.parametrize(
    ("limits", "rule"),
    [
        (ConnectionLimits(total=2), "connections_total"),
        (ConnectionLimits(per_address=2), "connections_per_address"),
        (ConnectionLimits(accept_burst=2, accepts_per_s=1.0), "accept_rate"),
    ],
)
def test_connection_beyond_a_limit_is_closed_without_a_word_and_those_before_it_go_on(limits: ConnectionLimits, rule: str) -> None:
    async def body() -> None:
        async with serving(limits) as (driver, _, bound):
            kept = []
            for _ in range(2):
                reader, writer = await dial(bound["tcp"])
                writer.write(OPTIONS)
                assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), DEADLINE_S)).startswith(b"SIP/2.0 200")
                kept.append((reader, writer))
            refused, writer = await dial(bound["tcp"])
            assert await end_of(refused) == b""
            writer.close()
            assert driver.refusals == {rule: 1}
            # Another address is only refused where all are counted together.
            other, writer = await dial(bound["tcp"], "127.0.0.5")
            writer.write(OPTIONS)
            answer = await end_of(other) if rule == "connections_total" else await asyncio.wait_for(other.read(7), DEADLINE_S)
            assert answer == (b"" if rule == "connections_total" else b"SIP/2.0")
            writer.close()
            kept[0][1].close()
            for reader, writer in kept[1:]:
                writer.write(b"\r\n\r\n")
                assert await asyncio.wait_for(reader.readexactly(2), DEADLINE_S) == b"\r\n"
                writer.close()

    asyncio.run(body())


def test_place_of_a_closed_connection_is_free_again() -> None:
    async def body() -> None:
        async with serving(ConnectionLimits(per_address=1)) as (driver, _, bound):
            for _ in range(5):
                _, writer = await dial(bound["tcp"])
                await until(lambda: driver.n_connections == 1)
                writer.close()
                await until(lambda: driver.n_connections == 0)
            assert not driver.refusals

    asyncio.run(body())


def test_strangers_leave_a_reserve_to_trunks_and_have_less_for_one_address() -> None:
    admission = Admission(ConnectionLimits(total=100, reserved=20, per_address=50, per_stranger=5))
    assert admission.broken_rule("192.0.2.1", 79, 0.0) is None
    assert admission.broken_rule("192.0.2.1", 80, 0.0) == "connections_total"
    assert admission.broken_rule("203.0.113.1", 80, 0.0, is_known=True) is None
    assert admission.broken_rule("203.0.113.1", 100, 0.0, is_known=True) == "connections_total"
    for _ in range(5):
        admission.opened("192.0.2.7")
    assert admission.broken_rule("192.0.2.7", 5, 0.0) == "connections_per_address"
    assert admission.broken_rule("192.0.2.7", 5, 0.0, is_known=True) is None


def test_ipv6_counts_by_its_64_and_mapped_ipv4_as_ipv4() -> None:
    admission = Admission(ConnectionLimits(per_stranger=2, accept_burst=3, accepts_per_s=1.0))
    admission.opened("2001:db8:1:2::1")
    admission.opened("2001:db8:1:2:ffff::9")
    assert admission.broken_rule("2001:db8:1:2::77", 2, 0.0) == "connections_per_address"
    assert admission.broken_rule("2001:db8:1:3::77", 2, 0.0) is None
    assert [admission.broken_rule(f"2001:db8:9::{n}", 0, 0.0) for n in range(1, 5)] == [None, None, None, "accept_rate"]
    for host in ("::ffff:192.0.2.1", "192.0.2.1"):
        admission.opened(host)
    assert admission.broken_rule("::ffff:192.0.2.1", 4, 0.0) == "connections_per_address"
    admission.closed("192.0.2.1")
    admission.closed("192.0.2.1")
    assert admission.broken_rule("192.0.2.1", 2, 0.0) is None


def test_half_open_handshakes_of_strangers_are_bounded() -> None:
    admission = Admission(ConnectionLimits(handshakes_of_strangers=3))
    assert admission.broken_rule("192.0.2.1", 3, 0.0, n_handshakes=3) == "handshakes"
    assert admission.broken_rule("192.0.2.1", 3, 0.0, is_known=True, n_handshakes=3) is None


def test_idle_connection_of_a_stranger_ends_though_it_keeps_itself_alive() -> None:
    async def body() -> None:
        async with serving(ConnectionLimits(stranger_idle_s=60.0)) as (driver, clock, bound):
            idle, idle_writer = await dial(bound["tcp"])
            busy, busy_writer = await dial(bound["tcp"])
            for _ in range(3):
                busy_writer.write(OPTIONS)
                await asyncio.wait_for(busy.readuntil(b"\r\n\r\n"), DEADLINE_S)
                idle_writer.write(b"\r\n\r\n")
                assert await asyncio.wait_for(idle.readexactly(2), DEADLINE_S) == b"\r\n"
                clock.at += 25.0
                driver._sweep()
            assert await end_of(idle) == b""
            assert driver.refusals == {"idle_connection": 1}
            await until(lambda: driver.n_connections == 1)
            busy_writer.close()
            idle_writer.close()

    asyncio.run(body())


def test_message_that_dribbles_is_cut_off_and_one_that_takes_its_time_between_messages_is_not() -> None:
    async def body() -> None:
        async with serving() as (driver, clock, bound):
            slow, slow_writer = await dial(bound["tcp"])
            idle, idle_writer = await dial(bound["tcp"])
            idle_writer.write(OPTIONS)
            await asyncio.wait_for(idle.readuntil(b"\r\n\r\n"), DEADLINE_S)
            sweep = driver._sweep
            for byte in range(int(HALF_READ_S) + 1):
                assert "half_read_message" not in driver.refusals
                slow_writer.write(OPTIONS[byte : byte + 1])
                await until(lambda at=byte: _n_buffered(driver) == at + 1)
                sweep()
                clock.at += 1.0
            assert await end_of(slow) == b""
            assert driver.refusals == {"half_read_message": 1}
            idle_writer.write(OPTIONS.replace(b"z9hG4bK1", b"z9hG4bK2"))
            assert (await asyncio.wait_for(idle.readuntil(b"\r\n\r\n"), DEADLINE_S)).startswith(b"SIP/2.0 200")
            for writer in (slow_writer, idle_writer):
                writer.close()

    asyncio.run(body())


def _n_buffered(driver: SipDriver) -> int:
    connections = driver._endpoint._connections._by_id.values()  # type: ignore[attr-defined]
    return sum(len(connection.framer._buffer) for connection in connections)


@pytest.mark.parametrize(
    "data",
    [OPTIONS.replace(b"Content-Length: 0", b"Content-Length: 300000"), b"OPTIONS sip:a@b SIP/2.0\r\n" + b"X: " + b"y" * 70_000],
    ids=["body", "headers"],
)
def test_message_over_the_size_limit_ends_its_connection_without_a_word(data: bytes) -> None:
    async def body() -> None:
        async with serving() as (driver, _, bound):
            reader, writer = await dial(bound["tcp"])
            writer.write(data)
            assert await end_of(reader) == b""
            assert driver.refusals == {"message_size": 1}
            writer.close()

    asyncio.run(body())


@pytest.mark.parametrize("how", ["fragments", "bytes", "size"])
def test_websocket_message_that_dribbles_or_is_too_large_is_cut_off(how: str) -> None:
    async def body() -> None:
        async with serving() as (driver, clock, bound):
            url = f"ws://{bound['ws'].host}:{bound['ws'].port}/"
            async with connect(url, subprotocols=["sip"], max_size=None) as client:  # type: ignore[list-item]
                (connection,) = driver._connections._by_id.values()
                if how == "size":
                    await client.send(b"x" * 70_000)
                else:
                    if how == "fragments":
                        client.protocol.send_text(OPTIONS[:20], fin=False)
                        for piece in client.protocol.data_to_send():
                            client.transport.write(piece)
                    else:
                        client.transport.write(b"\x81\xfe\x01")
                    await until(lambda: connection.half_read_since(clock.now()) is not None)
                    driver._sweep()
                    clock.at += HALF_READ_S
                    driver._sweep()
                await client.wait_closed()
            assert driver.refusals == {"message_size" if how == "size" else "half_read_message": 1}

    asyncio.run(body())


def test_tls_handshakes_of_one_stranger_are_bounded_per_second() -> None:
    admission = Admission(ConnectionLimits(tls_per_stranger_s=2.0, tls_of_strangers_s=10.0))
    asked = [admission.broken_rule("192.0.2.1", 0, 0.0, is_tls=True) for _ in range(6)]
    assert asked == [None] * 4 + ["handshake_rate"] * 2
    assert admission.broken_rule("192.0.2.1", 0, 0.5, is_tls=True) is None
    assert admission.broken_rule("192.0.2.2", 0, 0.5, is_tls=True) is None
    assert admission.broken_rule("192.0.2.1", 0, 0.5) is None  # TCP costs no handshake


def test_tls_handshakes_of_all_strangers_are_bounded_per_second_and_trunks_and_this_machine_are_free() -> None:
    admission = Admission(ConnectionLimits(tls_per_stranger_s=2.0, tls_of_strangers_s=10.0))
    asked = [admission.broken_rule(f"192.0.2.{n}", 0, 0.0, is_tls=True) for n in range(30)]
    assert asked == [None] * 20 + ["handshake_rate"] * 10
    assert admission.broken_rule("203.0.113.1", 0, 0.0, is_tls=True, is_known=True) is None
    assert [admission.broken_rule(host, 0, 0.0, is_tls=True) for host in ("127.0.0.1", "::1")] == [None, None]


def test_addresses_of_one_ipv6_network_share_their_handshakes() -> None:
    admission = Admission(ConnectionLimits(tls_per_stranger_s=1.0))
    asked = [admission.broken_rule(f"2001:db8::{n}", 0, 0.0, is_tls=True) for n in range(1, 5)]
    assert asked == [None, None, "handshake_rate", "handshake_rate"]
