"""Calls of ours whose 200 OK names a host, not an address, as the place for media. A real server, real sockets."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from raw_peer import Message, RawPeer, tag_of
from running_server import Server
from speechless_server import speechless_server
from udp_caller import HOST, Sink, description, rtp, sink

NEWS = "Here is the news of the week. On Monday we bake rye bread with honey and walnuts. " * 6
PLAYBOOK = f"---\nllm: {{provider: script}}\ngreeting: {NEWS}\ninterruption: {{strategy: none}}\n---\n## goodbye\nBye.\n"


@pytest.fixture(scope="module")
def trunk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, RawPeer]]:
    with RawPeer("udp") as carrier:
        extra = f'media_workers = 1\nrtp_timeout = 6\n[[trunks]]\nname = "carrier"\nserver = "{HOST}:{carrier.port}"\n'
        with speechless_server(tmp_path_factory.mktemp("server"), PLAYBOOK, extra=extra) as server:
            carrier.server = (HOST, server.udp_port)
            yield server, carrier


def placed(server: Server, carrier: RawPeer) -> Message:
    """The INVITE of a call that the server was asked for."""
    server.post("/call", {"callee": f"sip:+4930123456@{HOST}:{carrier.port}", "playbook": "main.md"})
    return carrier.expect("INVITE")


@contextmanager
def answered(trunk: tuple[Server, RawPeer], sdp: str) -> Iterator[int]:
    """A call that the carrier has answered with `sdp`; gives the server's port for media. The carrier hangs up."""
    server, carrier = trunk
    n_before = len(server.records())
    carrier.inbox.clear()
    invite = placed(server, carrier)
    carrier.respond(invite, 200, contact=f"<sip:{HOST}:{carrier.port}>", sdp=sdp)
    carrier.expect("ACK")
    found = re.search(r"m=audio (\d+)", invite.body)
    assert found is not None
    yield int(found[1])
    hang_up(carrier, invite)
    server.wait_records(n_before + 1)


def hang_up(carrier: RawPeer, invite: Message) -> None:
    contact = invite.get("Contact").partition("<")[2].partition(">")[0]
    lines = [f"BYE {contact} SIP/2.0", f"Via: SIP/2.0/UDP {HOST}:{carrier.port};branch=z9hG4bK{tag_of(invite.get('From'))}"]
    lines += [f"From: {invite.get('To')};tag=peer", f"To: {invite.get('From')}", f"Call-ID: {invite.get('Call-ID')}", "CSeq: 1 BYE"]
    carrier.send("\r\n".join([*lines, "Max-Forwards: 9", "Content-Length: 0", "", ""]))
    carrier.expect(200)


def test_host_that_is_found_gets_the_greeting(trunk: tuple[Server, RawPeer]) -> None:
    with sink() as phone, answered(trunk, description(phone.port, "localhost")):
        phone.count(1.5)
        assert phone.n_packets > 20


def test_host_that_is_not_found_is_learnt_from_its_packets(trunk: tuple[Server, RawPeer]) -> None:
    with sink() as phone, answered(trunk, description(phone.port, "sbc.invalid")) as port:
        assert phone.count(0.5) == 0
        talk(phone, port, 10)
        phone.count(0.5)
        assert phone.n_packets > 15


@pytest.mark.parametrize("name", ["sbc.invalid", "224.0.0.1.invalid"])
def test_host_that_leads_nowhere_costs_the_call_nothing_but_its_sound(trunk: tuple[Server, RawPeer], name: str) -> None:
    with sink() as phone:
        before = len(trunk[0].records())
        with answered(trunk, description(phone.port, name)) as port:
            talk(phone, port, 10)
            assert trunk[0].get("/health")["calls"] == 1
        (record,) = trunk[0].wait_records(before + 1)[before:]
        assert (record["hangupBy"], record["hangupReason"]) == ("callee", "remote_bye"), record


@pytest.mark.parametrize("name", ["xn--", "a..b", "-", "x" * 300])
def test_address_that_no_host_can_have_ends_the_call_with_the_reason(trunk: tuple[Server, RawPeer], name: str) -> None:
    server, carrier = trunk
    before = len(server.records())
    carrier.inbox.clear()
    invite = placed(server, carrier)
    carrier.respond(invite, 200, contact=f"<sip:{HOST}:{carrier.port}>", sdp=description(4000, name))
    carrier.expect("ACK")
    carrier.respond(carrier.expect("BYE"), 200)
    (record,) = server.wait_records(before + 1)[before:]
    assert (record["hangupBy"], record["hangupReason"]) == ("system", "no_media"), record
    assert name[:80] in record["error"], record


def talk(phone: Sink, port: int, n_packets: int) -> None:
    for n in range(n_packets):
        phone.sock.sendto(rtp(n), (HOST, port))
        time.sleep(0.02)
