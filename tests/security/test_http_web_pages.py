"""A foreign web page in the browser of somebody near the server: it must not place calls, hang up, write playbooks or read anything.

Raw requests over real sockets, as browsers send them.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from forked_starts import forked_starts
from running_server import Server
from speechless_server import speechless_server

PLAYBOOK = "---\nllm: {provider: script}\ngreeting: Hello.\n---\n# Scene: main\n## goodbye\nBye. <hangup/>\n"
CALL = json.dumps({"callee": "sip:victim@127.0.0.1:9", "playbook": "main.md"})
WRITE = json.dumps({"content": PLAYBOOK})


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with speechless_server(tmp_path_factory.mktemp("server"), PLAYBOOK) as running:
        yield running


def send(port: int, request: str, body: str = "", *, address: str = "127.0.0.1", **headers: str) -> tuple[int, dict[str, str], str]:
    """One request; status, headers and body of the answer."""
    lines = [f"{request} HTTP/1.1", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()), "Connection: close"]
    if body:
        lines.append(f"Content-Length: {len(body.encode())}")
    with socket.create_connection((address, port), timeout=30) as sock:
        sock.sendall(("\r\n".join(lines) + "\r\n\r\n" + body).encode())
        answer = b""
        while data := sock.recv(65536):
            answer += data
    head, _, rest = answer.partition(b"\r\n\r\n")
    status, *fields = head.decode().split("\r\n")
    return int(status.split()[1]), {name.lower(): value for name, _, value in (field.partition(": ") for field in fields)}, rest.decode()


@pytest.mark.parametrize(
    ("request_line", "body", "headers"),
    [
        ("POST /call", CALL, {"Host": "evil.example", "Origin": "http://evil.example", "Content_Type": "text/plain"}),
        ("POST /call", CALL, {"Host": "evil.example", "Origin": "http://evil.example", "Content_Type": "application/json"}),
        ("POST /call", CALL, {"Host": "127.0.0.1", "Origin": "http://evil.example", "Content_Type": "application/json"}),
        ("POST /call", CALL, {"Host": "127.0.0.1", "Content_Type": "text/plain"}),
        ("POST /call", CALL, {"Host": "127.0.0.1"}),
        ("POST /call", CALL, {"Host": "127.0.0.1", "Origin": "null", "Content_Type": "application/json"}),
        ("POST /call", CALL, {"Host": "127.0.0.1", "Sec_Fetch_Site": "cross-site", "Content_Type": "application/json"}),
        ("POST /api/playbooks/main.md", WRITE, {"Host": "127.0.0.1", "Origin": "http://evil.example", "Content_Type": "text/plain"}),
        ("POST /api/playbooks/main.md", WRITE, {"Host": "rebound.example", "Content_Type": "application/json"}),
        ("POST /precache", '{"text": "x"}', {"Host": "127.0.0.1", "Origin": "http://localhost:3000", "Content_Type": "application/json"}),
        ("POST /command/x", '{"command": "hangup"}', {"Host": "127.0.0.1", "Origin": "https://evil.example", "Content_Type": "text/plain"}),
        ("GET /kill/x", "", {"Host": "127.0.0.1", "Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "no-cors", "Sec_Fetch_Dest": "image"}),
        ("GET /kill/x", "", {"Host": "127.0.0.1", "Sec_Fetch_Site": "none", "Sec_Fetch_Mode": "navigate"}),
        ("GET /kill/x", "", {"Host": "127.0.0.1", "Referer": "http://evil.example/a"}),
        ("GET /list", "", {"Host": "rebound.example"}),
        ("GET /api/records", "", {"Host": "rebound.example:8080"}),
        ("GET /events/x", "", {"Host": "127.0.0.1", "Origin": "http://evil.example"}),
        ("OPTIONS /call", "", {"Host": "127.0.0.1", "Origin": "http://evil.example", "Access_Control_Request_Method": "POST"}),
        ("GET /list", "", {"Host": "127.0.0.1", "X_Forwarded_For": "127.0.0.1"}),
    ],
)
def test_request_of_a_foreign_page_is_refused(server: Server, request_line: str, body: str, headers: dict[str, str]) -> None:
    status, answered, text = send(server.http_port, request_line, body, **headers)
    assert status in (403, 415)
    assert set(json.loads(text)) == {"error", "code"}
    assert "access-control-allow-origin" not in answered
    assert server.get("/list") == {"active_calls": []}
    assert server.health()["calls_total"] == 0


def test_socket_of_a_foreign_page_is_not_opened(server: Server) -> None:
    upgrade = {"Host": "127.0.0.1", "Upgrade": "websocket", "Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec_WebSocket_Version": "13"}
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in upgrade.items()]
    with socket.create_connection(("127.0.0.1", server.http_port), timeout=30) as sock:
        request = ["GET /call HTTP/1.1", *lines, "Connection: Upgrade", "Origin: http://evil.example"]
        sock.sendall(("\r\n".join(request) + "\r\n\r\n").encode())
        assert sock.recv(65536).startswith(b"HTTP/1.1 403")


def test_program_and_console_are_served(server: Server) -> None:
    for headers in ({"Host": "localhost"}, {"Host": f"127.0.0.1:{server.http_port}", "Origin": f"http://127.0.0.1:{server.http_port}"}):
        assert send(server.http_port, "GET /list", **headers)[0] == 200
        assert send(server.http_port, "GET /kill/x", **headers)[0] == 404  # asked, and there is no such call
    status, headers, page = send(server.http_port, "GET /", Host="localhost")
    assert status == 200
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "unsafe-inline" not in headers["content-security-policy"]
    for part in ("/console/main.js", "/console/console.css"):
        assert part in page
        assert send(server.http_port, f"GET {part}", Host="localhost")[0] == 200
    assert send(server.http_port, "GET /console/..%2f..%2fapp.py", Host="localhost")[0] == 404


def test_monitor_that_knows_the_server_by_another_name_learns_its_state_and_no_more(server: Server) -> None:
    status, _, body = send(server.http_port, "GET /health", Host="active-call:8080")
    assert (status, json.loads(body)) == (200, {"status": "ok"})


def test_server_on_every_address_knows_loopback_of_both_families(tmp_path: Path) -> None:
    port = prepare(tmp_path, "")
    with served(tmp_path, port):
        for address in ("127.0.0.1", "::1"):
            for host, status in (("127.0.0.1", 200), ("[::1]", 200), ("evil.example", 403)):
                assert send(port, "GET /list", address=address, Host=host)[0] == status


def test_with_a_token_any_name_will_do_and_no_page_of_others(tmp_path: Path) -> None:
    port = prepare(tmp_path, 'http_token = "geheim"\n')
    with served(tmp_path, port):
        own = {"Host": "pbx.example", "Origin": "https://pbx.example", "Authorization": "Bearer geheim"}
        assert send(port, "GET /list", Host="pbx.example")[0] == 401
        assert send(port, "GET /list", Host="pbx.example", Authorization="Bearer falsch")[0] == 401
        assert send(port, "GET /list", **own)[0] == 200
        assert send(port, "GET /", Host="pbx.example")[0] == 200
        assert send(port, "GET /list", **{**own, "Origin": "https://evil.example"})[0] == 403


def prepare(folder: Path, extra: str) -> int:
    """A config file as `running_server` writes it, for all addresses; gives the HTTP port."""
    with speechless_server(folder, PLAYBOOK) as running:
        port = running.http_port
    file = folder / "active-call.toml"
    config = file.read_text(encoding="utf-8").replace(f'"127.0.0.1:{port}"', f'"[::]:{port}"')
    assert "[::]" in config
    file.write_text(extra + config, encoding="utf-8")
    return port


@contextmanager
def served(folder: Path, port: int) -> Iterator[None]:
    """`active-call serve` with the config file that is there."""
    log_file = folder / "again.log"
    with log_file.open("wb") as log:
        process = forked_starts().start(folder, log.fileno(), dict(os.environ))
    try:
        deadline = time.monotonic() + 60
        while not is_ready(port):
            assert time.monotonic() < deadline, log_file.read_text(encoding="utf-8")
            time.sleep(0.05)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def is_ready(port: int) -> bool:
    try:
        return send(port, "GET /ready", Host="localhost")[0] == 200
    except OSError:
        return False
