"""What a caller made of text hears about offers and requests that cannot be taken, and what its attended transfer becomes on the wire."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest
from raw_peer import SDP, Message, RawPeer, tag_of
from running_server import Server, running_server

from ports import rtp_of_servers

PLAYBOOK = """---
llm: {provider: script}
asr: {provider: pocketsphinx}
tts: {provider: espeak}
refer: {onRequest: bridge}
greeting: Good day.
---
## hello
Hello.
"""
CONFIG = """media_workers = 1

[[trunks]]
name = "office"
allow = ["127.0.0.1"]
srtp = "preferred"
refer_headers = ["X-Account"]

[outbound]
domains = ["127.0.0.1"]
"""
UNKNOWN_CODEC = SDP.replace("RTP/AVP 0 101", "RTP/AVP 18")
KEY = base64.b64encode(b"k" * 30).decode()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("server"), PLAYBOOK, extra=CONFIG) as running:
        yield running


class Phone:
    """A call of a raw peer that is up."""

    def __init__(self, server: Server, peer: RawPeer, call_id: str) -> None:
        self.uri, self.contact = f"sip:agent@127.0.0.1:{server.udp_port}", f"<sip:peer@127.0.0.1:{peer.port}>"
        self.peer, self.call_id, self.cseq = peer, call_id, 1
        self.tag = tag_of(peer.call(self.uri, self.contact, call_id).get("To"))

    def ask(self, method: str, *extra: str, body: str = "", acknowledged: bool = False) -> Message:
        """Send a request inside the call; its final response."""
        self.cseq += 1
        self.peer.request(method, self.uri, self.contact, *extra, call_id=self.call_id, cseq=self.cseq, to_tag=self.tag, body=body)
        while True:
            response = next((m for m in self.peer.inbox if m.code >= 200 and m.get("CSeq") == f"{self.cseq} {method}"), None)
            if response is not None:
                self.peer.inbox.remove(response)
                if acknowledged:
                    self.peer.request("ACK", self.uri, self.contact, call_id=self.call_id, cseq=self.cseq, to_tag=self.tag)
                return response
            self.peer.poll(5)

    def hang_up(self) -> None:
        assert self.ask("BYE").code == 200


@pytest.fixture
def phone(server: Server, request: pytest.FixtureRequest) -> Iterator[Phone]:
    with RawPeer("udp", ("127.0.0.1", server.udp_port)) as peer:
        yield Phone(server, peer, f"c-{abs(hash(request.node.name))}")


def test_attended_transfer_goes_on_with_its_replaces(phone: Phone) -> None:
    replaces = "consult%40phone%3Bto-tag%3Ddesk1%3Bfrom-tag%3Dphone1"
    with RawPeer("udp") as desk:
        at = f"sip:desk@127.0.0.1:{desk.port};transport=udp"
        target = f"<{at}?Replaces={replaces}&Require=replaces&X-Account=12&X-Other=1&Route=%3Csip%3Ax%3E>"
        assert phone.ask("REFER", f"Refer-To: {target}").code == 202
        for code in (488, 200):  # the second INVITE offers plain RTP
            invite = desk.expect("INVITE", 10)
            assert invite.uri == at
            assert invite.all("Replaces") == ["consult@phone;to-tag=desk1;from-tag=phone1"]
            assert invite.all("Require") == ["replaces"]
            assert (invite.all("X-Account"), invite.all("X-Other"), invite.all("Route")) == (["12"], [], [])
            desk.respond(invite, code, contact=f"<{at}>", sdp=SDP if code == 200 else "")
            desk.expect("ACK", 10)
        notified = phone.peer.expect("NOTIFY", 10)
        while "200 OK" not in notified.body:
            phone.peer.respond(notified, 200)
            notified = phone.peer.expect("NOTIFY", 10)
        phone.peer.respond(notified, 200)
        phone.hang_up()


def test_requests_that_nobody_reads_are_refused_and_the_call_goes_on(phone: Phone) -> None:
    unread = phone.ask("INFO", "Content-Type: application/media_control+xml", "Content-Length: 4\r\n\r\n<x/>")
    assert (unread.code, "application/dtmf-relay" in unread.get("Accept")) == (415, True)
    package = phone.ask("INFO", "Info-Package: conference")
    assert package.code == 469
    assert ("recv-info" in [name.lower() for name, _ in package.headers], package.get("Recv-Info")) == (True, "")
    assert phone.ask("NOTIFY", "Event: presence", "Subscription-State: active").code == 489
    assert phone.ask("OPTIONS").code == 200
    phone.hang_up()


@pytest.mark.parametrize("method", ["UPDATE", "INVITE"])
@pytest.mark.parametrize("sdp", [UNKNOWN_CODEC, SDP.replace("c=IN IP4 127.0.0.1\r\n", "")], ids=["codec", "no address"])
def test_offer_inside_a_call_that_cannot_be_taken_gets_488_with_a_warning(phone: Phone, method: str, sdp: str) -> None:
    refused = phone.ask(method, body=sdp, acknowledged=method == "INVITE")
    assert (refused.code, refused.start) == (488, "SIP/2.0 488 Not Acceptable Here")
    assert refused.get("Warning").startswith("399 active-call ")
    assert phone.ask("OPTIONS").code == 200
    phone.hang_up()


def test_audio_that_rests_is_answered_with_port_0_and_comes_back(phone: Phone) -> None:
    rests = phone.ask("INVITE", body=SDP.replace("m=audio 41000", "m=audio 0"), acknowledged=True)
    assert (rests.code, "m=audio 0 " in rests.body) == (200, True)
    back = phone.ask("INVITE", body=SDP, acknowledged=True)
    assert (back.code, "m=audio 0 " in back.body, "a=sendrecv" in back.body) == (200, False, True)
    phone.hang_up()


def test_offer_of_best_effort_is_answered_with_srtp(server: Server) -> None:
    with RawPeer("udp", ("127.0.0.1", server.udp_port)) as peer:
        uri, contact = f"sip:agent@127.0.0.1:{server.udp_port}", f"<sip:peer@127.0.0.1:{peer.port}>"
        offer = SDP + f"a=crypto:4 AES_CM_128_HMAC_SHA1_80 inline:{KEY}\r\n"
        peer.request("INVITE", uri, contact, call_id="best-effort", body=offer)
        answer = peer.expect(200, 10)
        assert "RTP/AVP 0" in answer.body
        assert "a=crypto:4 AES_CM_128_HMAC_SHA1_80 inline:" in answer.body
        tag = tag_of(answer.get("To"))
        peer.request("ACK", uri, contact, call_id="best-effort", to_tag=tag)
        peer.request("BYE", uri, contact, call_id="best-effort", cseq=2, to_tag=tag)
        assert peer.expect(200).get("CSeq") == "2 BYE"


@pytest.mark.parametrize(
    ("body", "code"), [(UNKNOWN_CODEC, 488), (SDP.replace("RTP/AVP", "RTP/SAVP"), 488), (SDP.replace("o=peer", "x=peer"), 400)]
)
def test_offer_that_is_refused_does_not_ring_first(server: Server, body: str, code: int) -> None:
    with RawPeer("udp", ("127.0.0.1", server.udp_port)) as peer:
        peer.request(
            "INVITE",
            f"sip:agent@127.0.0.1:{server.udp_port}",
            f"<sip:peer@127.0.0.1:{peer.port}>",
            call_id=f"r-{abs(hash(body))}",
            body=body,
        )
        assert peer.expect(code, 10).get("Warning").startswith("399 active-call ")
        assert [message.code for message in peer.inbox] in ([], [100])


def test_call_without_room_for_its_sound_does_not_ring_first(tmp_path_factory: pytest.TempPathFactory) -> None:
    extra = f"media_workers = 1\nrtp_start_port = {rtp_of_servers()[1] - 1}\nrtp_end_port = {rtp_of_servers()[1]}"
    with (
        running_server(tmp_path_factory.mktemp("full"), PLAYBOOK, extra=extra) as full,
        RawPeer("udp", ("127.0.0.1", full.udp_port)) as peer,
    ):
        for number in range(4):  # how many there is room for depends on who else has ports
            peer.inbox.clear()
            peer.invite(f"sip:agent@127.0.0.1:{full.udp_port}", f"<sip:peer@127.0.0.1:{peer.port}>", call_id=f"room-{number}")
            mine: list[Message] = []
            while not any(message.code >= 200 for message in mine):
                peer.poll(5)
                mine = [message for message in peer.inbox if message.get("Call-ID") == f"room-{number}"]
            if mine[-1].code != 200:
                break
        assert [message.code for message in mine] == [100, 503]
        assert mine[-1].get("Retry-After") != ""
