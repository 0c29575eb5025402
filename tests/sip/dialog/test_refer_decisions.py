"""REFER behind a fake port, both roles: what is sent, reported and decided (RFC 3515, RFC 3420, RFC 4488, RFC 6665)."""

from __future__ import annotations

import pytest
from dialog_port import FakePort, message

from active_call.base.errors import LocalProtocolError
from active_call.sip.dialog.refer import Refers, WantedTransfer
from active_call.sip.events import TransferProgress
from active_call.sip.responses import Reply


@pytest.fixture
def port(wire):
    return FakePort(wire.UDP, wire.Randomness())


@pytest.fixture
def refers(port):
    return Refers(port)


def accepted(refers, **headers):
    """A REFER of ours that the peer has accepted."""
    token = refers.refer("sip:target@c", None, (), 0.0)
    refers.on_refer_outcome(token, message(202, "2 REFER", **headers), 0.0)
    return token


def notify(refers, text="", now=1.0, **headers):
    options = {"Event": "refer", "Subscription_State": "active;expires=60", **headers}
    request = message("NOTIFY", **options)
    request.body = text.encode()
    return refers.handle_notify(request, now)


def progress(port):
    return [(event.code, event.final) for event in port.events if isinstance(event, TransferProgress)]


# -- ours


def test_refer_names_the_target_and_who_asks_3515_2_1_3892_2_1(refers, port):
    refers.refer("sip:target@c", "sip:us@a", (("X-A", "b"),), 0.0)
    assert port.requests[0].method == "REFER"
    assert port.requests[0].headers == {"Refer-To": "<sip:target@c>", "Referred-By": "<sip:us@a>", "X-A": "b"}


def test_refer_to_what_is_no_address_is_refused_here(refers):
    with pytest.raises(LocalProtocolError):
        refers.refer("not an address", None, (), 0.0)


def test_progress_is_reported_until_the_final_status_3515_2_4_5(refers, port):
    accepted(refers)
    assert notify(refers, "SIP/2.0 180 Ringing").code == 200
    assert notify(refers, "SIP/2.0 200 OK", Subscription_State="terminated;reason=noresource").code == 200
    assert progress(port) == [(180, False), (200, True)]
    assert notify(refers, "SIP/2.0 200 OK") == Reply(481, "Subscription Does Not Exist")


def test_notify_without_a_refer_of_ours_is_481_6665_4_1_3(refers):
    assert notify(refers, "SIP/2.0 100 Trying") == Reply(481, "Subscription Does Not Exist")


def test_peer_that_stays_silent_ends_the_transfer_with_408(refers, port):
    accepted(refers)
    port.run_until(59.9)
    assert progress(port) == []
    port.run_until(60.0)
    assert progress(port) == [(408, True)]


def test_peer_that_announces_to_tell_nothing_ends_the_transfer_with_202_4488_4(refers, port):
    accepted(refers, Refer_Sub="false")
    assert progress(port) == [(202, True)]
    assert port.run_until(1000.0) == []


def test_refused_refer_reports_no_progress(refers, port):
    token = refers.refer("sip:target@c", None, (), 0.0)
    refers.on_refer_outcome(token, message(603, "2 REFER"), 0.0)
    assert notify(refers, "SIP/2.0 100 Trying").code == 481
    assert progress(port) == []


# -- theirs


def test_refer_of_the_peer_is_a_wanted_transfer_with_its_replaces_3515_2_4_2_3891(refers):
    request = message("REFER", Refer_To="<sip:t@c?Replaces=id%3Bto-tag%3D1>", Referred_By="<sip:them@b>")
    assert refers.judge_refer(request) == WantedTransfer("sip:t@c", "<sip:them@b>", "id;to-tag=1", (("Replaces", "id;to-tag=1"),))


@pytest.mark.parametrize(
    ("refer_to", "code"),
    [("", 400), ("<sip:a@b>, <sip:c@d>", 400), ("<sip:t@c;method=MESSAGE>", 403), ("<sip:t@c?X=" + "y" * 1100 + ">", 400)],
    ids=["none", "two", "another method", "too many headers"],
)
def test_refer_that_cannot_be_met_is_refused_3515_2_4_2(refers, refer_to, code):
    request = message("REFER", **({"Refer_To": refer_to} if refer_to else {}))
    assert refers.judge_refer(request).code == code


def test_refer_before_the_answer_is_403(refers, port):
    port.is_answered = False
    assert refers.judge_refer(message("REFER", Refer_To="<sip:t@c>")).code == 403


def test_accepted_refer_is_told_100_at_once_and_then_what_the_leg_says_3515_2_4_4(refers, port):
    refers.accept(message("REFER"), 0.0)
    assert refers.notify(180, "Ringing", 1.0, is_final=False) is True
    assert refers.notify(200, "OK", 2.0, is_final=True) is True
    assert [request.body for request in port.requests] == [b"SIP/2.0 100 Trying\r\n", b"SIP/2.0 180 Ringing\r\n", b"SIP/2.0 200 OK\r\n"]
    assert [request.headers["Subscription-State"] for request in port.requests] == [
        "active;expires=180",
        "active;expires=180",
        "terminated;reason=noresource",
    ]
    assert refers.notify(200, "OK", 3.0, is_final=True) is False


def test_second_refer_of_a_call_has_its_cseq_as_id_3515_2_4_6(refers, port):
    refers.accept(message("REFER", cseq="7 REFER"), 0.0)
    refers.accept(message("REFER", cseq="9 REFER"), 0.0)
    assert [request.headers["Event"] for request in port.requests] == ["refer", "refer;id=9"]


def test_refer_that_wants_no_subscription_is_told_nothing_4488_4(refers, port):
    refers.accept(message("REFER", Refer_Sub="false"), 0.0)
    assert refers.notify(200, "OK", 1.0, is_final=True) is True
    assert port.requests == []


@pytest.mark.parametrize("code", [408, 481, 489, 503])
def test_refused_notify_ends_the_subscription_6665_4_2_2(refers, port, code):
    refers.accept(message("REFER"), 0.0)
    assert port.requests[0].on_outcome(code, "Reason", None, 1.0) is None
    refers.notify(200, "OK", 1.0, is_final=True)
    assert len(port.requests) == 1


def test_end_of_the_call_ends_what_was_to_be_told(refers, port):
    accepted(refers)
    refers.accept(message("REFER"), 0.0)
    refers.stop()
    assert refers.notify(200, "OK", 1.0, is_final=True) is False
    assert port.run_until(1000.0) == []
    assert progress(port) == []
