"""How calls come about and end, with SIPp on the other side: loss, crossing messages, redirection, forks, reliable progress, 422."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from peers.process import wait_until
from peers.sipp import Sipp
from peers.sipp_steps import Steps, sdp
from running_server import Server, running_server

from ports import free_port

PLAYBOOK = "---\nllm: {provider: script}\ngreeting: Hello.\n---\n# Scene: main\n\n## hello\nHello.\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("server"), PLAYBOOK, extra="media_workers = 1") as running:
        yield running


def caller(steps: Steps, folder: Path, server: Server, **options: Any) -> Sipp:
    options = {"timeout_s": 30, **options}
    return Sipp(steps.write(folder / "scenario.xml"), folder, target=f"127.0.0.1:{server.udp_port}", **options)


def called(steps: Steps, folder: Path, **options: Any) -> Sipp:
    return Sipp(steps.write(folder / "scenario.xml"), folder, timeout_s=30, **options)


def assert_played(sipp: Sipp, server: Server, calls: int = 1) -> None:
    result = sipp.result()
    assert (result.successful, result.failed) == (calls, 0), result.errors + server.log[-2500:]


def a_call(server: Server, port: int, transport: str = "udp") -> str:
    callee = f"sip:+15550188@127.0.0.1:{port};transport={transport}"
    return str(server.post("/call", {"callee": callee, "caller": "+15550100", "playbook": "main.md"})["session_id"])


def is_in(server: Server, session_id: str, phase: str) -> bool:
    """Whether the call is ringing or answered within five seconds."""
    time_of = {"ringing": "ringTime", "answered": "answerTime"}[phase]

    def found() -> bool:
        return any(one["id"] == session_id and one[time_of] for one in server.get("/list")["active_calls"])

    return wait_until(found, 5)


def record_of(server: Server, session_id: str) -> dict[str, Any]:
    assert wait_until(lambda: any(one["sessionId"] == session_id for one in server.records()), 20), server.log[-2000:]
    return next(one for one in server.records() if one["sessionId"] == session_id)


# -- loss and repetition -----------------------------------------------------------------------------------------------------------------


def test_calls_over_a_line_that_loses_every_fifth_message_all_come_about(tmp_path: Path, server: Server) -> None:
    """The pause covers most repetitions of the 200: SIPp takes one that comes after its BYE for the answer to that."""
    n_before = len(server.records())
    steps = Steps("calls").invite().gets(100, optional=True).gets(180, optional=True).gets(200, to="1 INVITE", makes_route=True)
    steps.ack().pause(4).ask("BYE", cseq=2).gets(200)
    with caller(steps, tmp_path, server, calls=40, rate=20, limit=40, lost_percent=20, timeout_s=60) as sipp:
        result = sipp.result()
    assert (result.successful, result.failed) == (40, 0), result.errors
    assert result.retransmissions > 20
    records = server.wait_records(n_before + 40, 45)[n_before:]
    assert {record["status"] for record in records} == {"answered"}
    assert wait_until(lambda: server.health()["calls"] == 0, 5)


def test_200_without_ack_is_repeated_over_tcp_as_well(tmp_path: Path, server: Server) -> None:
    """RFC 3261 section 13.3.1.4: the core repeats it over any transport. (Over UDP, SIPp keeps repetitions to itself.)"""
    steps = Steps("calls").invite(retransmits=False).gets(100, optional=True).gets(180, optional=True)
    for _ in range(3):
        steps.gets(200, to="1 INVITE", makes_route=True)
    with caller(steps.ack().ask("BYE", cseq=2).gets(200, to="2 BYE"), tmp_path, server, transport="t1") as sipp:
        assert_played(sipp, server)


def test_bye_that_overtakes_the_ack_is_answered(tmp_path: Path, server: Server) -> None:
    steps = Steps("calls").invite().gets(100, optional=True).gets(180, optional=True).gets(200, to="1 INVITE", makes_route=True)
    with caller(steps.ask("BYE", cseq=2).gets(200, to="2 BYE").ack(), tmp_path, server) as sipp:
        assert_played(sipp, server)


def test_reason_of_the_callers_bye_is_told_with_its_q850_value(tmp_path: Path, server: Server) -> None:
    """RFC 3326."""
    steps = Steps("calls").invite().gets(100, optional=True).gets(180, optional=True).gets(200, to="1 INVITE", makes_route=True).ack()
    steps.ask("BYE", cseq=2, headers='Reason: Q.850;cause=31;text="Normal, unspecified"').gets(200, to="2 BYE")
    with caller(steps, tmp_path, server) as sipp:
        assert_played(sipp, server)

    def told() -> list[dict[str, Any]]:
        """What the records say of hang-ups with a reason. Other tests use this server, and their records may come late."""
        hangups = [event for record in server.records() for event in record["events"] if event["event"] == "hangup"]
        return [hangup["extra"] for hangup in hangups if hangup.get("extra")]

    server.wait(lambda: {"cause": "remote_bye", "reasonText": "Normal, unspecified", "q850": 31} in told(), 10, "the reason in a record")


# -- CANCEL ------------------------------------------------------------------------------------------------------------------------------


def test_cancel_that_comes_after_the_200_changes_nothing(tmp_path: Path, server: Server) -> None:
    """RFC 3261 section 9.2: it is answered, and the call goes on."""
    steps = Steps("calls").invite().gets(100, optional=True).gets(180, optional=True).gets(200, to="1 INVITE", makes_route=True)
    steps.cancel().gets(200, to="1 CANCEL").ack().pause(0.3)
    with caller(steps.ask("BYE", cseq=2).gets(200, to="2 BYE"), tmp_path, server) as sipp:
        assert_played(sipp, server)


def test_our_cancel_that_crosses_a_200_is_followed_by_ack_and_bye(tmp_path: Path, server: Server) -> None:
    """RFC 3261 sections 9.1 and 15: the call came about after all, and is ended."""
    steps = Steps("called").is_asked("INVITE", keep="invite").answer(180).is_asked("CANCEL").answer(200, within=True)
    steps.answer(200, to="invite", body=sdp()).is_asked("ACK", has={"CSeq": "1 ACK"}).is_asked("BYE").answer(200, within=True)
    with called(steps, tmp_path) as sipp:
        sipp.start()
        session_id = a_call(server, sipp.port)
        assert is_in(server, session_id, "ringing"), server.log[-2000:]
        server.get(f"/kill/{session_id}")
        assert_played(sipp, server)
    assert record_of(server, session_id)["hangupBy"] == "api"


# -- redirection, forks --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [300, 301, 302, 305])
def test_redirection_is_followed_once_to_its_first_usable_contact(tmp_path: Path, server: Server, code: int) -> None:
    answering = Steps("called").is_asked("INVITE", has={"CSeq": "2 INVITE"}).answer(200, body=sdp()).is_asked("ACK")
    with called(answering.is_asked("BYE").answer(200, within=True), tmp_path / "second") as second:
        second.start()
        contacts = f"Contact: <mailto:nobody@example.com>, <sip:+15550177@127.0.0.1:{second.port}>;q=0.5"
        steps = Steps("called").is_asked("INVITE", has={"CSeq": "1 INVITE"}).answer(code, headers=contacts).is_asked("ACK")
        with called(steps, tmp_path / "first") as first:
            first.start()
            session_id = a_call(server, first.port)
            assert_played(first, server)
            assert is_in(server, session_id, "answered"), server.log[-2000:]
            server.get(f"/kill/{session_id}")
            assert_played(second, server)
    assert record_of(server, session_id)["status"] == "answered"


def test_redirection_of_a_redirection_ends_the_call(tmp_path: Path, server: Server) -> None:
    port = free_port()
    steps = Steps("called").is_asked("INVITE").answer(302, headers=f"Contact: <sip:a@127.0.0.1:{port}>").is_asked("ACK")
    with called(steps, tmp_path / "second", port=port) as second, called(steps, tmp_path / "first") as first:
        second.start()
        first.start()
        session_id = a_call(server, first.port)
        assert_played(first, server)
        assert_played(second, server)
    record = record_of(server, session_id)
    assert (record["status"], record["sipCode"]) == ("rejected", 302)


def test_fork_with_three_early_dialogs_is_answered_by_the_second(tmp_path: Path, server: Server) -> None:
    """RFC 3261 section 13.2.2.4: the 2xx chooses its early dialog; the ACK and the BYE go there."""
    steps = Steps("called").is_asked("INVITE", keep="invite").answer(100)
    for tag in ("one", "two", "three"):
        steps.answer(183, tag=tag, body=sdp())
    steps.answer(200, tag="two", body=sdp()).is_asked("ACK", has={"To": "tag=[0-9]+two"})
    steps.is_asked("BYE", has={"To": "tag=[0-9]+two"}).answer(200, within=True)
    with called(steps, tmp_path) as sipp:
        sipp.start()
        session_id = a_call(server, sipp.port)
        assert is_in(server, session_id, "answered"), server.log[-2000:]
        server.get(f"/kill/{session_id}")
        assert_played(sipp, server)
    assert record_of(server, session_id)["status"] == "answered"


def test_fork_that_answers_twice_has_the_second_answer_acknowledged_and_hung_up(tmp_path: Path, server: Server) -> None:
    steps = Steps("called").is_asked("INVITE", keep="invite").answer(183, tag="one", body=sdp()).answer(183, tag="two", body=sdp())
    steps.answer(200, tag="one", body=sdp()).is_asked("ACK", has={"To": "tag=[0-9]+one"})
    steps.answer(200, tag="two", to="invite", body=sdp()).is_asked("ACK", has={"To": "tag=[0-9]+two"})
    steps.is_asked("BYE", has={"To": "tag=[0-9]+two"}).answer(200, within=True)
    steps.is_asked("BYE", has={"To": "tag=[0-9]+one"}).answer(200, within=True)
    with called(steps, tmp_path) as sipp:
        sipp.start()
        session_id = a_call(server, sipp.port)
        assert is_in(server, session_id, "answered"), server.log[-2000:]
        wait_until(lambda: False, 0.5)
        server.get(f"/kill/{session_id}")
        assert_played(sipp, server)
    assert record_of(server, session_id)["status"] == "answered"


# -- reliable progress ---------------------------------------------------------------------------------------------------------------------


def test_reliable_progress_of_the_callee_is_acknowledged_in_order(tmp_path: Path, server: Server) -> None:
    """RFC 3262 section 4: a PRACK each, with the numbers of the response; the INVITE's number stays its own."""
    reliable = "Require: 100rel\nRSeq: {}"
    steps = Steps("called").is_asked("INVITE", keep="invite", has={"Supported": "100rel"}).answer(100)
    steps.answer(180, headers=reliable.format(71))
    steps.is_asked("PRACK", has={"RAck": "71 1 INVITE", "CSeq": "2 PRACK"}).answer(200, within=True)
    steps.answer(183, headers=reliable.format(72), to="invite", body=sdp())
    steps.is_asked("PRACK", has={"RAck": "72 1 INVITE", "CSeq": "3 PRACK"}).answer(200, within=True)
    steps.answer(200, to="invite").is_asked("ACK", has={"CSeq": "1 ACK"})
    steps.is_asked("BYE", has={"CSeq": "4 BYE"}).answer(200, within=True)
    with called(steps, tmp_path) as sipp:
        sipp.start()
        session_id = a_call(server, sipp.port)
        assert is_in(server, session_id, "answered"), server.log[-2000:]
        server.get(f"/kill/{session_id}")
        assert_played(sipp, server)
    assert record_of(server, session_id)["status"] == "answered"


