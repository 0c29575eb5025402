"""TLS handshakes of the HTTP server: how many an address, and all together, get in a second."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl

from active_call.api.connections import Connections, HttpLimits, Listener
from active_call.base.world import SystemClock
from active_call.net.limits import Refusals


def some_connections(**limits: float) -> Connections:
    return Connections(HttpLimits(**limits), Refusals(SystemClock(), logging.getLogger("test")))  # type: ignore[arg-type]


def test_handshakes_of_one_address_are_bounded_per_second() -> None:
    connections = some_connections(tls_per_address_s=2.0)
    assert [connections.may_shake_hands("192.0.2.1", 0.0) for _ in range(6)] == [True] * 4 + [False] * 2
    assert connections.may_shake_hands("192.0.2.1", 0.5)
    assert connections.may_shake_hands("192.0.2.2", 0.5)
    assert connections.refusals.counts == {"http_handshake_rate": 2}


def test_handshakes_of_all_addresses_are_bounded_and_this_machine_is_free() -> None:
    connections = some_connections(tls_per_address_s=2.0, tls_total_s=5.0)
    assert sum(connections.may_shake_hands(f"192.0.2.{n}", 0.0) for n in range(30)) == 10
    assert connections.may_shake_hands("127.0.0.1", 0.0)


def test_connection_over_the_rate_is_closed_before_its_handshake() -> None:
    class Full(Connections):
        def may_shake_hands(self, remote: str, now: float) -> bool:
            return False

    async def story() -> bytes:
        listening = socket.create_server(("127.0.0.1", 0))
        connections = Full(HttpLimits(), Refusals(SystemClock(), logging.getLogger("test")))
        listener = Listener(listening, connections, asyncio.Protocol, lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
        listener.start()
        try:
            reader, writer = await asyncio.open_connection(*listening.getsockname())
            async with asyncio.timeout(5):
                read = await reader.read()
            writer.close()
            assert len(connections) == 0
            return read
        finally:
            listener.close()

    assert asyncio.run(story()) == b""
