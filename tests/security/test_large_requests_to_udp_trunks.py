"""Authenticated INVITEs beyond 1300 bytes to a UDP trunk that drops TCP's SYNs: how long a call takes to be set up."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from raw_peer import RawPeer
from running_server import Server
from speechless_server import speechless_server

PLAYBOOK = "---\nllm: {provider: script}\ngreeting: Good day.\n---\n## hello\nHello.\n"
CHALLENGE = f'Proxy-Authenticate: Digest realm="carrier", nonce="{"n" * 300}", opaque="{"o" * 300}", qop="auth", algorithm=MD5'


@contextmanager
def swallowing_syns(port: int) -> Iterator[None]:
    """A TCP port whose backlog is full: the kernel drops further SYNs without a word."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", port))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        time.sleep(0.2)
        yield


def set_up_s(server: Server, carrier: RawPeer) -> float:
    """From the challenge to the INVITE that answers it."""
    session_id = server.post("/call", {"callee": f"sip:+4930123456@127.0.0.1:{carrier.port}", "playbook": "main.md"})["session_id"]
    first = carrier.expect("INVITE")
    carrier.respond(first, 407, CHALLENGE)
    challenged_at = time.monotonic()
    second = carrier.expect("INVITE", 10)
    assert second.get("Proxy-Authorization")
    taken_s = second.at - challenged_at
    carrier.respond(second, 486)
    server.wait(lambda: session_id not in str(server.get("/list")), 5, "the end of the call")
    carrier.wait("nothing", 0.1)
    carrier.inbox.clear()
    return taken_s


@pytest.mark.alone
@pytest.mark.parametrize(
    ("settings", "first_is_slow"),
    [("", True), ('transport = "udp"', False), ('large_requests = "udp"', False), ('transport = "udp"\nlarge_requests = "tcp"', True)],
)
def test_only_the_first_call_pays_for_finding_out(tmp_path: Path, settings: str, first_is_slow: bool) -> None:
    with RawPeer("udp") as carrier, swallowing_syns(carrier.port):
        extra = f"""media_workers = 1
[[trunks]]
name = "carrier"
server = "127.0.0.1:{carrier.port}"
username = "us"
password = "secret"
headers = {{"X-Long" = "{"x" * 300}"}}
{settings}
"""
        with speechless_server(tmp_path, PLAYBOOK, extra=extra) as server:
            carrier.server = ("127.0.0.1", server.udp_port)
            first, second, third = (set_up_s(server, carrier) for _ in range(3))
    print(f"{settings!r}: {first:.2f} s, {second:.2f} s, {third:.2f} s")
    assert (first > 2.0) == first_is_slow
    assert first < 6.0
    assert max(second, third) < 1.5
