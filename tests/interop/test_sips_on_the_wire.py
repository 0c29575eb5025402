"""Calls to a `sips:` URI over real TLS: each Contact of ours is a `sips:` URI, and the dialog goes on by it (RFC 3261 §12.1.1)."""

from __future__ import annotations

import re
import socket
import ssl
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from running_server import Server
from shared_servers import shared_server
from udp_caller import HOST, description

PLAYBOOK = """---
llm: {provider: script}
greeting: Hello.
---
## hi
Hello.
"""


class TlsCaller:
    """One call over one TLS connection, made of strings."""

    def __init__(self, sock: ssl.SSLSocket, scheme: str, port: int) -> None:
        self._sock, self._scheme = sock, scheme
        self._uri = f"{scheme}:1@{HOST}:{port}" + (";transport=tls" if scheme == "sip" else "")
        self._call_id = uuid.uuid4().hex
        self._buffer = ""
        self.target, self.to = self._uri, f"<{self._uri}>"

    def send(self, method: str, cseq: int, body: str = "") -> None:
        own = self._sock.getsockname()[1]
        kind = "Content-Type: application/sdp\r\n" if body else ""
        self._sock.sendall(
            (
                f"{method} {self.target} SIP/2.0\r\nVia: SIP/2.0/TLS {HOST}:{own};branch=z9hG4bK{uuid.uuid4().hex[:8]};rport\r\n"
                f"Max-Forwards: 9\r\nFrom: <{self._scheme}:a@{HOST}>;tag=t\r\nTo: {self.to}\r\nCall-ID: {self._call_id}\r\n"
                f"CSeq: {cseq} {method}\r\nContact: <{self._scheme}:a@{HOST}:{own}{'' if self._scheme == 'sips' else ';transport=tls'}>\r\n"
                f"{kind}Content-Length: {len(body)}\r\n\r\n{body}"
            ).encode()
        )

    def message(self) -> str:
        """The next message of the server."""
        while True:
            head, found, rest = self._buffer.partition("\r\n\r\n")
            length = re.search(r"(?mi)^Content-Length: *(\d+)", head)
            if found and length and len(rest) >= int(length[1]):
                self._buffer = rest[int(length[1]) :]
                return head + "\r\n\r\n" + rest[: int(length[1])]
            data = self._sock.recv(65_535)
            assert data, "the server has closed the connection"
            self._buffer += data.decode("utf-8", "replace")

    def final(self) -> tuple[int, list[str]]:
        """Code of the next final response, and the Contacts of all responses until then."""
        contacts = []
        while True:
            text = self.message()
            if not text.startswith("SIP/2.0 "):
                continue
            if contact := re.search(r"(?mi)^Contact: *<(.*?)>", text):
                contacts.append(contact[1])
            if (code := int(text[8:11])) >= 200:
                if to := re.search(r"(?mi)^To: *(.*tag=.*?)\r$", text):
                    self.to = to[1]
                return code, contacts


@contextmanager
def tls_caller(server: Server, scheme: str) -> Iterator[TlsCaller]:
    context = ssl.create_default_context(cafile=str(server.folder / "cert.pem"))
    with (
        socket.create_connection((HOST, server.tls_port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as sock,
    ):
        yield TlsCaller(sock, scheme, server.tls_port)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with shared_server(PLAYBOOK) as running:
        yield running


@pytest.mark.parametrize("scheme", ["sips", "sip"])
def test_contact_has_the_scheme_of_the_request_and_the_dialog_goes_on_by_it(server: Server, scheme: str) -> None:
    with tls_caller(server, scheme) as caller, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as rtp:
        rtp.bind((HOST, 0))
        caller.send("INVITE", 1, description(rtp.getsockname()[1]))
        code, contacts = caller.final()
        assert code == 200
        assert contacts and {contact.partition(":")[0] for contact in contacts} == {scheme}
        caller.target = contacts[-1]
        caller.send("ACK", 1)
        caller.send("INVITE", 2, description(rtp.getsockname()[1]))
        code, contacts = caller.final()
        assert (code, {contact.partition(":")[0] for contact in contacts}) == (200, {scheme})
        caller.send("ACK", 2)
        caller.send("BYE", 3)
        assert caller.final()[0] == 200
