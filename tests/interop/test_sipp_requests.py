"""Requests inside a call, both ways, with SIPp on the other side: REFER in each role, MESSAGE, INFO, OPTIONS, UPDATE, colliding offers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from endpoint_line import Line
from peers.sipp import Sipp
from peers.sipp_steps import Steps, sdp

from active_call.sip.events import (
    CallAnswered,
    CallConfirmed,
    CallEnded,
    CallHandle,
    IncomingCall,
    OfferAnswered,
    OfferReceived,
    OutboundInvite,
    RequestCompleted,
    RequestReceived,
    TransferProgress,
    TransferRequested,
)

OURS = b"v=0\r\no=us 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
NOTIFIED = {"Event": "refer"}


@pytest.fixture
def line() -> Iterator[Line]:
    line = Line(refer_timeout_s=2.0)
    yield line
    line.close()


class Talk:
    """A call of ours to SIPp that is answered, or one of SIPp that we have answered."""

    def __init__(self, line: Line, sipp: Sipp, call: CallHandle) -> None:
        self.line, self.sipp, self.call = line, sipp, call

    def do(self, operation: str, *arguments: Any, **options: Any) -> Any:
        """An operation of the endpoint on this call."""
        return getattr(self.line.endpoint, operation)(self.call, *arguments, time.monotonic(), **options)

    def wait(self, kind: type, count: int = 1) -> list[Any]:
        """The events of that kind, once there are so many."""
        assert self.line.run_until(lambda: len(self.line.of(kind)) >= count, 10), self.line.events
        return self.line.of(kind)

    def finish(self) -> None:
        """Hang up unless the peer does, and see that SIPp is content."""
        if not self.line.of(CallEnded):
            self.do("hang_up")
        self.line.run_until(lambda: self.line.endpoint.n_dialogs == 0 and bool(self.line.of(CallEnded)), 5)
        self.line.run_until(lambda: False, 0.2)
        result = self.sipp.result()
        assert (result.successful, result.failed) == (1, 0), result.errors


@contextmanager
def calling(line: Line, steps: Steps, folder: Path) -> Iterator[Talk]:
    """We call SIPp."""
    with Sipp(steps.write(folder / "scenario.xml"), folder, timeout_s=20) as sipp:
        sipp.start()
        invite = OutboundInvite(f"sip:+15550188@127.0.0.1:{sipp.port}", "sip:+15550100@127.0.0.1", OURS)
        talk = Talk(line, sipp, line.endpoint.invite(invite, time.monotonic()))
        talk.wait(CallAnswered)
        yield talk
        talk.finish()


@contextmanager
def called(line: Line, steps: Steps, folder: Path) -> Iterator[Talk]:
    """SIPp calls us."""
    with Sipp(steps.write(folder / "scenario.xml"), folder, target=f"127.0.0.1:{line.address.port}", timeout_s=20) as sipp:
        sipp.start()
        assert line.run_until(lambda: bool(line.of(IncomingCall)))
        talk = Talk(line, sipp, line.of(IncomingCall)[0].call)
        talk.do("answer", OURS)
        talk.wait(CallConfirmed)
        yield talk
        talk.finish()


def answering() -> Steps:
    """SIPp answers."""
    return Steps("called").is_asked("INVITE").answer(180).answer(200, body=sdp()).is_asked("ACK")


def placing() -> Steps:
    """SIPp calls and is answered."""
    return Steps("calls").invite().gets(100, optional=True).gets(200, to="1 INVITE", makes_route=True).ack()


def bye_for(steps: Steps) -> Steps:
    return steps.is_asked("BYE").answer(200, within=True)


def notified(steps: Steps, cseq: int, status: str, state: str) -> Steps:
    headers = f"Event: refer\nSubscription-State: {state}"
    return steps.ask("NOTIFY", cseq=cseq, headers=headers, body=f"SIP/2.0 {status}", content_type="message/sipfrag").gets(200)


# -- REFER, ours ---------------------------------------------------------------------------------------------------------------------------


def test_refer_that_is_accepted_is_told_step_by_step(tmp_path: Path, line: Line) -> None:
    steps = answering().is_asked("REFER", has={"Refer-To": "<sip:[+]15550177@127.0.0.1>", "Referred-By": "<sip:us@127.0.0.1>"})
    notified(steps.answer(202, within=True), 1, "100 Trying", "active;expires=60")
    notified(notified(steps, 2, "180 Ringing", "active;expires=60"), 3, "200 OK", "terminated;reason=noresource")
    with calling(line, bye_for(steps), tmp_path) as talk:
        token = talk.do("refer", "sip:+15550177@127.0.0.1", referred_by="sip:us@127.0.0.1")
        told = talk.wait(TransferProgress, 3)
        assert [(one.code, one.final) for one in told] == [(100, False), (180, False), (200, True)]
        assert [(one.token, one.code) for one in line.of(RequestCompleted)] == [(token, 202)]


@pytest.mark.parametrize(("code", "reason"), [(603, "Decline"), (403, "Forbidden"), (405, "Method Not Allowed")])
def test_refer_that_is_refused_leaves_the_call_as_it_was(tmp_path: Path, line: Line, code: int, reason: str) -> None:
    steps = answering().is_asked("REFER").answer(code, reason, within=True).is_asked("INFO").answer(200, within=True)
    with calling(line, bye_for(steps), tmp_path) as talk:
        token = talk.do("refer", "sip:+15550177@127.0.0.1")
        assert [(one.token, one.code) for one in talk.wait(RequestCompleted)] == [(token, code)]
        assert line.of(TransferProgress) == []
        talk.do("request", "INFO", body=b"x", content_type="text/plain")
        talk.wait(RequestCompleted, 2)


def test_refer_whose_target_refuses_ends_with_its_code(tmp_path: Path, line: Line) -> None:
    steps = answering().is_asked("REFER").answer(202, within=True)
    with calling(line, bye_for(notified(steps, 1, "486 Busy Here", "terminated;reason=noresource")), tmp_path) as talk:
        talk.do("refer", "sip:+15550177@127.0.0.1")
        assert [(one.code, one.reason, one.final) for one in talk.wait(TransferProgress)] == [(486, "Busy Here", True)]


def test_refer_of_which_nothing_is_told_ends_as_408(tmp_path: Path, line: Line) -> None:
    steps = answering().is_asked("REFER").answer(202, within=True)
    with calling(line, bye_for(steps), tmp_path) as talk:
        talk.do("refer", "sip:+15550177@127.0.0.1")
        assert [(one.code, one.final) for one in talk.wait(TransferProgress)] == [(408, True)]


def test_refer_answered_by_a_hang_up_ends_the_call_once(tmp_path: Path, line: Line) -> None:
    steps = answering().is_asked("REFER").answer(202, within=True).ask("BYE", cseq=1).gets(200)
    with calling(line, steps, tmp_path) as talk:
        talk.do("refer", "sip:+15550177@127.0.0.1")
        assert [one.cause for one in talk.wait(CallEnded)] == ["remote_bye"]


# -- REFER, theirs -------------------------------------------------------------------------------------------------------------------------


def test_refer_to_us_is_told_as_it_goes(tmp_path: Path, line: Line) -> None:
    steps = placing().ask("REFER", cseq=2, headers="Refer-To: <sip:third@127.0.0.1>\nReferred-By: <sip:peer@127.0.0.1>")
    steps.gets(202, to="2 REFER", has={"Contact": "sip:"})
    for status, state in (("100", "active"), ("180", "active"), ("486", "terminated")):
        steps.is_asked("NOTIFY", has={**NOTIFIED, "Subscription-State": state}, body=f"SIP/2.0 {status}").answer(200, within=True)
    with called(line, steps.ask("BYE", cseq=3).gets(200, to="3 BYE"), tmp_path) as talk:
        (asked,) = talk.wait(TransferRequested)
        assert (asked.refer_to, asked.referred_by) == ("sip:third@127.0.0.1", "<sip:peer@127.0.0.1>")
        line.endpoint.respond(asked.token, 202, "Accepted", time.monotonic())
        talk.do("notify_transfer", 180, "Ringing", final=False)
        talk.do("notify_transfer", 486, "Busy Here", final=True)
        talk.wait(CallEnded)


def test_refer_to_us_that_is_declined_has_no_subscription(tmp_path: Path, line: Line) -> None:
    steps = placing().ask("REFER", cseq=2, headers="Refer-To: <sip:third@127.0.0.1>").gets(603, to="2 REFER").pause(0.3)
    with called(line, steps.ask("BYE", cseq=3).gets(200, to="3 BYE"), tmp_path) as talk:
        (asked,) = talk.wait(TransferRequested)
        line.endpoint.respond(asked.token, 603, "Decline", time.monotonic())
        talk.wait(CallEnded)


def test_refer_to_us_that_wants_no_subscription_gets_none(tmp_path: Path, line: Line) -> None:
    """RFC 4488."""
    steps = placing().ask("REFER", cseq=2, headers="Refer-To: <sip:third@127.0.0.1>\nRefer-Sub: false\nSupported: norefersub")
    steps.gets(202, to="2 REFER", has={"Refer-Sub": "false"}).pause(0.3)
    with called(line, steps.ask("BYE", cseq=3).gets(200, to="3 BYE"), tmp_path) as talk:
        (asked,) = talk.wait(TransferRequested)
        line.endpoint.respond(asked.token, 202, "Accepted", time.monotonic())
        talk.do("notify_transfer", 200, "OK", final=True)
        talk.wait(CallEnded)


@pytest.mark.parametrize("headers", ["", "Refer-To: <sip:a@b.example>, <sip:c@d.example>", "Refer-To: <<>>"])
def test_refer_to_us_without_one_good_target_is_400(tmp_path: Path, line: Line, headers: str) -> None:
    steps = placing().ask("REFER", cseq=2, headers=headers).gets(400, to="2 REFER")
    with called(line, steps.ask("BYE", cseq=3).gets(200, to="3 BYE"), tmp_path) as talk:
        talk.wait(CallEnded)
        assert line.of(TransferRequested) == []


# -- MESSAGE, INFO, OPTIONS ----------------------------------------------------------------------------------------------------------------


def test_requests_of_the_peer_are_handed_over_and_answered(tmp_path: Path, line: Line) -> None:
    steps = placing().ask("MESSAGE", cseq=2, body="guten Tag", content_type="text/plain").gets(200, to="2 MESSAGE")
    steps.ask("INFO", cseq=3, body="Signal=5\nDuration=160", content_type="application/dtmf-relay").gets(200, to="3 INFO")
    steps.ask("OPTIONS", cseq=4).gets(200, to="4 OPTIONS", has={"Allow": "INVITE", "Accept": "application/sdp", "Supported": "timer"})
    steps.ask("SUBSCRIBE", cseq=5, headers="Event: presence").gets(405, to="5 SUBSCRIBE", has={"Allow": "REFER"})
    with called(line, steps.ask("BYE", cseq=6).gets(200, to="6 BYE"), tmp_path) as talk:
        for number in (1, 2):
            asked = talk.wait(RequestReceived, number)[-1]
            line.endpoint.respond(asked.token, 200, "OK", time.monotonic())
        talk.wait(CallEnded)
        assert [(one.request.method, one.request.body[:9]) for one in line.of(RequestReceived)] == [
            ("MESSAGE", b"guten Tag"),
            ("INFO", b"Signal=5\r"),
        ]


def test_requests_of_ours_are_answered_and_numbered_in_a_row(tmp_path: Path, line: Line) -> None:
    steps = answering()
    steps.is_asked("MESSAGE", has={"CSeq": "2 MESSAGE", "Content-Type": "text/plain"}, body="guten Tag").answer(200, within=True)
    steps.is_asked("INFO", has={"CSeq": "3 INFO", "Content-Type": "application/dtmf-relay"}, body="Signal=5").answer(200, within=True)
    steps.is_asked("OPTIONS", has={"CSeq": "4 OPTIONS"}).answer(200, within=True)
    steps.is_asked("UPDATE", has={"CSeq": "5 UPDATE"}, body="m=audio").answer(200, within=True, body=sdp(version=2))
    with calling(line, steps.is_asked("BYE", has={"CSeq": "6 BYE"}).answer(200, within=True), tmp_path) as talk:
        for number, (method, body, kind) in enumerate(
            [
                ("MESSAGE", b"guten Tag", "text/plain"),
                ("INFO", b"Signal=5\r\nDuration=160\r\n", "application/dtmf-relay"),
                ("OPTIONS", b"", ""),
                ("UPDATE", OURS, "application/sdp"),
            ]
        ):
            talk.do("request", method, body=body, content_type=kind)
            assert talk.wait(RequestCompleted, number + 1)[-1].code == 200


# -- offers that collide -------------------------------------------------------------------------------------------------------------------


def test_offer_of_ours_that_meets_theirs_is_tried_again(tmp_path: Path, line: Line) -> None:
    """RFC 3261 section 14.1: 491, and after a while the same offer with the next number."""
    steps = answering().is_asked("INVITE", has={"CSeq": "2 INVITE"}).answer(491, within=True).is_asked("ACK")
    steps.is_asked("INVITE", has={"CSeq": "3 INVITE"}, body="m=audio").answer(200, within=True, body=sdp(version=2)).is_asked("ACK")
    with calling(line, bye_for(steps), tmp_path) as talk:
        sent_at = time.monotonic()
        talk.do("offer", OURS)
        assert [(one.code, one.sdp is not None) for one in talk.wait(OfferAnswered)] == [(200, True)]
        assert 2.0 < time.monotonic() - sent_at < 5.0  # the Call-ID is ours: 2.1 to 4 s


def test_offer_of_theirs_while_ours_is_open_is_491(tmp_path: Path, line: Line) -> None:
    steps = answering().is_asked("INVITE", keep="ours", has={"CSeq": "2 INVITE"})
    steps.ask("UPDATE", cseq=1, body=sdp("sendonly", version=2)).gets(491, to="1 UPDATE")
    steps.answer(200, within=True, to="ours", body=sdp(version=2)).is_asked("ACK")
    with calling(line, bye_for(steps), tmp_path) as talk:
        talk.do("offer", OURS)
        talk.wait(OfferAnswered)
        assert line.of(OfferReceived) == []


def test_offer_of_theirs_while_the_last_one_is_unanswered_is_500(tmp_path: Path, line: Line) -> None:
    """RFC 3261 section 14.2."""
    steps = placing().ask("UPDATE", cseq=2, body=sdp("sendonly", version=2), retransmits=False)
    steps.ask("UPDATE", cseq=3, body=sdp("inactive", version=3), retransmits=False)
    steps.gets(500, to="3 UPDATE", has={"Retry-After": "[0-9]+"}).gets(200, to="2 UPDATE")
    with called(line, steps.ask("BYE", cseq=4).gets(200, to="4 BYE"), tmp_path) as talk:
        talk.wait(OfferReceived)
        line.run_until(lambda: False, 0.3)
        talk.do("answer_offer", OURS)
        talk.wait(CallEnded)
        assert len(line.of(OfferReceived)) == 1


def test_offer_asked_of_us_is_made_and_answered_in_the_ack(tmp_path: Path, line: Line) -> None:
    steps = placing().ask("INVITE", cseq=2).gets(100, optional=True).gets(200, to="2 INVITE", body="m=audio 40000")
    steps.ack(cseq=2, body=sdp(version=2)).ask("BYE", cseq=3).gets(200, to="3 BYE")
    with called(line, steps, tmp_path) as talk:
        assert [one.sdp for one in talk.wait(OfferReceived)] == [None]
        talk.do("answer_offer", OURS)
        assert [one.sdp is not None for one in talk.wait(OfferAnswered)] == [True]
        talk.wait(CallEnded)


def test_offer_that_we_ask_for_is_answered_in_our_ack(tmp_path: Path, line: Line) -> None:
    steps = answering().is_asked("INVITE", has={"CSeq": "2 INVITE"}).answer(200, within=True, body=sdp(version=2))
    steps.is_asked("ACK", has={"CSeq": "2 ACK", "Content-Type": "application/sdp"}, body="m=audio 40000")
    with calling(line, bye_for(steps), tmp_path) as talk:
        talk.do("offer", None)
        (answered,) = talk.wait(OfferAnswered)
        assert answered.sdp is not None
        talk.do("answer_offer", OURS)
        line.run_until(lambda: False, 0.2)
