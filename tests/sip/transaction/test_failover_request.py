"""One request over several places behind a fake port: one fresh transaction for each, one outcome to the user (RFC 3263 §4.3)."""

from __future__ import annotations

import pytest

from active_call.sip.events import EndpointConfig, Target
from active_call.sip.listeners import Listeners
from active_call.sip.syntax.message import parse_message
from active_call.sip.transaction.failover import FailoverRequest
from active_call.sip.transaction.hop_finder import HopFinder
from active_call.sip.transaction.origin import Origin
from active_call.sip.transaction.request_writer import RequestWriter
from active_call.sip.transaction.tables import State
from active_call.sip.transaction.timers import Timers

NAME = "trunk.example"
PLACES = tuple(Target("udp", f"192.0.2.{n}", 5060, name=NAME) for n in (1, 2, 3))


class FakePort:
    """A `FailoverPort` that writes down what it is asked for."""

    def __init__(self, wire):
        self.config = EndpointConfig(listeners=wire.listeners("udp", "tcp"), user_agent="u")
        self.timers = Timers()
        self.hops = HopFinder()
        self.listeners = Listeners(self.config.listeners)
        self.writer = RequestWriter(self.listeners, self.hops)
        self.begun, self.ended, self.cancelled, self.sent = [], [], [], []
        self._n_branches = 0

    def is_allowed(self, hop, rules):
        return True

    def new_branch(self):
        self._n_branches += 1
        return f"z9hG4bK{self._n_branches}"

    def forget_transmit(self, transmit_id):
        pass

    def transmit(self, data, destination, sender=None, previous_id=0):
        self.sent.append((data, destination))
        return len(self.sent)

    def end(self, transaction, transmit_id):
        self.ended.append(transaction)

    def begin(self, transaction, now):
        self.begun.append(transaction)
        transaction.start(now)

    def send_cancel(self, invite, headers, now):
        self.cancelled.append(invite)

    def guard(self, where, owner, action, now):
        action()


class FakeUser:
    def __init__(self):
        self.heard = []

    def on_response(self, request, response, flow, now):
        self.heard.append(response.code)

    def on_no_response(self, request, code, reason, now):
        self.heard.append((code, reason))


class Bench:
    def __init__(self, wire, method="INVITE", *, to=None):
        self.wire = wire
        self.port, self.user = FakePort(wire), FakeUser()
        message = parse_message(wire.request(method, contact=None, **({"to": to} if to else {})))
        message.headers.remove("Via")
        self.request = FailoverRequest(self.port, message, Target("udp", NAME), Origin("us"), self.user)
        self.request.start(0.0)

    def found(self, places=PLACES, reason=""):
        (question,) = self.port.hops.look_ups
        self.port.hops.handle_look_up(question.id, places, reason, 0.0)
        return self

    def answer(self, transaction, code, now=0.0):
        """A response to what that transaction has sent first."""
        data = next(data for data, _ in self.port.sent if self.wire.read(data).branch == transaction.branch)
        return transaction.receive(parse_message(self.wire.response(self.wire.read(data), code)), self.wire.UDP, now)


def test_each_place_gets_a_transaction_with_a_branch_of_its_own_3263_4_3(wire):
    bench = Bench(wire).found()
    first = bench.port.begun[0]
    bench.port.timers.run_due(4.0)
    second = bench.port.begun[1]
    assert (first.destination, second.destination) == PLACES[:2]
    assert first.branch != second.branch
    assert bench.request.transaction is second
    vias = [wire.read(data).get("Via") for data, _ in bench.port.sent]
    assert first.branch in vias[0]
    assert second.branch in vias[-1]
    assert first.request.headers.get("Via") == vias[0]  # its CANCEL and ACK are still written from it


def test_503_is_the_end_of_a_transaction_and_not_of_the_request_3263_4_3(wire):
    bench = Bench(wire).found()
    bench.answer(bench.port.begun[0], 503)
    assert bench.port.begun[0].state is State.COMPLETED
    assert (len(bench.port.begun), bench.user.heard) == (2, [])
    bench.answer(bench.port.begun[1], 503)
    bench.answer(bench.port.begun[2], 503)
    assert bench.user.heard == [503]


@pytest.mark.parametrize("method", ["INVITE", "OPTIONS"])
def test_transaction_of_a_left_place_waits_only_where_a_late_answer_counts(wire, method):
    bench = Bench(wire, method).found()
    bench.port.timers.run_due(4.0)
    left = bench.port.begun[0]
    assert (left in bench.port.ended) is (method == "OPTIONS")


def test_left_place_that_rings_late_is_cancelled_once_and_heard_for_64_t1_more_3261_9_1(wire):
    bench = Bench(wire).found()
    bench.port.timers.run_due(4.0)
    left = bench.port.begun[0]
    bench.answer(left, 180, 20.0)
    bench.answer(left, 183, 21.0)
    assert (bench.port.cancelled, bench.user.heard) == ([left], [])
    bench.port.timers.run_due(51.9)
    assert left not in bench.port.ended
    bench.port.timers.run_due(52.0)
    assert left in bench.port.ended


def test_late_2xx_of_a_left_place_is_the_answer_and_the_other_place_is_left(wire):
    bench = Bench(wire).found()
    bench.port.timers.run_due(4.0)
    left, asked = bench.port.begun
    bench.answer(left, 200, 5.0)
    assert (bench.user.heard, bench.request.transaction) == ([200], left)
    bench.answer(asked, 180, 6.0)
    assert (bench.port.cancelled, bench.user.heard) == ([asked], [200])


def test_error_at_the_last_place_is_the_outcome(wire):
    bench = Bench(wire).found(PLACES[:2])
    bench.port.begun[0].handle_transport_error("no route", 0.0)
    bench.port.begun[1].handle_transport_error("refused", 0.0)
    assert bench.user.heard == [(503, "refused")]


def test_name_that_leads_nowhere_is_the_outcome_without_any_transaction(wire):
    bench = Bench(wire).found((), "no such name")
    assert (bench.user.heard, bench.port.begun) == ([(503, "no such name")], [])


def test_withdrawn_request_goes_to_no_further_place(wire):
    bench = Bench(wire).found()
    bench.request.withdraw(1.0)
    bench.port.timers.run_due(32.0)
    assert (len(bench.port.begun), bench.user.heard) == (1, [(408, "Request Timeout")])


def test_request_that_is_withdrawn_before_its_name_is_resolved_is_never_sent(wire):
    bench = Bench(wire)
    bench.request.withdraw(1.0)
    bench.port.timers.run_due(1.0)
    assert bench.user.heard == [(503, "withdrawn before it was sent")]
    bench.found()
    assert bench.port.begun == []


def test_request_inside_a_dialog_is_not_moved_by_silence_or_503(wire):
    for code in (None, 503):
        bench = Bench(wire, "INFO", to="<sip:us@a>;tag=1").found()
        if code is None:
            bench.port.timers.run_due(31.9)
        else:
            bench.answer(bench.port.begun[0], code)
        assert len(bench.port.begun) == 1


def test_terminated_request_reports_nothing_more(wire):
    bench = Bench(wire).found()
    bench.request.terminate()
    bench.port.timers.run_due(100.0)
    assert (bench.user.heard, len(bench.port.begun)) == ([], 1)
