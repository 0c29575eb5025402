"""Paths to a browser and their change, with aiortc's DTLS and aioice's agent as the browser, over the loopback."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
from collections.abc import Awaitable, Callable
from contextvars import Context, ContextVar
from typing import Any
from weakref import ref

import aioice
import pytest
import uvloop
from cryptography.hazmat.primitives import serialization
from msgspec.structs import replace

from active_call.legs.webrtc.description import BrowserOffer, read_offer
from active_call.legs.webrtc.dtls import Dtls, DtlsError, own_certificate
from active_call.legs.webrtc.path import IcePath
from active_call.legs.webrtc.settings import IceSettings
from active_call.legs.webrtc.transport import BrowserTransport

PACKET = bytes([0x80]) + bytes(30)


class Page:
    """The browser: an ICE agent for each of its networks, one DTLS association over whichever is in use."""

    def __init__(self) -> None:
        self.ice: aioice.Connection | None = None
        self.heard: list[bytes] = []
        self.dtls: Dtls | None = None
        self.tasks: list[asyncio.Task[None]] = []

    async def offer(self, candidates: list[str] | None = None) -> BrowserOffer:
        """Of a new network. `candidates`: those in the offer, if not its own."""
        self.ice = aioice.Connection(ice_controlling=True)
        await self.ice.gather_candidates()
        lines = [
            "v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "t=0 0", "m=audio 9 UDP/TLS/RTP/SAVPF 0", "c=IN IP4 0.0.0.0", "a=mid:0", "a=rtcp-mux",
            f"a=ice-ufrag:{self.ice.local_username}", f"a=ice-pwd:{self.ice.local_password}", "a=setup:actpass",
            f"a=fingerprint:sha-256 {own_certificate().fingerprint}",
            *(candidates if candidates is not None else [f"a=candidate:{one.to_sdp()}" for one in self.ice.local_candidates]),
            "a=end-of-candidates", "",
        ]  # fmt: skip
        return read_offer("\r\n".join(lines))

    async def take(self, path: IcePath) -> None:
        """Our answer."""
        ice = self.ice
        assert ice is not None
        ice.remote_username, ice.remote_password = path.ufrag, path.password
        for one in path.candidates:
            await ice.add_remote_candidate(aioice.Candidate.from_sdp(one))
        await ice.add_remote_candidate(None)
        await ice.connect()
        if self.dtls is None:
            fingerprint = own_certificate().fingerprint
            self.dtls = Dtls(is_client=False, fingerprints=(("sha-256", fingerprint),), send=self._send)
        self.tasks.append(asyncio.create_task(self._hear(ice)))

    def _send(self, datagram: bytes) -> None:
        assert self.ice is not None
        self.tasks.append(asyncio.create_task(self.ice.send(datagram)))

    async def _hear(self, ice: aioice.Connection) -> None:
        try:
            while True:
                datagram = await ice.recv()
                if 20 <= datagram[0] <= 63 and self.dtls is not None:
                    self.dtls.receive(datagram)
                else:
                    self.heard.append(datagram)
        except ConnectionError:
            pass

    async def close(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        if self.ice is not None:
            await self.ice.close()


class Media(asyncio.DatagramProtocol):
    """The stream's port."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.heard.append(data)


class Stage:
    def __init__(self, settings: IceSettings = IceSettings()) -> None:  # noqa: B008 (frozen)
        self.page, self.media = Page(), Media()
        self.lost: list[tuple[str, bool]] = []
        self.keys: list[Any] = []
        self.transport = BrowserTransport(settings, self.keys.append, lambda why, by: self.lost.append((why, by)))

    async def connect(self, candidates: list[str] | None = None) -> BrowserOffer:
        loop = asyncio.get_running_loop()
        self.relay = await self.transport.open_relay()
        self.socket, _ = await loop.create_datagram_endpoint(lambda: self.media, local_addr=("127.0.0.1", 0))
        self.transport.set_media_port(self.socket.get_extra_info("sockname")[1])
        path = await self.transport.gather()
        offer = await self.page.offer(candidates)
        await self.transport.begin(offer)
        await self.page.take(path)
        await until(lambda: bool(self.keys))
        return offer

    async def sound_goes_both_ways(self) -> None:
        self.page.heard.clear()
        self.media.heard.clear()

        async def send() -> None:
            assert self.page.ice is not None
            self.socket.sendto(PACKET, ("127.0.0.1", self.relay))
            await self.page.ice.send(PACKET)

        await until(lambda: bool(self.page.heard and self.media.heard), send)

    async def close(self) -> None:
        await self.page.close()
        await self.transport.close()
        self.socket.close()