def test_caller_that_requires_reliable_progress_gets_it(tmp_path: Path, server: Server) -> None:
    steps = Steps("calls").invite(headers="Require: 100rel").gets(100, optional=True)
    steps.gets(180, makes_route=True, has={"Require": "100rel", "RSeq": "[1-9][0-9]*"})
    # Every repetition is the same response: without a PRACK it comes again, and the 200 does not wait for one without a description.
    steps.gets(200, to="1 INVITE", makes_route=True).ack()
    with caller(steps.ask("BYE", cseq=2).gets(200, to="2 BYE"), tmp_path, server) as sipp:
        assert_played(sipp, server)


# -- session timers ------------------------------------------------------------------------------------------------------------------------


def test_interval_below_90_s_is_422_and_then_agreed(tmp_path: Path, server: Server) -> None:
    """RFC 4028 section 9: Min-SE tells how long it has to be."""
    short = "Supported: timer\nSession-Expires: 60"
    steps = Steps("calls").invite(headers=short).gets(100, optional=True).gets(422, has={"Min-SE": "90"}).ack_refusal()
    steps.invite(cseq=2, headers="Supported: timer\nSession-Expires: 90;refresher=uac\nMin-SE: 90").gets(100, optional=True)
    steps.gets(180, optional=True)
    steps.gets(200, to="2 INVITE", makes_route=True, has={"Session-Expires": "90;refresher=uac", "Require": "timer"}).ack(cseq=2)
    with caller(steps.ask("BYE", cseq=3).gets(200, to="3 BYE"), tmp_path, server) as sipp:
        assert_played(sipp, server)


