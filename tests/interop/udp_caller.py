"""A caller over UDP made of strings and sockets, that does what an attacker would: it says where media goes, and acknowledges or not."""

from __future__ import annotations

import re
import select
import socket
import struct
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

HOST = "127.0.0.1"


def description(port: int, address: str = HOST, *, more: str = "") -> str:
    return (
        f"v=0\r\no=- 1 1 IN IP4 {HOST}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0 101\r\n"
        f"a=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=sendrecv\r\n{more}"
    )


def rtp(sequence: int, ssrc: int = 0x1111, payload: bytes = b"\xff" * 160, kind: int = 0) -> bytes:
    return struct.pack("!BBHII", 0x80, kind, sequence & 0xFFFF, sequence * 160 & 0xFFFFFFFF, ssrc) + payload


@dataclass
class Sink:
    """A socket that counts what comes."""

    sock: socket.socket
    n_packets: int = 0
    n_bytes: int = 0
    first: bytes = b""

    @property
    def port(self) -> int:
        return int(self.sock.getsockname()[1])

    def count(self, seconds: float = 0.0) -> int:
        """Bytes so far, after waiting."""
        deadline = time.monotonic() + seconds
        while True:
            ready, _, _ = select.select([self.sock], [], [], max(deadline - time.monotonic(), 0.0))
            if not ready:
                return self.n_bytes
            data = self.sock.recv(4096)
            self.first = self.first or data
            self.n_packets += 1
            self.n_bytes += len(data)


@contextmanager
def sink() -> Iterator[Sink]:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((HOST, 0))
    try:
        yield Sink(sock)
    finally:
        sock.close()


@dataclass
class UdpCaller:
    """One call to the server at `port`. `n_sent` and `n_received` count bytes of SIP."""

    port: int
    sock: socket.socket
    user: str = "1"
    """Whom it calls."""
    call_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    n_sent: int = 0
    n_received: int = 0
    to: str = ""
    contact: str = ""
    cseq: int = 1
    invite_cseq: int = 1
    responses: list[str] = field(default_factory=list)

    def invite(self, sdp: str, headers: str = "") -> None:
        kind = f"Content-Type: application/sdp\r\n{headers}" if sdp else headers
        self._send("INVITE", f"sip:{self.user}@{HOST}:{self.port}", 1, f"<sip:{self.user}@{HOST}>", kind, sdp)

    def ack(self, sdp: str = "") -> None:
        """Acknowledge the last INVITE."""
        kind = "Content-Type: application/sdp\r\n" if sdp else ""
        self._send("ACK", self.contact, self.invite_cseq, self.to, kind, sdp)

    def request(self, method: str, sdp: str = "") -> None:
        """A request inside the call; with a description it is an offer."""
        self.cseq += 1
        if method == "INVITE":
            self.invite_cseq = self.cseq
        self._send(method, self.contact, self.cseq, self.to, "Content-Type: application/sdp\r\n" if sdp else "", sdp)

    def bye(self) -> None:
        self.request("BYE")

    def _send(self, method: str, uri: str, cseq: int, to: str, headers: str, body: str) -> None:
        own = int(self.sock.getsockname()[1])
        text = (
            f"{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {HOST}:{own};rport;branch=z9hG4bK{uuid.uuid4().hex[:8]}\r\nMax-Forwards: 9\r\n"
            f"From: <sip:a@{HOST}>;tag=t\r\nTo: {to}\r\nCall-ID: {self.call_id}\r\nCSeq: {cseq} {method}\r\n"
            f"Contact: <sip:a@{HOST}:{own}>\r\n{headers}Content-Length: {len(body)}\r\n\r\n{body}"
        ).encode()
        self.n_sent += len(text)
        self.sock.sendto(text, (HOST, self.port))

    def listen(self, seconds: float, until: str = "") -> str:
        """Take what comes; returns the first message that begins with `until`, empty when there was none."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if not select.select([self.sock], [], [], left)[0]:
                break
            data = self.sock.recv(65_535)
            self.n_received += len(data)
            text = data.decode("utf-8", "replace")
            self.responses.append(text)
            if found := re.search(r"(?mi)^To: *(.*tag=.*?)\r$", text):
                self.to = found[1]
            if found := re.search(r"(?mi)^Contact: *<(.*?)>", text):
                self.contact = found[1]
            if until and text.startswith(until):
                return text
        return ""

    @property
    def media_port(self) -> int:
        """Where the server takes media, by its last description."""
        return next(int(found[1]) for text in reversed(self.responses) if (found := re.search(r"m=audio (\d+)", text)))

    def answered(self) -> str:
        text = self.listen(5.0, "SIP/2.0 200")
        assert text, self.responses
        return text


@contextmanager
def udp_caller(port: int) -> Iterator[UdpCaller]:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((HOST, 0))
    try:
        yield UdpCaller(port, sock)
    finally:
        sock.close()
