"""Telnyx: registrar, compact headers through three proxies, outbound codes; first with a tiny peer, then with the program."""

from __future__ import annotations

from typing import Any

import pytest
from test_twilio_termination import placed
from tiny_peer import TinyPeer, replaces

from active_call.testing.phone.sip import uri_of
from active_call.testing.trunk import Refusal, Trunk, telnyx
from conftest import Program

FORBIDDEN = Refusal(code=403, reason="Unverified origination number D51", headers=(("reason", "Q.850;cause=21"),))


# -- the judge --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_judge_registers_a_correct_peer_and_calls_it_over_its_flow(transport: Any) -> None:
    with TinyPeer(transport) as peer, Trunk(telnyx(transport)) as trunk:
        answer = peer.register(trunk)
        assert answer is not None and answer.status == 200
        assert ";alias=" in answer.get("contact") and "expires=3457" in answer.get("contact") and not answer.get("expires")
        leg = trunk.call_registered()
        assert leg.wait_answered()
        assert leg.invite.uri.startswith("sip:15550177@127.0.0.1:") and leg.peer == trunk.admission.bound_to
        assert leg.hang_up() == 200
        assert peer.register(trunk, expires=0) is not None
        assert trunk.admission.binding == ""
        trunk.check()


@pytest.mark.parametrize(
    ("old", "new", "name"),
    [(', opaque="', ', x="', "digest-opaque"), ('nonce="', 'nonce="x', "digest"), ('realm="', 'qop=auth, realm="', "digest")],
    ids=["no opaque", "another nonce", "qop where none was offered"],
)
def test_judge_names_what_is_wrong_with_a_registration(old: str, new: str, name: str) -> None:
    with TinyPeer("tcp", twists={"REGISTER": replaces("authorization", old, new)}) as peer, Trunk(telnyx()) as trunk:
        answer = peer.register(trunk)
        assert answer is not None and answer.status == 403
        assert name in trunk.judge.names


def test_judge_wants_longer_registrations() -> None:
    with TinyPeer("tcp") as peer, Trunk(telnyx(min_expires_s=600)) as trunk:
        answer = peer.register(trunk, expires=60)
        assert answer is not None and answer.status == 423 and answer.get("min-expires") == "600"
        answer = peer.register(trunk, expires=600)
        assert answer is not None and answer.status == 200
        trunk.check()


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_judge_finds_nothing_wrong_with_a_peer_that_reads_compact_headers(transport: Any) -> None:
    with TinyPeer(transport) as peer, Trunk(telnyx(transport, mapped_target=True)) as trunk:
        leg = trunk.call(peer.uri)
        assert leg.wait_answered()
        assert len(peer.invite.all("via")) == len(peer.invite.all("record-route")) == 3
        assert leg.wait_final(leg.press_by_info("5")) == 200
        assert leg.hang_up() == 200
        trunk.check()


@pytest.mark.parametrize("reliable", [True, False])
def test_judge_acknowledges_reliable_progress_and_expects_it(reliable: bool) -> None:
    twists = {} if reliable else {"180 INVITE": replaces("rseq", "77", "")}
    with TinyPeer("tcp", twists=twists) as peer, Trunk(telnyx(requires_100rel=True)) as trunk:
        assert trunk.call(peer.uri).wait_answered()
        assert peer.wait(lambda: any(one.method == "PRACK" for one in peer.requests), 2 if reliable else 0.2) is reliable
        assert trunk.judge.names == (set() if reliable else {"prack"})


@pytest.mark.parametrize("omits", [(), ("PRACK",)])
def test_judge_expects_prack_as_called_side(omits: tuple[str, ...]) -> None:
    switches = telnyx(challenge="", requires_100rel=True, ack_limit_s=1.5)
    with TinyPeer("tcp", supports="100rel", omits=omits) as peer, Trunk(switches) as trunk:
        peer.dial(trunk)
        leg = trunk.wait_call()
        leg.wait(lambda: leg.state in ("answered", "ended"), 4)
        assert len(leg.pracks) == (0 if omits else 1)
        assert trunk.judge.names == ({"prack"} if omits else set())