def test_peer_without_timer_support_is_neither_422_nor_told_require_timer(tmp_path: Path, server: Server) -> None:
    """RFC 4028 section 9: a proxy may have asked; we refresh."""
    steps = Steps("calls").invite(headers="Session-Expires: 60").gets(100, optional=True).gets(180, optional=True)
    steps.gets(200, to="1 INVITE", makes_route=True, has={"Session-Expires": "60;refresher=uas"}).ack()
    with caller(steps.ask("BYE", cseq=2).gets(200, to="2 BYE"), tmp_path, server) as sipp:
        assert_played(sipp, server)


@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
def test_refreshes_of_the_caller_are_agreed_to_again(tmp_path: Path, server: Server, method: str) -> None:
    timer = "Supported: timer\nSession-Expires: 120;refresher=uac"
    agreed = {"Session-Expires": "120;refresher=uac", "Require": "timer"}
    steps = Steps("calls").invite(headers=timer).gets(100, optional=True).gets(180, optional=True)
    steps.gets(200, to="1 INVITE", makes_route=True, has=agreed).ack()
    steps.ask(method, cseq=2, headers=timer, body=sdp() if method == "INVITE" else "").gets(100, optional=True)
    steps.gets(200, to=f"2 {method}", has=agreed)
    if method == "INVITE":
        steps.ack(cseq=2)
    with caller(steps.ask("BYE", cseq=3).gets(200, to="3 BYE"), tmp_path, server) as sipp:
        assert_played(sipp, server)


