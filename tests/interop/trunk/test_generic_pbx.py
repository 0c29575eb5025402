"""A PBX: delayed offers, holds, glare, session timers, odd shapes of messages; first with a tiny peer, then with the program."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from running_server import running_server
from test_twilio_termination import placed
from tiny_peer import TinyPeer, in_body, removes, replaces

from active_call.testing.phone.sip import Message, tag_of
from active_call.testing.trunk import Trunk, generic_pbx
from active_call.testing.trunk.descriptions import OPPOSITE
from conftest import PLAYBOOK, Program

HOLDS = [("sendonly", False), ("inactive", False), ("recvonly", False), ("sendrecv", True)]
SHAPES: dict[str, dict[str, Any]] = {
    "c= at media level": {"connection_at_media": True},
    "video after the sound": {"other_media": ("video",)},
    "video before the sound": {"other_media": ("<video",)},
    "video and fax": {"other_media": ("<video", "image")},
    "From without brackets": {"from_without_brackets": True},
    "no Content-Type": {"content_type_missing": True},
    "folded headers": {"folded_headers": True, "display_name": "Jane Doe"},
    "telephone-event 96": {"payload_types": (0, 8, 96)},
    "telephone-event 126": {"payload_types": (8, 126)},
    "no telephone-event": {"payload_types": (0,)},
    "ptime 10": {"ptime_ms": 10},
    "ptime 30": {"ptime_ms": 30},
    "ptime 40": {"ptime_ms": 40},
    "G.722": {"payload_types": (9, 0, 101)},
    "Opus": {"payload_types": (107, 0, 101)},
    "delayed offer": {"delayed_offer": True},
    "multipart body": {"multipart": True},
}


# -- the judge --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", [what for what in SHAPES if what != "multipart body"])  # the tiny peer reads none
def test_judge_finds_nothing_wrong_with_a_correct_peer(what: str) -> None:
    with TinyPeer("tcp") as peer, Trunk(generic_pbx("tcp", **SHAPES[what])) as trunk:
        leg = trunk.call(peer.uri)
        assert leg.wait_answered()
        assert leg.hang_up() == 200
        trunk.check()


def test_judge_sends_60_kb_in_one_datagram() -> None:
    with TinyPeer("udp") as peer, Trunk(generic_pbx(padding_bytes=58_000)) as trunk:
        assert trunk.call(peer.uri).wait_answered()
        assert len(peer.invite.encode()) > 58_000
        trunk.check()


def _drops_video(message: Message) -> None:
    head, _, _ = message.body.partition(b"m=video")
    message.body = head


@pytest.mark.parametrize(
    ("switched", "twist", "name"),
    [
        ({"other_media": ("video",)}, _drops_video, "sdp"),
        ({"other_media": ("video",)}, in_body(b"m=video 0", b"m=video 6000"), ""),
        ({"payload_types": (0, 126)}, in_body(b"126", b"101"), "sdp-types"),
        ({}, in_body(b"a=sendrecv", b"a=inactive"), "sdp-direction"),
        ({}, in_body(b"\r\nt=0 0", b""), "sdp"),
    ],
    ids=["m-line left out", "video taken", "its own telephone-event", "inactive", "no t="],
)
def test_judge_names_what_is_wrong_with_an_answer(switched: dict[str, Any], twist: Any, name: str) -> None:
    with TinyPeer("tcp", twists={"200 INVITE": twist}) as peer, Trunk(generic_pbx("tcp", **switched)) as trunk:
        assert trunk.call(peer.uri).wait_answered()
        assert name in trunk.judge.names or (not name and not trunk.judge.names)


@pytest.mark.parametrize(
    ("twist", "name"),
    [(lambda message: setattr(message, "body", b""), "sdp"), (in_body(b"c=IN IP4 127.0.0.1", b"c=IN IP4 0.0.0.0"), "")],
    ids=["no offer in the 2xx", "an offer"],
)
def test_judge_of_a_delayed_offer_wants_one_in_the_answer(twist: Any, name: str) -> None:
    twists = {"200 INVITE": twist} if name else {}
    with TinyPeer("tcp", twists=twists) as peer, Trunk(generic_pbx("tcp", delayed_offer=True)) as trunk:
        leg = trunk.call(peer.uri)
        assert leg.wait_answered()
        if not name:
            assert peer.acked.wait(2) and peer.last_ack is not None and b"m=audio" in peer.last_ack.body
        assert trunk.judge.names == ({name, "sdp"} if name else set())


@pytest.mark.parametrize(("direction", "zero"), HOLDS)
@pytest.mark.parametrize("right", [True, False])
def test_judge_of_a_hold(direction: str, zero: bool, right: bool) -> None:
    with TinyPeer("tcp") as peer, Trunk(generic_pbx("tcp")) as trunk:
        leg = trunk.call(peer.uri)
        assert leg.wait_answered()
        if not right:
            wrong = "sendrecv" if direction != "sendrecv" else "sendonly"
            if direction != "sendrecv":
                peer.twists["200 INVITE"] = in_body(f"a={OPPOSITE[direction]}".encode(), f"a={wrong}".encode())
            else:
                peer.twists["200 INVITE"] = in_body(b"RTP/AVP 0", b"RTP/AVP 9")
        assert leg.wait_final(leg.reinvite(direction=direction, zero_address=zero)) == 200
        if right:
            assert leg.wait_final(leg.reinvite()) == 200
            trunk.check()
        else:
            assert trunk.judge.names & {"sdp-direction", "sdp-types"}


def test_judge_sees_a_change_under_the_same_version() -> None:
    with TinyPeer("tcp") as peer, Trunk(generic_pbx("tcp")) as trunk:
        leg = trunk.call(peer.uri)
        assert leg.wait_answered()
        peer.version -= 1
        assert leg.wait_final(leg.reinvite(direction="sendonly")) == 200
        assert trunk.judge.names == {"sdp-version"}


@pytest.mark.parametrize("right", [True, False])
def test_judge_of_glare(right: bool) -> None:
    twists = {} if right else {"491 INVITE": lambda message: setattr(message, "start", "SIP/2.0 488 No")}
    with TinyPeer("tcp", twists=twists) as peer, Trunk(generic_pbx("tcp", glares=True)) as trunk:
        leg = trunk.call(peer.uri)
        assert leg.wait_answered()
        answer = peer.request("INVITE", body=peer.session("sendonly"))
        assert answer is not None and answer.status == 491
        leg.wait(lambda: bool(trunk.judge.names), 0.3)
        assert trunk.judge.names == (set() if right else {"glare"})


@pytest.mark.parametrize("method", ["INVITE", "UPDATE", "INVITE without offer"])
def test_judge_refreshes_the_session_itself(method: Any) -> None:
    switches = generic_pbx("tcp", session_expires_s=1, refresher="uac", refresh_method=method)
    with TinyPeer("tcp", supports="timer") as peer, Trunk(switches) as trunk:
        leg = trunk.call(peer.uri)
        assert leg.wait_answered()
        wanted = method.split(" ")[0]
        assert peer.wait(lambda: len([one for one in peer.requests if one.method == wanted and tag_of(one.get("to"))]) >= 2)
        assert leg.hang_up() == 200
        trunk.check()


@pytest.mark.parametrize("omits", [(), ("refresh",)])
def test_judge_expects_the_peer_to_refresh(omits: tuple[str, ...]) -> None:
    switches = generic_pbx("tcp", session_expires_s=1, refresher="uas")
    with TinyPeer("tcp", supports="timer", omits=omits) as peer, Trunk(switches) as trunk:
        leg = trunk.call(peer.uri)
        assert leg.wait_answered()
        leg.wait(lambda: bool(leg.ended) or leg.timer.n_refreshes == 1, 2)
        assert leg.ended == ("trunk gave up: session expired" if omits else "")
        assert trunk.judge.names == ({"session-expired"} if omits else set())


@pytest.mark.parametrize(
    "twist",
    [removes("session-expires"), replaces("session-expires", "1;", "9;"), replaces("session-expires", "uas", "uac")],
    ids=["none", "longer than asked", "other refresher"],
)
def test_judge_names_a_wrong_session_timer(twist: Any) -> None:
    switches = generic_pbx("tcp", session_expires_s=1, refresher="uas")
    peer = TinyPeer("tcp", supports="timer", twists={"200 INVITE": twist}, omits=("refresh",))
    with peer, Trunk(switches) as trunk:
        assert trunk.call(peer.uri).wait_answered()
        assert "session-timer" in trunk.judge.names


def test_judge_refuses_a_session_that_is_too_brief_and_takes_the_second_try() -> None:
    with TinyPeer("tcp", supports="timer") as peer, Trunk(generic_pbx("tcp", session_expires_s=1800, min_se_s=120)) as trunk:
        peer.dial(trunk, headers=[("session-expires", "90")])
        leg = trunk.wait_call()
        assert leg.wait_answered()
        assert peer.wait(lambda: [one.status for one in peer.finals] == [422, 200])
        assert leg.timer.agreed_s == 120
        trunk.check()


@pytest.mark.parametrize("answering", ["a", "b", "c"])
def test_judge_forks_and_one_branch_answers(answering: str) -> None:
    switches = generic_pbx("tcp", progress=("183/a", "180/b", "183/b"), answering_branch=answering)
    with TinyPeer("tcp") as peer, Trunk(switches) as trunk:
        peer.dial(trunk)
        leg = trunk.wait_call()
        assert leg.wait_answered() and leg.wait(lambda: len(leg.acks) == 1, 2)
        assert len({tag_of(one.get("to")) for one in peer.progress if one.status > 100}) == 2
        answer = peer.request("BYE")
        assert answer is not None and answer.status == 200
        trunk.check()


def test_judge_sees_who_stays_in_the_branch_that_did_not_answer() -> None:
    switches = generic_pbx("tcp", progress=("183/a",), answering_branch="b", ack_limit_s=1)
    with TinyPeer("tcp", twists={"ACK": lambda m: None}) as peer, Trunk(switches) as trunk:
        peer.twists["ACK"] = lambda message: setattr(
            message, "headers", [(k, peer.progress[-1].get("to") if k == "to" else v) for k, v in message.headers]
        )
        peer.dial(trunk)
        assert trunk.wait_call().wait_ended(3) == "trunk gave up: no ACK"
        assert trunk.judge.names == {"dialog", "ack-missing"}


# -- the program ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", SHAPES)
@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_program_answers_an_offer_of_every_shape(program: Program, transport: Any, what: str) -> None:
    with Trunk(generic_pbx(transport, **SHAPES[what])) as trunk:
        leg = trunk.call(program.uri(transport))
        assert leg.wait_answered(), (leg.statuses, leg.ended)
        assert leg.hang_up() == 200
        trunk.check()


def test_program_reads_60_kb_of_a_trunk_in_one_datagram(tmp_path: Path) -> None:
    allowed = '[[trunks]]\nname = "pbx"\nallow = ["127.0.0.1/32"]\n'
    with running_server(tmp_path, PLAYBOOK, extra=allowed) as server, Trunk(generic_pbx(padding_bytes=58_000)) as trunk:
        leg = trunk.call(f"sip:+15550199@127.0.0.1:{server.udp_port};transport=udp")
        assert leg.wait_answered(), (leg.statuses, leg.ended)
        assert leg.hang_up() == 200
        trunk.check()


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize(("direction", "zero"), HOLDS)
def test_program_is_held_and_resumed(program: Program, direction: str, zero: bool, secure: bool) -> None:
    transport: Any = "tls" if secure else "udp"
    with Trunk(generic_pbx(transport, secure_media=secure, supports_media=True)) as trunk:
        leg = trunk.call(program.uri(transport))
        assert leg.wait_answered()
        assert leg.sound is not None
        receiver = leg.sound.receiver
        assert leg.wait(lambda: len(receiver.packets) > 5, 3)
        assert leg.wait_final(leg.reinvite(direction=direction, zero_address=zero)) == 200
        leg.wait(lambda: False, 0.2)
        n_before = len(receiver.packets)
        leg.wait(lambda: False, 0.4)
        is_silent = direction in ("sendonly", "inactive") or zero
        assert (len(receiver.packets) - n_before <= 1) is is_silent
        assert leg.wait_final(leg.reinvite()) == 200
        n_before = len(receiver.packets)
        assert leg.wait(lambda: len(receiver.packets) > n_before + 5, 2)
        assert len({one.ssrc for one in receiver.packets}) == 1
        assert receiver.counts["rejected"] == 0
        leg.sound.sender.press("1")
        assert leg.wait_ended(6) == "peer hung up"
        trunk.check()


@pytest.mark.parametrize("event_type", [96, 126])
def test_program_hears_digits_of_another_payload_type(program: Program, event_type: int) -> None:
    with Trunk(generic_pbx("udp", payload_types=(8, event_type), supports_media=True)) as trunk:
        leg = trunk.call(program.uri("udp"))
        assert leg.wait_answered()
        assert leg.sound is not None
        leg.sound.sender.press("1")
        assert leg.wait_ended(8) == "peer hung up"
        leg.sound.judge(trunk.judge)
        trunk.check()


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_program_takes_delayed_offers_in_the_call(program: Program, transport: Any) -> None:
    with Trunk(generic_pbx(transport)) as trunk:
        leg = trunk.call(program.uri(transport))
        assert leg.wait_answered()
        assert leg.wait_final(leg.reinvite(offerless=True)) == 200
        assert leg.wait_final(leg.reinvite(offerless=True)) == 200
        assert leg.wait_final(leg.update()) == 200
        assert leg.wait_final(leg.update(direction="sendonly")) == 200
        assert leg.wait_final(leg.update(direction="sendrecv")) == 200
        assert leg.hang_up() == 200
        trunk.check()


def test_program_keeps_every_m_line_in_its_own_offer(program: Program) -> None:
    with Trunk(generic_pbx("tcp", other_media=("<video", "image"))) as trunk:
        leg = trunk.call(program.uri("tcp"))
        assert leg.wait_answered()
        assert leg.wait_final(leg.reinvite(offerless=True)) == 200
        assert leg.wait_final(leg.reinvite()) == 200
        assert leg.hang_up() == 200
        trunk.check()


def test_program_keeps_its_version_when_nothing_changes(program: Program) -> None:
    with Trunk(generic_pbx("tcp")) as trunk:
        leg = trunk.call(program.uri("tcp"))
        assert leg.wait_answered() and leg.peer_session is not None
        version = leg.peer_session.version
        for _ in range(2):
            assert leg.wait_final(leg.reinvite()) == 200
        assert leg.peer_session.version == version
        assert leg.hang_up() == 200
        trunk.check()


@pytest.mark.parametrize("refresher", ["uac", "uas"])
@pytest.mark.parametrize("seconds", [90, 120, 1800])
def test_program_agrees_on_a_session_timer(program: Program, seconds: int, refresher: Any) -> None:
    with Trunk(generic_pbx("tcp", session_expires_s=seconds, min_se_s=90, refresher=refresher)) as trunk:
        leg = trunk.call(program.uri("tcp"))
        assert leg.wait_answered()
        assert leg.answer is not None and leg.answer.get("session-expires")
        assert leg.hang_up() == 200
        trunk.check()


def test_program_tries_again_after_422(program: Program) -> None:
    with Trunk(generic_pbx("tcp", session_expires_s=7200, min_se_s=3600)) as trunk:
        placed(program, trunk)
        leg = trunk.wait_call()
        assert leg.wait_answered()
        leg.hang_up()
        invites = [one for one in trunk.received if one.method == "INVITE"]
        assert len({one.sequence for one in invites}) == 2  # the first one was refused with 422
        assert leg.timer.agreed_s >= 3600
        trunk.check()


REFRESH = [("supported", "timer"), ("session-expires", "1800;refresher=uac")]


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_program_answers_every_kind_of_refresh(program: Program, transport: Any) -> None:
    """Whoever counts the time, a refresh is answered (RFC 4028 section 9)."""
    with Trunk(generic_pbx(transport)) as trunk:
        leg = trunk.call(program.uri(transport))
        assert leg.wait_answered(), leg.ended
        assert leg.wait_final(leg.update(headers=REFRESH)) == 200
        assert leg.wait_final(leg.update(direction="sendrecv", headers=REFRESH)) == 200
        assert leg.wait_final(leg.reinvite(headers=REFRESH)) == 200
        assert leg.wait_final(leg.reinvite(offerless=True, headers=REFRESH)) == 200
        assert leg.hang_up() == 200
        trunk.check()


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("answering", ["a", "b", "c"])
def test_program_calls_a_fork_and_talks_to_the_branch_that_answers(program: Program, transport: Any, answering: str) -> None:
    switches = generic_pbx(transport, progress=("183/a", "180/b", "183/b"), answering_branch=answering)
    with Trunk(switches) as trunk:
        session = placed(program, trunk)
        leg = trunk.wait_call()
        assert leg.wait_answered() and leg.wait(lambda: len(leg.acks) == 1, 2)
        program.server.get(f"/kill/{session}")
        assert leg.wait_ended() == "peer hung up"
        trunk.check()


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_program_says_bye_when_our_answer_crosses_its_cancel(program: Program, transport: Any) -> None:
    with Trunk(generic_pbx(transport, answer_after_s=-1, answers_cancelled=True)) as trunk:
        session = placed(program, trunk)
        leg = trunk.wait_call()
        assert leg.wait(lambda: leg.state == "ringing", 3)
        program.server.get(f"/kill/{session}")
        assert leg.wait_ended(5) == "peer hung up"
        trunk.check()


@pytest.mark.parametrize("after_s", [0.0, 0.15])
def test_program_is_cancelled(program: Program, after_s: float) -> None:
    with Trunk(generic_pbx("udp", no_response_s=10)) as trunk:
        leg = trunk.call(program.uri("udp"))
        leg.wait(lambda: False, after_s)
        was_answered = leg.state == "answered"
        exchange = leg.cancel()
        assert leg.wait_final(exchange) in (200, 481)
        if was_answered:  # a CANCEL that comes too late changes nothing (RFC 3261 section 9.2)
            assert leg.hang_up() == 200
        assert leg.wait_ended(5)
        assert trunk.judge.names <= {"cancel"}


def test_program_answers_options_outside_a_call(program: Program) -> None:
    with Trunk(generic_pbx("udp", from_without_brackets=True)) as trunk:
        exchange = trunk.options(program.uri("udp"))
        assert trunk.wait(lambda: exchange.status == 200, 2)
        trunk.check()
