"""Whom requests on behalf of others may reach: forms of addresses, what is allowed, rebinding names, redirects."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from active_call.base.trust import NO_TRUST, Trust
from active_call.net.outgoing import (
    MAX_LOOK_UPS,
    GuardedClients,
    OutgoingPolicy,
    guarded_client,
    is_public,
    is_refusal,
    parse_place,
    place_of,
    places_of,
    shown_url,
)

NOT_PUBLIC = """
    0.0.0.0 0.1.2.3 10.0.0.1 100.64.0.1 100.127.255.255 127.0.0.1 127.9.9.9 169.254.169.254 172.16.0.1 172.31.255.255
    192.0.0.1 192.0.2.1 192.168.1.1 198.18.0.1 198.51.100.7 203.0.113.9 224.0.0.1 239.1.1.1 240.0.0.1 255.255.255.255 ::
    ::1 ::7f00:1 fc00::1 fd12::1 fe80::1 fec0::1 ff02::1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254
    2002:7f00:1::1 2002:a00:1::1 2002:c0a8:101:: 64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 64:ff9b:1::a00:1 100::1 2001:db8::1
    2001::1 2001:0:7f00:1::1 3fff::1 168.63.129.16 ::ffff:168.63.129.16
"""


@pytest.mark.parametrize("text", NOT_PUBLIC.split())
def test_address_of_no_public_network_is_known(text: str) -> None:
    assert not is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize(
    "text", ["1.1.1.1", "8.8.8.8", "100.128.0.1", "172.32.0.1", "2606:4700::1111", "2002:808:808::1", "64:ff9b::808:808", "::ffff:8.8.8.8"]
)
def test_public_address_is_known(text: str) -> None:
    assert is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize(
    ("place", "host", "address", "port", "allowed"),
    [
        ("127.0.0.1:11434", "localhost", "127.0.0.1", 11434, True),
        ("127.0.0.1:11434", "localhost", "127.0.0.1", 8080, False),
        ("127.0.0.1:11434", "x", "::ffff:127.0.0.1", 11434, True),
        ("10.0.0.0/8", "db", "10.9.9.9", 5, True),
        ("10.0.0.0/8", "db", "11.0.0.1", 5, True),
        ("10.0.0.0/8", "db", "192.168.0.1", 5, False),
        ("[fd00::/8]:80", "db", "fd00::1", 80, True),
        ("ollama:11434", "OLLAMA.", "10.1.1.1", 11434, True),
        ("ollama", "ollama.evil", "10.1.1.1", 11434, False),
        ("*.corp.example", "a.corp.example", "10.1.1.1", 443, True),
        ("*.corp.example", "corp.example", "10.1.1.1", 443, False),
    ],
)
def test_allowed_place_opens_itself_and_nothing_else(place: str, host: str, address: str, port: int, allowed: bool) -> None:
    assert OutgoingPolicy((parse_place(place),)).may_ask(host, ipaddress.ip_address(address), port) is allowed


@pytest.mark.parametrize("text", ["", "a b", "http://x", "host:0", "host:99999", "host:x", "10.0.0.0/33"])
def test_allowed_place_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_place(text)


def test_what_the_operator_names_is_trusted_with_its_port() -> None:
    general = OutgoingPolicy()
    policy = general.trusting(places_of(["http://localhost:11434/v1", None, "not a url", "https://internal.example/x"]))
    loopback = ipaddress.ip_address("127.0.0.1")
    assert policy.may_ask("localhost", loopback, 11434)
    assert policy.may_ask("internal.example", loopback, 443)
    assert not policy.may_ask("localhost", loopback, 8080)
    assert not policy.may_ask("127.0.0.1", loopback, 11434)
    assert not general.may_ask("localhost", loopback, 11434)


def test_url_is_shown_without_what_may_be_secret() -> None:
    assert shown_url("https://user:pw@api.example.com:8443/hook?key=secret#x") == "https://api.example.com:8443/hook"
    assert place_of("HTTP://Example.COM/x") == ("example.com", 80)


@asynccontextmanager
async def a_server(answer: bytes) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A web server of loopback that always answers the same; its port and what it was sent."""
    received: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], received


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "0177.0.0.1", "127.1", "[::ffff:127.0.0.1]", "0.0.0.0", "LOCALHOST."]
)
def test_loopback_is_not_reached_by_any_of_its_spellings(host: str) -> None:
    async def go() -> None:
        async with a_server(OK) as (port, received), guarded_client(OutgoingPolicy()) as client:
            with pytest.raises((httpx.ConnectError, httpx.InvalidURL)):
                await client.get(f"http://{host}:{port}/")
            assert received == []

    asyncio.run(go())


def test_allowed_place_is_reached_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    async def go() -> None:
        async with a_server(OK) as (port, received), guarded_client(OutgoingPolicy((parse_place(f"127.0.0.1:{port}"),))) as client:
            assert (await client.get(f"http://localhost:{port}/x")).text == "ok"
            assert f"host: localhost:{port}" in received[0].decode().lower()

    asyncio.run(go())


