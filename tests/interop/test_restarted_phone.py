"""A phone over TCP that is killed in a call and calls again from the same ports hears its new call alone. A real server, real sockets."""

from __future__ import annotations

import re
import select
import socket
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from running_server import Server, running_server
from udp_caller import HOST, Sink, description, rtp, sink

NEWS = "Here is the news of the week. On Monday we bake rye bread with honey and walnuts. " * 6
BOOK = f"---\nllm: {{provider: script}}\ngreeting: {NEWS}\ninterruption: {{strategy: none}}\n---\n## bye\nBye.\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    handler = '[handler]\ntype = "playbook"\ndefault = "main.md"\n'
    with running_server(tmp_path_factory.mktemp("server"), {"main.md": BOOK}, extra="media_workers = 1\n", handler=handler) as running:
        yield running


@dataclass
class Connection:
    """One connection, its messages cut by Content-Length."""

    sock: socket.socket
    data: str = ""
    seen: list[str] = field(default_factory=list)

    def receive(self, beginning: str, seconds: float = 3.0) -> str:
        """The first message that begins so, empty if there is none in time."""
        deadline = time.monotonic() + seconds
        while True:
            head, end, rest = self.data.partition("\r\n\r\n")
            found = re.search(r"(?mi)^Content-Length: *(\d+)", head)
            if end and found and len(rest) >= int(found[1]):
                self.data = rest[int(found[1]) :]
                self.seen.append(head + end + rest[: int(found[1])])
                if head.startswith(beginning):
                    return self.seen[-1]
            elif select.select([self.sock], [], [], max(deadline - time.monotonic(), 0.0))[0]:
                self.data += self.sock.recv(65_535).decode()
            else:
                return ""


@dataclass
class Phone:
    """A phone at one SIP port, one media port; each call is a Call-ID, a To and the Contact of the server."""

    server: Server
    listener: socket.socket
    media: Sink
    allow: str
    sockets: list[socket.socket] = field(default_factory=list)

    def connect(self) -> Connection:
        return self._kept(socket.create_connection((HOST, self.server.udp_port)))

    def accept(self) -> Connection:
        return self._kept(self.listener.accept()[0])

    def _kept(self, sock: socket.socket) -> Connection:
        self.sockets.append(sock)
        return Connection(sock)

    def send(self, connection: Connection, method: str, call_id: str, *, uri: str, to: str, cseq: int = 1, sdp: str = "") -> None:
        text = (
            f"{method} {uri} SIP/2.0\r\nVia: SIP/2.0/TCP {HOST};branch=z9hG4bK{uuid.uuid4().hex[:8]}\r\nMax-Forwards: 9\r\n"
            f"From: <sip:a@{HOST}>;tag=t\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: {cseq} {method}\r\nAllow: {self.allow}\r\n"
            f"Contact: <sip:a@{HOST}:{self.listener.getsockname()[1]};transport=tcp>\r\n"
            f"Content-Type: application/sdp\r\nContent-Length: {len(sdp)}\r\n\r\n{sdp}"
        )
        connection.sock.sendall(text.encode())

    def call(self, connection: Connection) -> str:
        """Call, acknowledge, send sound for 200 ms; the Call-ID."""
        call_id = uuid.uuid4().hex
        target = f"sip:1@{HOST}:{self.server.udp_port}"
        self.send(connection, "INVITE", call_id, uri=target, to=f"<{target}>", sdp=description(self.media.port))
        answer = connection.receive("SIP/2.0 200", 5.0)
        assert answer, connection.seen
        to, contact = re.search(r"(?mi)^To: *(.*?)\r$", answer), re.search(r"(?mi)^Contact: *<(.*?)>", answer)
        port = re.search(r"m=audio (\d+)", answer)
        assert to and contact and port
        self.send(connection, "ACK", call_id, uri=contact[1], to=to[1])
        for n in range(10):
            self.media.sock.sendto(rtp(n), (HOST, int(port[1])))
            time.sleep(0.02)
        return call_id


@pytest.fixture
def phone(server: Server, request: pytest.FixtureRequest) -> Iterator[Phone]:
    with socket.create_server((HOST, 0)) as listener, sink() as media:
        listener.settimeout(3.0)
        phone = Phone(server, listener, media, getattr(request, "param", "INVITE, UPDATE, BYE"))
        yield phone
        for sock in phone.sockets:
            sock.close()


def respond(connection: Connection, request: str, line: str) -> None:
    kept = "".join(f"{found}\r\n" for found in re.findall(r"(?mi)^(?:Via|From|To|Call-ID|CSeq):[^\r\n]*", request))
    connection.sock.sendall(f"SIP/2.0 {line}\r\n{kept}Content-Length: 0\r\n\r\n".encode())


@pytest.mark.parametrize("phone", ["INVITE, UPDATE, BYE", "INVITE, BYE"], indirect=True)
def test_old_call_of_a_restarted_phone_ends_when_the_phone_does_not_know_it(server: Server, phone: Phone) -> None:
    n_before = len(server.records())
    killed = phone.connect()
    old = phone.call(killed)
    killed.sock.close()
    time.sleep(0.2)
    phone.call(phone.connect())
    asked = phone.accept()
    request = asked.receive("UPDATE" if "UPDATE" in phone.allow else "INVITE")
    assert f"Call-ID: {old}" in request, asked.seen
    respond(asked, request, "481 Call/Transaction Does Not Exist")
    (record,) = server.wait_records(n_before + 1)[n_before:]
    assert (record["hangupBy"], record["hangupReason"]) == ("caller", "remote_bye")
    phone.media.count(0.3)
    n_packets = phone.media.n_packets
    phone.media.count(1.0)
    assert 40 <= phone.media.n_packets - n_packets <= 55  # one stream, not two


def test_two_calls_at_one_port_on_an_open_connection_are_left_in_peace(phone: Phone) -> None:
    """As mixers and SIPp make them."""
    connection = phone.connect()
    phone.call(connection)
    phone.call(connection)
    assert connection.receive("UPDATE", 1.0) == ""
    assert not select.select([phone.listener], [], [], 0.0)[0]
