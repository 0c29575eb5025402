"""The HTTP server under attack over real sockets: idle connections, slow and endless requests, bodies that are cut off, nested JSON."""

from __future__ import annotations

import json
import resource
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import pytest
from running_server import Server
from speechless_server import speechless_server

from active_call.testing.phone.user_agent import Phone

PLAYBOOK = "---\nllm: {provider: script}\ngreeting: Hello.\n---\n# Scene: main\n## goodbye\nBye. <hangup/>\n"
JSON_HEAD = "POST /call HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with speechless_server(tmp_path_factory.mktemp("server"), PLAYBOOK) as running:
        yield running


def connect(server: Server, *, timeout_s: float = 5.0) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.http_port), timeout=timeout_s)


def answer_of(sock: socket.socket) -> tuple[int, dict[str, str]]:
    """Status and body of one answer, whose connection may stay open."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = sock.recv(65536)
        assert piece, data
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(int(line.partition(b":")[2]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
    while len(body) < length:
        body += sock.recv(65536)
    return int(head.split()[1]), json.loads(body)


def is_closed(sock: socket.socket) -> bool:
    try:
        return sock.recv(1, socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def open_many(stack: ExitStack, server: Server, n_wanted: int) -> list[socket.socket]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, n_wanted + 500)), hard))
    stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
    return [stack.enter_context(connect(server)) for _ in range(n_wanted)]


def test_two_thousand_idle_connections_cost_little_and_end(server: Server) -> None:
    with ExitStack() as stack:
        idle = open_many(stack, server, 2000)
        for sock in idle[::2]:
            with suppress(OSError):
                sock.send(b"GET /health HTTP/1.1\r\nHost: loc")
        begun = time.monotonic()
        health = server.health()
        assert time.monotonic() - begun < 1.0
        assert health["http"]["connections"] <= 512
        assert psutil.Process(server.pid).num_fds() < 700
        deadline = time.monotonic() + 13
        while time.monotonic() < deadline and not all(is_closed(sock) for sock in idle):
            assert server.get("/list") == {"active_calls": []}
            time.sleep(0.5)
        assert all(is_closed(sock) for sock in idle)
    assert server.log.count("\n") < 60
    refused = server.health()["http"]["refused"]
    assert refused["http_gave_way"] >= 1000


def test_connections_leave_room_for_calls_and_records_where_descriptors_are_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shell = tmp_path / "few-descriptors"
    shell.write_text(f'#!/bin/sh\nulimit -n 256\nexec "{sys.executable}" "$@"\n', encoding="utf-8")
    shell.chmod(0o755)
    monkeypatch.setattr("running_server.sys.executable", str(shell))
    with speechless_server(tmp_path / "server", PLAYBOOK, cold=True) as server, ExitStack() as stack:
        monkeypatch.undo()
        assert psutil.Process(server.pid).rlimit(psutil.RLIMIT_NOFILE)[0] == 256
        open_many(stack, server, 400)
        server.wait(lambda: has_room_for_one_more(server), 20, "a place for one who asks")
        assert server.health()["http"]["connections"] <= 32
        for n_calls in (1, 2, 3):
            with Phone() as phone:
                phone.dial(f"sip:bakery@127.0.0.1:{server.udp_port}")
                assert phone.wait_answered(10), phone.responses
                phone.hang_up()
                phone.wait_ended(5)
            server.wait(lambda n=n_calls: len(finished(server)) >= n, 10, "the record")


def has_room_for_one_more(server: Server) -> bool:
    """While all of them are new, one more is told to come again (503)."""
    with suppress(OSError):
        return bool(server.health())
    return False


def finished(server: Server) -> list[object]:
    answer = server.get("/api/records")
    return answer if isinstance(answer, list) else answer.get("records") or answer.get("items") or []


def test_request_that_never_ends_is_cut_off(server: Server) -> None:
    with connect(server, timeout_s=15) as slow, connect(server) as large:
        large.sendall(b"GET /list HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"a" * 40_000)
        assert answer_of(large)[0] == 400
        begun = time.monotonic()
        slow.sendall(b"GET /list HTTP/1.1\r\n")
        while time.monotonic() - begun < 15 and not is_closed(slow):
            try:
                slow.sendall(b"X-A: b\r\n")
            except OSError:
                break
            time.sleep(0.5)
        assert time.monotonic() - begun < 12


@pytest.mark.parametrize("declared", [True, False])
def test_body_of_four_hundred_megabytes_is_refused_and_never_in_memory(server: Server, declared: bool) -> None:
    process = psutil.Process(server.pid)
    before = process.memory_info().rss
    with connect(server, timeout_s=10) as sock:
        length = "Content-Length: 400000000\r\n\r\n" if declared else "Transfer-Encoding: chunked\r\n\r\n"
        sock.sendall((JSON_HEAD + length).encode())
        piece = b" " * 65536 if declared else b"10000\r\n" + b" " * 65536 + b"\r\n"
        try:
            for _ in range(400):
                sock.sendall(piece)
        except OSError:
            pass
        status, body = answer_of(sock)
        assert (status, body["code"]) == (413, "too_large")
    assert process.memory_info().rss - before < 30e6
    assert server.health()["status"] == "ok"


def test_clients_that_leave_in_mid_upload_leave_no_trace_in_the_log(server: Server) -> None:
    n_before = server.log.count("\n")
    for _ in range(50):
        with connect(server) as sock:
            sock.sendall((JSON_HEAD + "Content-Length: 1000\r\n\r\n{").encode())
            time.sleep(0.005)
    assert server.health()["status"] == "ok"
    assert server.log.count("\n") - n_before <= 1


@pytest.mark.parametrize("path", ["/call", "/command/x", "/precache", "/api/playbooks/x.md"])
@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b"{\xff}",
        b'{"callee":"\\ud800"}',
        b'{"a":NaN}',
        b'{"a":1,"a":2}',
        b"",
        b"{",
    ],
)
def test_json_that_cannot_be_used_is_a_400(server: Server, path: str, body: bytes) -> None:
    head = JSON_HEAD.replace("/call", path) + f"Content-Length: {len(body)}\r\n\r\n"
    with connect(server) as sock:
        sock.sendall(head.encode() + body)
        status, answer = answer_of(sock)
    assert status == 400
    assert set(answer) - {"status"} == {"error", "code"}


def test_malformed_requests_are_answered_and_not_logged_one_by_one(server: Server) -> None:
    n_before = server.log.count("\n")
    for _ in range(100):
        with connect(server) as sock:
            sock.sendall(b"\x16\x03\x01\x02\x00garbage\r\n\r\n")
            assert answer_of(sock)[1]["code"] == "bad_request"
    assert server.log.count("\n") - n_before <= 2
