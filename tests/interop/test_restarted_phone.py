"""A phone that is killed in a call and calls again from the same ports hears its new call alone. A real server, real sockets."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterator

import pytest
from running_server import Server, running_server
from udp_caller import HOST, Sink, UdpCaller, description, rtp, sink, udp_caller

NEWS = "Here is the news of the week. On Monday we bake rye bread with honey and walnuts. " * 6
BOOK = f"---\nllm: {{provider: script}}\ngreeting: {NEWS}\ninterruption: {{strategy: none}}\n---\n## bye\nBye.\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    handler = '[handler]\ntype = "playbook"\ndefault = "main.md"\n'
    with running_server(tmp_path_factory.mktemp("server"), {"main.md": BOOK}, extra="media_workers = 1\n", handler=handler) as running:
        yield running


def call(caller: UdpCaller, phone: Sink, headers: str) -> None:
    caller.invite(description(phone.port), headers)
    caller.answered()
    caller.ack()
    for n in range(10):
        phone.sock.sendto(rtp(n), (HOST, caller.media_port))
        time.sleep(0.02)


def respond(caller: UdpCaller, request: str, line: str, more: str = "", sdp: str = "") -> None:
    kept = "".join(f"{found}\r\n" for found in re.findall(r"(?mi)^(?:Via|From|To|Call-ID|CSeq):[^\r\n]*", request))
    caller.sock.sendto(f"SIP/2.0 {line}\r\n{kept}{more}Content-Length: {len(sdp)}\r\n\r\n{sdp}".encode(), (HOST, caller.port))


@pytest.mark.parametrize(("allow", "method"), [("INVITE, UPDATE, BYE", "UPDATE"), ("INVITE, BYE", "INVITE")])
def test_old_call_of_a_restarted_phone_ends_when_the_phone_does_not_know_it(server: Server, allow: str, method: str) -> None:
    n_before = len(server.records())
    with udp_caller(server.udp_port) as caller, sink() as phone:
        call(caller, phone, f"Allow: {allow}\r\n")
        old, caller.call_id, caller.cseq = caller.call_id, uuid.uuid4().hex, 1
        caller.to = caller.contact = ""
        caller.invite(description(phone.port))
        asked = caller.listen(3.0, method)
        assert f"Call-ID: {old}" in asked, caller.responses
        respond(caller, asked, "481 Call/Transaction Does Not Exist")
        (record,) = server.wait_records(n_before + 1)[n_before:]
        assert (record["hangupBy"], record["hangupReason"]) == ("caller", "remote_bye")
        phone.count(0.3)
        n_packets = phone.n_packets
        phone.count(1.0)
        assert phone.n_packets - n_packets <= 52  # one stream, or none before the ACK
        end(caller, server, n_before + 2)


def test_call_of_a_peer_that_knows_it_goes_on(server: Server) -> None:
    """A mixer may take two calls at one port."""
    n_before = len(server.records())
    with udp_caller(server.udp_port) as caller, sink() as phone:
        call(caller, phone, "Allow: INVITE, UPDATE, BYE\r\n")
        first = (caller.call_id, caller.to, caller.contact)
        caller.call_id = uuid.uuid4().hex
        caller.invite(description(phone.port))
        respond(caller, caller.listen(3.0, "UPDATE"), "200 OK", f"Contact: <sip:a@{HOST}:{caller.sock.getsockname()[1]}>\r\n")
        second = (caller.call_id, caller.to, caller.contact)
        caller.listen(0.5)
        assert len(server.records()) == n_before
        for caller.call_id, caller.to, caller.contact in (first, second):
            end(caller, server, 0)
        server.wait_records(n_before + 2)


def end(caller: UdpCaller, server: Server, n_records: int) -> None:
    caller.listen(0.5)
    caller.ack()
    caller.bye()
    caller.listen(0.5)
    if n_records:
        server.wait_records(n_records)
