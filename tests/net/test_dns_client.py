"""The DNS client against a small server on loopback, under a clock that is set by hand."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest
from dns_server import DnsServer, serving

from active_call.net import dns_client, dns_query
from active_call.net.dns_client import AddressRecord, DnsClient, DnsUnanswered, NaptrRecord, SrvRecord
from active_call.net.hosts_file import HostsFile, SystemResolver, parse_hosts

ZONE = {
    ("trunk.example", "A"): ["192.0.2.1", "192.0.2.2"],
    ("trunk.example", "AAAA"): ["2001:db8::1"],
    ("trunk.example", "NAPTR"): ['10 20 "s" "SIP+D2U" "" _sip._udp.trunk.example.'],
    ("_sip._udp.trunk.example", "SRV"): ["10 5 5080 trunk.example."],
    ("_sip._tcp.trunk.example", "SRV"): ["0 0 0 ."],
    ("alias.example", "CNAME"): ["second.example."],
    ("second.example", "CNAME"): ["trunk.example."],
    ("loop.example", "CNAME"): ["pool.example."],
    ("pool.example", "CNAME"): ["loop.example."],
}


class SetClock:
    def __init__(self) -> None:
        self.at = 1000.0

    def now(self) -> float:
        return self.at

    def utc_now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)


def client(server: DnsServer, clock: SetClock, deadline_s: float = 2.0) -> DnsClient:
    return DnsClient(clock, servers=[server.address], question_deadline_s=deadline_s)


def test_each_type_is_read() -> None:
    async def body() -> None:
        async with serving(DnsServer(dict(ZONE))) as server:
            dns = client(server, SetClock())
            assert set(await dns.ask("Trunk.example.", "A")) == {AddressRecord("192.0.2.1"), AddressRecord("192.0.2.2")}
            assert await dns.ask("trunk.example", "AAAA") == (AddressRecord("2001:db8::1"),)
            assert await dns.ask("trunk.example", "NAPTR") == (NaptrRecord(10, 20, "s", "SIP+D2U", "_sip._udp.trunk.example"),)
            assert await dns.ask("_sip._udp.trunk.example", "SRV") == (SrvRecord(10, 5, 5080, "trunk.example"),)
            assert await dns.ask("_sip._tcp.trunk.example", "SRV") == (SrvRecord(0, 0, 0, ""),)

    asyncio.run(body())


def test_cnames_are_followed_and_a_loop_of_them_ends() -> None:
    async def body() -> None:
        async with serving(DnsServer(dict(ZONE))) as server:
            dns = client(server, SetClock())
            assert {AddressRecord("192.0.2.1"), AddressRecord("192.0.2.2")} == set(await dns.ask("alias.example", "A"))
            assert await dns.ask("loop.example", "A") == ()
            assert len(server.asked) <= 3 + dns_query.MAX_CNAMES

    asyncio.run(body())


def test_answers_are_kept_for_their_time_to_live() -> None:
    async def body() -> None:
        async with serving(DnsServer(dict(ZONE), ttl_s=100)) as server:
            clock = SetClock()
            dns = client(server, clock)
            assert dns.known("trunk.example", "A") is None
            await dns.ask("trunk.example", "A")
            clock.at += 99.9
            assert dns.known("TRUNK.example.", "A") == await dns.ask("trunk.example", "A")
            assert server.asked == [("trunk.example", "A")]
            clock.at += 0.1
            assert dns.known("trunk.example", "A") is None
            await dns.ask("trunk.example", "A")
            assert len(server.asked) == 2

    asyncio.run(body())


def test_long_times_to_live_are_bounded_and_a_time_of_none_is_obeyed() -> None:
    async def body() -> None:
        async with serving(DnsServer(dict(ZONE), ttl_s=7 * 86_400)) as server:
            clock = SetClock()
            dns = client(server, clock)
            await dns.ask("trunk.example", "A")
            clock.at += dns_client.MAX_KEEP_S
            server.ttl_s = 0
            for _ in range(2):
                await dns.ask("trunk.example", "A")
            assert len(server.asked) == 3

    asyncio.run(body())


@pytest.mark.parametrize("name", ["nothing.example", "trunk.example"])
def test_absence_is_kept_too_2308(name: str) -> None:
    """A name that does not exist, and one without that record."""

    async def body() -> None:
        async with serving(DnsServer({("trunk.example", "A"): ["192.0.2.1"]}, negative_ttl_s=20)) as server:
            clock = SetClock()
            dns = client(server, clock)
            assert await dns.ask(name, "SRV") == ()
            clock.at += 19.0
            assert dns.known(name, "SRV") == ()
            assert await dns.ask(name, "SRV") == ()
            assert len(server.asked) == 1
            clock.at += 1.0
            server.zone[name, "SRV"] = ["1 1 5060 trunk.example."]
            assert await dns.ask(name, "SRV") == (SrvRecord(1, 1, 5060, "trunk.example"),)

    asyncio.run(body())


def test_silence_ends_at_the_deadline_and_is_not_waited_for_again_at_once() -> None:
    async def body() -> None:
        async with serving(DnsServer(dict(ZONE), is_dead=True)) as server:
            clock = SetClock()
            dns = client(server, clock, deadline_s=0.05)
            with pytest.raises(DnsUnanswered, match="no answer"):
                await dns.ask("trunk.example", "A")
            n_asked = len(server.asked)
            with pytest.raises(DnsUnanswered):
                await dns.ask("trunk.example", "A")
            assert len(server.asked) == n_asked
            server.is_dead = False
            clock.at += dns_client.UNANSWERED_PAUSE_S
            assert len(await dns.ask("trunk.example", "A")) == 2

    asyncio.run(body())


def test_old_answers_outlive_their_servers_for_a_day_8767() -> None:
    async def body() -> None:
        async with serving(DnsServer(dict(ZONE), ttl_s=60)) as server:
            clock = SetClock()
            dns = client(server, clock, deadline_s=0.5)
            first = await dns.ask("trunk.example", "A")
            clock.at += 3600.0
            server.broken.add(("trunk.example", "A"))
            assert await dns.ask("trunk.example", "A") == first
            assert dns.known("trunk.example", "A") == first
            clock.at += dns_client.STALE_S
            with pytest.raises(DnsUnanswered):
                await dns.ask("trunk.example", "A")

    asyncio.run(body())


def test_same_question_asked_by_many_is_asked_once_and_outlives_the_first_asker() -> None:
    async def body() -> None:
        async with serving(DnsServer(dict(ZONE))) as server:
            dns = client(server, SetClock())
            askers = [asyncio.ensure_future(dns.ask("trunk.example", "A")) for _ in range(5)]
            await asyncio.sleep(0)
            askers[0].cancel()
            found = await asyncio.gather(*askers[1:])
            assert all(len(records) == 2 for records in found)
            assert server.asked == [("trunk.example", "A")]
            await dns.close()

    asyncio.run(body())


def test_machine_without_name_server_says_so_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for text in (None, "search example\n", "nameserver not-an-address\n"):
        path = tmp_path / f"resolv{text is None}.conf"
        if text is not None:
            path.write_text(text)
        monkeypatch.setattr(dns_client, "RESOLV_CONF", path)
        dns = DnsClient(SetClock())
        assert not dns.has_servers
        with pytest.raises(DnsUnanswered):
            asyncio.run(dns.ask("trunk.example", "A"))


def test_changed_resolv_conf_is_read_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    monkeypatch.setattr(dns_client, "RESOLV_CONF", path)
    dns = DnsClient(SetClock())
    assert not dns.has_servers
    path.write_text("nameserver 127.0.0.1\n")
    assert dns.has_servers


@pytest.mark.parametrize("name", ["x" * 70 + ".example", "a..example", "é" * 300 + ".example"])
def test_impossible_names_are_unanswered_and_nothing_else(name: str) -> None:
    async def body() -> None:
        async with serving(DnsServer(dict(ZONE))) as server:
            with pytest.raises(DnsUnanswered):
                await client(server, SetClock()).ask(name, "A")

    asyncio.run(body())


def test_hosts_file_is_read_like_hosts_5(tmp_path: Path) -> None:
    text = "# comment\n127.0.0.1 localhost  # again\n\n192.0.2.1\tPBX.lan pbx\n2001:db8::1 pbx.lan\nnonsense here\n192.0.2.1 pbx.lan\n"
    assert parse_hosts(text) == {"localhost": ("127.0.0.1",), "pbx.lan": ("192.0.2.1", "2001:db8::1"), "pbx": ("192.0.2.1",)}
    path = tmp_path / "hosts"
    hosts = HostsFile(path)
    assert hosts.addresses("pbx") == ()
    path.write_text(text)
    assert hosts.addresses("PBX.lan.") == ("192.0.2.1", "2001:db8::1")
    path.write_text("198.51.100.1 pbx\n")
    assert hosts.addresses("pbx") == ("198.51.100.1",)


def test_system_resolver_knows_localhost_and_raises_for_what_it_does_not() -> None:
    async def body() -> None:
        assert set(await SystemResolver().addresses("localhost")) & {"127.0.0.1", "::1"}
        with pytest.raises((OSError, UnicodeError)):
            await SystemResolver().addresses("x" * 70 + ".example")

    asyncio.run(body())
