"""What proxies and gateways between the two do to a call: forks with two answers, late challenges, moved gateways, crossing requests."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from test_twilio_termination import placed
from tiny_peer import TinyPeer

from active_call.testing.trunk import Trunk, generic_pbx, twilio_origination
from conftest import Program


@pytest.mark.parametrize("omits", [(), ("BYE",)])
def test_judge_expects_the_second_branch_of_a_fork_to_be_ended(omits: tuple[str, ...]) -> None:
    with TinyPeer("tcp", omits=omits) as peer, Trunk(generic_pbx("tcp", answering_branch="a", second_branch="b")) as trunk:
        peer.ends_forks = True
        peer.dial(trunk)
        leg = trunk.wait_call()
        leg.wait(lambda: bool(trunk.judge.names) or leg.second_requests == {"ACK", "BYE"}, 4)
        assert leg.state == "answered"
        assert trunk.judge.names == ({"no-bye"} if omits else set())


@pytest.mark.parametrize("right", [True, False])
def test_judge_challenges_bye_and_goes_stale(right: bool) -> None:
    switches = generic_pbx("tcp", challenge="twilio", challenges_bye=True)
    with TinyPeer("tcp") as peer, Trunk(switches) as trunk:
        peer.dial(trunk)
        leg = trunk.wait_call()
        assert leg.wait_answered() and leg.wait(lambda: len(leg.acks) == 1, 2)
        answer = peer.request("BYE")
        assert answer is not None and answer.status == 407
        with peer.lock:
            bye = peer.make("BYE", peer.target)
            proof = peer.proof(answer, bye)
        if not right:
            proof = proof.replace('response="', 'response="0')
        second = peer.request("BYE", [("proxy-authorization", proof)])
        assert second is not None and second.status == (200 if right else 403)
        assert trunk.judge.names == (set() if right else {"digest"})


@pytest.mark.parametrize("early", [True, False])
def test_judge_of_bye_before_the_ack(early: bool) -> None:
    with TinyPeer("tcp") as peer, Trunk(generic_pbx("tcp", acknowledges=not early)) as trunk:
        assert trunk.call(peer.uri).wait_answered()
        assert peer.request("BYE") is not None
        assert trunk.judge.names == ({"bye-before-ack"} if early else set())


@pytest.mark.parametrize("right", [True, False])
def test_judge_of_a_gateway_that_moves(right: bool) -> None:
    with TinyPeer("tcp") as peer, Trunk(generic_pbx("tcp")) as trunk:
        leg = trunk.call(peer.uri)
        assert leg.wait_answered()
        assert leg.wait_final(leg.reinvite(contact=f"sip:moved@{trunk.edge};transport=tcp")) == 200
        if right:
            peer.target = leg.contact
        peer.request("BYE")
        assert trunk.judge.names == (set() if right else {"request-uri"})


def test_program_ends_the_second_branch_of_a_fork(program: Program) -> None:
    with Trunk(generic_pbx("udp", answering_branch="a", second_branch="b")) as trunk:
        placed(program, trunk)
        leg = trunk.wait_call()
        assert leg.wait(lambda: leg.second_requests == {"ACK", "BYE"} or bool(trunk.judge.names), 5)
        assert leg.hang_up() == 200
        trunk.check()


@pytest.mark.parametrize("transport", ["udp", "tls"])
def test_program_speaks_to_the_branch_that_answers(program: Program, transport: Any) -> None:
    switches = generic_pbx(
        transport, secure_media=transport == "tls", progress=("183/a", "183/b"), answering_branch="b", supports_media=True
    )
    with Trunk(switches) as trunk:
        placed(program, trunk)
        leg = trunk.wait_call()
        assert leg.wait_answered() and leg.sound is not None
        assert leg.wait(lambda: len(leg.sound.receiver.packets) > 20, 3)
        leg.sound.sender.press("1")
        assert leg.wait_ended(6) == "peer hung up"
        leg.sound.judge(trunk.judge)
        trunk.check()


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_program_hangs_up_with_credentials(program: Program, transport: Any) -> None:
    with Trunk(generic_pbx(transport, challenge="twilio", challenges_bye=True)) as trunk:
        session = placed(program, trunk)
        leg = trunk.wait_call()
        assert leg.wait_answered() and leg.wait(lambda: len(leg.acks) == 1, 2)
        program.server.get(f"/kill/{session}")
        assert leg.wait_ended(5) == "peer hung up"
        trunk.check()


def test_program_takes_a_stale_challenge(program: Program) -> None:
    with Trunk(generic_pbx("tcp", challenge="twilio", challenge_goes_stale=True)) as trunk:
        placed(program, trunk)
        leg = trunk.wait_call()
        assert leg.wait_answered()
        assert trunk.admission.n_challenges == 2
        assert leg.hang_up() == 200
        trunk.check()


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_program_waits_with_bye_for_the_ack(program: Program, transport: Any) -> None:
    with Trunk(generic_pbx(transport, acknowledges=False)) as trunk:
        leg = trunk.call(program.uri(transport))
        assert leg.wait_answered()
        session = program.server.get("/list")["active_calls"][-1]
        program.server.get(f"/kill/{session.get('id') or session.get('session_id')}")
        assert leg.wait_ended(1.2) == ""
        leg.acknowledge(leg.target, leg.invite.sequence)
        assert leg.wait_ended(4) == "peer hung up"
        trunk.check()


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
def test_program_follows_a_gateway_that_moves(program: Program, transport: Any) -> None:
    with Trunk(generic_pbx(transport, secure_media=transport == "tls")) as trunk:
        leg = trunk.call(program.uri(transport))
        assert leg.wait_answered()
        moved = f"sip:moved@{trunk.edge};transport={transport}"
        assert leg.wait_final(leg.reinvite(contact=moved)) == 200
        assert leg.wait(lambda: leg.exchange is not None, 0.2)
        session = program.server.get("/list")["active_calls"][-1]
        program.server.get(f"/kill/{session.get('id') or session.get('session_id')}")
        assert leg.wait_ended(5) == "peer hung up"
        trunk.check()


def test_program_offers_secure_sound_again_in_a_secured_call(program: Program) -> None:
    with Trunk(generic_pbx("tls", secure_media=True, supports_media=True)) as trunk:
        leg = trunk.call(program.uri("tls"))
        assert leg.wait_answered() and leg.sound is not None
        receiver = leg.sound.receiver
        assert leg.wait_final(leg.reinvite(offerless=True)) == 200
        leg.wait(lambda: False, 0.2)
        n_before = len(receiver.packets)
        assert leg.wait(lambda: len(receiver.packets) > n_before + 10, 2)
        assert receiver.counts["rejected"] == 0
        leg.sound.sender.press("1")
        assert leg.wait_ended(6) == "peer hung up"
        trunk.check()


@pytest.mark.parametrize(
    ("method", "statuses"), [("OPTIONS", {200}), ("MESSAGE", {200}), ("NOTIFY", {200, 481, 489}), ("PUBLISH", {405, 501})]
)
def test_program_answers_other_requests_in_the_call(program: Program, method: str, statuses: set[int]) -> None:
    with Trunk(generic_pbx("tcp")) as trunk:
        leg = trunk.call(program.uri("tcp"))
        assert leg.wait_answered()
        with trunk.lock:
            exchange = leg.request(method, body=b"hello" if method == "MESSAGE" else b"", content_type="text/plain")
        assert leg.wait_final(exchange) in statuses
        assert leg.hang_up() == 200
        trunk.check()


def test_program_knows_no_call_after_its_end(program: Program) -> None:
    with Trunk(generic_pbx("tcp")) as trunk:
        leg = trunk.call(program.uri("tcp"))
        assert leg.wait_answered()
        assert leg.hang_up() == 200
        assert leg.wait_final(leg.reinvite()) == 481
        trunk.check()


@pytest.mark.parametrize("early", [True, False])
def test_judge_of_cancel_before_a_response(early: bool) -> None:
    with TinyPeer("tcp") as peer, Trunk(generic_pbx("tcp", silent_s=0.3, answer_after_s=-1)) as trunk:
        peer.dial(trunk)
        if not early:
            assert peer.wait(lambda: any(one.status == 180 for one in peer.progress))
        peer.cancel()
        trunk.wait_call()
        trunk.wait(lambda: bool(trunk.judge.names), 0.3)
        assert trunk.judge.names == ({"cancel"} if early else set())


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_program_waits_with_cancel_for_a_response(program: Program, transport: Any) -> None:
    with Trunk(generic_pbx(transport, silent_s=0.8, answer_after_s=-1)) as trunk:
        session = placed(program, trunk)
        assert trunk.wait(lambda: any(one.method == "INVITE" for one in trunk.received), 3)
        program.server.get(f"/kill/{session}")
        leg = trunk.wait_call()
        assert leg.wait_ended().startswith("487")
        assert trunk.wait_settled()
        trunk.check()


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_program_takes_our_bye_beside_its_own(program: Program, transport: Any) -> None:
    with Trunk(generic_pbx(transport)) as trunk:
        leg = trunk.call(program.uri(transport))
        assert leg.wait_answered()
        session = program.server.get("/list")["active_calls"][-1]
        killing = threading.Thread(target=program.server.get, args=(f"/kill/{session.get('id') or session.get('session_id')}",))
        killing.start()
        status = leg.hang_up()
        killing.join()
        assert status in (0, 200, 481)  # 0: its BYE was the first
        leg.wait(lambda: False, 0.3)
        assert trunk.judge.names <= {"unexpected-status"}


def test_program_sends_sound_and_reports_all_the_time(program: Program) -> None:
    """Seven seconds: speech and then silence, each as RTP every 20 ms; SRTCP about every five seconds."""
    with Trunk(twilio_origination("tls", supports_media=True)) as trunk:
        leg = trunk.call(program.uri("tls"))
        assert leg.wait_answered() and leg.sound is not None
        leg.wait(lambda: False, 7.0)
        leg.sound.judge(trunk.judge)
        figures = leg.sound.receiver.figures()
        assert figures.packets > 300
        assert (figures.lost, figures.rejected, figures.ssrcs, figures.timestamp_gaps) == (0, 0, 1, 0)
        assert figures.rtcp_packets >= 1
        assert leg.sound.receiver.counts["rtcp_rejected"] == leg.sound.receiver.counts["rtcp_malformed"] == 0
        assert leg.hang_up() == 200
        trunk.check()
