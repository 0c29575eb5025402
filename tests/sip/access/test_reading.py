"""What is read at all, what a refusal leaves behind, and how many transactions there may be."""

from __future__ import annotations

import sys
from ipaddress import ip_network

import pytest

from active_call.sip.access.access_list import AdmissionPolicy, TrunkAccess
from active_call.sip.access.request_admission import RequestAdmission
from active_call.sip.endpoint import MAX_PINGS, Endpoint
from active_call.sip.events import Address, CallEnded, Flow, IncomingCall, MessageDropped, OutboundInvite, RequestRefused
from active_call.sip.transaction.server_table import ServerTable

CARRIER = Address("203.0.113.9", 5060)
STRANGER = Address("192.0.2.66", 5060)


def guarded(wire, **policy):
    bench = wire.Bench()
    trunks = (TrunkAccess("carrier", networks=(ip_network("203.0.113.0/24"),)),)
    bench.endpoint = Endpoint(bench.config, bench.randomness, RequestAdmission(AdmissionPolicy(trunks, **policy)))
    return bench


def flow_of(wire, address, connection_id=None):
    base = wire.UDP if connection_id is None else wire.TCP
    return Flow(base.transport, base.local, address, connection_id)


def invite(wire, n, **options):
    return wire.request("INVITE", call_id=f"c{n}", branch=f"z9hG4bK{n}", body=wire.OFFER, **options)


def silence(bench, wire, address):
    n = 0
    while not bench.endpoint.admission.is_silenced(address.host, bench.now):
        n += 1
        bench.feed(invite(wire, f"s{n}"), flow_of(wire, address))


def test_silenced_address_is_not_parsed(wire, monkeypatch):
    bench = guarded(wire)
    silence(bench, wire, STRANGER)
    monkeypatch.setattr(bench.endpoint._dispatcher, "receive", lambda *_: pytest.fail("it was parsed"))
    assert bench.feed(invite(wire, 1), flow_of(wire, STRANGER)) == []
    assert bench.events[-1] == RequestRefused(flow_of(wire, STRANGER), "", "silenced", 0)
    assert bench.endpoint.receive_stream(b"INVITE", flow_of(wire, STRANGER, 7), bench.now) is None
    assert bench.endpoint.take_closes() == [flow_of(wire, STRANGER, 7)]


def test_address_silenced_under_a_forged_name_still_answers_our_call(wire):
    bench = guarded(wire)
    bench.endpoint.invite(OutboundInvite(f"sip:desk@{STRANGER.host}", "sip:us@example.com", wire.OFFER), bench.now)
    bench.drain()
    sent = bench.sent[-1]
    silence(bench, wire, STRANGER)
    (ack,) = bench.feed(wire.response(sent, 200, body=wire.ANSWER, contact=f"<sip:desk@{STRANGER.host}>"), flow_of(wire, STRANGER))
    assert ack.method == "ACK"
    bye = wire.request(
        "BYE", call_id=sent.get("Call-ID"), sender=f"{sent.get('To')};tag=callee1", to=sent.get("From"), cseq=9, branch="z9hG4bKbye"
    )
    assert [m.code for m in bench.feed(bye, flow_of(wire, STRANGER))] == [200]
    assert [event.cause for event in bench.of(CallEnded)] == ["remote_bye"]


@pytest.mark.parametrize("extra", [(("X-Pad", "a"),) * 300, (("X-Pad", "a" * 20_000),)], ids=["lines", "bytes"])
@pytest.mark.parametrize("is_stream", [False, True])
def test_headers_of_a_stranger_are_bounded_and_those_of_a_trunk_less_so(wire, extra, is_stream):
    bench = guarded(wire)
    for address, is_let_in in ((STRANGER, False), (CARRIER, True)):
        flow = flow_of(wire, address, address.port if is_stream else None)
        flow = flow if not is_stream else Flow(flow.transport, flow.local, address, hash(address.host) % 1000)
        n_calls = bench.endpoint.n_calls
        bench.feed(invite(wire, address.host, extra=extra), flow)
        assert (bench.endpoint.n_calls - n_calls == 1) is is_let_in
        assert any(event.why == "too_large" for event in bench.of(MessageDropped)) is True


