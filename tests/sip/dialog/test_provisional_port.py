"""Reliable provisional responses behind a fake port, both roles (RFC 3262)."""

from __future__ import annotations

import pytest
from dialog_port import FakePort, message

from active_call.sip.dialog.decisions import EndCall
from active_call.sip.dialog.provisional import ProvisionalReceiver, ReliableProvisionals
from active_call.sip.responses import Reply

NOBODY = EndCall("timeout", 504)


class Repeated:
    """Stands in for the server transaction of an INVITE."""

    def __init__(self):
        self.request = message("INVITE", cseq="1 INVITE")
        self.n_repeats = 0

    def repeat(self):
        self.n_repeats += 1


@pytest.fixture
def port(wire):
    return FakePort(wire.UDP, wire.Randomness())


def rseq(port):
    return dict(port.replies[-1].headers)["RSeq"]


def test_one_response_at_a_time_goes_out_with_rising_numbers_3262_3(port):
    transaction = Repeated()
    reliable = ReliableProvisionals(port, transaction, lambda now: NOBODY)
    reliable.send(Reply(180, "Ringing"), 0.0)
    reliable.send(Reply(183, "Session Progress", body=b"v=0"), 0.0)
    assert [reply.code for reply in port.replies] == [180]
    assert reliable.holds_back_success
    first = int(rseq(port))
    assert reliable.take_prack(message("PRACK", RAck=f"{first + 1} 1 INVITE")) is None
    assert reliable.take_prack(message("PRACK", RAck=f"{first} 1 INVITE")).code == 180
    reliable.resume(1.0)
    assert (port.replies[-1].code, int(rseq(port))) == (183, first + 1)


def test_response_without_prack_is_repeated_and_given_up_after_64_t1_3262_3(port):
    transaction = Repeated()
    ReliableProvisionals(port, transaction, lambda now: NOBODY).send(Reply(180, "Ringing"), 0.0)
    assert port.run_until(31.9) == []
    assert transaction.n_repeats == 6
    assert port.run_until(32.0) == [NOBODY]


def test_final_response_ends_the_repetitions_3262_3(port):
    transaction = Repeated()
    reliable = ReliableProvisionals(port, transaction, lambda now: NOBODY)
    reliable.send(Reply(180, "Ringing"), 0.0)
    reliable.close()
    assert (port.run_until(100.0), transaction.n_repeats) == ([], 0)


def test_prack_names_number_and_request_and_goes_into_its_early_dialog_3262_4(port):
    receiver = ProvisionalReceiver(port)
    response = message(183, "4 INVITE", RSeq="17", Require="100rel")
    assert receiver.is_news(response)
    receiver.acknowledge(port.dialog, response, 0.0, b"v=0")
    (prack,) = port.requests
    assert (prack.method, prack.headers, prack.body, prack.dialog) == ("PRACK", {"RAck": "17 4 INVITE"}, b"v=0", port.dialog)
    assert not receiver.is_news(response)
    assert not receiver.is_news(message(183, "4 INVITE", RSeq="19", Require="100rel"))
    assert receiver.is_news(message(183, "4 INVITE", RSeq="18", Require="100rel"))
