"""What a stranger can make the server send, and to whom; and who can take a call's sound over. A real server, real sockets."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from running_server import Server
from speechless_server import speechless_server
from udp_caller import HOST, Sink, UdpCaller, description, rtp, sink, udp_caller

NEWS = "Here is the news of the week. On Monday we bake rye bread with honey and walnuts. " * 6
PLAYBOOK = f"""---
llm: {{provider: script}}
greeting: {NEWS}
interruption: {{strategy: none}}
---
# Scene: main

## goodbye
Bye. <hangup/>
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder: Path = tmp_path_factory.mktemp("server")
    with speechless_server(folder, PLAYBOOK, extra="rtp_timeout = 6\n") as running:
        yield running


def call_up(server: Server, caller: UdpCaller, victim: Sink, *, more: str = "") -> int:
    """A call whose sound goes to `victim`; returns where the server takes its own."""
    caller.invite(description(victim.port, more=more))
    caller.answered()
    caller.ack()
    victim.count(1.0)
    assert victim.n_packets > 10, server.log[-3000:]
    return caller.media_port


def test_nothing_goes_to_an_address_before_the_ack_and_the_greeting_loses_nothing(server: Server) -> None:
    with udp_caller(server.udp_port) as caller, sink() as victim:
        caller.invite(description(victim.port))
        caller.answered()
        assert victim.count(3.5) == 0  # longer than the agent waits for the ACK
        caller.listen(0.0)
        caller.ack()
        victim.count(1.0)
        assert 40 <= victim.n_packets <= 60
        assert victim.first[1] & 0x80, "the first packet begins a talkspurt"
        assert any(byte not in (0xFF, 0x7F, 0x7E, 0xFE) for byte in victim.first[12:]) or victim.n_packets > 40
        caller.bye()
        caller.listen(0.5)


def test_media_of_the_caller_itself_is_as_good_as_the_ack(server: Server) -> None:
    with udp_caller(server.udp_port) as caller, sink() as phone:
        caller.invite(description(phone.port))
        caller.answered()
        assert phone.count(0.5) == 0
        phone.sock.sendto(rtp(1), (HOST, caller.media_port))
        phone.count(0.5)
        assert phone.n_packets > 15
        caller.ack()
        caller.bye()
        caller.listen(0.5)


def test_media_of_somebody_else_proves_nothing_for_the_address_that_was_named(server: Server) -> None:
    with udp_caller(server.udp_port) as caller, sink() as victim, sink() as attacker:
        caller.invite(description(victim.port))
        caller.answered()
        for n in range(40):
            attacker.sock.sendto(rtp(n), (HOST, caller.media_port))
            time.sleep(0.02)
        assert victim.count(0.5) == 0
        caller.ack()
        caller.bye()
        caller.listen(0.5)


@pytest.mark.parametrize("with_offer", [True, False], ids=["offer", "delayed offer"])
def test_responses_to_a_caller_that_is_never_heard_are_no_more_than_ten_times_what_it_sent(server: Server, with_offer: bool) -> None:
    with udp_caller(server.udp_port) as caller, sink() as victim:
        caller.invite(description(victim.port) if with_offer else "")
        caller.answered()
        caller.listen(33.0)
        assert caller.n_received <= 10.5 * caller.n_sent + 600, (caller.n_received, caller.n_sent)
        assert victim.count() == 0


