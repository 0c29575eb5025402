"""SIP as raw text: messages read and written by code that shares nothing with the program's own. For tests that judge its SIP."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from active_call.sip.events import Transmit


@dataclass
class Message:
    """A message as read by a reader that shares nothing with the code under test."""

    start: str
    headers: list[tuple[str, str]]
    body: bytes
    transmit: Transmit | None = None
    at: float = 0.0

    @cached_property
    def _values(self) -> dict[str, list[str]]:
        """By name in lower case."""
        values: dict[str, list[str]] = {}
        for name, value in self.headers:
            values.setdefault(name.lower(), []).append(value)
        return values

    def all(self, name: str) -> list[str]:
        return self._values.get(name.lower(), [])

    def get(self, name: str) -> str:
        values = self.all(name)
        assert len(values) == 1, f"{name}: {values} in {self.start}"
        return values[0]

    @property
    def method(self) -> str:
        return self.start.split(" ")[0]

    @property
    def code(self) -> int:
        return int(self.start.split(" ")[1]) if self.start.startswith("SIP/2.0 ") else 0

    @property
    def uri(self) -> str:
        return self.start.split(" ")[1]

    @property
    def to_tag(self) -> str:
        return self.get("To").rpartition(";tag=")[2]

    @property
    def from_tag(self) -> str:
        return self.get("From").rpartition(";tag=")[2]

    @property
    def branch(self) -> str:
        return self.all("Via")[0].partition("branch=")[2].partition(";")[0]


def read(data: bytes, transmit: Transmit | None = None) -> Message:
    head, _, body = data.partition(b"\r\n\r\n")
    start, *lines = head.decode("utf-8", "surrogateescape").split("\r\n")
    headers = [(line.partition(": ")[0], line.partition(": ")[2]) for line in lines]
    message = Message(start, headers, body, transmit)
    assert message.get("Content-Length") == str(len(body))
    return message


def text(start: str, headers: list[tuple[str, str]], body: bytes = b"") -> bytes:
    lines = [start, *(f"{name}: {value}" for name, value in headers), f"Content-Length: {len(body)}"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def request_text(
    method: str,
    *,
    branch: str = "z9hG4bKpeer1",
    call_id: str = "call-1@0.0.0.0",
    cseq: int = 100,
    to: str = "<sip:+15550001@198.51.100.1>",
    sender: str = "<sip:+15559999@192.0.2.9>;tag=peer_1",
    uri: str = "sip:+15550001@198.51.100.1",
    via: tuple[str, ...] | None = None,
    contact: str | None = "<sip:caller@192.0.2.9:5060>",
    extra: tuple[tuple[str, str], ...] = (),
    body: bytes = b"",
    content_type: str | None = "application/sdp",
) -> bytes:
    vias = via if via is not None else (f"SIP/2.0/UDP 192.0.2.9:5060;branch={branch};rport",)
    headers = [("Via", value) for value in vias]
    headers += [("Max-Forwards", "70"), ("From", sender), ("To", to), ("Call-ID", call_id), ("CSeq", f"{cseq} {method}")]
    if contact is not None:
        headers.append(("Contact", contact))
    headers += extra
    if body and content_type is not None:
        headers.append(("Content-Type", content_type))
    return text(f"{method} {uri} SIP/2.0", headers, body)


def response_text(
    request: Message,
    code: int,
    reason: str = "Whatever",
    *,
    tag: str | None = "callee1",
    contact: str | None = "<sip:callee@192.0.2.9:5060>",
    extra: tuple[tuple[str, str], ...] = (),
    body: bytes = b"",
) -> bytes:
    to = request.get("To")
    if tag is not None and ";tag=" not in to:
        to += f";tag={tag}"
    headers = [("Via", value) for value in request.all("Via")]
    headers += [("From", request.get("From")), ("To", to), ("Call-ID", request.get("Call-ID")), ("CSeq", request.get("CSeq"))]
    if contact is not None and code < 400 and "INVITE" in request.get("CSeq"):
        headers.append(("Contact", contact))
    headers += extra
    if body:
        headers.append(("Content-Type", "application/sdp"))
    return text(f"SIP/2.0 {code} {reason}", headers, body)
