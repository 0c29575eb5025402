"""Client transactions behind a fake port: what they send and report, and that branch and destination stay (RFC 3261 §17.1)."""

from __future__ import annotations

import itertools

import pytest

from active_call.sip.events import Address, EndpointConfig, Flow, Target
from active_call.sip.syntax.message import parse_message
from active_call.sip.transaction.client import ClientInviteTransaction, ClientRequestTransaction
from active_call.sip.transaction.tables import State
from active_call.sip.transaction.timers import Timers

PLACE = Target("udp", "192.0.2.9", 5060)
STREAM = Target("tcp", "192.0.2.9", 5060)


class FakePort:
    """A `TransactionPort` that writes down what it is asked for."""

    def __init__(self):
        self.config = EndpointConfig(listeners=(), user_agent="u")
        self.timers = Timers()
        self.sent = []
        self.ended = []

    def transmit(self, data, destination, sender=None, previous_id=0):
        self.sent.append((data, destination))
        return len(self.sent)

    def end(self, transaction, transmit_id):
        self.ended.append(transaction)


class FakeUser:
    """Writes down what it hears; `takes_over` is its answer to a transport error."""

    def __init__(self, *, takes_over=False):
        self.heard = []
        self.takes_over = takes_over

    def on_response(self, transaction, response, flow, now):
        self.heard.append(response.code)

    def on_no_response(self, transaction, code, reason, now):
        self.heard.append((code, reason))

    def on_transport_error(self, transaction, reason, now):
        self.heard.append(reason)
        return self.takes_over


class Bench:
    def __init__(self, wire, method="INVITE", place=PLACE, *, user=None, **options):
        self.wire = wire
        self.port, self.user = FakePort(), user or FakeUser()
        self.request = parse_message(wire.request(method, branch="z9hG4bKone", contact=None))
        kind = ClientInviteTransaction if method == "INVITE" else ClientRequestTransaction
        self.transaction = kind(self.port, self.request, self.request.to_bytes(), "z9hG4bKone", place, self.user, **options)
        self.transaction.start(0.0)

    def answer(self, code, flow=None):
        sent = self.wire.read(self.port.sent[0][0])
        return self.transaction.receive(parse_message(self.wire.response(sent, code)), flow or self.wire.UDP, 0.0)


def flow(number):
    return Flow("tcp", Address("198.51.100.1", 5060), Address("192.0.2.9", 5060), number)


@pytest.mark.parametrize("method", ["INVITE", "OPTIONS"])
@pytest.mark.parametrize("place", [PLACE, STREAM])
def test_any_three_inputs_leave_branch_and_destination_as_they_were_3261_17_1(wire, method, place):
    inputs = {
        "100": lambda b: b.answer(100, flow(1)),
        "200": lambda b: b.answer(200, flow(2)),
        "503": lambda b: b.answer(503, flow(3)),
        "error": lambda b: b.transaction.handle_transport_error("broken", 1.0),
        "turned back": lambda b: b.transaction.handle_unreachable("port closed", 1.0),
        "lost": lambda b: b.transaction.handle_connection_lost(flow(1), "reset", 1.0),
        "left": lambda b: b.transaction.leave(1.0),
        "time": lambda b: b.port.timers.run_due(40.0),
    }
    for names in itertools.product(inputs, repeat=3):
        bench = Bench(wire, method, place)
        for name in names:
            inputs[name](bench)
        assert (bench.transaction.branch, bench.transaction.destination) == ("z9hG4bKone", place), names
        assert {(to.transport, to.host, to.port) for _, to in bench.port.sent} == {(place.transport, place.host, place.port)}, names
        assert {bench.wire.read(data).branch for data, _ in bench.port.sent} == {"z9hG4bKone"}, names


def test_connection_that_answers_carries_the_ack_3261_17_1_1_3(wire):
    bench = Bench(wire, place=STREAM)
    bench.answer(404, flow(4))
    assert [(wire.read(data).method, to.flow) for data, to in bench.port.sent] == [("INVITE", None), ("ACK", flow(4))]


def test_transport_error_that_the_user_takes_over_is_not_reported_again(wire):
    bench = Bench(wire, user=FakeUser(takes_over=True))
    bench.transaction.handle_transport_error("no route", 0.0)
    assert bench.user.heard == ["no route"]
    assert bench.transaction.state is State.CALLING


def test_transport_error_ends_the_transaction_with_503_3261_8_1_3_1(wire):
    bench = Bench(wire)
    bench.transaction.handle_transport_error("no route", 0.0)
    assert bench.user.heard == ["no route", (503, "no route")]
    assert bench.port.ended == [bench.transaction]


def test_report_of_the_network_counts_only_where_the_request_is_not_patient_3261_18_4(wire):
    for is_patient, heard in ((True, []), (False, ["port closed", (503, "port closed")])):
        bench = Bench(wire, is_patient=is_patient)
        bench.transaction.handle_unreachable("port closed", 0.0)
        assert bench.user.heard == heard


def test_connection_that_is_gone_is_opened_afresh_once_for_the_same_bytes_5923_5(wire):
    bench = Bench(wire, place=Target("tcp", "192.0.2.9", 5060, flow(1)))
    bench.transaction.handle_connection_lost(flow(1), "reset", 0.0)
    assert [(data == bench.port.sent[0][0], to.flow) for data, to in bench.port.sent] == [(True, flow(1)), (True, None)]
    bench.transaction.handle_transport_error("refused", 0.0)
    assert bench.user.heard == ["refused", (503, "refused")]


def test_left_invite_is_sent_no_more_and_forgotten_after_64_t1_3263_4_3(wire):
    bench = Bench(wire)
    bench.transaction.leave(4.0)
    bench.port.timers.run_due(35.9)
    assert (len(bench.port.sent), bench.port.ended) == (1, [])
    bench.port.timers.run_due(36.0)
    assert (bench.port.ended, bench.user.heard) == ([bench.transaction], [])


def test_request_that_does_not_repeat_goes_out_once(wire):
    bench = Bench(wire, "BYE", repeats=False)
    bench.port.timers.run_due(31.9)
    assert len(bench.port.sent) == 1
    bench.port.timers.run_due(32.0)
    assert bench.user.heard == [(408, "Request Timeout")]
