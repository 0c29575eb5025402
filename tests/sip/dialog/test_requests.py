"""Requests of ours and BYE, by themselves: a fake endpoint in the place of the real one (RFC 3261 §8.1.3, §15.1.1, §22.2)."""

from functools import partial

import pytest
from dialog_port import message
from endpoint_port import FakeEndpointPort

from active_call.base.errors import LocalProtocolError
from active_call.sip.dialog.bye import Bye
from active_call.sip.dialog.dialog import Dialog
from active_call.sip.dialog.invite_client import ClientInvite
from active_call.sip.dialog.replaces import find_replaced
from active_call.sip.dialog.requests import OutgoingRequest, in_dialog, outside
from active_call.sip.events import Address, Credentials, Flow
from active_call.sip.ports import DialogEntry
from active_call.testing.virtual_time import CountingRandomness

FLOW = Flow("udp", Address("192.0.2.1", 5060), Address("198.51.100.1", 5060))
ALICE = (Credentials("alice", "secret"),)
CHALLENGE = 'Digest realm="carrier", nonce="n1", qop="auth"'


@pytest.fixture
def port():
    return FakeEndpointPort(CountingRandomness())


@pytest.fixture
def dialog():
    made = Dialog("id", "<sip:us@a>;tag=1", "1", "<sip:them@b>;tag=2", "2", FLOW)
    made.remote_target = "sip:them@198.51.100.1"
    return made


def send(port, dialog, credentials=ALICE):
    outcomes = []
    make = partial(in_dialog, port, dialog, "INFO", (("X-One", "1"),), b"text", "text/plain")
    request = OutgoingRequest(port, make, credentials, lambda *outcome: outcomes.append(outcome[:2]))
    request.send(0.0)
    return request, outcomes


def test_a_request_in_a_dialog_carries_headers_body_and_our_name(port, dialog):
    send(port, dialog)
    (sent,) = port.sent
    headers = sent.request.headers
    assert (headers.get("X-One"), headers.get("Content-Type"), headers.get("User-Agent")) == ("1", "text/plain", "u")
    assert sent.request.body == b"text"
    assert sent.request.uri == "sip:them@198.51.100.1"


def test_a_challenge_is_met_once_with_the_next_cseq_and_the_second_is_the_outcome_sec_22_2(port, dialog):
    request, outcomes = send(port, dialog)
    request.on_response(None, message(407, "1 INFO", Proxy_Authenticate=CHALLENGE), FLOW, 0.1)
    first, second = port.sent
    assert first.request.headers.get("Proxy-Authorization") is None
    assert 'username="alice"' in second.request.headers.get("Proxy-Authorization")
    assert second.request.cseq.number == first.request.cseq.number + 1
    request.on_response(None, message(407, "2 INFO", Proxy_Authenticate=CHALLENGE), FLOW, 0.2)
    assert len(port.sent) == 2
    assert outcomes == [(407, "Reason")]


def test_without_credentials_the_challenge_is_the_outcome(port, dialog):
    request, outcomes = send(port, dialog, ())
    request.on_response(None, message(401, "1 INFO", WWW_Authenticate=CHALLENGE), FLOW, 0.1)
    assert (len(port.sent), outcomes) == (1, [(401, "Reason")])


def test_a_provisional_response_is_no_outcome_and_silence_is_one(port, dialog):
    request, outcomes = send(port, dialog)
    request.on_response(None, message(100, "1 INFO"), FLOW, 0.1)
    assert outcomes == []
    request.on_no_response(None, 408, "Request Timeout", 32.0)
    assert outcomes == [(408, "Request Timeout")]


def test_where_the_next_attempt_cannot_be_made_the_challenge_is_the_outcome(port, dialog):
    request, outcomes = send(port, dialog)
    port.refuses = LocalProtocolError("no listener")
    request.on_response(None, message(401, "1 INFO", WWW_Authenticate=CHALLENGE), FLOW, 0.1)
    assert outcomes == [(401, "Reason")]


