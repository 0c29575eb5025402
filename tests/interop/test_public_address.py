"""The public address of a running server: by STUN, and by what a registrar's responses show. The peers are a few lines of their own."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from peers.process import wait_until
from running_server import running_server

PLAYBOOK = "---\nllm: {provider: script}\n---\n# Scene: main\n\n## *\nHello.\n"
PUBLIC = "203.0.113.7"


class Peer(threading.Thread):
    """A UDP peer that writes down what it gets and answers by `answer`."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(daemon=True)
        self.sock = sock
        self.port = sock.getsockname()[1]
        self.received: list[tuple[bytes, tuple[str, int]]] = []

    def run(self) -> None:
        while True:
            try:
                data, source = self.sock.recvfrom(65_535)
            except OSError:
                return
            self.received.append((data, source))
            answer = self.answer(data, source)
            if answer:
                self.sock.sendto(answer, source)

    def answer(self, data: bytes, source: tuple[str, int]) -> bytes:
        raise NotImplementedError


class StunServer(Peer):
    def answer(self, data: bytes, source: tuple[str, int]) -> bytes:
        cookie = data[4:8]
        raw = bytes(a ^ b for a, b in zip(socket.inet_aton(PUBLIC), cookie, strict=True))
        return bytes.fromhex("0101000c") + data[4:20] + bytes.fromhex("002000080001") + (source[1] ^ 0x2112).to_bytes(2) + raw


class Registrar(Peer):
    """Grants everything, and sees the client at PUBLIC:45678."""

    def answer(self, data: bytes, source: tuple[str, int]) -> bytes:
        lines = data.decode().split("\r\n")
        if not lines[0].startswith("REGISTER"):
            return b""
        kept = [line for line in lines if re.match(r"(Via|From|To|Call-ID|CSeq|Contact):", line)]
        kept = [line.replace(";rport", f";rport=45678;received={PUBLIC}") if line.startswith("Via") else line for line in kept]
        return "\r\n".join(["SIP/2.0 200 OK", *kept, "Expires: 600", "Content-Length: 0", "", ""]).encode()

    @property
    def contacts(self) -> list[str]:
        return [match[1] for data, _ in self.received if (match := re.search(r"\r\nContact: ([^\r]+)", data.decode()))]


@contextmanager
def bound(kind: type[Peer]) -> Iterator[Peer]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        peer = kind(sock)
        peer.start()
        yield peer


def test_external_ip_auto_asks_stun_by_the_sip_socket_and_says_what_it_has_learnt(tmp_path: Path) -> None:
    with bound(StunServer) as stun:
        extra = f'external_ip = "auto"\nstun_servers = ["127.0.0.1:9", "stun:127.0.0.1:{stun.port}"]\n'
        with running_server(tmp_path / "server", PLAYBOOK, extra=extra) as server:
            assert {source for _, source in stun.received} == {("127.0.0.1", server.udp_port)}
            assert f"public address learnt by STUN  address={PUBLIC} port={server.udp_port}" in server.log
            banner = f"sip:{PUBLIC}:{server.tls_port};transport=tls"
            assert wait_until(lambda: banner in server.log, 10), server.log


def test_start_goes_on_with_an_error_in_the_log_where_no_stun_server_answers(tmp_path: Path) -> None:
    with running_server(tmp_path / "server", PLAYBOOK, extra='external_ip = "auto"\nstun_servers = ["127.0.0.1:9"]\n') as server:
        assert "ERROR" in server.log
        assert "no STUN server answers" in server.log
        assert wait_until(lambda: f"sip:127.0.0.1:{server.udp_port}" in server.log, 10), "the banner follows the line that says ready"


def test_registration_moves_to_the_address_at_which_the_registrar_sees_us(tmp_path: Path) -> None:
    with bound(Registrar) as registrar:
        assert isinstance(registrar, Registrar)
        account = f'[[sip_registrations]]\nusername = "us"\nserver = "127.0.0.1:{registrar.port}"\n'
        with running_server(tmp_path / "server", PLAYBOOK, extra=f"auto_learn_public_address = true\n{account}") as server:
            assert wait_until(lambda: len(registrar.contacts) >= 2, 10), server.log
            assert registrar.contacts[:2] == [f"<sip:us@127.0.0.1:{server.udp_port}>", f"<sip:us@{PUBLIC}:45678>"]
            assert wait_until(lambda: server.health()["registrations"] == {"us@127.0.0.1": "registered"}, 10), server.log
        assert len(registrar.contacts) == 3  # the last one takes the binding back
