"""The resolver: which answers it takes for a name, in what order, and what it does where nobody answers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from dns_server import DnsServer, serving

from active_call.base.errors import TransportError
from active_call.base.world import World
from active_call.net import resolver as resolver_module
from active_call.net.dns_client import DnsClient
from active_call.net.resolver import KEEP_SYSTEM_S, Resolver
from active_call.sip.events import LookUp, Target, TransportName


class StillClock:
    def __init__(self) -> None:
        self.at = 1000.0

    def now(self) -> float:
        return self.at

    def utc_now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)


class Names:
    """A hosts file and a system resolver in one; it counts what it is asked."""

    def __init__(self, hosts: dict[str, tuple[str, ...]] | None = None, system: dict[str, tuple[str, ...]] | None = None) -> None:
        self.hosts = hosts or {}
        self.system = system or {}
        self.asked: list[str] = []

    def addresses(self, name: str) -> Sequence[str]:
        return self.hosts.get(name, ())

    def as_system(self) -> Any:
        names = self

        class System:
            async def addresses(self, name: str) -> Sequence[str]:
                names.asked.append(name)
                if name not in names.system:
                    raise OSError("no such name")
                return names.system[name]

        return System()


def question(host: str, port: int | None = None, transports: tuple[TransportName, ...] = ("udp",)) -> LookUp:
    return LookUp(1, host, port, transports)


def make(server: DnsServer, names: Names | None = None, clock: StillClock | None = None, **options: Any) -> Resolver:
    clock, names = clock or StillClock(), names or Names()
    dns = DnsClient(clock, servers=[server.address], question_deadline_s=0.2)
    return Resolver(World(clock=clock), dns=dns, hosts=names, system=names.as_system(), **options)


ZONE = {
    ("sip.telnyx.example", "A"): ["192.76.120.10"],
    ("sip.telnyx.example", "NAPTR"): [
        '20 10 "s" "SIP+D2T" "" _sip._tcp.sip.telnyx.example.',
        '10 10 "s" "SIP+D2U" "" _sip._udp.sip.telnyx.example.',
    ],
    ("_sip._udp.sip.telnyx.example", "SRV"): ["10 50 5060 one.telnyx.example.", "10 50 5060 two.telnyx.example."],
    ("_sip._tcp.sip.telnyx.example", "SRV"): ["10 50 5060 one.telnyx.example."],
    ("one.telnyx.example", "A"): ["192.76.120.10"],
    ("two.telnyx.example", "A"): ["64.16.250.10"],
    ("twilio.example", "A"): ["54.172.60.0", "54.172.60.1", "54.172.60.2"],
    ("six.example", "A"): ["192.0.2.6"],
    ("six.example", "AAAA"): ["2001:db8::6"],
}


def places(hops: Sequence[Target]) -> list[tuple[str, str, int | None]]:
    return [(hop.transport, hop.host, hop.port) for hop in hops]


def test_naptr_srv_and_addresses_are_followed_over_real_dns_3263() -> None:
    async def body() -> None:
        async with serving(DnsServer(dict(ZONE))) as server:
            resolver = make(server)
            choice = question("sip.telnyx.example", None, ("udp", "tcp"))
            assert resolver.known(choice) is None
            hops = await resolver.resolve(choice)
            assert set(places(hops[:2])) == {("udp", "192.76.120.10", 5060), ("udp", "64.16.250.10", 5060)}
            assert places(hops[2:]) == [("tcp", "192.76.120.10", 5060)]
            assert {hop.name for hop in hops} == {"sip.telnyx.example"}
            n_asked = len(server.asked)
            assert set(resolver.known(choice) or ()) == set(hops)
            assert len(server.asked) == n_asked

    asyncio.run(body())


def test_addresses_of_both_families_ipv4_first_and_only_those_we_have() -> None:
    async def body() -> None:
        async with serving(DnsServer(dict(ZONE))) as server:
            resolver = make(server)
            both = [("udp", "192.0.2.6", 5060), ("udp", "2001:db8::6", 5060)]
            assert places(await resolver.resolve(question("six.example"))) == both
            resolver.families = (6,)
            assert places(await resolver.resolve(question("six.example"))) == both[1:]
            resolver.families = (4,)
            assert places(resolver.known(question("six.example")) or ()) == both[:1]

    asyncio.run(body())


@pytest.mark.parametrize(
    ("host", "port", "transport", "address", "found_port"),
    [
        ("192.0.2.7", None, "udp", "192.0.2.7", 5060),
        ("192.0.2.7", None, "tls", "192.0.2.7", 5061),
        ("[2001:db8::1]", 7000, "tcp", "2001:db8::1", 7000),
    ],
)
def test_literal_takes_no_question(host: str, port: int | None, transport: TransportName, address: str, found_port: int) -> None:
    resolver = Resolver(dns=DnsClient(StillClock(), servers=[]))
    assert places(resolver.known(question(host, port, (transport,))) or ()) == [(transport, address, found_port)]


def test_hosts_file_settles_a_name_for_all_services() -> None:
    async def body() -> None:
        async with serving(DnsServer(dict(ZONE))) as server:
            resolver = make(server, Names(hosts={"sip.telnyx.example": ("127.0.0.9",)}))
            assert places(resolver.known(question("sip.telnyx.example", None, ("udp", "tcp"))) or ()) == [("udp", "127.0.0.9", 5060)]
            assert server.asked == []

    asyncio.run(body())


def test_names_without_dots_go_to_the_system_and_are_kept_for_a_while() -> None:
    async def body() -> None:
        async with serving(DnsServer(dict(ZONE))) as server:
            clock, names = StillClock(), Names(system={"kamailio": ("172.18.0.2",), "printer.local": ("192.0.2.50",)})
            resolver = make(server, names, clock)
            for _ in range(2):
                assert places(await resolver.resolve(question("kamailio", None, ("tcp",)))) == [("tcp", "172.18.0.2", 5060)]
            assert names.asked == ["kamailio"]
            clock.at += KEEP_SYSTEM_S
            await resolver.resolve(question("kamailio"))
            await resolver.resolve(question("printer.local"))
            assert names.asked == ["kamailio", "kamailio", "printer.local"]
            assert server.asked == []

    asyncio.run(body())


def test_what_dns_does_not_know_is_asked_of_the_system() -> None:
    async def body() -> None:
        async with serving(DnsServer(dict(ZONE))) as server:
            names = Names(system={"pbx.lan": ("10.0.0.5",)})
            assert places(await make(server, names).resolve(question("pbx.lan"))) == [("udp", "10.0.0.5", 5060)]
            with pytest.raises(TransportError, match=r"nowhere\.example: the name has no address"):
                await make(server, names).resolve(question("nowhere.example"))

    asyncio.run(body())


def test_dead_dns_fails_within_the_deadline_and_asks_nobody_slower() -> None:
    async def body() -> None:
        async with serving(DnsServer(dict(ZONE), is_dead=True)) as server:
            names = Names(system={"twilio.example": ("192.0.2.1",)})
            with pytest.raises(TransportError, match="DNS does not answer"):
                await make(server, names).resolve(question("twilio.example", 5060))
            with pytest.raises(TransportError, match="no answer from DNS within"):
                await make(server, names, deadline_s=0.05).resolve(question("twilio.example"))
            assert names.asked == []

    asyncio.run(body())


def test_machine_without_dns_asks_the_system_only() -> None:
    names = Names(system={"twilio.example": ("192.0.2.1",)})
    resolver = Resolver(World(clock=StillClock()), dns=DnsClient(StillClock(), servers=[]), hosts=names, system=names.as_system())
    assert places(asyncio.run(resolver.resolve(question("twilio.example", None, ("udp", "tcp"))))) == [("udp", "192.0.2.1", 5060)]


@pytest.mark.parametrize("silent", [("twilio.example", "NAPTR"), ("_sip._udp.twilio.example", "SRV"), ("twilio.example", "AAAA")])
def test_server_that_ignores_one_type_does_not_hide_the_addresses(silent: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver_module, "SECOND_FAMILY_S", 0.01)

    async def body() -> None:
        async with serving(DnsServer(dict(ZONE), silent={silent})) as server:
            hops = await make(server).resolve(question("twilio.example", None, ("udp", "tcp")))
            assert {hop.host for hop in hops} == {"54.172.60.0", "54.172.60.1", "54.172.60.2"}

    asyncio.run(body())


def test_impossible_name_is_a_transport_error() -> None:
    async def body() -> None:
        async with serving(DnsServer(dict(ZONE))) as server:
            with pytest.raises(TransportError):
                await make(server).resolve(question("x" * 70 + ".example"))

    asyncio.run(body())