@pytest.mark.parametrize("name", ["Contact", "Record-Route", "Route", "Via"])
def test_headers_that_are_taken_apart_are_bounded_for_everybody(wire, name):
    bench = guarded(wire)
    value = "SIP/2.0/UDP h;branch=z9hG4bKx" if name == "Via" else "<sip:a@b>"
    bench.feed(invite(wire, 1, extra=((name, ",".join([value] * 200)),)), flow_of(wire, CARRIER))
    assert bench.of(IncomingCall) == []
    assert bench.of(MessageDropped)[-1].why == "bad_request"


PLAIN_CALLS = 2000
"""Function calls that a plain INVITE of a stranger costs at most, the built-in functions' own included; a step of a scan is one or more."""


def n_calls_for(feed, data, flow):
    """Function calls that one datagram costs: a measure that no other program on the machine disturbs."""
    count = 0

    def note(_frame, event, _argument):
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        feed(data, flow)
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize("before", ["", '"', '""', "<sip:a@b>", '"x" <sip:a@b>', "<sip:a@b;"])
@pytest.mark.parametrize(
    "crafted",
    [
        '"',
        '\\"',
        "\\",
        '"a"',
        '";',
        '";";',
        "<",
        "<>",
        "<a:>",
        '"<',
        '"<sip:a@b>',
        ";",
        ";a",
        ";a=",
        ';a="',
        ';a=""',
        ",",
        ",a",
        ',"',
        "< ",
    ],
)
@pytest.mark.parametrize("name", ["From", "To", "Contact", "Via", "Route", "Call-ID", "X-Other"])
def test_crafted_headers_of_a_stranger_cost_no_step_for_each_character(wire, name, crafted, before):
    bench = guarded(wire)
    value = before + crafted * (7900 // len(crafted)) + ("<sip:a@b>;tag=x" if name in ("From", "To") else "")
    head, _, body = invite(wire, 1).decode().partition("\r\n\r\n")
    kept = [line for line in head.split("\r\n") if name == "Via" or not line.startswith(f"{name}:")]
    data = "\r\n".join([*kept, f"{name}: {value}", "", body]).encode()
    assert n_calls_for(bench.feed, data, flow_of(wire, STRANGER)) < 4 * PLAIN_CALLS


def test_plain_invite_of_a_stranger_costs_few_steps(wire):
    bench = guarded(wire)
    assert n_calls_for(bench.feed, invite(wire, 1), flow_of(wire, STRANGER)) < PLAIN_CALLS


def test_as_many_hops_as_there_may_be_are_read_with_all_their_parameters(wire):
    bench = guarded(wire)
    vias = tuple(("Via", f"SIP/2.0/UDP h{n};branch=z9hG4bK{n};received=192.0.2.1;rport=5060;x=y") for n in range(69))
    routes = tuple(("Record-Route", f'"Edge" <sip:e{n}@h;lr;ftag=x;did=1>;y=z') for n in range(70))
    bench.feed(invite(wire, 1, extra=(*vias, *routes)), flow_of(wire, CARRIER))
    assert len(bench.of(IncomingCall)) == 1, bench.of(MessageDropped)


@pytest.mark.parametrize(
    ("method", "options", "code"),
    [
        ("OPTIONS", {}, 200),
        ("BYE", {}, 481),
        ("BYE", {"to": "<sip:a@b>;tag=gone"}, 481),
        ("INVITE", {"to": "<sip:a@b>;tag=gone"}, 481),
        ("CANCEL", {}, 481),
        ("REGISTER", {}, 405),
        ("MESSAGE", {}, 403),
        ("INVITE", {"extra": (("Require", "nonsense"),)}, 420),
        ("INVITE", {"contact": None}, 400),
    ],
)
def test_answer_that_needs_no_transaction_has_none(bench, wire, method, options, code):
    first = bench.feed(wire.request(method, **options))
    assert [m.code for m in first] == [code]
    assert bench.counts == (0, 0, 0)
    again = bench.feed(wire.request(method, **options))
    assert [m.get("To") for m in again] == [m.get("To") for m in first]
    if method == "INVITE" and "to" not in options:
        n_dropped = len(bench.of(MessageDropped))
        assert bench.feed(wire.request("ACK", to=first[0].get("To"))) == []
        assert len(bench.of(MessageDropped)) == n_dropped
    assert bench.advance(40) == []


def test_full_server_refuses_without_a_transaction(bench, wire):
    bench.endpoint.set_accepting(False)
    assert [m.code for m in bench.feed(wire.request("INVITE", body=wire.OFFER))] == [503]
    assert [m.code for m in bench.feed(wire.request("OPTIONS", branch="z9hG4bKo"))] == [503]
    assert bench.counts == (0, 0, 0)


def test_transactions_of_one_stranger_are_bounded_and_the_oldest_answered_gives_way(wire):
    bench = guarded(wire)
    bench.flow = flow_of(wire, CARRIER)
    bench.endpoint._core.layer.servers = ServerTable(max_all=100, max_of_unknown=5)
    bench.feed(wire.request("INVITE", body=wire.OFFER))
    call = bench.of(IncomingCall)[-1].call
    (ok,) = bench.do(lambda now: bench.endpoint.answer(call, wire.ANSWER, now))
    bench.feed(wire.request("ACK", branch="z9hG4bKack", to=ok.get("To")))
    for cseq in range(101, 121):
        options = wire.request("OPTIONS", to=ok.get("To"), cseq=cseq, branch=f"z9hG4bKo{cseq}")
        (answer,) = bench.feed(options, flow_of(wire, STRANGER))
        assert answer.code == 200
    assert len(bench.endpoint._core.layer.servers) == 6  # with the INVITE


def test_where_no_transaction_can_give_way_the_request_is_refused_without_one(wire):
    bench = wire.Bench()
    bench.endpoint._core.layer.servers = ServerTable(max_all=2)
    for n in range(2):
        assert [m.code for m in bench.feed(invite(wire, n))] == [100]
    assert [m.code for m in bench.feed(invite(wire, 3))] == [503]
    assert bench.of(RequestRefused)[-1].rule == "transactions"
    assert len(bench.endpoint._core.layer.servers) == 2


def test_strangers_give_way_to_trunks_where_all_are_too_many(wire):
    bench = guarded(wire)
    table = bench.endpoint._core.layer.servers = ServerTable(max_all=4, max_of_unknown=10)
    core = bench.endpoint._core
    for n in range(4):
        request = wire.request("OPTIONS", call_id=f"x{n}", branch=f"z9hG4bKx{n}")
        transaction = core.layer.start_server(_parsed(request), flow_of(wire, STRANGER))
        transaction.send(200, b"SIP/2.0 200 OK\r\n\r\n", bench.now)
    bench.endpoint.take_transmits()
    assert table.make_room(STRANGER.host, is_known=False) is True
    assert [m.code for m in bench.feed(invite(wire, 1), flow_of(wire, CARRIER))] == [100]
    assert len(table) <= 4


def _parsed(data):
    from active_call.sip.syntax.message import parse_message

    return parse_message(data)


def test_keepalives_of_one_read_get_one_answer_and_a_flood_closes(bench, wire):
    sent = []
    bench.endpoint.receive_stream(b"\r\n\r\n" * 10, wire.TCP, bench.now)
    sent += bench.endpoint.take_transmits()
    assert [transmit.data for transmit in sent] == [b"\r\n"]
    bench.endpoint.receive_stream(b"\r\n\r\n" * MAX_PINGS, wire.TCP, bench.now)
    assert bench.endpoint.take_closes() == [wire.TCP]
    assert [event.why for event in bench.endpoint.take_events()] == ["keepalive_flood"]


def test_connection_counts_as_used_while_a_call_is_on_it(bench, wire):
    bench.feed(wire.request("INVITE", body=wire.OFFER), wire.TCP)
    assert bench.endpoint.connections_in_use() == {wire.TCP.connection_id}
    assert bench.endpoint.idle_since(wire.TCP.connection_id) == bench.now
    bench.feed(wire.request("CANCEL"), wire.TCP)
    bench.feed(wire.request("ACK", to=bench.sent[-1].get("To")), wire.TCP)
    bench.advance(40)
    assert bench.endpoint.connections_in_use() == set()
    assert bench.endpoint.idle_since(wire.TCP.connection_id) == bench.now - 40
