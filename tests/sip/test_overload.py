"""What an endpoint that accepts no calls costs, and what it must not do: refusals come before validation, and stay refusals."""

from __future__ import annotations

import pytest

from active_call.sip import dispatch
from active_call.sip.events import IncomingCall, MessageDropped, RequestRefused


def test_refused_invite_that_is_repeated_later_does_not_become_a_call_3261_17_2_1(bench, wire):
    """The repetition may have waited in the socket while the loop was busy, or the 503 was lost."""
    invite = wire.request("INVITE", branch="z9hG4bKb", call_id="other", body=wire.OFFER)
    bench.endpoint.set_accepting(False, retry_after_s=12)
    (first,) = bench.feed(invite)
    bench.endpoint.set_accepting(True)
    (again,) = bench.feed(invite)
    assert (again.code, again.get("Retry-After"), again.get("To")) == (503, "12", first.get("To"))
    assert not bench.of(IncomingCall)
    assert [m.code for m in bench.feed(wire.request("INVITE", branch="z9hG4bKc", call_id="next", body=wire.OFFER))] == [100]


def test_call_is_refused_before_its_invite_is_validated(bench, wire, monkeypatch):
    """In an overload nearly every message is such an INVITE: its validation took as long as everything else."""
    validated = []
    monkeypatch.setattr(dispatch, "validate_request", lambda request, **_: validated.append(request.method))
    bench.endpoint.set_accepting(False)
    (busy,) = bench.feed(wire.request("INVITE", body=wire.OFFER))
    assert (busy.code, validated) == (503, [])
    (refused,) = bench.of(RequestRefused)
    assert (refused.rule, refused.method, refused.code) == ("not_accepting", "INVITE", 503)


def test_call_in_progress_is_served_while_no_calls_are_accepted(bench, wire):
    invite = wire.request("INVITE", body=wire.OFFER)
    (trying,) = bench.feed(invite)
    bench.endpoint.set_accepting(False)
    assert [m.code for m in bench.feed(invite)] == [trying.code]  # a repetition of the INVITE of a call
    call = bench.of(IncomingCall)[0].call
    (answer,) = bench.do(lambda now: bench.endpoint.answer(call, wire.ANSWER, now))
    bench.feed(wire.request("ACK", branch="z9hG4bKa", to=answer.get("To")))
    again = wire.request("INVITE", branch="z9hG4bKr", cseq=101, to=answer.get("To"), body=wire.OFFER)
    assert [m.code for m in bench.feed(again)] == [100]


@pytest.mark.parametrize("missing", [b"From: ", b"Call-ID: ", b"CSeq: "])
def test_invite_without_a_header_that_the_response_copies_is_malformed_while_no_calls_are_accepted(bench, wire, missing):
    lines = wire.request("INVITE", body=wire.OFFER).split(b"\r\n")
    bench.endpoint.set_accepting(False)
    sent = bench.feed(b"\r\n".join(line for line in lines if not line.startswith(missing)))
    assert [m.code for m in sent if m.code != 400] == []


@pytest.mark.parametrize("written", [b"\r\nTo: ", b"\r\nt : ", b"\r\nTO:\r\n  "])
def test_ack_to_a_refusal_is_ignored_however_it_is_written(bench, wire, written):
    bench.endpoint.set_accepting(False)
    (busy,) = bench.feed(wire.request("INVITE", body=wire.OFFER))
    bench.events.clear()
    ack = wire.request("ACK", to=busy.get("To"))
    assert b"\r\nTo: " in ack
    assert bench.feed(ack.replace(b"\r\nTo: ", written)) == []
    assert bench.events == []


def test_ack_with_the_tag_of_a_call_is_never_taken_for_one_to_a_refusal(bench, wire):
    bench.feed(wire.request("INVITE", body=wire.OFFER))
    call = bench.of(IncomingCall)[0].call
    (answer,) = bench.do(lambda now: bench.endpoint.answer(call, wire.ANSWER, now))
    assert dispatch.STATELESS_TAG not in answer.get("To")
    stray = wire.request("ACK", branch="z9hG4bKstray", to="<sip:a@b>;tag=unknown")
    bench.feed(stray)
    assert [event.why for event in bench.of(MessageDropped)] == ["stray_ack"]
