"""Twilio called by us: challenge, checks, security matrix, answer, ACK; first with a tiny peer, then with the program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tiny_peer import TinyPeer, in_body, removes, replaces

from active_call.testing.phone.sip import Message
from active_call.testing.trunk import Refusal, Switches, Trunk, twilio_termination
from conftest import Program

TRANSPORTS = ("udp", "tcp", "tls")
PASSWORD = "secret"


def start(message: Message, old: str, new: str) -> None:
    assert old in message.start
    message.start = message.start.replace(old, new)


def placed(program: Program, trunk: Trunk, **sip: Any) -> str:
    """Have the program call the trunk the way its profile wants to be called."""
    transport = trunk.switches.transport
    options = {"username": "agent", "password": PASSWORD, "enableSrtp": trunk.switches.secure_media} | sip
    host = trunk.switches.domain or trunk.ip
    number = options.pop("number", "+15550100")
    return program.place(f"sip:{number}@{host}:{trunk.hub.port};transport={transport}", **options)


# -- the judge --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_judge_finds_nothing_wrong_with_a_correct_caller(transport: Any) -> None:
    with TinyPeer(transport, secure=transport == "tls") as peer, Trunk(twilio_termination(transport)) as trunk:
        peer.dial(trunk)
        leg = trunk.wait_call()
        assert leg.wait_answered()
        assert leg.wait(lambda: len(leg.acks) == 1, 2)
        assert trunk.admission.n_challenges == 1
        answer = peer.request("BYE")
        assert answer is not None and answer.status == 200
        assert trunk.wait_settled()
        trunk.check()


def _only(method_with_credentials: Callable[[Message], None]) -> Callable[[Message], None]:
    """A twist of the second INVITE alone."""

    def twist(message: Message) -> None:
        if message.get("proxy-authorization"):
            method_with_credentials(message)

    return twist


WRONG_CREDENTIALS = {
    "no opaque": (replaces("proxy-authorization", ', opaque="', ', x="'), "digest-opaque"),
    "another nonce": (replaces("proxy-authorization", 'nonce="', 'nonce="x'), "digest"),
    "no qop": (replaces("proxy-authorization", "qop=auth, ", ""), "digest"),
    "another uri": (replaces("proxy-authorization", 'uri="sip:', 'uri="sip:x'), "digest"),
    "another Call-ID": (replaces("call-id", "", "x"), "challenge-dialog"),
    "another From tag": (replaces("from", "tag=", "tag=x"), "challenge-dialog"),
    "the same CSeq": (replaces("cseq", "102", "101"), "challenge-dialog"),
}


@pytest.mark.parametrize("what", WRONG_CREDENTIALS)
def test_judge_names_what_is_wrong_with_credentials(what: str) -> None:
    twist, name = WRONG_CREDENTIALS[what]
    with TinyPeer("tcp", twists={"INVITE": _only(twist)}) as peer, Trunk(twilio_termination("tcp")) as trunk:
        peer.dial(trunk)
        assert trunk.wait(lambda: name in trunk.judge.names, 3)
        if name.startswith("digest"):
            assert peer.wait(lambda: any(one.status == 403 for one in peer.finals))


def test_judge_refuses_a_wrong_password_with_403_and_no_second_challenge() -> None:
    with TinyPeer("tcp") as peer, Trunk(twilio_termination("tcp")) as trunk:
        peer.password = "guessed"
        peer.dial(trunk)
        assert peer.wait(lambda: [one.status for one in peer.finals] == [407, 403])
        assert trunk.judge.names == {"digest"}


CHECKS: dict[str, tuple[Switches, dict[str, Any], dict[str, Any], str, int]] = {
    "foreign host": (twilio_termination("udp"), {"twists": {"INVITE": lambda m: start(m, "127.0.0.1", "127.0.0.2")}}, {}, "domain", 0),
    "number without plus": (twilio_termination("udp"), {}, {"number": "15550100"}, "number", 400),
    "caller without plus": (twilio_termination("udp"), {}, {"caller": "15550199"}, "number", 400),
    "foreign caller": (twilio_termination("udp", caller_ids=("+15550111",)), {}, {}, "caller-id", 403),
    "no codec": (
        twilio_termination("udp"),
        {"twists": {"INVITE": lambda m: in_body(b"RTP/AVP 0 8 9 96 101 126", b"RTP/AVP 9 101")(m)}},
        {},
        "codec",
        415,
    ),
    "plain media to a secure trunk": (twilio_termination("tls"), {}, {}, "security", 488),
    "secure media to a plain trunk": (twilio_termination("tcp"), {"secure": True}, {}, "security", 488),
}


@pytest.mark.parametrize("what", CHECKS)
def test_judge_checks_what_the_carrier_checks(what: str) -> None:
    from dataclasses import replace

    switches, peer_options, dial_options, name, status = CHECKS[what]
    switches = replace(switches, challenge="", domain="127.0.0.1")
    with TinyPeer(switches.transport, **peer_options) as peer, Trunk(switches) as trunk:
        peer.dial(trunk, **dial_options)
        assert trunk.wait(lambda: bool(trunk.judge.names), 3)
        assert trunk.judge.names == {name}
        peer.wait(lambda: bool(peer.finals), 0.5)
        assert [one.status for one in peer.finals] == ([status] if status else [])


def test_judge_misses_the_ack_of_a_refusal() -> None:
    with TinyPeer("tcp", omits=("ACK",)) as peer, Trunk(twilio_termination("tcp")) as trunk:
        peer.dial(trunk)
        assert trunk.wait(lambda: "ack-for-failure" in trunk.judge.names, 4)


@pytest.mark.parametrize(
    ("twist", "name"),
    [
        (removes("route"), "ack-route"),
        (lambda m: start(m, "172.25.0.9:5060", "127.0.0.1:5060") if "172.25" in m.start else None, "ack-uri"),
    ],
    ids=["no Route", "not to our Contact"],
)
def test_judge_names_a_wrong_ack_repeats_its_answer_and_gives_up(twist: Callable[[Message], None], name: str) -> None:
    switches = twilio_termination("tcp", challenge="", ack_limit_s=1.2)
    with TinyPeer("tcp", twists={"ACK": twist}) as peer, Trunk(switches) as trunk:
        peer.dial(trunk)
        leg = trunk.wait_call()
        assert leg.wait_ended(4) == "trunk gave up: no ACK"
        assert trunk.judge.names == {name, "ack-missing"}
        assert leg.n_repeated_2xx >= 1
        assert peer.wait(lambda: any(one.method == "BYE" for one in peer.requests))


def test_judge_expects_in_dialog_requests_on_the_connection_that_is_open() -> None:
    with TinyPeer("tls", secure=True) as peer, Trunk(twilio_termination("tls", challenge="")) as trunk:
        peer.dial(trunk)
        leg = trunk.wait_call()
        assert leg.wait(lambda: len(leg.acks) == 1, 3)
        peer.peer = peer.hub.connect((trunk.ip, trunk.hub.port))
        peer.request("BYE")
        assert trunk.judge.names == {"connection-reuse"}


@pytest.mark.parametrize("omits", [(), ("BYE",)])
def test_judge_expects_bye_when_its_answer_crossed_the_cancel(omits: tuple[str, ...]) -> None:
    switches = twilio_termination("tcp", challenge="", answers_cancelled=True, answer_after_s=-1)
    with TinyPeer("tcp", omits=omits) as peer, Trunk(switches) as trunk:
        peer.dial(trunk)
        leg = trunk.wait_call()
        assert leg.wait(lambda: leg.state == "ringing", 2)
        peer.cancel()
        assert leg.wait_ended(5) == ("trunk gave up: crossed CANCEL" if omits else "peer hung up")
        assert trunk.judge.names == ({"no-bye"} if omits else set())


def test_judge_counts_a_refused_call_that_is_sent_again() -> None:
    refusal = Refusal(code=603, reason="Decline", headers=(("x-twilio-error", "32203 blocked"),))
    with TinyPeer("tcp") as peer, Trunk(twilio_termination("tcp", challenge="", refusal=refusal)) as trunk:
        peer.dial(trunk)
        assert peer.wait(lambda: bool(peer.finals))
        assert peer.finals[0].get("x-twilio-error") == "32203 blocked"
        trunk.check()
        local = peer.local
        peer._send_invite(peer.ours.uri, [])
        assert local == peer.local
        assert trunk.wait(lambda: trunk.judge.names == {"retried-refusal"}, 2)


def test_judge_refuses_register_at_a_trunk() -> None:
    with TinyPeer("tcp") as peer, Trunk(twilio_termination("tcp")) as trunk:
        answer = peer.register(trunk)
        assert answer is not None and answer.status == 405
        assert trunk.judge.names == {"register-trunk"}


def test_judge_bans_who_pings_too_often() -> None:
    with TinyPeer("tcp") as peer, Trunk(twilio_termination("tcp", ban_after_options=1)) as trunk:
        peer.peer = peer.hub.connect((trunk.ip, trunk.hub.port))
        peer.call_id, peer.local, peer.target = "a", "<sip:a@b>;tag=c", f"sip:{trunk.edge}"
        peer.remote = f"<sip:{trunk.edge}>"
        first = peer.request("OPTIONS")
        assert first is not None and first.status == 200
        trunk.check()
        assert peer.request("OPTIONS") is None
        assert trunk.judge.names == {"rate"}


# -- the program ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_program_is_challenged_answered_and_hangs_up(program: Program, transport: Any) -> None:
    with Trunk(twilio_termination(transport, supports_media=True)) as trunk:
        placed(program, trunk)
        leg = trunk.wait_call()
        assert leg.wait_answered()
        assert trunk.admission.n_challenges == 1
        assert leg.sound is not None
        leg.wait(lambda: False, 0.5)
        leg.sound.sender.press("1")
        assert leg.wait_ended(8) == "peer hung up"
        leg.sound.judge(trunk.judge)
        assert trunk.wait_settled()
        trunk.check()


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(
    "switched",
    [{"contact_host": "+172.25.16.223"}, {"progress": ("180",)}, {"progress": ("183", "180", "183")}, {"progress": ()}],
    ids=["Contact host with plus", "180", "183 180 183", "no progress"],
)
def test_program_takes_our_bye_after_every_progress(program: Program, transport: Any, switched: dict[str, Any]) -> None:
    with Trunk(twilio_termination(transport, **switched)) as trunk:
        placed(program, trunk)
        leg = trunk.wait_call()
        assert leg.wait_answered()
        assert leg.wait(lambda: len(leg.acks) == 1, 2)
        assert leg.hang_up() == 200
        trunk.check()


def test_program_gives_its_trunk_name_in_the_tls_handshake(program: Program) -> None:
    with Trunk(twilio_termination("tls", domain="localhost")) as trunk:
        placed(program, trunk)
        leg = trunk.wait_call()
        assert leg.wait_answered()
        assert leg.hang_up() == 200
        assert trunk.hub.names == ["localhost"]
        trunk.check()


@pytest.mark.parametrize(
    "refusal",
    [
        Refusal(code=403, reason="Invalid Caller ID"),
        Refusal(code=415, reason="Unsupported media type"),
        Refusal(code=488, reason="Not Acceptable Here"),
        Refusal(code=503, reason="Trunk CPS limit exceeded"),
        Refusal(code=603, reason="Decline", headers=(("x-twilio-error", "32203 blocked"),)),
    ],
    ids=lambda refusal: str(refusal.code),
)
def test_program_acknowledges_a_refusal_and_lets_it_be(program: Program, refusal: Refusal) -> None:
    with Trunk(twilio_termination("tcp", refusal=refusal)) as trunk:
        placed(program, trunk)
        assert trunk.wait(lambda: bool(trunk.admission.refused), 5)
        assert trunk.wait_settled()
        trunk.wait(lambda: False, 0.7)
        assert len(trunk.admission.refused) == 1
        trunk.check()


def test_program_gives_up_after_its_password_was_refused(program: Program) -> None:
    with Trunk(twilio_termination("tcp")) as trunk:
        placed(program, trunk, password="guessed")
        assert trunk.wait(lambda: bool(trunk.admission.refused), 5)
        trunk.wait(lambda: False, 0.5)
        assert [one.name for one in trunk.judge.violations] == ["digest"]
        assert len([one for one in trunk.received if one.method == "INVITE"]) == 2


def test_program_cancels_while_it_rings(program: Program) -> None:
    with Trunk(twilio_termination("tcp", answer_after_s=-1)) as trunk:
        session = placed(program, trunk)
        leg = trunk.wait_call()
        assert leg.wait(lambda: leg.state == "ringing", 3)
        program.server.get(f"/kill/{session}")
        assert leg.wait_ended().startswith("487")
        assert trunk.wait_settled()
        trunk.check()


def test_program_says_bye_when_our_answer_crosses_its_cancel(program: Program) -> None:
    with Trunk(twilio_termination("tcp", answer_after_s=-1, answers_cancelled=True)) as trunk:
        session = placed(program, trunk)
        leg = trunk.wait_call()
        assert leg.wait(lambda: leg.state == "ringing", 3)
        program.server.get(f"/kill/{session}")
        assert leg.wait_ended(5) == "peer hung up"
        trunk.check()


@pytest.mark.parametrize("transport", ["tcp", "tls"])
def test_program_hangs_up_after_its_connection_was_cut(program: Program, transport: Any) -> None:
    with Trunk(twilio_termination(transport, idle_close_s=1.0)) as trunk:
        session = placed(program, trunk)
        leg = trunk.wait_call()
        assert leg.wait_answered()
        assert leg.wait(lambda: not trunk.hub.connections, 4)
        program.server.get(f"/kill/{session}")
        assert leg.wait_ended(6) == "peer hung up"
        trunk.check()