def test_422_to_our_invite_is_met_once_with_its_min_se(tmp_path: Path, server: Server) -> None:
    """RFC 4028 section 7.3."""
    steps = Steps("called").is_asked("INVITE", has={"Session-Expires": "1800", "Supported": "timer", "CSeq": "1 INVITE"})
    steps.answer(422, headers="Min-SE: 3600").is_asked("ACK")
    steps.is_asked("INVITE", has={"Session-Expires": "3600", "Min-SE": "3600", "CSeq": "2 INVITE"})
    steps.answer(200, headers="Session-Expires: 3600;refresher=uas\nRequire: timer", body=sdp()).is_asked("ACK", has={"CSeq": "2 ACK"})
    steps.is_asked("BYE", has={"CSeq": "3 BYE"}).answer(200, within=True)
    with called(steps, tmp_path) as sipp:
        sipp.start()
        session_id = a_call(server, sipp.port)
        assert is_in(server, session_id, "answered"), server.log[-2000:]
        server.get(f"/kill/{session_id}")
        assert_played(sipp, server)


# -- by command --------------------------------------------------------------------------------------------------------------------------


def test_message_and_refer_by_command_reach_the_callee(tmp_path: Path, server: Server) -> None:
    steps = Steps("called").is_asked("INVITE").answer(200, body=sdp()).is_asked("ACK")
    steps.is_asked("MESSAGE", has={"Content-Type": "text/plain", "X-Ticket": "17"}, body="your number is 17").answer(200, within=True)
    steps.is_asked("REFER", has={"Refer-To": "sip:[+]15550177@example.com"}).answer(202, within=True)
    notify = "Event: refer\nSubscription-State: terminated;reason=noresource"
    steps.ask("NOTIFY", cseq=1, headers=notify, body="SIP/2.0 200 OK", content_type="message/sipfrag").gets(200)
    steps.is_asked("BYE", has={"Reason": 'Q.850;cause=16;text="Normal call clearing"'}).answer(200, within=True)
    with called(steps, tmp_path) as sipp:
        sipp.start()
        session_id = a_call(server, sipp.port)
        assert is_in(server, session_id, "answered"), server.log[-2000:]
        message = {"command": "message", "body": "your number is 17", "headers": {"X-Ticket": "17"}}
        server.post(f"/command/{session_id}", message)
        server.post(f"/command/{session_id}", {"command": "refer", "callee": "sip:+15550177@example.com"})
        assert_played(sipp, server)
    assert record_of(server, session_id)["hangupReason"] == "transferred"
