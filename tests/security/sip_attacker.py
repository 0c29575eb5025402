"""A raw SIP client over one socket, made for sending what no telephone would. It shares nothing with our SIP."""

from __future__ import annotations

import re
import secrets
import socket
import ssl
import time
from dataclasses import dataclass, field
from typing import ClassVar

CRLF = "\r\n"
SOUND = (
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0 101\r\n"
    "a=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n"
)
CRYPTO = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + "A" * 40 + CRLF


class Closed(AssertionError):
    """The server has closed the connection."""


class Wire:
    """One socket to the server, from an address of loopback."""

    opened: ClassVar[list[Wire]] = []
    """All of them, so that a test can close what it leaves behind."""

    def __init__(self, transport: str, port: int, local: str = "127.0.0.1") -> None:
        self.transport = transport
        self.port = port
        kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
        sock = socket.socket(socket.AF_INET, kind)
        sock.settimeout(5)
        sock.bind((local, 0))
        sock.connect(("127.0.0.1", port))
        if transport == "tls":
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            sock = context.wrap_socket(sock)
        self.socket = sock
        self.opened.append(self)
        self.me = f"{local}:{sock.getsockname()[1]}"
        self._unread = b""

    def close(self) -> None:
        self.socket.close()

    @classmethod
    def close_all(cls) -> None:
        for wire in cls.opened:
            wire.close()
        cls.opened.clear()

    def send(self, *messages: str | bytes) -> None:
        """All of them in one segment or record."""
        self.socket.sendall(b"".join(message if isinstance(message, bytes) else message.encode() for message in messages))

    def read(self, seconds: float, n_most: int = 1_000_000) -> list[str]:
        """Whole messages that come within that time, until there are `n_most`. Raises Closed."""
        found: list[str] = []
        deadline = time.monotonic() + seconds
        while len(found) < n_most and (left := deadline - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                data = self.socket.recv(65_535)
            except TimeoutError:
                break
            except OSError as error:
                raise Closed(str(error)) from error
            if not data:
                raise Closed(f"after {found}")
            found += self._cut(data)
        return found

    def send_and_read(self, data: bytes, seconds: float) -> list[str]:
        """Send, and read what comes. Raises Closed or OSError."""
        self.send(data)
        return self.read(seconds)

    def is_open(self, seconds: float = 0.3) -> bool:
        try:
            self.read(seconds)
        except Closed:
            return False
        return True

    def wait(self, code: int, seconds: float = 5.0, *, cseq: str = "", or_code: int = 0) -> str:
        """The next response of that code, or of the other one."""
        deadline = time.monotonic() + seconds
        seen: list[str] = []
        while time.monotonic() < deadline:
            for message in self.read(0.1):
                seen.append(message.partition(CRLF)[0])
                if message.startswith((f"SIP/2.0 {code} ", f"SIP/2.0 {or_code} ")) and cseq in message:
                    return message
        raise AssertionError(f"no {code}, but {seen}")

    def _cut(self, data: bytes) -> list[str]:
        if self.transport == "udp":
            return [data.decode("latin-1")]
        self._unread += data
        found = []
        while b"\r\n\r\n" in self._unread:
            head, _, rest = self._unread.partition(b"\r\n\r\n")
            length = re.search(rb"(?im)^content-length:\s*(\d+)", head)
            n_bytes = int(length[1]) if length else 0
            if len(rest) < n_bytes:
                break
            found.append((head + b"\r\n\r\n" + rest[:n_bytes]).decode("latin-1"))
            self._unread = rest[n_bytes:]
        return found


@dataclass
class Call:
    """One call of the attacker, by the letter of RFC 3261 unless told otherwise."""

    wire: Wire
    sound: str = SOUND
    user: str = "+15550199"
    call_id: str = field(default_factory=lambda: secrets.token_hex(8))
    branch: str = field(default_factory=lambda: "z9hG4bK" + secrets.token_hex(6))
    own_tag: str = field(default_factory=lambda: secrets.token_hex(4))
    tag: str = ""
    target: str = ""
    cseq: int = 1

    def request(
        self, method: str, body: str = "", kind: str = "application/sdp", *, extra: str = "", cseq: int | None = None, branch: str = ""
    ) -> str:
        if cseq is None:
            self.cseq += 1
            cseq = self.cseq
        wire = self.wire
        target = self.target or f"sip:{self.user}@127.0.0.1:{wire.port}"
        lines = [
            f"{method} {target} SIP/2.0",
            f"Via: SIP/2.0/{wire.transport.upper()} {wire.me};branch={branch or 'z9hG4bK' + secrets.token_hex(6)};rport",
            "Max-Forwards: 70",
            f'From: "x" <sip:+15550100@{wire.me}>;tag={self.own_tag}',
            f"To: <sip:{self.user}@127.0.0.1>" + (f";tag={self.tag}" if self.tag else ""),
            f"Call-ID: {self.call_id}",
            f"CSeq: {cseq} {method}",
            f"Contact: <sip:+15550100@{wire.me};transport={wire.transport}>",
        ]
        if extra:
            lines.append(extra)
        if body:
            lines.append(f"Content-Type: {kind}")
        return CRLF.join([*lines, f"Content-Length: {len(body)}", "", body])

    def invite(self, *, extra: str = "") -> str:
        return self.request("INVITE", self.sound, cseq=1, branch=self.branch, extra=extra)

    def cancel(self) -> str:
        return self.request("CANCEL", cseq=1, branch=self.branch)

    def ack(self, *, failed: bool = False) -> str:
        return self.request("ACK", cseq=1, branch=self.branch if failed else "")

    def learn(self, response: str) -> None:
        found = re.search(r"(?im)^to:.*;tag=([^\s;]+)", response)
        assert found is not None
        self.tag = found[1]
        contact = re.search(r"(?im)^contact:\s*<([^>]+)>", response)
        if contact is not None:
            self.target = contact[1]

    def set_up(self) -> Call:
        self.wire.send(self.invite())
        self.learn(self.wire.wait(200))
        self.wire.send(self.ack())
        return self

    def hang_up(self) -> None:
        bye = self.request("BYE")
        self.wire.send(bye)
        self.wire.wait(200, cseq=f"CSeq: {self.cseq} BYE")
