"""WebSockets to vendors go where the rules for outgoing connections allow, and fail in words."""

from __future__ import annotations

import asyncio
import ssl

import httpx
import pytest
from msgspec.structs import replace
from websockets.exceptions import ConnectionClosed

from active_call.base.errors import ProviderError
from active_call.base.trust import Trust, urls_of_values
from active_call.base.world import World
from active_call.net.outgoing import GuardedClients, OutgoingPolicy, places_of
from active_call.providers.services import Services
from active_call.providers.websocket import open_socket
from active_call.testing.vendors.wire.faults import Faults
from active_call.testing.vendors.wire.server import Refused, Request, VendorServer
from active_call.testing.vendors.wire.socket import VendorSocket


class Vendor(VendorServer):
    """Opens every socket, or sends the client elsewhere."""

    elsewhere = ""

    def check_handshake(self, request: Request) -> None:
        if self.elsewhere:
            raise Refused(302, b"", {"location": self.elsewhere})

    async def serve(self, socket: VendorSocket, request: Request) -> None:
        await socket.receive()


def test_a_private_host_is_asked_only_where_the_call_may_ask_it() -> None:
    async def run() -> None:
        clients = GuardedClients(OutgoingPolicy())
        async with Vendor() as vendor, httpx.AsyncClient(trust_env=False, verify=ssl.create_default_context()) as http:
            services = Services(World(), http, None, {}, clients=clients)  # type: ignore[arg-type]
            with pytest.raises(ProviderError, match="not on the public internet") as caught:
                await open_socket(services, "acme", vendor.ws_url)
            assert not caught.value.retryable and vendor.n_sockets == 0
            trusted = services.trusted_among(urls_of_values({"endpoint": vendor.ws_url}), Trust(places_of([vendor.ws_url])))
            socket = await open_socket(services.trusting(trusted), "acme", f"{vendor.ws_url}/any")
            await socket.close()
            assert vendor.requests[0].path == "/any"
        await clients.close()

    asyncio.run(run())


def test_a_redirect_is_refused_and_no_secret_is_told() -> None:
    async def run() -> None:
        async with Vendor() as vendor, Vendor() as other, httpx.AsyncClient(trust_env=False, verify=ssl.create_default_context()) as http:
            services = replace(Services(World(), http, None, {}), clients=None)  # type: ignore[arg-type]
            vendor.elsewhere = other.ws_url
            with pytest.raises(ProviderError, match="302"):
                await open_socket(services, "acme", vendor.ws_url)
            assert other.requests == []
            with pytest.raises(ProviderError) as caught:
                await open_socket(services, "acme", "ws://127.0.0.1:1/?key=secret-key", secrets=("secret-key",))
            assert caught.value.retryable and "secret-key" not in str(caught.value)
        async with (
            Vendor(faults=Faults(status=503)) as vendor,
            httpx.AsyncClient(trust_env=False, verify=ssl.create_default_context()) as http,
        ):
            with pytest.raises(ProviderError, match="503") as caught:
                await open_socket(Services(World(), http, None, {}), "acme", vendor.ws_url)  # type: ignore[arg-type]
            assert caught.value.retryable

    asyncio.run(run())


class Collector(Vendor):
    """Keeps what it reads; reads nothing before `may_read`."""

    def __init__(self) -> None:
        super().__init__()
        self.may_read = asyncio.Event()
        self.read: list[str | bytes] = []

    async def serve(self, socket: VendorSocket, request: Request) -> None:
        await self.may_read.wait()
        while True:
            self.read.append(await socket.receive())


def test_message_is_written_at_once_until_the_peer_does_not_read() -> None:
    """What `send_now` refuses goes by `send`, which waits; the order is kept, and nothing is lost or written twice."""

    async def run() -> None:
        async with Collector() as vendor, httpx.AsyncClient(trust_env=False, verify=ssl.create_default_context()) as http:
            socket = await open_socket(Services(World(), http, None, {}), "acme", vendor.ws_url)  # type: ignore[arg-type]
            small: list[str | bytes] = ["ü", b"", b"\x00\xff", "x" * 125, "x" * 126, b"y" * 65_536]
            assert all(socket.send_now(message) for message in small)
            sent = list(small)
            while socket.send_now(piece := len(sent).to_bytes(4, "big") * 25_000):
                sent.append(piece)
                assert len(sent) < 1_000, "it never waits for the peer"
            assert socket.transport.get_write_buffer_size() > 0
            waiting = asyncio.create_task(socket.send("last"))
            await asyncio.sleep(0.05)
            assert not waiting.done()
            vendor.may_read.set()
            await asyncio.wait_for(waiting, 10)
            async with asyncio.timeout(10):
                while vendor.read[-1:] != ["last"]:
                    await asyncio.sleep(0.01)
            assert vendor.read == [*sent, "last"]
            await socket.close()
            assert not socket.send_now("late")
            with pytest.raises(ConnectionClosed):
                await socket.send("late")

    asyncio.run(run())