def test_judge_challenges_who_forgets_the_tech_prefix_and_refuses_a_missing_token() -> None:
    with TinyPeer("tcp") as peer, Trunk(telnyx(tech_prefix="1234")) as trunk:
        peer.dial(trunk, number="15550100")
        assert peer.wait(lambda: [one.status for one in peer.finals] == [407, 407])
    with TinyPeer("tcp") as peer, Trunk(telnyx(tech_prefix="1234", token="a-token-of-mine")) as trunk:
        peer.dial(trunk, number="123415550100")
        assert peer.wait(lambda: [one.status for one in peer.finals] == [407, 403])
        assert trunk.judge.names == {"token"}


def test_judge_takes_the_asserted_identity_for_the_caller() -> None:
    with TinyPeer("tcp") as peer, Trunk(telnyx(challenge="", caller_ids=("+15550111",))) as trunk:
        peer.dial(trunk, headers=[("p-preferred-identity", "<sip:+15550111@example.com>")])
        assert trunk.wait_call().wait_answered()
        trunk.check()
    with TinyPeer("tcp") as peer, Trunk(telnyx(challenge="", caller_ids=("+15550111",), caller_refusal=FORBIDDEN)) as trunk:
        peer.dial(trunk)
        assert peer.wait(lambda: bool(peer.finals))
        assert peer.finals[0].reason.endswith("D51") and trunk.judge.names == {"caller-id"}


@pytest.mark.parametrize(("code", "goes_on"), [(408, True), (480, True), (503, True), (404, False), (486, False), (603, False)])
def test_judge_fails_over_by_the_published_table(code: int, goes_on: bool) -> None:
    with TinyPeer(refuses=(code, "")) as first, TinyPeer() as second, Trunk(telnyx("udp")) as trunk:
        leg = trunk.call(first.uri, second.uri)
        assert leg.wait(lambda: leg.state in ("answered", "ended"), 3)
        assert (leg.state == "answered") is goes_on


# -- the program ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
def test_program_reads_compact_headers_and_takes_bye_to_the_mapped_port(program: Program, transport: Any) -> None:
    with Trunk(telnyx(transport, mapped_target=True)) as trunk:
        leg = trunk.call(program.uri(transport))
        assert leg.wait_answered(), leg.statuses
        assert leg.hang_up() == 200
        trunk.check()


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize(
    ("payload_types", "events"), [((0, 8, 9, 18, 102, 101, 103), 101), ((102, 9, 8, 103, 101), 103), ((8, 103, 101), 101)]
)
def test_program_answers_opus_with_blanks_and_two_telephone_events(
    program: Program, transport: Any, payload_types: tuple[int, ...], events: int
) -> None:
    with Trunk(telnyx(transport, payload_types=payload_types)) as trunk:
        leg = trunk.call(program.uri(transport))
        assert leg.wait_answered(), leg.statuses
        assert leg.peer_session is not None and leg.peer_session.sound is not None
        # The first codec of the list is answered, with the telephone-event of its clock: 101 counts at 8 kHz, 103 at 48.
        assert leg.peer_session.sound.types == (payload_types[0], events)
        assert leg.hang_up() == 200
        trunk.check()


def test_program_takes_a_second_call_of_the_same_caller(program: Program) -> None:
    with Trunk(telnyx("tcp")) as trunk:
        legs = [trunk.call(program.uri("tcp")) for _ in range(2)]
        assert all(leg.wait_answered() for leg in legs)
        assert [leg.hang_up() for leg in legs] == [200, 200]
        trunk.check()


def test_program_takes_digits_by_info(program: Program) -> None:
    with Trunk(telnyx("tcp")) as trunk:
        leg = trunk.call(program.uri("tcp"))
        assert leg.wait_answered()
        assert leg.wait_final(leg.press_by_info("1")) == 200
        assert leg.wait_ended(6) == "peer hung up"
        trunk.check()


