"""Offers inside a call behind a fake port: collisions, retries, answers, and what is decided (RFC 3261 §14, RFC 3311, RFC 6141)."""

from __future__ import annotations

import pytest
from dialog_port import FakePort, message

from active_call.base.errors import LocalProtocolError
from active_call.sip.dialog.decisions import EndCall
from active_call.sip.dialog.reinvite import OfferExchange
from active_call.sip.dialog.session_timer import SessionTimer
from active_call.sip.events import OfferAnswered, OfferReceived
from active_call.sip.transaction.server import ServerInviteTransaction, ServerRequestTransaction


@pytest.fixture
def port(wire):
    return FakePort(wire.UDP, wire.Randomness())


@pytest.fixture
def offers(port):
    return OfferExchange(port, SessionTimer(port))


class Layer:
    """A `TransactionPort` that sends nothing."""

    def __init__(self, port):
        self.config, self.timers, self.sent = port.config, port.timers, []

    def transmit(self, data, destination, sender=None, previous_id=0):
        self.sent.append(data)
        return len(self.sent)

    def end(self, transaction, transmit_id):
        pass


def arrived(port, wire, request):
    """The server transaction of a request that has come."""
    request.headers.prepend("Via", "SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bKx")
    kind = ServerInviteTransaction if request.method == "INVITE" else ServerRequestTransaction
    return kind(Layer(port), request, wire.UDP, "key", ("v",), None)


def receive(offers, port, wire, method="INVITE", body=b"v=0\r\nnew", *, is_busy=False):
    request = message(method, body=body)
    transaction = arrived(port, wire, request)
    handle = offers.handle_invite if method == "INVITE" else offers.handle_update
    return handle(transaction, request, port.now, is_busy=is_busy)


def answered(port):
    return [(event.code, event.sdp) for event in port.events if isinstance(event, OfferAnswered)]


# -- ours


def test_offer_carries_allow_supported_and_the_description_3261_14_1(offers, port):
    assert offers.offer(b"v=0\r\nnew", (("X-Why", "hold"),), 0.0) is True
    (invite,) = port.invites
    assert (invite.sdp, invite.headers["X-Why"], invite.headers["Supported"]) == (
        b"v=0\r\nnew",
        "hold",
        "timer, 100rel, replaces, norefersub",
    )


def test_second_offer_waits_for_the_first_3261_14_1(offers, port):
    offers.offer(b"v=0", (), 0.0)
    assert offers.offer(b"v=0", (), 0.0) is False
    assert offers.refresh(0.0) is False
    assert len(port.invites) == 1


def test_answer_is_acknowledged_kept_and_reported_3261_13_2_2_4(offers, port):
    offers.offer(b"v=0\r\nnew", (), 0.0)
    offers.on_invite_success(port.invites[0], message(200, body=b"v=0\r\nanswer"), 1.0)
    assert port.invites[0].acknowledged == [None]
    assert (port.descriptions.local, port.descriptions.remote) == (b"v=0\r\nnew", b"v=0\r\nanswer")
    assert answered(port) == [(200, b"v=0\r\nanswer")]


def test_offer_that_was_asked_for_is_answered_in_the_ack_3261_14_1(offers, port):
    offers.offer(None, (), 0.0)
    offers.on_invite_success(port.invites[0], message(200, body=b"v=0\r\ntheirs"), 1.0)
    assert port.invites[0].acknowledged == []
    assert offers.answer_offer(b"v=0\r\nours", 2.0) is True
    assert port.invites[0].acknowledged == [b"v=0\r\nours"]


@pytest.mark.parametrize(("is_ours", "tried_at"), [(True, 3.05), (False, 1.0)])
def test_glare_is_tried_again_later_by_the_owner_of_the_call_id_3261_14_1(offers, port, is_ours, tried_at):
    port.dialog.is_ours = is_ours
    offers.offer(b"v=0\r\nnew", (), 0.0)
    assert offers.on_invite_failure(port.invites[0], 491, "Request Pending", message(491), 0.0) is None
    port.run_until(tried_at - 0.01)
    assert len(port.invites) == 1
    port.run_until(tried_at)
    assert len(port.invites) == 2
    assert answered(port) == []


def test_offer_that_theirs_has_overtaken_is_told_as_491(offers, port, wire):
    offers.offer(b"v=0\r\nnew", (), 0.0)
    offers.on_invite_failure(port.invites[0], 491, "Request Pending", message(491), 0.0)
    receive(offers, port, wire)
    offers.answer_offer(b"v=0\r\nagreed", 0.1)
    port.run_until(5.0)
    assert len(port.invites) == 1
    assert answered(port) == [(491, None)]