def test_redirect_to_a_private_place_is_not_followed() -> None:
    async def go() -> None:
        async with a_server(OK) as (inner, received):
            moved = f"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:{inner}/secret\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            async with a_server(moved.encode()) as (outer, _):
                policy = OutgoingPolicy((parse_place(f"127.0.0.1:{outer}"),))
                async with guarded_client(policy) as client:
                    with pytest.raises(httpx.ConnectError, match="allow_private"):
                        await client.get(f"http://127.0.0.1:{outer}/", follow_redirects=True)
            assert received == []

    asyncio.run(go())


def test_name_that_leads_elsewhere_at_the_second_look_is_not_looked_at_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: public when it is judged, loopback when it is connected to."""
    n_looks = 0
    real: Callable[..., Any] = socket.getaddrinfo

    def look(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal n_looks
        if host in ("rebound.example", b"rebound.example"):
            n_looks += 1
            address = "203.0.113.1" if n_looks == 1 else "127.0.0.1"
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]
        return real(host, port, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", look)

    async def go() -> None:
        async with a_server(OK) as (port, received):
            policy = OutgoingPolicy((parse_place("203.0.113.1"),))
            async with guarded_client(policy, timeout_s=0.3) as client:
                with pytest.raises((httpx.ConnectError, httpx.ConnectTimeout)):
                    await client.get(f"http://rebound.example:{port}/")
            assert (n_looks, received) == (1, [])

    asyncio.run(go())


def test_private_address_among_public_ones_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80)) for address in ("127.0.0.1", "8.8.8.8", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    assert asyncio.run(OutgoingPolicy().addresses("mixed.example", 80)) == ["8.8.8.8"]


def test_proxy_of_the_environment_is_not_asked_for_private_places(monkeypatch: pytest.MonkeyPatch) -> None:
    async def go() -> None:
        async with a_server(OK) as (port, received):
            monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
            monkeypatch.setenv("no_proxy", "")
            async with guarded_client(OutgoingPolicy()) as client:
                with pytest.raises(httpx.ConnectError):
                    await client.get("http://169.254.169.254/latest/meta-data")
                assert received == []
                assert (await client.get("http://8.8.8.8/x")).text == "ok"
                assert received[0].startswith(b"GET http://8.8.8.8/x")

    asyncio.run(go())


KEPT_OPEN = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nSet-Cookie: session=alice; Path=/\r\n\r\nok"


@asynccontextmanager
async def a_lasting_server() -> AsyncIterator[tuple[int, list[bytes]]]:
    """As `a_server`; connections stay open for further requests, and each answer sets a cookie."""
    received: list[bytes] = []
    serving: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())
        try:
            while True:
                received.append(await reader.readuntil(b"\r\n\r\n"))
                writer.write(KEPT_OPEN)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1], received
    server.close()
    await asyncio.wait([task for task in serving if task is not None], timeout=5)


def test_connection_of_a_call_with_trust_serves_no_call_without_it() -> None:
    async def go() -> None:
        async with a_lasting_server() as (port, received):
            url, clients = f"http://127.0.0.1:{port}/", GuardedClients(OutgoingPolicy())
            trust = Trust(places_of([url]))
            trusted = clients.trusted_among([url, "https://public.example/"], trust)
            assert trusted == trust.hosts
            assert clients.trusted_among([url], NO_TRUST) == frozenset()
            assert (await clients.shared(trusted).get(url)).text == "ok"
            with pytest.raises(httpx.ConnectError, match="allow_private") as refused:
                await clients.shared().get(url)
            assert is_refusal(refused.value) and not is_refusal(httpx.ConnectError("unreachable"))
            assert clients.shared(trusted) is clients.shared(trusted)
            await clients.close()
            assert len(received) == 1

    asyncio.run(go())


def test_host_that_every_call_may_ask_needs_no_client_of_its_own() -> None:
    url = "http://10.0.0.5:11434/v1"
    clients = GuardedClients(OutgoingPolicy(trusted=places_of([url])))
    assert clients.trusted_among([url], Trust(places_of([url]))) == frozenset()


def test_cookie_set_for_one_call_is_not_sent_for_another() -> None:
    async def go() -> None:
        async with a_lasting_server() as (port, received):
            async with guarded_client(OutgoingPolicy((parse_place(f"127.0.0.1:{port}"),))) as client:
                for _ in range(2):
                    assert (await client.get(f"http://127.0.0.1:{port}/")).text == "ok"
            assert len(received) == 2
            assert b"cookie" not in received[1].lower()

    asyncio.run(go())


def test_names_that_no_dns_answers_do_not_hold_up_those_of_the_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("8.8.8.8", 0))]

    def look(host: Any, *_: Any, **__: Any) -> Any:
        if host.startswith("tarpit"):
            release.wait(20)
        return found

    monkeypatch.setattr(socket, "getaddrinfo", look)

    async def go() -> None:
        general = OutgoingPolicy(trusted=frozenset({("vendor.example", 443)}))
        hanging = [asyncio.create_task(general.trusting([]).addresses(f"tarpit{n}.example", 80)) for n in range(100)]
        await asyncio.sleep(0.05)
        try:
            async with asyncio.timeout(2):
                assert await general.addresses("vendor.example", 443) == ["8.8.8.8"]
            refused = [task for task in hanging if task.done()]
            assert len(refused) == 100 - MAX_LOOK_UPS
            assert "too many look-ups" in str(refused[0].exception())
        finally:
            for task in hanging:
                task.cancel()
            release.set()
            await asyncio.gather(*hanging, return_exceptions=True)

    asyncio.run(go())
