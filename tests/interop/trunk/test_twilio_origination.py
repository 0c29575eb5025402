"""Twilio towards us: every switch of the profile, proven on a tiny peer (right and wrong), then held against the program."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from tiny_peer import TinyPeer, in_body, removes, replaces

from active_call.testing.phone.sip import Message, uri_of
from active_call.testing.trunk import Trunk, twilio_origination
from conftest import Program

TRANSPORTS = ("udp", "tcp", "tls")


def call_and_hang_up(trunk: Trunk, uri: str, **options: Any) -> None:
    leg = trunk.call(uri, **options)
    assert leg.wait_answered(), (leg.statuses, leg.ended)
    assert leg.hang_up() == 200


# -- the judge --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_judge_finds_nothing_wrong_with_a_correct_peer(transport: Any) -> None:
    with TinyPeer(transport, secure=transport == "tls") as peer, Trunk(twilio_origination(transport)) as trunk:
        leg = trunk.call(peer.uri)
        assert leg.wait_answered()
        assert peer.request("INVITE", body=peer.session("sendonly")) is not None
        assert peer.request("INVITE", body=peer.session()) is not None
        assert peer.wait(lambda: len(leg.acks) == 2)
        answer = peer.request("BYE")
        assert answer is not None and answer.status == 200
        assert leg.wait_ended() == "peer hung up"
        trunk.check()


def _contact_elsewhere(message: Message) -> None:
    message.headers = [(name, "<sip:agent@10.0.0.1:5060>" if name == "contact" else value) for name, value in message.headers]


def _one_record_route(message: Message) -> None:
    first = message.get("record-route")
    message.headers = [one for one in message.headers if one[0] != "record-route"] + [("record-route", first)]


def _swapped_vias(message: Message) -> None:
    vias = message.all("via")[::-1]
    message.headers = [*(("via", via) for via in vias), *(one for one in message.headers if one[0] != "via")]


WRONG_ANSWERS: dict[str, tuple[Callable[[Message], None], str]] = {
    "Vias swapped": (_swapped_vias, "response-echo"),
    "private address in Via replaced": (replaces("via", "172.25.0.9", "203.0.113.9"), "response-echo"),
    "one Record-Route of two": (_one_record_route, "response-record-route"),
    "no Record-Route": (removes("record-route"), "response-record-route"),
    "Contact elsewhere": (_contact_elsewhere, "contact"),
    "no Contact": (removes("contact"), "contact"),
    "a payload type of its own": (in_body(b"RTP/SAVP 0", b"RTP/SAVP 0 9"), "sdp-types"),
    "AVP answers SAVP": (in_body(b"RTP/SAVP", b"RTP/AVP"), "sdp-profile"),
    "another crypto tag": (in_body(b"a=crypto:1", b"a=crypto:2"), "sdp-crypto"),
    "another suite": (in_body(b"_SHA1_80", b"_SHA1_32"), "sdp-crypto"),
    "no address": (in_body(b"IN IP4 127.0.0.1\r\nt=", b"IN IP4 0.0.0.0\r\nt="), "sdp"),
    "no Content-Type": (removes("content-type"), "sdp"),
}


@pytest.mark.parametrize("what", WRONG_ANSWERS)
def test_judge_names_what_is_wrong_with_an_answer(what: str) -> None:
    twist, name = WRONG_ANSWERS[what]
    with TinyPeer("tls", secure=True, twists={"200 INVITE": twist}) as peer, Trunk(twilio_origination("tls")) as trunk:
        trunk.call(peer.uri).wait(lambda: bool(trunk.judge.names), 3)
        assert name in trunk.judge.names
        with pytest.raises(AssertionError, match=name):
            trunk.check()


@pytest.mark.parametrize(
    ("twist", "name", "status"),
    [
        (removes("route"), "route", 481),
        (replaces("route", "r2=on;", ""), "route", 481),
        (replaces("max-forwards", "70", "0"), "max-forwards", 200),
        (replaces("via", "z9hG4bK", ""), "via-branch", 200),
        (replaces("from", "tag=", "tag=x"), "dialog", 481),
        (lambda message: setattr(message, "start", message.start.replace("172.25.0.9", "127.0.0.1")), "request-uri", 0),
    ],
    ids=["no Route", "changed Route", "no hops left", "old branch", "another tag", "Contact replaced"],
)
def test_judge_names_what_is_wrong_with_a_request_in_the_dialog(twist: Callable[[Message], None], name: str, status: int) -> None:
    with TinyPeer("tcp", twists={"BYE": twist}) as peer, Trunk(twilio_origination("tcp")) as trunk:
        assert trunk.call(peer.uri).wait_answered()
        answer = peer.request("BYE")
        assert (answer.status if answer else 0) == status
        assert trunk.judge.names == {name}


def test_judge_leaves_a_repeated_cseq_unanswered() -> None:
    with TinyPeer("tcp") as peer, Trunk(twilio_origination("tcp")) as trunk:
        assert trunk.call(peer.uri).wait_answered()
        assert peer.request("INVITE", body=peer.session("sendonly")) is not None
        assert peer.request("BYE", sequence=peer.sequence) is None
        assert trunk.judge.names == {"cseq-repeated"}


@pytest.mark.parametrize("method", ["UPDATE", "INFO", "PRACK"])
def test_judge_answers_405_to_what_the_gateway_does_not_allow(method: str) -> None:
    with TinyPeer("tcp") as peer, Trunk(twilio_origination("tcp")) as trunk:
        assert trunk.call(peer.uri).wait_answered()
        answer = peer.request(method)
        assert answer is not None and answer.status == 405
        assert trunk.judge.names == {"method-not-allowed"}


@pytest.mark.parametrize("omits", [(), ("repetition",)])
def test_judge_without_ack_expects_the_answer_again(omits: tuple[str, ...]) -> None:
    with TinyPeer("tcp", omits=omits) as peer, Trunk(twilio_origination("tcp", acknowledges=False)) as trunk:
        leg = trunk.call(peer.uri)
        assert leg.wait_answered()
        leg.wait(lambda: False, 1.8)
        assert trunk.judge.names == ({"no-retransmission"} if omits else set())


def test_judge_takes_a_doubled_invite_for_one() -> None:
    with TinyPeer("udp") as peer, Trunk(twilio_origination("udp", repeats_invite=True)) as trunk:
        call_and_hang_up(trunk, peer.uri)
        trunk.check()


def test_judge_sees_a_doubled_invite_answered_as_two_calls() -> None:
    with TinyPeer("udp") as peer, Trunk(twilio_origination("udp", repeats_invite=True)) as trunk:
        leg = trunk.call(peer.uri)
        assert leg.wait_answered() and leg.answer is not None
        second = Message(leg.answer.start, list(leg.answer.headers), leg.answer.body)
        replaces("to", "tag=", "tag=another")(second)
        peer.hub.send(second.encode(), ("127.0.0.1", trunk.hub.port))
        assert trunk.wait(lambda: "to-tag" in trunk.judge.names, 2)


def test_judge_goes_to_the_next_address_after_silence_and_by_status() -> None:
    switches = twilio_origination("udp", no_response_s=0.3)
    with TinyPeer(slow_s=1.0) as slow, TinyPeer(refuses=(503, "")) as busy, TinyPeer() as good, Trunk(switches) as trunk:
        leg = trunk.call(slow.uri, busy.uri, good.uri)
        assert leg.wait_answered()
        assert leg.tried == [slow.uri, busy.uri, good.uri]
        assert trunk.judge.names == {"slow-response"}


@pytest.mark.parametrize(
    ("code", "goes_on"), [(486, False), (404, False), (603, False), (488, True), (480, True), (403, True), (503, True)]
)
def test_judge_fails_over_by_the_published_table(code: int, goes_on: bool) -> None:
    with TinyPeer(refuses=(code, "")) as first, TinyPeer() as second, Trunk(twilio_origination("udp")) as trunk:
        leg = trunk.call(first.uri, second.uri)
        assert leg.wait(lambda: leg.state in ("answered", "ended"), 3)
        assert (leg.state == "answered") is goes_on
        trunk.check()


def test_judge_follows_one_redirect_only() -> None:
    with TinyPeer() as good, TinyPeer(refuses=(302, f"<{good.uri}>")) as away, Trunk(twilio_origination("udp")) as trunk:
        leg = trunk.call(away.uri)
        assert leg.wait_answered()
        assert leg.tried == [away.uri, good.uri]
    with (
        TinyPeer() as good,
        TinyPeer(refuses=(302, f"<{good.uri}>")) as second,
        TinyPeer(refuses=(302, f"<{second.uri}>")) as first,
        Trunk(twilio_origination("udp")) as trunk,
    ):
        assert trunk.call(first.uri).wait_ended().startswith("302")


@pytest.mark.parametrize("omits", [(), ("BYE",)])
def test_judge_expects_bye_after_a_transfer(omits: tuple[str, ...]) -> None:
    with TinyPeer("tcp", omits=omits) as peer, Trunk(twilio_origination("tcp", refer_bye_limit_s=0.5)) as trunk:
        leg = trunk.call(peer.uri)
        assert leg.wait_answered()
        answer = peer.request("REFER", [("refer-to", "<sip:+15550177@trunk.pstn.example.com>")])
        assert answer is not None and answer.status == 202
        assert leg.wait_ended() == ("trunk gave up: transfer" if omits else "peer hung up")
        assert trunk.judge.names == ({"refer-bye"} if omits else set())


@pytest.mark.parametrize("transport", ["tcp", "tls"])
@pytest.mark.parametrize("adopts", [False, True])
def test_judge_cuts_idle_connections_and_marks_new_ones(transport: Any, adopts: bool) -> None:
    omits = ("adopts",) if adopts else ()
    switches = twilio_origination(transport, idle_close_s=0.5)
    with TinyPeer(transport, secure=transport == "tls", omits=omits) as peer, Trunk(switches) as trunk:
        leg = trunk.call(peer.uri)
        assert leg.wait_answered()
        assert leg.wait(lambda: not trunk.hub.connections, 3)
        assert peer.wait(lambda: not peer.hub.is_open(peer.peer))
        answer = peer.request("INVITE", body=peer.session("sendonly"))
        assert answer is not None and "twnat" in answer.all("record-route")[-1]
        bye = peer.request("BYE")
        assert bye is not None
        assert bye.status == (481 if adopts else 200)
        assert trunk.judge.names == ({"ack-route", "route"} if adopts else set())


def test_judge_answers_a_double_crlf_with_one() -> None:
    with TinyPeer("tcp") as peer, Trunk(twilio_origination("tcp")) as trunk:
        assert trunk.call(peer.uri).wait_answered()
        peer.hub.send(b"\r\n\r\n", peer.peer)
        assert trunk.wait(lambda: trunk.hub.n_pings == 1, 2)


@pytest.mark.parametrize(("switched", "status"), [({"transfer_outcome": 486}, 202), ({"takes_transfers": False}, 603)])
def test_judge_leaves_the_call_to_the_peer_when_a_transfer_fails(switched: dict[str, Any], status: int) -> None:
    with TinyPeer("tcp", omits=("BYE",)) as peer, Trunk(twilio_origination("tcp", refer_bye_limit_s=0.2, **switched)) as trunk:
        leg = trunk.call(peer.uri)
        assert leg.wait_answered()
        answer = peer.request("REFER", [("refer-to", "<tel:+15550177>")])
        assert answer is not None and answer.status == status
        assert leg.wait_ended(0.6) == ""
        trunk.check()


def test_invite_has_the_published_shape() -> None:
    switches = twilio_origination("tls", identity_bytes=2500, call_token_bytes=1100, display_name="JANE DOE")
    with TinyPeer("tls", secure=True) as peer, Trunk(switches) as trunk:
        leg = trunk.call(peer.uri)
        assert leg.wait_answered()
        invite = leg.invite
        assert len(invite.all("via")) == len(invite.all("record-route")) == 2
        assert uri_of(invite.get("contact")) == "sip:+15550100@172.25.0.9:5060;transport=udp"
        assert invite.get("call-id").endswith("@0.0.0.0") and invite.get("max-forwards") == "60"
        assert "UPDATE" not in invite.get("allow") and not invite.get("session-expires")
        assert b"RTP/SAVP 0 8 101" in invite.body and invite.body.count(b"a=crypto:1 AES_CM_128_HMAC_SHA1_80") == 1
        assert len(invite.encode()) > 4500
        assert '"JANE DOE"' in invite.get("from") and '"JANE DOE"' in invite.get("p-asserted-identity")


# -- the program ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_program_answers_and_ends_on_our_bye(program: Program, transport: Any) -> None:
    with Trunk(twilio_origination(transport)) as trunk:
        leg = trunk.call(program.uri(transport))
        assert leg.wait_answered(), leg.statuses
        assert leg.statuses[0] == 100
        assert leg.first_response_s < 0.5
        assert leg.hang_up() == 200
        trunk.check()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_program_hangs_up_through_the_route_set(program: Program, transport: Any) -> None:
    with Trunk(twilio_origination(transport, supports_media=True)) as trunk:
        leg = trunk.call(program.uri(transport))
        assert leg.wait_answered()
        assert leg.sound is not None
        leg.sound.sender.press("1")
        assert leg.wait_ended(8) == "peer hung up"
        leg.sound.judge(trunk.judge)
        trunk.check()


@pytest.mark.parametrize(
    "switched",
    [
        {"identity_bytes": 3000, "call_token_bytes": 1200},
        {"display_name": "DOE, JANE"},
        {"anonymous": True},
        {"repeats_invite": True},
        {"supported": ("timer",), "min_se_s": 120},
    ],
    ids=["Identity", "CNAM", "anonymous", "doubled INVITE", "timer supported"],
)
@pytest.mark.parametrize("transport", ["udp", "tls"])
def test_program_answers_an_invite_of_every_shape(program: Program, transport: Any, switched: dict[str, Any]) -> None:
    with Trunk(twilio_origination(transport, **switched)) as trunk:
        call_and_hang_up(trunk, program.uri(transport))
        trunk.check()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_program_repeats_its_answer_until_the_ack(program: Program, transport: Any) -> None:
    with Trunk(twilio_origination(transport, acknowledges=False)) as trunk:
        leg = trunk.call(program.uri(transport))
        assert leg.wait_answered()
        leg.wait(lambda: False, 1.8)
        leg.acknowledge(leg.target, leg.invite.sequence)
        assert leg.hang_up() == 200
        trunk.check()


@pytest.mark.parametrize("secure", [False, True])
def test_program_refuses_media_it_cannot_have(program: Program, secure: bool) -> None:
    """488 is not on the list of finals that end the attempt: the carrier goes on."""
    switches = twilio_origination("tls" if secure else "udp", payload_types=(18, 101))
    with Trunk(switches) as trunk:
        leg = trunk.call(program.uri("tls" if secure else "udp"))
        assert leg.wait_ended().startswith("488"), leg.statuses
        trunk.check()


@pytest.mark.parametrize("transport", ["tcp", "tls"])
def test_program_hangs_up_after_its_connection_was_cut(program: Program, transport: Any) -> None:
    with Trunk(twilio_origination(transport, idle_close_s=1.0)) as trunk:
        leg = trunk.call(program.uri(transport))
        assert leg.wait_answered()
        assert leg.wait(lambda: not trunk.hub.connections, 4)
        session = program.server.get("/list")["active_calls"][-1]
        program.server.get(f"/kill/{session.get('id') or session.get('session_id')}")
        assert leg.wait_ended(6) == "peer hung up"
        trunk.check()


def test_program_is_silent_for_no_longer_than_the_carrier_waits(program: Program) -> None:
    started = time.monotonic()
    with Trunk(twilio_origination("udp", no_response_s=0.5)) as trunk:
        leg = trunk.call(program.uri("udp"), "sip:+1@127.0.0.1:9")
        assert leg.wait_answered()
        assert time.monotonic() - started < 3
        assert len(leg.tried) == 1
        leg.hang_up()
        trunk.check()


def test_program_hears_a_gateway_that_jumps_wraps_and_moves(program: Program) -> None:
    with Trunk(twilio_origination("tls", supports_media=True, wraps=True)) as trunk:
        leg = trunk.call(program.uri("tls"))
        assert leg.wait_answered()
        assert leg.sound is not None
        leg.wait(lambda: False, 1.0)  # past the rollover
        leg.sound.sender.jump()
        leg.wait(lambda: False, 0.5)
        leg.sound.sender.press("1")
        assert leg.wait_ended(8) == "peer hung up"
        leg.sound.judge(trunk.judge)
        trunk.check()


def test_program_hears_sound_from_another_address_of_the_carrier(program: Program) -> None:
    with Trunk(twilio_origination("tls", supports_media=True)) as trunk:
        leg = trunk.call(program.uri("tls"))
        assert leg.wait_answered()
        assert leg.sound is not None
        leg.wait(lambda: False, 0.5)
        leg.sound.sender.speak_from("127.0.0.2")
        leg.wait(lambda: False, 0.3)
        leg.sound.sender.press("1")
        assert leg.wait_ended(8) == "peer hung up"
        trunk.check()


def test_program_transfers_by_refer_and_says_bye(program: Program) -> None:
    with Trunk(twilio_origination("tls", supports_media=True, refer_bye_limit_s=2)) as trunk:
        leg = trunk.call(program.uri("tls"))
        assert leg.wait_answered()
        assert leg.sound is not None
        leg.sound.sender.press("2")
        assert leg.wait_request("REFER", 6) is not None
        assert leg.wait_ended(5) == "peer hung up"
        trunk.check()