def test_refused_offer_leaves_the_session_as_it_was_3261_14_1(offers, port):
    offers.offer(b"v=0\r\nnew", (), 0.0)
    assert offers.on_invite_failure(port.invites[0], 488, "Not Acceptable Here", message(488), 1.0) is None
    assert (port.descriptions.local, port.descriptions.remote) == (b"ours", b"theirs")
    assert answered(port) == [(488, None)]


@pytest.mark.parametrize(("code", "has_response", "cause"), [(408, True, "timeout"), (481, True, "remote_bye"), (503, False, "transport")])
def test_offer_that_finds_the_peer_gone_ends_the_call_3261_14_1(offers, port, code, has_response, cause):
    offers.offer(b"v=0\r\nnew", (), 0.0)
    response = message(code) if has_response else None
    assert offers.on_invite_failure(port.invites[0], code, "Reason", response, 1.0) == EndCall(cause, code, "Reason", response)


def test_refresh_repeats_the_description_and_is_not_reported_4028_7_4(offers, port):
    assert offers.refresh(0.0) is True
    assert port.invites[0].sdp == b"ours"
    offers.on_invite_success(port.invites[0], message(200, body=b"theirs"), 1.0)
    assert answered(port) == []


# -- theirs


def test_offer_of_the_peer_gets_100_and_is_reported_3261_14_2(offers, port, wire):
    assert receive(offers, port, wire) is None
    assert [reply.code for reply in port.replies] == [100]
    (event,) = port.events
    assert isinstance(event, OfferReceived)
    assert event.sdp == b"v=0\r\nnew"


@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
def test_offer_while_ours_is_open_is_491_3261_14_2(offers, port, wire, method):
    offers.offer(b"v=0", (), 0.0)
    assert receive(offers, port, wire, method).code == 491
    assert port.events == []


@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
def test_offer_while_theirs_is_unanswered_is_500_with_retry_after_3261_14_2(offers, port, wire, method):
    receive(offers, port, wire)
    refusal = receive(offers, port, wire, method)
    assert (refusal.code, refusal.headers) == (500, (("Retry-After", "5"),))


@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
def test_offer_before_the_first_invite_is_answered_is_500_3261_14_2(offers, port, wire, method):
    assert receive(offers, port, wire, method, is_busy=True).code == 500


def test_update_without_a_description_is_answered_here_3311_5_2(offers, port, wire):
    reply = receive(offers, port, wire, "UPDATE", b"")
    assert (reply.code, reply.body, port.events) == (200, b"", [])


def test_offer_by_update_is_answered_in_its_200_3311_5_2(offers, port, wire):
    receive(offers, port, wire, "UPDATE")
    assert offers.answer_offer(b"v=0\r\nagreed", 1.0) is True
    assert [(reply.code, reply.body) for reply in port.replies] == [(200, b"v=0\r\nagreed")]
    assert (port.descriptions.local, port.descriptions.remote) == (b"v=0\r\nagreed", b"v=0\r\nnew")
    assert offers.answer_offer(b"v=0", 1.0) is False


def test_refused_offer_of_the_peer_changes_nothing_3261_14_2(offers, port, wire):
    receive(offers, port, wire, "UPDATE")
    with pytest.raises(LocalProtocolError):
        offers.refuse_offer(200, "OK", 1.0)
    assert offers.refuse_offer(488, "Not Acceptable Here", 1.0) is True
    assert (port.replies[-1].code, port.descriptions.remote) == (488, b"theirs")
    assert offers.refuse_offer(488, "Not Acceptable Here", 1.0) is False


def test_answer_without_ack_ends_the_call_after_64_t1_3261_14_2(offers, port, wire):
    receive(offers, port, wire)
    offers.answer_offer(b"v=0\r\nagreed", 0.0)
    assert port.run_until(31.9) == []
    assert port.run_until(32.0) == [EndCall("no_ack")]


def test_answer_that_is_acknowledged_is_repeated_no_more_3261_13_3_1_4(offers, port, wire):
    receive(offers, port, wire)
    offers.answer_offer(b"v=0\r\nagreed", 0.0)
    assert offers.handle_ack(message("ACK"), 1.0) is True
    assert port.run_until(100.0) == []
    assert offers.handle_ack(message("ACK"), 1.0) is False


# -- the end


def test_end_of_the_call_cancels_ours_and_refuses_theirs_3261_15_1_2(offers, port, wire):
    offers.offer(b"v=0", (), 0.0)
    offers.stop(1.0)
    assert port.invites[0].is_cancelled
    other = OfferExchange(port, SessionTimer(port))
    receive(other, port, wire, "UPDATE")
    other.stop(1.0)
    assert port.replies[-1].code == 487


def test_2xx_that_comes_after_the_end_is_acknowledged_3261_13_2_2_4(offers, port):
    offers.offer(b"v=0", (), 0.0)
    offers.stop(1.0)
    offers.on_invite_success(port.invites[0], message(200, body=b"v=0"), 2.0)
    assert port.invites[0].acknowledged == [None]
    assert answered(port) == []