@pytest.mark.parametrize(
    ("proxy", "route"),
    [(None, None), ("sip:edge.example", "<sip:edge.example;lr>"), ("<sip:edge.example;lr;x=1>", "<sip:edge.example;lr;x=1>")],
)
def test_a_request_outside_a_dialog_goes_by_its_proxy_sec_8_1_1(port, proxy, route):
    request, target = outside(
        port,
        "OPTIONS",
        "sip:carrier.example",
        from_value="<sip:us@a>;tag=1",
        to_uri="sip:carrier.example",
        call_id="c",
        cseq=7,
        proxy=proxy,
    )
    assert request.headers.get("Route") == route
    assert target.host == ("edge.example" if proxy else "carrier.example")
    assert target.transport == "tcp"


def test_a_bye_serves_its_dialog_until_the_outcome_sec_15_1(port, dialog):
    bye = Bye(port, dialog, (), 0.0, (("Reason", "Q.850;cause=16"),))
    (sent,) = port.sent
    assert (sent.request.method, sent.request.headers.get("Reason")) == ("BYE", "Q.850;cause=16")
    assert port.users == {dialog.key: bye}
    for method in ("BYE", "INFO"):
        bye.handle_request(None, message(method), FLOW, 0.1)
    assert port.replies == [200, 481]
    sent.user.on_response(None, message(200, "1 BYE"), FLOW, 0.2)
    assert port.users == {}


def test_a_bye_that_cannot_be_sent_is_a_fault_of_that_call(port, dialog):
    port.refuses = LocalProtocolError("no listener")
    Bye(port, dialog, (), 0.0)
    assert port.users == {}
    assert port.faults == [("bye", "no listener", "id")]


def test_a_late_bye_outcome_leaves_the_dialog_to_its_new_user(port, dialog):
    Bye(port, dialog, (), 0.0)
    port.add_dialog(dialog, "another")
    port.sent[0].user.on_no_response(None, 408, "Request Timeout", 32.0)
    assert port.users == {dialog.key: "another"}


def test_an_invite_without_an_answer_is_cancelled_by_its_alarm_sec_9_1(port, dialog):
    invite = ClientInvite(port, None, partial(in_dialog, port, dialog, "INVITE", ()), ())
    invite.send(0.0, give_up_s=20.0)
    assert port.timers.next_at() == 20.0
    port.timers.run_due(20.0)
    assert invite.is_cancelled
    assert port.sent[0].is_withdrawn


def test_the_ack_to_a_2xx_has_the_cseq_and_the_credentials_of_its_invite_sec_13_2_2_4(port, dialog):
    invite = ClientInvite(port, None, partial(in_dialog, port, dialog, "INVITE", ()), ALICE)
    invite.send(0.0)
    port.sent[0].request.headers.add("Authorization", "Digest x")
    invite.acknowledge(dialog, 0.1, b"v=0")
    (ack,) = port.acks
    assert (ack.method, ack.cseq.number, ack.body) == ("ACK", invite.request.cseq.number, b"v=0")
    assert ack.headers.get("Authorization") == "Digest x"


def replaced(port, dialog, user, value, supported=("replaces",)):
    request = message("INVITE", Replaces=value)
    return find_replaced({dialog.key: DialogEntry(dialog, user)}, supported, request)


@pytest.mark.parametrize(
    ("value", "supported", "code"),
    [
        ("id;to-tag=1;from-tag=2", (), None),
        ("id;to-tag=1", ("replaces",), 400),
        ("other;to-tag=1;from-tag=2", ("replaces",), 481),
        ("id;to-tag=1;from-tag=2", ("replaces",), 603),
    ],
)
def test_replaces_without_a_call_to_replace_rfc_3891_sec_3(port, dialog, value, supported, code):
    reply = replaced(port, dialog, object(), value, supported)
    assert (reply.code if reply is not None else None) == code
