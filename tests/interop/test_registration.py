"""Registration at a registrar made of a UDP socket: digest, refresh, a refusal that costs nothing, and the farewell."""

from __future__ import annotations

import hashlib
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from peers.process import wait_until
from running_server import running_server

PLAYBOOK = "---\nllm: {provider: script}\ngreeting: Hello.\n---\n# Scene: main\n## goodbye\nBye. <hangup/>\n"
NONCE = "f84f1cec41e6cbe5aea9c8e88d359"


def header(message: str, name: str) -> str:
    found = re.search(rf"^{name}\s*:\s*(.*?)\r?$", message, re.IGNORECASE | re.MULTILINE)
    return found.group(1) if found else ""


def digest_is_right(message: str, password: str) -> bool:
    """RFC 2617 with qop=auth, computed here from the request's own values."""
    given = dict(re.findall(r'(\w+)="?([^",]+)"?', header(message, "Authorization")))
    a1 = hashlib.md5(f"{given['username']}:{given['realm']}:{password}".encode()).hexdigest()
    a2 = hashlib.md5(f"REGISTER:{given['uri']}".encode()).hexdigest()
    wanted = hashlib.md5(f"{a1}:{given['nonce']}:{given['nc']}:{given['cnonce']}:{given['qop']}:{a2}".encode()).hexdigest()
    return given["response"] == wanted and given["opaque"] == "node-7"


@contextmanager
def a_registrar(answer: Callable[[str], str]) -> Iterator[tuple[int, list[str]]]:
    """A socket that answers each REGISTER with what `answer` gives: the status line and further header lines."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    sock.settimeout(0.2)
    requests: list[str] = []
    stop = threading.Event()

    def serve() -> None:
        while not stop.is_set():
            try:
                data, peer = sock.recvfrom(65535)
            except TimeoutError:
                continue
            message = data.decode()
            if not message.startswith("REGISTER "):
                continue
            requests.append(message)
            copied = "".join(f"{name}: {header(message, name)}\r\n" for name in ("Via", "From", "Call-ID", "CSeq"))
            to = f"To: {header(message, 'To')};tag=registrar\r\n"
            sock.sendto(f"SIP/2.0 {answer(message)}\r\n{copied}{to}Content-Length: 0\r\n\r\n".encode(), peer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield sock.getsockname()[1], requests
    finally:
        stop.set()
        thread.join(2)
        sock.close()


def account(port: int) -> str:
    return f"""
[[sip_registrations]]
name = "carrier"
username = "active-call"
password = "strongpassword"
server = "127.0.0.1:{port}"
realm = "sip.example.com"
[handler]
type = "playbook"
default = "main.md"
"""


def test_account_registers_with_digest_and_says_goodbye(tmp_path: Path) -> None:
    def answer(message: str) -> str:
        if not header(message, "Authorization"):
            return (
                f'401 Unauthorized\r\nWWW-Authenticate: Digest realm="sip.example.com", nonce="{NONCE}", qop="auth", '
                'algorithm=MD5, opaque="node-7"'
            )
        if not digest_is_right(message, "strongpassword"):
            return "403 Forbidden"
        # As carriers do: the expiry in the Contact only, which has grown a parameter.
        return f"200 OK\r\nContact: {header(message, 'Contact').partition(';expires')[0]};expires=3457;alias=127.0.0.1~1~2"

    with a_registrar(answer) as (port, requests):
        with running_server(tmp_path, PLAYBOOK, handler=account(port)) as server:
            assert wait_until(lambda: server.health()["registrations"] == {"carrier": "registered"}, 10), server.log
            assert len(requests) == 2
            assert header(requests[0], "Call-ID") == header(requests[1], "Call-ID")
            assert [header(request, "CSeq") for request in requests] == ["1 REGISTER", "2 REGISTER"]
            assert f"active-call@127.0.0.1:{server.udp_port}" in header(requests[1], "Contact")
            assert header(requests[1], "To").startswith("<sip:active-call@127.0.0.1")
        last = requests[-1]
        assert "expires=0" in header(last, "Contact").replace(" ", "") or header(last, "Expires") == "0"


def test_registrar_that_refuses_is_said_once_and_costs_nothing(tmp_path: Path) -> None:
    with a_registrar(lambda _: "403 Forbidden") as (port, _), running_server(tmp_path, PLAYBOOK, handler=account(port)) as server:
        assert wait_until(lambda: server.health()["registrations"] == {"carrier": "failed 403 Forbidden"}, 10), server.log
        assert server.log.count("registration failed") == 1
        assert server.health()["status"] == "ok"
        assert server.get("/ready") == {"accepting": True}