async def until(condition: Callable[[], bool], again: Callable[[], Awaitable[None]] | None = None, timeout_s: float = 15.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():
            if again is not None:
                await again()
            await asyncio.sleep(0.02)


def play(story: Callable[[Stage], Awaitable[None]], settings: IceSettings = IceSettings()) -> None:  # noqa: B008 (frozen)
    async def run() -> None:
        stage = Stage(settings)
        try:
            await story(stage)
        finally:
            await stage.close()

    asyncio.run(run())


def test_browser_whose_network_has_changed_goes_on_with_the_same_keys() -> None:
    async def story(stage: Stage) -> None:
        first = await stage.connect()
        await stage.sound_goes_both_ways()
        old = stage.page.ice
        assert old is not None
        await old.close()  # the network is gone, without a goodbye
        again = replace(await stage.page.offer(), setup=first.setup)
        assert again.ufrag != first.ufrag
        path = await stage.transport.gather_restart()
        assert stage.transport.newest is path
        await stage.transport.restart(path, again)
        await stage.page.take(path)
        await stage.sound_goes_both_ways()
        assert len(stage.keys) == 1
        assert stage.lost == []

    play(story)


def test_restart_that_is_given_up_for_another_leaves_the_sound_as_it_is() -> None:
    async def story(stage: Stage) -> None:
        first = await stage.connect()
        nowhere = replace(first, ufrag="gone", password="0123456789012345678901", candidates=("1 1 udp 1 127.0.0.1 9 typ host",))
        path = await stage.transport.gather_restart()
        await stage.transport.restart(path, nowhere)
        await stage.sound_goes_both_ways()
        again = await stage.transport.gather_restart()
        assert again is not path
        await stage.transport.drop_restart()
        await stage.sound_goes_both_ways()
        assert stage.lost == []

    play(story)


def test_browser_that_does_not_consent_any_more_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aioice.ice.CONSENT_INTERVAL", 0.02)
    monkeypatch.setattr("aioice.ice.CONSENT_FAILURES", 1)

    async def story(stage: Stage) -> None:
        await stage.connect()
        assert stage.page.ice is not None
        await stage.page.ice.close()
        await until(lambda: bool(stage.lost))
        assert stage.lost[0][1] is False
        assert "cannot be reached" in stage.lost[0][0]

    play(story)


def test_media_is_not_parsed_as_stun(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[bytes] = []
    parse = aioice.stun.parse_message

    def note(data: bytes) -> Any:
        parsed.append(data)
        return parse(data)

    async def story(stage: Stage) -> None:
        await stage.connect()
        await stage.sound_goes_both_ways()
        monkeypatch.setattr(aioice.ice.stun, "parse_message", note)
        stage.page.tasks[0].cancel()  # the page's own agent parses everything
        for _ in range(10):
            assert stage.page.ice is not None
            await stage.page.ice.send(PACKET)
        await until(lambda: stage.media.heard.count(PACKET) >= 10)
        assert PACKET not in parsed

    play(story)


@pytest.mark.parametrize(
    "candidates",
    [
        [],
        ["a=candidate:1 1 tcp 1518280447 192.0.2.1 9 typ host tcptype active"],
        ["a=candidate:1 1 udp 2113937151 8b4c5d2e-7a1f-4f0e-9c3b-1a2b3c4d5e6f.local 57143 typ host"],
        ["a=candidate:1 1 udp 2113937151 192.0.2.1 57143 typ host"],
    ],
    ids=["none", "TCP", "mDNS", "unreachable"],
)
def test_browser_whose_complete_candidates_are_of_no_use_is_found_by_its_own_checks(candidates: list[str]) -> None:
    """RFC 8863: failing at once would leave it no time for them."""

    async def story(stage: Stage) -> None:
        await stage.connect(candidates)
        await stage.sound_goes_both_ways()
        assert not stage.lost

    play(story)


def test_name_that_nobody_knows_holds_up_nothing() -> None:
    async def story() -> None:
        path = IcePath(IceSettings())
        await path.gather()
        for _ in range(5):
            await path.add_candidate("candidate:1 1 udp 2113937151 8b4c5d2e-7a1f-4f0e-9c3b-1a2b3c4d5e6f.local 57143 typ host")
        await path.add_candidate("")
        assert len(path._lookups) == 5  # they go on meanwhile
        await path.close()
        await until(lambda: not path._lookups)

    asyncio.run(story())


@pytest.mark.parametrize(
    "text",
    ["candidate:", "nonsense", "1 1 udp x 1.2.3.4 5 typ host", "1 1 tcp 1 192.0.2.1 9 typ host tcptype active", "1 1 udp 1 ::g 5 typ host"],
)
def test_candidate_that_cannot_be_used_is_passed_over(text: str) -> None:
    async def story() -> None:
        path = IcePath(IceSettings())
        await path.gather()
        await path.add_candidate(text)
        await path.close()

    asyncio.run(story())


@pytest.mark.parametrize("kind", ["stun", "turn"])
def test_server_that_does_not_answer_costs_its_own_candidate_alone(
    kind: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("active_call.legs.webrtc.ice_connection.GATHER_S", 0.2)

    async def story() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.1", 0))
            path = IcePath(IceSettings(**{kind: silent.getsockname()}, turn_username="u", turn_password="p"))  # type: ignore[arg-type]
            await path.gather()
            assert path.candidates and all("typ host" in one for one in path.candidates)
            await path.close()

    asyncio.run(story())
    assert ("TURN server has given no relay" in caplog.text) == (kind == "turn")


def test_lite_agent_asks_no_server_and_names_its_public_address_as_its_own() -> None:
    async def story() -> None:
        path = IcePath(IceSettings(stun=("192.0.2.1", 3478), public_ip="203.0.113.5", is_lite=True))
        await path.gather()
        assert all("typ host" in one for one in path.candidates)
        assert any(" 203.0.113.5 " in one for one in path.candidates)
        await path.close()

    asyncio.run(story())


def test_any_of_several_fingerprints_may_be_that_of_the_certificate() -> None:
    der = own_certificate().certificate.public_bytes(serialization.Encoding.DER)
    right = {name: hashlib.new(name.replace("-", ""), der).digest().hex(":").upper() for name in ("sha-256", "sha-384", "sha-512")}
    for known, is_taken in (
        ((("sha-384", right["sha-384"]),), True),
        ((("sha-512", right["sha-512"]), ("sha-256", "AB")), True),
        ((("sha-384", right["sha-256"]),), False),
    ):
        to_server: list[bytes] = []
        to_client: list[bytes] = []
        client = Dtls(is_client=True, fingerprints=known, send=to_server.append)
        server = Dtls(is_client=False, fingerprints=(("sha-256", right["sha-256"]),), send=to_client.append)
        client.begin()
        with contextlib.suppress(DtlsError):
            while to_server or to_client:
                while to_server:
                    server.receive(to_server.pop(0))
                while to_client:
                    client.receive(to_client.pop(0))
        assert (client.keys is not None) is is_taken


class Owner:
    """Stands for a call: the context of its tasks refers to it."""


class PageApart(Page):
    """A page whose tasks and sockets do not have the context of the call."""

    async def offer(self, candidates: list[str] | None = None) -> BrowserOffer:
        return await asyncio.create_task(super().offer(candidates), context=Context())

    async def take(self, path: IcePath) -> None:
        await asyncio.create_task(super().take(path), context=Context())


OWNER: ContextVar[Owner | None] = ContextVar("owner", default=None)


async def talk_for_an_owner() -> tuple[ref[Any], ...]:
    owner = Owner()
    OWNER.set(owner)
    stage = Stage()
    stage.page = PageApart()
    await stage.connect()
    await stage.sound_goes_both_ways()
    freed = ref(owner), ref(stage.transport)
    await stage.transport.close()
    await stage.page.close()
    stage.socket.close()
    vars(stage).clear()
    return freed


@pytest.mark.usefixtures("without_collector")
def test_transport_and_the_context_of_its_call_are_freed() -> None:
    async def run() -> None:
        freed = await asyncio.create_task(talk_for_an_owner())
        async with asyncio.timeout(30):
            while any(one() is not None for one in freed):
                await asyncio.sleep(0.1)

    uvloop.run(run())