def test_injected_packets_never_take_a_call_over_and_its_own_address_wins_back(server: Server) -> None:
    with udp_caller(server.udp_port) as caller, sink() as phone, sink() as attacker:
        port = call_up(server, caller, phone)
        for n in range(60):
            phone.sock.sendto(rtp(n, 0x1111), (HOST, port))
            for k in range(3):
                attacker.sock.sendto(rtp(3 * n + k, 0x2222), (HOST, port))
            time.sleep(0.02)
        assert attacker.count() == 0
        before = phone.n_packets
        time.sleep(1.0)  # the phone pauses
        for n in range(40):
            attacker.sock.sendto(rtp(500 + n, 0x2222), (HOST, port))
            time.sleep(0.02)
        assert attacker.count() == 0
        time.sleep(1.2)
        for n in range(20):
            attacker.sock.sendto(rtp(900 + n, 0x2222), (HOST, port))
            time.sleep(0.02)
        assert attacker.count(0.2) > 0, "a peer that really moves is followed"
        phone.count()
        before, taken = phone.n_packets, attacker.n_packets
        phone.sock.sendto(rtp(2000, 0x1111), (HOST, port))
        phone.count(0.5)
        assert phone.n_packets > before + 15
        attacker.count()
        assert attacker.n_packets <= taken + 3
        caller.bye()
        caller.listen(0.5)


@contextmanager
def pair() -> Iterator[tuple[Sink, Sink]]:
    """Two ports in a row."""
    while True:
        with sink() as lower, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as upper:
            try:
                upper.bind((HOST, lower.port + 1))
            except OSError:
                continue
            yield lower, Sink(upper)
            return


def rtcp(ssrc: int) -> bytes:
    report = b"\x80\xc8\x00\x06" + ssrc.to_bytes(4, "big") + bytes(12) + (25).to_bytes(4, "big") + (4000).to_bytes(4, "big")
    return report + b"\x81\xca\x00\x03" + ssrc.to_bytes(4, "big") + b"\x01\x02ab\0\0\0\0"


@pytest.mark.parametrize("sender", ["peer", "stranger", "nobody"])
def test_peer_that_sends_rtcp_only_lives_and_a_stranger_s_rtcp_counts_for_nothing(server: Server, sender: str) -> None:
    """The limit of this server is 6 s; see the case `silent peer that sends RTCP`."""
    with udp_caller(server.udp_port) as caller, sink() as phone, sink() as control, sink() as stranger:
        port = call_up(server, caller, phone, more=f"a=rtcp:{control.port}\r\n")
        for n in range(25):
            phone.sock.sendto(rtp(n), (HOST, port))
            time.sleep(0.02)
        ends = ""
        for _ in range(4):
            if sender != "nobody":
                (control if sender == "peer" else stranger).sock.sendto(rtcp(0x1111 if sender == "peer" else 0x9999), (HOST, port + 1))
            ends = ends or caller.listen(2.5, "BYE")
        assert bool(ends) is (sender != "peer")
        assert control.count() > 0, "RTCP goes where a=rtcp says"
        if not ends:
            caller.bye()
            caller.listen(0.5)


def test_host_name_as_media_address_is_found(server: Server) -> None:
    with udp_caller(server.udp_port) as caller, sink() as phone:
        caller.invite(description(phone.port, "localhost"))
        caller.answered()
        caller.ack()
        phone.count(1.5)
        assert phone.n_packets > 20
        caller.bye()
        caller.listen(0.5)


def test_host_name_that_is_not_found_is_answered_and_learnt_from_the_packets(server: Server) -> None:
    with udp_caller(server.udp_port) as caller, sink() as phone:
        caller.invite(description(phone.port, "sbc.invalid"))
        caller.answered()
        caller.ack()
        assert phone.count(0.5) == 0
        for n in range(10):
            phone.sock.sendto(rtp(n), (HOST, caller.media_port))
            time.sleep(0.02)
        phone.count(0.5)
        assert phone.n_packets > 15
        caller.bye()
        caller.listen(0.5)


@pytest.mark.parametrize("address", ["224.1.2.3", "255.255.255.255", "169.254.169.254"])
def test_address_that_is_nobody_s_in_particular_is_488_with_the_reason(server: Server, address: str) -> None:
    with udp_caller(server.udp_port) as caller:
        caller.invite(description(4000, address))
        refusal = caller.listen(5.0, "SIP/2.0 488")
        assert "Warning: 399" in refusal
        assert address in refusal
        caller.ack()


