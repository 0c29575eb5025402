"""A browser's side of SIP over WebSocket (RFC 7118), hand-written over the `websockets` client, against the running server, with sound."""

from __future__ import annotations

import re
import socket
import ssl
from pathlib import Path

import pytest
from running_server import running_server
from websockets.sync.client import ClientConnection, connect

from ports import free_port

PLAYBOOK = """---
llm: {provider: script}
greeting: Thank you for calling.
interruption: {strategy: none}
followup: {timeout: 100, max: 1}
---
# Scene: main

## (silence)
Bye. <hangup/>
"""


def request(method: str, name: str, cseq: int, *, uri: str, to: str, body: str = "") -> str:
    lines = [
        f"{method} {uri} SIP/2.0",
        f"Via: SIP/2.0/{name} df7jal23ls0d.invalid;branch=z9hG4bK{method}{cseq}",
        "Max-Forwards: 70",
        "From: <sip:bob@example.com>;tag=bob1",
        f"To: {to}",
        "Call-ID: asidkj3ss",
        f"CSeq: {cseq} {method}",
        "Contact: <sip:bob@df7jal23ls0d.invalid;transport=ws>",
        *(["Content-Type: application/sdp"] if body else []),
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join([*lines, "", ""]) + body


def header(message: str, name: str) -> str:
    match = re.search(rf"^{name}: (.*)\r$", message, re.MULTILINE)
    assert match is not None, message
    return match[1]


def read(client: ClientConnection) -> str:
    message = client.recv(timeout=15)
    return message if isinstance(message, str) else message.decode()


@pytest.mark.parametrize("transport", ["ws", "wss"])
def test_call_over_websocket_is_answered_heard_and_hung_up_down_its_own_connection(tmp_path: Path, transport: str) -> None:
    port = free_port()
    with (
        running_server(tmp_path / "server", PLAYBOOK, extra=f"{transport}_port = {port}\n") as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sound,
    ):
        sound.bind(("127.0.0.1", 0))
        sound.settimeout(10)
        tls = ssl.create_default_context(cafile=str(tmp_path / "server" / "cert.pem")) if transport == "wss" else None
        with connect(f"{transport}://127.0.0.1:{port}/", subprotocols=["sip"], ssl=tls) as client:  # type: ignore[list-item]
            sdp = f"v=0\r\no=b 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {sound.getsockname()[1]} RTP/AVP 0\r\n"
            name, us = transport.upper(), "sip:bakery@127.0.0.1"
            client.send(request("INVITE", name, 1, uri=us, to=f"<{us}>", body=sdp))
            while not (ok := read(client)).startswith("SIP/2.0 200 "):
                assert ok.startswith("SIP/2.0 1"), ok
            contact = header(ok, "Contact").strip("<>")
            assert contact == f"sip:bakery@127.0.0.1:{port};transport=ws"
            client.send(request("ACK", name, 1, uri=contact, to=header(ok, "To")))
            heard: set[bytes] = set()
            for _ in range(500):
                packet = sound.recv(2048)
                assert packet[:1] == b"\x80"
                heard.add(packet[12:])
                if len(heard) > 20:  # speech, not silence; it takes a moment on a busy machine
                    break
            assert len(heard) > 20
            bye = read(client)
            assert bye.startswith("BYE sip:bob@df7jal23ls0d.invalid;transport=ws SIP/2.0\r\n")
            copied = "".join(f"{key}: {header(bye, key)}\r\n" for key in ("Via", "From", "To", "Call-ID", "CSeq"))
            client.send(f"SIP/2.0 200 OK\r\n{copied}Content-Length: 0\r\n\r\n")
            (record,) = server.wait_records(1)
            assert (record["status"], record["hangupBy"], record["error"]) == ("answered", "agent", None)
