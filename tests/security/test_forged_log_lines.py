"""What a stranger writes into headers cannot look like a field or a line of ours, nor reach a terminal."""

from __future__ import annotations

import re
import socket
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "interop"))

from speechless_server import speechless_server

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

BOOK = "---\nllm: {provider: script}\ngreeting: Hello.\n---\n## *\nYes.\n"
TRUNK = '[[trunks]]\nname = "elsewhere"\nallow = ["192.0.2.0/24"]\n[admission]\nstrangers = "reject"\n'
AGENTS = (
    b'x" trunk="twilio',
    b"x  trunk=twilio rule=trunk",
    b"\x1b[2J\x1b[31mred",
    b"\x00\x07\x08",
    "\u202egnirts\u2066\u2028line\u2029\x85end".encode(),
    b"\xff\xfe latin \xe9",
    b"a\\b\\",
)
FIELD = re.compile(r' ([A-Za-z_][\w.-]*)=("(?:[^"\\]|\\.)*"|[^\s"=\\]+)(?= |$)')


def invite(port: int, number: int, agent: bytes) -> bytes:
    lines = [
        f"INVITE sip:agent@127.0.0.1:{port} SIP/2.0".encode(),
        f"Via: SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bKforge{number};rport".encode(),
        f"From: <sip:mallory@127.0.0.1>;tag=f{number}".encode(),
        b"To: <sip:agent@127.0.0.1>",
        f"Call-ID: forge{number}".encode(),
        b"CSeq: 1 INVITE",
        b"Contact: <sip:mallory@127.0.0.1:9>",
        b"Max-Forwards: 70",
        b"User-Agent: " + agent,
        b"Content-Length: 0",
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def test_headers_of_strangers_are_single_values_of_single_lines(tmp_path: Path) -> None:
    """Each comes from an address of its own: of one address and rule only the first refusal is told at once."""
    handler = '[handler]\ntype = "playbook"\ndefault = "main.md"\n' + TRUNK
    with speechless_server(tmp_path, BOOK, handler=handler) as server:
        for number, agent in enumerate(AGENTS):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
                stranger.settimeout(5)
                stranger.bind((f"127.0.1.{number + 1}", 0))
                stranger.sendto(invite(server.udp_port, number, agent), ("127.0.0.1", server.udp_port))
                assert stranger.recv(65536).startswith((b"SIP/2.0 403", b"SIP/2.0 400"))
        addresses = [f"peer=127.0.1.{number + 1} " for number in range(len(AGENTS))]
        server.wait(lambda: all(address in server.log for address in addresses), 5, "a line for each of them")
        raw = server.log_file.read_bytes()
    assert all(byte >= 0x20 or byte == 0x0A for byte in raw)
    lines = raw.decode("utf-8").split("\n")
    assert all(line.isprintable() for line in lines)
    for line in lines:
        if "peer=127.0.1." in line:
            fields = dict(FIELD.findall(line))
            assert fields.get("trunk", "") == ""
            assert fields.get("rule", "unlisted") in ("unlisted", "malformed")