def test_rtcp_on_hold_goes_nowhere(server: Server) -> None:
    with udp_caller(server.udp_port) as caller, sink() as loopback_rtcp:
        caller.invite(description(loopback_rtcp.port - 1, "0.0.0.0"))
        caller.answered()
        caller.ack()
        assert loopback_rtcp.count(8.0) == 0
        caller.bye()
        assert loopback_rtcp.count(1.0) == 0
        caller.listen(0.5)


@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
def test_media_is_moved_by_nothing_but_a_proof_of_the_new_address(server: Server, method: str) -> None:
    """A re-INVITE is proved by its ACK, an UPDATE by the next request; no repetition of the 200 changes that."""
    with udp_caller(server.udp_port) as caller, sink() as phone, sink() as victim:
        call_up(server, caller, phone)
        caller.request(method, description(victim.port))
        caller.answered()
        phone.count(0.2)
        heard_before = phone.n_bytes
        assert victim.count(2.5) == 0
        assert phone.count() == heard_before, "and no more goes where nobody waits for it"
        caller.listen(0.1)
        if method == "INVITE":
            caller.ack()
        else:
            caller.request("INFO")
        victim.count(1.0)
        assert 40 <= victim.n_packets <= 60
        caller.bye()
        caller.listen(0.5)


@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
@pytest.mark.parametrize("sender", ["new address", "new address, RTCP", "old address", "stranger"])
def test_packets_prove_the_address_that_they_come_from(server: Server, method: str, sender: str) -> None:
    with udp_caller(server.udp_port) as caller, sink() as phone, pair() as (moved, control), sink() as stranger:
        port = call_up(server, caller, phone)
        caller.request(method, description(moved.port))
        caller.answered()
        source, to = {
            "new address": (moved, port),
            "new address, RTCP": (control, port + 1),
            "old address": (phone, port),
            "stranger": (stranger, port),
        }[sender]
        source.sock.sendto(rtp(1) if to == port else rtcp(0x1111), (HOST, to))
        moved.count(0.5)
        assert (moved.n_packets > 15) is sender.startswith("new address")
        if method == "INVITE":
            caller.ack()
        caller.bye()
        caller.listen(0.5)


def test_call_that_comes_back_to_an_address_of_before_needs_no_second_proof(server: Server) -> None:
    with udp_caller(server.udp_port) as caller, sink() as phone, sink() as victim:
        call_up(server, caller, phone)
        caller.request("INVITE", description(phone.port, "0.0.0.0"))
        caller.answered()
        caller.ack()
        caller.request("UPDATE", description(victim.port))
        caller.answered()
        assert victim.count(0.3) == 0
        phone.count()
        before = phone.n_packets
        caller.request("UPDATE", description(phone.port))
        caller.answered()
        phone.count(0.6)
        assert phone.n_packets > before + 15
        caller.bye()
        caller.listen(0.5)


def test_requests_before_the_ack_of_a_re_invite_prove_nothing(server: Server) -> None:
    with udp_caller(server.udp_port) as caller, sink() as phone, sink() as victim:
        call_up(server, caller, phone)
        caller.request("INVITE", description(victim.port))
        caller.answered()
        for _ in range(3):
            caller.request("INFO")
        assert victim.count(0.5) == 0
        caller.ack()
        caller.bye()
        caller.listen(0.5)


def test_ack_of_an_older_re_invite_proves_nothing_for_the_address_of_the_newer_one(server: Server) -> None:
    with udp_caller(server.udp_port) as caller, sink() as phone, sink() as victim:
        call_up(server, caller, phone)
        caller.request("INVITE", description(phone.port))
        caller.answered()
        older = caller.invite_cseq
        caller.request("INVITE", description(victim.port))
        newer = caller.invite_cseq
        caller.listen(0.3)
        caller.invite_cseq = older
        caller.ack()
        assert victim.count(0.5) == 0
        caller.invite_cseq = newer
        caller.ack()
        assert victim.count(0.5) > 0
        caller.bye()
        caller.listen(0.5)
