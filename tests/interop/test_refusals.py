"""What is refused, with which code, and what the record says: raw messages over UDP, read with a few string operations."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from running_server import Server, running_server

from ports import rtp_of_servers

PLAYBOOK = "---\nllm: {provider: script}\ngreeting: Hello.\n---\n# Scene: main\n## goodbye\nBye. <hangup/>\n"
SDP = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
G729 = SDP.replace("RTP/AVP 0", "RTP/AVP 18").replace("0 PCMU/8000", "18 G729/8000")
UNKNOWN_SUITE = SDP.replace("RTP/AVP", "RTP/SAVP") + "a=crypto:1 F8_128_HMAC_SHA1_80 inline:" + "A" * 40 + "\r\n"


class Caller:
    """A socket that sends one INVITE and reads the answers."""

    def __init__(self, server: Server) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.sock.settimeout(5)
        self.target = ("127.0.0.1", server.udp_port)
        self.port = self.sock.getsockname()[1]

    def invite(self, sdp: str, *, without: str = "", replace: tuple[str, str] = ("", "")) -> str:
        token = uuid.uuid4().hex[:12]
        lines = [
            f"INVITE sip:bakery@127.0.0.1:{self.target[1]} SIP/2.0",
            f"Via: SIP/2.0/UDP 127.0.0.1:{self.port};branch=z9hG4bK{token};rport",
            "Max-Forwards: 70",
            f"From: <sip:+15550100@127.0.0.1>;tag={token}",
            "To: <sip:bakery@127.0.0.1>",
            f"Call-ID: {token}@test",
            "CSeq: 1 INVITE",
            f"Contact: <sip:+15550100@127.0.0.1:{self.port}>",
            "Content-Type: application/sdp",
            f"Content-Length: {len(sdp)}",
        ]
        lines = [line.replace(*replace) if replace[0] else line for line in lines if not without or not line.startswith(without)]
        self.sock.sendto(("\r\n".join(lines) + "\r\n\r\n" + sdp).encode(), self.target)
        return self.final()

    def final(self) -> str:
        """The final response, whole."""
        while True:
            text = self.sock.recv(65535).decode()
            if not text.startswith("SIP/2.0 1"):
                return text


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("server"), PLAYBOOK) as running:
        yield running


@pytest.fixture
def caller(server: Server) -> Iterator[Caller]:
    made = Caller(server)
    with contextlib.closing(made.sock):
        yield made


@pytest.mark.parametrize(("sdp", "words"), [(G729, "no common codec"), (UNKNOWN_SUITE, "no common SRTP suite")], ids=["codec", "srtp"])
def test_offer_without_common_ground_is_a_488_that_says_why(server: Server, caller: Caller, sdp: str, words: str) -> None:
    n_before = len(server.records())
    answer = caller.invite(sdp)
    assert answer.startswith("SIP/2.0 488 ")
    assert words in next(line for line in answer.split("\r\n") if line.startswith("Warning:"))
    record = server.wait_records(n_before + 1)[-1]
    assert record["sipCode"] == 488
    assert words in record["error"]


@pytest.mark.parametrize("header", ["Call-ID", "From", "CSeq", "Max-Forwards"])
def test_request_without_a_needed_header_is_a_400_that_names_it_or_is_accepted(caller: Caller, header: str) -> None:
    answer = caller.invite(SDP, without=header)
    if header == "Max-Forwards":  # RFC 2543 peers do not send it
        assert answer.startswith("SIP/2.0 200 ")
    else:
        assert answer.startswith("SIP/2.0 400 ")
        assert header in answer.split("\r\n")[0]


def test_cseq_of_another_method_is_a_400(caller: Caller) -> None:
    answer = caller.invite(SDP, replace=("CSeq: 1 INVITE", "CSeq: 1 BYE"))
    assert answer.startswith("SIP/2.0 400 ")
    assert "CSeq" in answer.split("\r\n")[0]


def test_broken_session_description_is_a_400(server: Server, caller: Caller) -> None:
    answer = caller.invite("v=0\r\nthis is no session description\r\n")
    assert answer.split(" ")[1] in ("400", "488")


def test_unknown_method_is_a_405_with_allow(caller: Caller) -> None:
    message = (
        f"FROBNICATE sip:bakery@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{caller.port};branch=z9hG4bKx1;rport\r\n"
        "Max-Forwards: 70\r\nFrom: <sip:a@127.0.0.1>;tag=1\r\nTo: <sip:bakery@127.0.0.1>\r\nCall-ID: frob@test\r\n"
        "CSeq: 1 FROBNICATE\r\nContent-Length: 0\r\n\r\n"
    )
    caller.sock.sendto(message.encode(), caller.target)
    answer = caller.final()
    assert answer.startswith(("SIP/2.0 405 ", "SIP/2.0 501 "))
    assert "\r\nAllow: " in answer


def test_options_is_answered_with_what_we_can_do(caller: Caller) -> None:
    message = (
        f"OPTIONS sip:bakery@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{caller.port};branch=z9hG4bKx2;rport\r\n"
        "Max-Forwards: 70\r\nFrom: <sip:a@127.0.0.1>;tag=1\r\nTo: <sip:bakery@127.0.0.1>\r\nCall-ID: options@test\r\n"
        "CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    )
    caller.sock.sendto(message.encode(), caller.target)
    answer = caller.final()
    assert answer.startswith("SIP/2.0 200 ")
    assert "INVITE" in next(line for line in answer.split("\r\n") if line.startswith("Allow:"))


def test_caller_from_outside_every_trunk_is_refused(tmp_path: Path) -> None:
    trunks = '[[trunks]]\nname = "carrier"\nallow = ["203.0.113.0/24"]'
    with running_server(tmp_path, PLAYBOOK, handler=f'{trunks}\n[handler]\ntype = "playbook"\ndefault = "main.md"') as guarded:
        caller = Caller(guarded)
        with contextlib.closing(caller.sock):
            assert caller.invite(SDP).startswith("SIP/2.0 403 ")
        guarded.wait(lambda: "no trunk allows this address" in guarded.log, 5, "the refusal in the log")
        assert guarded.health()["refusals"] == {"unlisted": 1}
        assert guarded.health()["calls_total"] == 0


def test_server_that_is_full_answers_503_with_retry_after(tmp_path: Path) -> None:
    with running_server(
        tmp_path,
        PLAYBOOK.replace("Hello.", "A long greeting that goes on for a while. " * 5),
        extra=f"rtp_start_port = {rtp_of_servers()[1] - 3}\nrtp_end_port = {rtp_of_servers()[1]}",
    ) as small:
        callers = [Caller(small) for _ in range(3)]
        answers = [caller.invite(SDP) for caller in callers]
        for caller in callers:
            caller.sock.close()
        assert [answer.split(" ")[1] for answer in answers[:2]] == ["200", "200"]
        assert answers[2].startswith("SIP/2.0 503 ")
        assert "\r\nRetry-After: " in answers[2]


def test_call_that_rings_when_the_server_stops_is_a_503_so_that_the_carrier_tries_another_server(tmp_path: Path) -> None:
    """603 would end the search (RFC 3261 §21.6.2)."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        handler = f'[handler]\ntype = "webhook"\nurl = "http://127.0.0.1:{silent.getsockname()[1]}/"\n'
        with running_server(tmp_path, PLAYBOOK, handler=handler) as server:
            server.was_killed = True

            def stop_while_it_rings() -> None:
                server.wait(lambda: server.health()["calls"] == 1, 20, "the call to ring")
                server.process.send_signal(signal.SIGTERM)

            caller = Caller(server)
            caller.sock.settimeout(30)
            with contextlib.closing(caller.sock):
                stopping = threading.Thread(target=stop_while_it_rings)
                stopping.start()
                answer = caller.invite(SDP)
                stopping.join()
            assert answer.startswith("SIP/2.0 503 ")
            assert "\r\nRetry-After: " in answer
            server.process.wait(30)
        (record,) = server.records()
        assert (record["status"], record["hangupReason"], record["sipCode"]) == ("rejected", "shutdown", 503)
