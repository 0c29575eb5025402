"""The calls of unknown addresses: one alone has nearly all, others find room, trunks and registrars have a reserve."""

from __future__ import annotations

from collections import Counter
from ipaddress import ip_network
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from active_call.sip.access.access_list import AdmissionPolicy, TrunkAccess
from active_call.sip.access.address_share import AddressShare
from active_call.sip.access.request_admission import RequestAdmission
from active_call.sip.endpoint import Endpoint
from active_call.sip.events import Address, CallEnded, Flow, IncomingCall, RegistrationSpec, RequestRefused


def from_host(host):
    return Flow("udp", Address("198.51.100.1", 5060), Address(host, 5060))


def open_bench(wire, n_free=inf, per_s=inf, **policy):
    """An endpoint where everybody may call, with room for `n_free` calls."""
    bench = wire.Bench()
    policy.setdefault("max_share_per_address", 0.9)
    bench.endpoint = Endpoint(bench.config, bench.randomness, RequestAdmission(AdmissionPolicy(**policy)))
    bench.endpoint.admission.address_share.note_room(n_free, per_s)
    return bench


def call(wire, bench, n, host):
    """The final or first code of one INVITE."""
    request = wire.request("INVITE", call_id=f"call-{n}", branch=f"z9hG4bKcall{n}", body=wire.OFFER)
    return bench.feed(request, from_host(host))[0]


def fill(capacity, wants, share=0.9):
    """How many calls each address gets, if they ask in turn until nobody is admitted. `wants`: addresses."""
    shares, counts = AddressShare(share), Counter()
    now = 0.0
    for _ in range(2 * capacity):
        n_before = counts.total()
        for key in wants:
            now += 1.0
            shares.note_room(capacity - counts.total())
            if counts.total() < capacity and not shares.refusal(key, now, counts):
                counts[key] += 1
        if counts.total() == n_before:
            break
    return counts


@pytest.mark.parametrize(("capacity", "least"), [(10, 9), (32, 28), (100, 89), (1000, 899)])
def test_address_alone_has_nearly_all_calls(capacity, least):
    n = fill(capacity, ["a"])["a"]
    assert least <= n < capacity


def test_newcomer_finds_room_beside_a_large_address():
    shares, counts = AddressShare(0.9), fill(100, ["a"])
    for n in range(4):
        shares.note_room(100 - counts.total())
        assert shares.refusal("b", n, counts) == ""
        counts["b"] += 1
        assert shares.refusal("a", n, counts) != ""


@pytest.mark.parametrize("n_addresses", [2, 3, 5])
def test_addresses_that_want_all_share_equally(n_addresses):
    counts = fill(200, [f"a{n}" for n in range(n_addresses)])
    assert max(counts.values()) - min(counts.values()) <= 1
    assert 200 * 0.9 <= counts.total() < 200


def test_many_addresses_leave_the_reserve():
    assert fill(160, [f"a{n}" for n in range(500)]).total() == 150


@given(st.integers(1, 60), st.lists(st.integers(0, 12), max_size=400))
def test_free_slot_without_unknown_calls_is_always_given_and_never_more_than_the_capacity(capacity, order):
    shares, counts = AddressShare(0.9), Counter()
    for now, number in enumerate(order):
        shares.note_room(capacity - counts.total())
        if counts.total() < capacity and not shares.refusal(str(number), float(now), counts):
            counts[str(number)] += 1
    assert counts.total() <= capacity
    assert not order or counts.total() >= 1
    if capacity > 1 and len(counts) == 1:
        assert counts.total() < capacity


def test_calls_in_one_read_are_counted_before_the_server_reports_again(wire):
    bench = open_bench(wire, n_free=10)
    codes = [call(wire, bench, n, "203.0.113.9").code for n in range(20)]
    assert codes == [100] * 9 + [503] * 11


def test_stranger_over_its_share_gets_503_with_a_reason_and_others_call_on(wire):
    bench = open_bench(wire, n_free=10)
    for n in range(9):
        assert call(wire, bench, n, "203.0.113.9").code == 100
    bench.endpoint.admission.address_share.note_room(1)
    refused = call(wire, bench, 9, "203.0.113.9")
    assert (refused.code, refused.get("Retry-After")) == (503, "5")
    assert [event.rule for event in bench.of(RequestRefused)] == ["address_share"]
    assert call(wire, bench, 10, "203.0.113.10").code == 100
    assert bench.endpoint.admission.describe() == {"addresses": 2, "most_calls": 9, "limit_of_one": 1}


def test_ended_calls_no_longer_count(wire):
    bench = open_bench(wire, n_free=10)
    for n in range(8):
        call(wire, bench, n, "203.0.113.9")
    for event in bench.of(IncomingCall):
        bench.endpoint.reject(event.call, 486, "Busy Here", bench.now)
    bench.feed(b"\r\n")
    assert len(bench.of(CallEnded)) == 8
    assert not bench.endpoint.admission.n_by_address
    bench.endpoint.admission.address_share.note_room(10)
    assert call(wire, bench, 20, "203.0.113.9").code == 100


def test_addresses_of_one_ipv6_network_count_together(wire):
    bench = open_bench(wire, n_free=10)
    codes = [call(wire, bench, n, f"2001:db8::{n:x}").code for n in range(1, 13)]
    assert codes.count(100) == 9


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_this_machine_has_no_limit(wire, host):
    bench = open_bench(wire, n_free=4)
    assert [call(wire, bench, n, host).code for n in range(6)] == [100] * 6


def test_trunk_has_no_limit(wire):
    bench = open_bench(wire, n_free=4, trunks=(TrunkAccess("pbx", (ip_network("192.0.2.0/24"),)),))
    assert [call(wire, bench, n, "192.0.2.9").code for n in range(6)] == [100] * 6
    assert not bench.endpoint.admission.n_by_address


def test_registrar_has_no_limit(wire):
    bench = open_bench(wire, n_free=4)
    register = bench.do(bench.endpoint.register, RegistrationSpec("pbx", "sip:192.0.2.9", "sip:agent@192.0.2.9"))[0]
    granted = wire.response(register, 200, tag="r1", contact=None, extra=(("Contact", register.get("Contact")), ("Expires", "60")))
    bench.feed(granted, from_host("192.0.2.9"))
    assert [call(wire, bench, n, "192.0.2.9").code for n in range(6)] == [100] * 6
    assert not bench.endpoint.admission.n_by_address


def test_share_of_one_switches_the_limit_off(wire):
    bench = open_bench(wire, n_free=4, max_share_per_address=1.0)
    assert [call(wire, bench, n, "203.0.113.9").code for n in range(6)] == [100] * 6


def test_one_address_begins_half_of_the_new_calls_of_a_second(wire):
    bench = open_bench(wire, per_s=20.0)
    codes = [call(wire, bench, n, "203.0.113.9").code for n in range(30)]
    assert codes == [100] * 10 + [503] * 20
    assert call(wire, bench, 40, "203.0.113.10").code == 100
    bench.advance(1.0)
    assert call(wire, bench, 41, "203.0.113.9").code == 100
