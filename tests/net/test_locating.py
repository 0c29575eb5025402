"""RFC 3263 and RFC 2782 as a procedure: answers from a table, chance from a list."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from active_call.base.errors import TransportError
from active_call.net.dns_client import NaptrRecord, SrvRecord
from active_call.net.locating import MAX_PLACES, Place, Question, in_order, locate
from active_call.sip.events import TransportName

UDP, TCP, TLS = "udp", "tcp", "tls"
CHOICE: tuple[TransportName, ...] = ("udp", "tcp", "tls")


def walk(
    zone: dict[Question, Sequence[object]], host: str, port: int | None = None, transports: tuple[TransportName, ...] = ("udp",)
) -> tuple[list[Place], list[tuple[Question, ...]]]:
    """The places that the procedure finds in `zone`, and the questions of each of its steps."""
    steps = locate(host, port, transports, lambda low, high: low)
    asked = [next(steps)]
    while True:
        try:
            asked.append(steps.send({question: zone[question] for question in asked[-1] if question in zone}))  # type: ignore[misc]
        except StopIteration as end:
            return end.value, asked


def naptr(order: int, preference: int, service: str, replacement: str, flags: str = "s") -> NaptrRecord:
    return NaptrRecord(order, preference, flags, service, replacement)


def test_explicit_port_skips_naptr_and_srv_3263_4_2() -> None:
    places, asked = walk({("h.example", "ADDRESS"): ["192.0.2.1", "192.0.2.2"]}, "h.example", 5080, CHOICE)
    assert places == [Place("udp", "192.0.2.1", 5080), Place("udp", "192.0.2.2", 5080)]
    assert asked == [(("h.example", "ADDRESS"),)]


def test_explicit_transport_skips_naptr_3263_4_1() -> None:
    zone = {
        ("_sips._tcp.h.example", "SRV"): [SrvRecord(0, 0, 5062, "edge.h.example")],
        ("edge.h.example", "ADDRESS"): ["192.0.2.7"],
    }
    places, asked = walk(zone, "h.example", None, ("tls",))
    assert places == [Place("tls", "192.0.2.7", 5062)]
    assert asked[0] == (("_sips._tcp.h.example", "SRV"),)


def test_naptr_chooses_the_transport_by_order_then_preference_3263_4_1() -> None:
    zone = {
        ("h.example", "NAPTR"): [
            naptr(90, 50, "SIP+D2U", "_sip._udp.h.example"),
            naptr(50, 60, "SIP+D2T", "_sip._tcp.h.example"),
            naptr(50, 50, "SIPS+D2T", "_sips._tcp.h.example"),
            naptr(10, 10, "SIP+D2S", "_sip._sctp.h.example"),
            naptr(1, 1, "E2U+sip", "elsewhere.example", flags="u"),
        ],
        ("_sip._udp.h.example", "SRV"): [SrvRecord(0, 0, 5060, "a.h.example")],
        ("_sip._tcp.h.example", "SRV"): [SrvRecord(0, 0, 5060, "b.h.example")],
        ("_sips._tcp.h.example", "SRV"): [SrvRecord(0, 0, 5061, "a.h.example")],
        ("a.h.example", "ADDRESS"): ["192.0.2.1"],
        ("b.h.example", "ADDRESS"): ["192.0.2.2"],
    }
    places, asked = walk(zone, "h.example", None, CHOICE)
    assert places == [Place("tls", "192.0.2.1", 5061), Place("tcp", "192.0.2.2", 5060), Place("udp", "192.0.2.1", 5060)]
    assert asked[0] == (("h.example", "NAPTR"),)
    # What we do not speak is not asked for.
    places, _ = walk(zone, "h.example", None, ("udp", "tcp"))
    assert [place.transport for place in places] == ["tcp", "udp"]


def test_without_naptr_srv_is_asked_for_each_transport_3263_4_1() -> None:
    zone = {("_sip._tcp.h.example", "SRV"): [SrvRecord(0, 0, 5070, "h.example")], ("h.example", "ADDRESS"): ["192.0.2.1"]}
    places, asked = walk(zone, "h.example", None, CHOICE)
    assert places == [Place("tcp", "192.0.2.1", 5070)]
    assert asked[1] == tuple((f"{prefix}.h.example", "SRV") for prefix in ("_sip._udp", "_sip._tcp", "_sips._tcp"))


@pytest.mark.parametrize(("transport", "port"), [("udp", 5060), ("tcp", 5060), ("tls", 5061), ("ws", 80), ("wss", 443)])
def test_without_srv_the_hosts_addresses_have_the_default_port_3263_4_2(transport: TransportName, port: int) -> None:
    """Twilio: A records only, several of them."""
    zone = {("h.example", "ADDRESS"): ["192.0.2.1", "192.0.2.2", "192.0.2.3"]}
    places, _ = walk(zone, "h.example", None, (transport,))
    assert places == [Place(transport, f"192.0.2.{n}", port) for n in (1, 2, 3)]


def test_telnyx_srv_finds_both_addresses_where_a_gives_one() -> None:
    zone = {
        ("sip.telnyx.example", "ADDRESS"): ["192.76.120.10"],
        ("_sip._udp.sip.telnyx.example", "SRV"): [SrvRecord(10, 50, 5060, "one.example"), SrvRecord(10, 50, 5060, "two.example")],
        ("one.example", "ADDRESS"): ["192.76.120.10"],
        ("two.example", "ADDRESS"): ["64.16.250.10"],
    }
    places, _ = walk(zone, "sip.telnyx.example")
    assert {place.address for place in places} == {"192.76.120.10", "64.16.250.10"}


def test_srv_with_a_dot_as_target_says_that_there_is_no_service_2782() -> None:
    zone = {("_sip._udp.h.example", "SRV"): [SrvRecord(0, 0, 0, "")], ("h.example", "ADDRESS"): ["192.0.2.1"]}
    with pytest.raises(TransportError, match="no SIP service over udp"):
        walk(zone, "h.example")


def test_srv_targets_without_address_are_passed_over_and_a_name_without_any_raises() -> None:
    zone: dict[Question, Sequence[object]] = {
        ("_sip._udp.h.example", "SRV"): [SrvRecord(0, 0, 1, "gone.example"), SrvRecord(1, 0, 2, "here.example")],
        ("here.example", "ADDRESS"): ["192.0.2.1"],
    }
    assert walk(zone, "h.example")[0] == [Place("udp", "192.0.2.1", 2)]
    with pytest.raises(TransportError, match="no address"):
        walk({}, "h.example")


def test_long_lists_are_cut_and_repetitions_dropped() -> None:
    zone = {("h.example", "ADDRESS"): [f"192.0.2.{n % 20}" for n in range(60)]}
    places, _ = walk(zone, "h.example", 5060)
    assert len(places) == len(set(places)) == MAX_PLACES


def test_priorities_go_upwards_and_weights_decide_by_chance_2782() -> None:
    records = [
        SrvRecord(20, 0, 5060, "spare"),
        SrvRecord(10, 10, 5060, "small"),
        SrvRecord(10, 90, 5060, "large"),
        SrvRecord(10, 0, 5060, "tiny"),
    ]
    random = Random(7)
    first = Counter()  # type: ignore[var-annotated]
    for _ in range(2000):
        ordered = [record.target for record in in_order(records, random.uniform)]
        assert ordered[-1] == "spare"
        first[ordered[0]] += 1
    assert 1700 < first["large"] < 1900
    assert 100 < first["small"] < 300
    assert first["tiny"] < 20


RECORDS = st.lists(st.builds(SrvRecord, st.integers(0, 3), st.integers(0, 65535), st.just(5060), st.sampled_from("abcdef")), max_size=8)


@given(RECORDS, st.floats(0.0, 1.0))
def test_order_keeps_every_record_once_in_order_of_priority(records: list[SrvRecord], chance: float) -> None:
    ordered = in_order(records, lambda low, high: low + (high - low) * chance)
    assert Counter(ordered) == Counter(records)
    assert [record.priority for record in ordered] == sorted(record.priority for record in records)
