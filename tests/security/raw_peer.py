"""A SIP peer of raw text over real sockets, for attacks: it sends what it is told, well-formed or not, and keeps what comes."""

from __future__ import annotations

import re
import socket
import ssl
import time
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType

PATIENCE_S = 20.0
"""What has to come comes in milliseconds; this is for a machine that has much else to do."""
SDP = (
    "v=0\r\no=peer 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 41000 RTP/AVP 0 101\r\n"
    "a=rtpmap:101 telephone-event/8000\r\n"
)


@dataclass
class Message:
    """One message, and when and from where it came."""

    start: str
    headers: list[tuple[str, str]]
    body: str
    at: float
    source: tuple[str, int] = ("", 0)

    @property
    def method(self) -> str:
        return self.start.split(" ")[0]

    @property
    def code(self) -> int:
        return int(self.start.split(" ")[1]) if self.start.startswith("SIP/2.0") else 0

    @property
    def uri(self) -> str:
        return self.start.split(" ")[1]

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def get(self, name: str) -> str:
        return next(iter(self.all(name)), "")


def parse(text: str, source: tuple[str, int] = ("", 0)) -> Message:
    head, _, body = text.partition("\r\n\r\n")
    start, *lines = head.split("\r\n")
    return Message(
        start, [(line.partition(":")[0].strip(), line.partition(":")[2].strip()) for line in lines], body, time.monotonic(), source
    )


@dataclass
class RawPeer:
    """One socket: UDP at `host`, or a TCP or TLS connection to `server`. `wait` gives the first message not taken yet that fits."""

    transport: str
    server: tuple[str, int] | None = None
    host: str = "127.0.0.1"
    port: int = 0
    accepted: socket.socket | None = None
    inbox: list[Message] = field(default_factory=list)
    _buffer: str = ""
    _n_sent: int = 0

    def __post_init__(self) -> None:
        if self.accepted is not None:
            self.socket = self.accepted
        elif self.transport == "udp":
            self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.socket.bind((self.host, self.port))
        else:
            assert self.server is not None
            plain = socket.create_connection(self.server, 5)
            self.socket = client_context().wrap_socket(plain) if self.transport == "tls" else plain
        self.host, self.port = self.socket.getsockname()[:2]

    def __enter__(self) -> RawPeer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        with suppress(OSError):
            self.socket.close()

    def send(self, text: str, to: tuple[str, int] | None = None) -> None:
        if self.transport == "udp":
            self.socket.sendto(text.encode(), to or self.server or ("", 0))
        else:
            self.socket.sendall(text.encode())

    def poll(self, seconds: float) -> None:
        """Take in what comes within that time, at least one thing."""
        self.socket.settimeout(max(0.001, seconds))
        with suppress(TimeoutError, ConnectionError, ssl.SSLError):
            if self.transport == "udp":
                data, source = self.socket.recvfrom(65_535)
                if data.strip():
                    self.inbox.append(parse(data.decode("utf-8", "replace"), source))
                return
            data = self.socket.recv(65_535)
            if not data:
                time.sleep(min(seconds, 0.05))
            self._buffer += data.decode("utf-8", "replace")
            self._cut()

    def _cut(self) -> None:
        self._buffer = self._buffer.lstrip("\r\n")
        while "\r\n\r\n" in self._buffer:
            head, _, rest = self._buffer.partition("\r\n\r\n")
            length = re.search(r"(?im)^(?:content-length|l)\s*:\s*(\d+)", head)
            n_body = int(length[1]) if length else 0
            if len(rest) < n_body:
                return
            self.inbox.append(parse(head + "\r\n\r\n" + rest[:n_body]))
            self._buffer = rest[n_body:].lstrip("\r\n")

    def wait(self, what: str | int, seconds: float = PATIENCE_S) -> Message | None:
        """The next request of that method, or response of that code; None when there is none in time."""
        deadline = time.monotonic() + seconds
        while True:
            for index, message in enumerate(self.inbox):
                if what in (message.method, message.code):
                    return self.inbox.pop(index)
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            self.poll(left)

    def expect(self, what: str | int, seconds: float = PATIENCE_S) -> Message:
        found = self.wait(what, seconds)
        assert found is not None, f"no {what} within {seconds:g} s; there were {[message.start for message in self.inbox]}"
        return found

    # -- messages

    def respond(self, request: Message, code: int, *extra: str, contact: str = "", sdp: str = "", tag: str = "peer") -> None:
        to = request.get("To")
        lines = [f"SIP/2.0 {code} Answer", *(f"Via: {value}" for value in request.all("Via")), f"From: {request.get('From')}"]
        lines += [f"To: {to}" + ("" if "tag=" in to or code == 100 else f";tag={tag}"), f"Call-ID: {request.get('Call-ID')}"]
        lines += [f"CSeq: {request.get('CSeq')}", *([f"Contact: {contact}"] if contact else []), *extra]
        self.send(finished(lines, sdp), request.source if request.source[1] else None)

    def invite(self, uri: str, contact: str, *extra: str, call_id: str = "attack-1") -> None:
        self.request("INVITE", uri, contact, *extra, call_id=call_id, body=SDP)

    def request(
        self, method: str, uri: str, contact: str, *extra: str, call_id: str = "attack-1", cseq: int = 1, to_tag: str = "", body: str = ""
    ) -> None:
        self._n_sent += 1
        via = f"SIP/2.0/{self.transport.upper()} {self.host}:{self.port};branch=z9hG4bK{call_id}{method}{self._n_sent};rport"
        to = f"<{uri}>" + (f";tag={to_tag}" if to_tag else "")
        lines = [f"{method} {uri} SIP/2.0", f"Via: {via}", "Max-Forwards: 70", f"From: <sip:+15550100@{self.host}>;tag=them", f"To: {to}"]
        lines += [f"Call-ID: {call_id}", f"CSeq: {cseq} {method}", f"Contact: {contact}", *extra]
        self.send(finished(lines, body))

    def call(self, uri: str, contact: str, call_id: str = "attack-1") -> Message:
        """Place a call and have it answered; the 200."""
        self.inbox.clear()
        self.invite(uri, contact, call_id=call_id)
        answer = self.expect(200, 10)
        assert answer.get("CSeq") == "1 INVITE"
        self.request("ACK", uri, contact, call_id=call_id, to_tag=tag_of(answer.get("To")))
        return answer


def finished(lines: list[str], body: str) -> str:
    if body:
        lines.append("Content-Type: application/sdp")
    return "\r\n".join([*lines, f"Content-Length: {len(body)}"]) + "\r\n\r\n" + body


def tag_of(value: str) -> str:
    return value.rpartition("tag=")[2].partition(";")[0]


def client_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