@pytest.mark.parametrize("with_sound", [False, True])
def test_program_refuses_fax_and_goes_on(program: Program, with_sound: bool) -> None:
    with Trunk(telnyx("tcp")) as trunk:
        leg = trunk.call(program.uri("tcp"))
        assert leg.wait_answered()
        assert leg.wait_final(leg.offer_fax()) == 488
        if with_sound:
            assert leg.wait_final(leg.reinvite()) == 200
        assert leg.hang_up() == 200
        trunk.check()


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
def test_program_calls_out_through_an_encoded_contact(program: Program, transport: Any) -> None:
    with Trunk(telnyx(transport, encoded_contact=True, compact_headers=False)) as trunk:
        session = placed(program, trunk)
        leg = trunk.wait_call()
        assert leg.wait_answered()
        assert leg.wait(lambda: len(leg.acks) == 1, 2)
        assert uri_of(leg.contact).startswith("sip:telnyx*+15550100**")
        program.server.get(f"/kill/{session}")
        assert leg.wait_ended() == "peer hung up"
        trunk.check()


def test_program_calls_out_through_compact_answers(program: Program) -> None:
    with Trunk(telnyx("tcp")) as trunk:
        session = placed(program, trunk)
        leg = trunk.wait_call()
        assert leg.wait_answered() and leg.wait(lambda: len(leg.acks) == 1, 2)
        program.server.get(f"/kill/{session}")
        assert leg.wait_ended() == "peer hung up"
        trunk.check()


def test_program_tells_the_code_in_the_reason_phrase(program: Program) -> None:
    with Trunk(telnyx("tcp", refusal=FORBIDDEN)) as trunk:
        session = placed(program, trunk)
        assert trunk.wait(lambda: bool(trunk.admission.refused), 5)
        assert trunk.wait_settled()
        trunk.check()

        def told() -> bool:
            return any("D51" in str(record) for record in program.server.records() if session in str(record))

        program.server.wait(told, 5, "a record that names D51")


def test_program_sends_its_token(program: Program) -> None:
    with Trunk(telnyx("tcp", tech_prefix="1234", token="a-token-of-mine")) as trunk:
        placed(program, trunk, number="123415550100", headers={"X-Telnyx-Token": "a-token-of-mine"})
        leg = trunk.wait_call()
        assert leg.wait_answered()
        assert leg.hang_up() == 200
        trunk.check()


def test_program_registers_and_is_called_over_its_flow(program: Program, tmp_path: Any) -> None:
    from running_server import running_server

    with Trunk(telnyx("tcp")) as trunk:
        account = f'[[sip_registrations]]\nusername = "agent"\npassword = "secret"\nserver = "{trunk.edge};transport=tcp"'
        with running_server(tmp_path, "---\nllm: {provider: script}\n---\n\n## hello\nHello.\n", extra=account):
            assert trunk.wait(lambda: bool(trunk.admission.binding), 5)
            leg = trunk.call_registered()
            assert leg.wait_answered()
            assert leg.hang_up() == 200
        assert trunk.admission.binding == ""
        trunk.check()


def test_program_acknowledges_reliable_progress(program: Program) -> None:
    with Trunk(telnyx("tcp", requires_100rel=True)) as trunk:
        placed(program, trunk)
        leg = trunk.wait_call()
        assert leg.wait_answered()
        leg.hang_up()
        assert len(leg.pracks) == 1
        trunk.check()


def test_program_refuses_or_serves_required_100rel(program: Program) -> None:
    """RFC 3262 section 3: 420 with Unsupported, or reliable progress; never an answer that ignores Require."""
    with Trunk(telnyx("tcp", requires_100rel=True)) as trunk:
        leg = trunk.call(program.uri("tcp"))
        leg.wait(lambda: leg.state in ("answered", "ended"), 4)
        if leg.state == "ended":
            assert leg.ended.startswith("420") and leg.exchange is not None and leg.exchange.final is not None
            assert leg.exchange.final.get("unsupported") == "100rel"
        else:
            leg.hang_up()
        trunk.check()
