"""The session timer behind a fake port: what it asks for, when it refreshes, and what it decides (RFC 4028)."""

from __future__ import annotations

import pytest
from dialog_port import FakePort, message

from active_call.sip.dialog.decisions import EndCall, RefreshByInvite
from active_call.sip.dialog.session_timer import SessionTimer


@pytest.fixture
def port(wire):
    return FakePort(wire.UDP, wire.Randomness())


def agreed(port, *, interval_s=100, refresher="uac", allow="INVITE, UPDATE"):
    """A timer to which the peer has agreed at 0 s."""
    timer = SessionTimer(port)
    timer.take_response(message(200, Session_Expires=f"{interval_s};refresher={refresher}", Allow=allow), 0.0)
    return timer


def test_first_request_asks_for_the_interval_of_the_endpoint_and_names_nobody_4028_7_1(port):
    port.dialog = None
    assert SessionTimer(port).request_headers() == (("Session-Expires", "1800"),)
    assert SessionTimer(port, 600).request_headers() == (("Session-Expires", "600"),)
    assert SessionTimer(port, 0).request_headers() == ()


def test_refresh_goes_by_update_at_half_the_interval_4028_10(port):
    agreed(port)
    assert port.run_until(49.9) == []
    assert port.requests == []
    port.run_until(50.0)
    (update,) = port.requests
    assert (update.method, update.headers["Session-Expires"]) == ("UPDATE", "100;refresher=uac")


def test_peer_without_update_is_refreshed_by_reinvite_4028_7_4(port):
    agreed(port, allow="INVITE")
    assert port.run_until(50.0) == [RefreshByInvite()]
    assert port.requests == []


def test_refresh_that_must_wait_is_decided_again_after_5_s(port):
    timer = agreed(port, allow="INVITE")
    port.is_active = False
    assert port.run_until(54.9) == []
    port.is_active = True
    assert port.run_until(60.0) == [RefreshByInvite()] * 2
    timer.on_refresh_sent()
    assert port.run_until(1000.0) == []


def test_peer_that_does_not_refresh_is_hung_up_on_a_third_early_4028_10(port):
    agreed(port, interval_s=90, refresher="uas")
    assert port.run_until(59.9) == []
    (decision,) = port.run_until(60.0)
    assert (decision.cause, decision.reason) == ("session_expired", "Session expired")
    assert decision.bye_headers == (("Reason", 'SIP;cause=408;text="Session expired"'),)


def test_expiry_before_the_ack_waits_for_the_ack_3261_15(port):
    agreed(port, interval_s=90, refresher="uas")
    port.is_active = False
    assert port.run_until(60.0) == []
    port.is_active = True
    assert [one.cause for one in port.run_until(65.0)] == ["session_expired"]


@pytest.mark.parametrize(("code", "cause"), [(408, "timeout"), (481, "remote_bye")])
def test_refresh_that_finds_no_dialog_ends_the_call_4028_10(port, code, cause):
    agreed(port)
    port.run_until(50.0)
    response = message(code)
    assert port.requests[0].on_outcome(code, "Reason", response, 50.0) == EndCall(cause, code, "Reason", response)


def test_refresh_that_cannot_be_sent_ends_the_call_as_transport_3261_8_1_3_1(port):
    agreed(port)
    port.run_until(50.0)
    assert port.requests[0].on_outcome(503, "no route", None, 50.0) == EndCall("transport", 503, "no route", None)


def test_update_that_the_peer_does_not_take_is_followed_by_a_reinvite(port):
    agreed(port)
    port.run_until(50.0)
    assert port.requests[0].on_outcome(405, "Method Not Allowed", message(405), 50.0) == RefreshByInvite()


def test_422_raises_the_interval_once_and_sends_again_4028_7_3(port):
    agreed(port)
    port.run_until(50.0)
    assert port.requests[0].on_outcome(422, "Too Small", message(422, Min_SE="300"), 50.0) is None
    assert (port.requests[1].headers["Session-Expires"], port.requests[1].headers["Min-SE"]) == ("300;refresher=uac", "300")
    assert port.requests[1].on_outcome(422, "Too Small", message(422, Min_SE="600"), 50.0) is None
    assert len(port.requests) == 2


def test_refused_refresh_is_tried_again_before_the_peer_would_hang_up_4028_10(port):
    agreed(port)
    port.run_until(50.0)
    port.requests[0].on_outcome(500, "Busy", message(500), 50.0)
    port.run_until(59.1)  # half of what is left until 100 - 32 s
    assert len(port.requests) == 2


def test_answer_names_the_caller_unless_it_cannot_refresh_4028_9(port):
    timer = SessionTimer(port)
    can = message("INVITE", Session_Expires="100;refresher=uac", Supported="timer")
    assert timer.answer(can, 0.0) == (("Session-Expires", "100;refresher=uac"), ("Require", "timer"))
    cannot = message("INVITE", Session_Expires="100;refresher=uac")
    assert timer.answer(cannot, 0.0) == (("Session-Expires", "100;refresher=uas"),)


def test_timer_that_is_stopped_decides_nothing_more(port):
    timer = agreed(port)
    port.run_until(50.0)
    timer.stop()
    assert port.requests[0].on_outcome(481, "Gone", message(481), 51.0) is None
    assert port.run_until(1000.0) == []


def test_endpoint_without_timer_takes_no_part_4028_4(wire):
    port = FakePort(wire.UDP, wire.Randomness(), supported=("100rel",))
    timer = agreed(port)
    assert (timer.request_headers(), timer.answer(message("UPDATE", Session_Expires="90"), 0.0)) == ((), ())
    assert port.run_until(1000.0) == []


@pytest.mark.parametrize("interval_s", [0, 1800])
def test_peer_is_asked_by_update_whether_it_still_has_the_call_with_and_without_an_interval(port, interval_s):
    timer = SessionTimer(port, interval_s)
    timer.answer(message("INVITE", Allow="INVITE, UPDATE"), 0.0)
    assert timer.check_peer(7.0) is None
    (update,) = port.requests
    assert update.method == "UPDATE" and update.body == b""
    response = message(481)
    assert update.on_outcome(481, "Gone", response, 7.1) == EndCall("remote_bye", 481, "Gone", response)
    assert update.on_outcome(200, "OK", message(200), 7.1) is None


def test_peer_without_update_is_asked_by_reinvite_and_before_the_ack_not_at_all_3261_14_1(port):
    timer = SessionTimer(port, 0)
    assert timer.check_peer(7.0) == RefreshByInvite()
    port.is_active = False
    assert timer.check_peer(7.0) is None
    assert port.requests == []
