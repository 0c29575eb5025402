"""Nobody reads the server's log any more: calls go on all the same (a pipe that is full, a log file on a FIFO without a reader)."""

from __future__ import annotations

import os
import selectors
import signal
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pytest
from forked_starts import ForkedServer, forked_starts

from ports import free_port

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

PCMU = "m=audio 40000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
GSM = "m=audio 40000 RTP/AVP 3\r\na=rtpmap:3 GSM/8000\r\n"
N_REFUSED = 300


class Caller:
    """A telephone made of strings: enough SIP to be answered or refused."""

    def __init__(self, server_port: int) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.connect(("127.0.0.1", server_port))
        self.port = self.socket.getsockname()[1]
        self.server_port = server_port

    def send(self, method: str, call_id: str, to: str, *, cseq: int = 1, media: str = "") -> None:
        sdp = f"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n{media}" if media else ""
        lines = [
            f"{method} sip:agent@127.0.0.1:{self.server_port} SIP/2.0",
            f"Via: SIP/2.0/UDP 127.0.0.1:{self.port};branch=z9hG4bK{call_id}{method}{cseq};rport",
            f"From: <sip:caller@127.0.0.1>;tag={call_id}",
            f"To: {to}",
            f"Call-ID: {call_id}",
            f"CSeq: {cseq} {'INVITE' if method == 'ACK' else method}",
            f"Contact: <sip:caller@127.0.0.1:{self.port}>",
            "Max-Forwards: 70",
            *(["Content-Type: application/sdp"] if sdp else []),
            f"Content-Length: {len(sdp)}",
        ]
        self.socket.send(("\r\n".join(lines) + "\r\n\r\n" + sdp).encode())

    def final(self, call_id: str, method: str, timeout_s: float) -> str:
        """The final answer to a request of the call, or an empty text."""
        deadline = time.monotonic() + timeout_s
        while (left := deadline - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                text = self.socket.recv(65536).decode()
            except TimeoutError:
                break
            is_ours = f"Call-ID: {call_id}\r\n" in text and f" {method}\r\n" in text
            if text.startswith("SIP/2.0 ") and is_ours and not text.startswith("SIP/2.0 1"):
                return text
        return ""


def to_header(answer: str) -> str:
    return next(line.partition(":")[2].strip() for line in answer.split("\r\n") if line.lower().startswith("to:"))


@dataclass(frozen=True)
class Serving:
    process: ForkedServer
    output: BinaryIO
    udp_port: int
    http_port: int


@contextmanager
def serving(folder: Path, extra: str = "") -> Iterator[Serving]:
    """The server with its output on a pipe that is read until it is ready, and not any more."""
    (folder / "playbooks").mkdir()
    (folder / "playbooks" / "main.md").write_text("---\nllm: {provider: script}\ngreeting: Hello.\n---\n## *\nYes.\n", encoding="utf-8")
    udp_port, http_port = free_port(), free_port()
    (folder / "active-call.toml").write_text(
        f'addr = "127.0.0.1"\nudp_port = {udp_port}\nhttp_addr = "127.0.0.1:{http_port}"\nmedia_workers = 1\n'
        f'graceful_shutdown_timeout = 1\n{extra}\n[handler]\ntype = "playbook"\ndefault = "main.md"\n'
        '[asr]\nprovider = "none"\n[tts]\nprovider = "espeak"\n',
        encoding="utf-8",
    )
    reads, writes = os.pipe()
    process = forked_starts().start(folder, writes, dict(os.environ))
    os.close(writes)
    with os.fdopen(reads, "rb", buffering=0) as output:
        try:
            read_until(output, b"is ready")
            yield Serving(process, output, udp_port, http_port)
        finally:
            process.kill()
            process.wait(10)


def read_until(output: BinaryIO, words: bytes) -> None:
    seen = b""
    with selectors.DefaultSelector() as selector:
        selector.register(output, selectors.EVENT_READ)
        deadline = time.monotonic() + 60
        while words not in seen:
            assert selector.select(max(0.0, deadline - time.monotonic())), f"not ready: {seen!r}"
            piece = os.read(output.fileno(), 4096)
            assert piece, f"it has ended: {seen!r}"
            seen += piece


def refuse_many(caller: Caller) -> list[str]:
    """Three hundred calls that nobody can take, one after the other; the status of each."""
    answers = []
    for index in range(N_REFUSED):
        call_id = f"refused{index}"
        caller.send("INVITE", call_id, "<sip:agent@127.0.0.1>", media=GSM)
        answer = caller.final(call_id, "INVITE", 20.0)
        answers.append(answer[8:11])
        if not answer:
            break
        caller.send("ACK", call_id, to_header(answer))
    return answers


def health(port: int) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=20) as response:
        return int(response.status)


def calls_go_on(server: Serving) -> None:
    caller = Caller(server.udp_port)
    with caller.socket:
        one_call_and_many_refused(caller, server.http_port)
    assert server.process.poll() is None


def one_call_and_many_refused(caller: Caller, http_port: int) -> None:
    caller.send("INVITE", "running", "<sip:agent@127.0.0.1>", media=PCMU)
    answer = caller.final("running", "INVITE", 30.0)
    assert answer.startswith("SIP/2.0 200"), answer
    caller.send("ACK", "running", to_header(answer))
    assert refuse_many(caller) == ["488"] * N_REFUSED
    assert health(http_port) == 200
    caller.send("BYE", "running", to_header(answer), cseq=2)
    assert caller.final("running", "BYE", 20.0).startswith("SIP/2.0 200")


def test_log_file_that_hangs_stops_no_call(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "log")
    with serving(tmp_path, 'log_file = "log"') as server:
        calls_go_on(server)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == 0


def test_output_that_nobody_reads_stops_no_call_and_goes_on_when_somebody_reads_again(tmp_path: Path) -> None:
    with serving(tmp_path, 'log_level = "debug"') as server:
        calls_go_on(server)
        lines: list[bytes] = []
        reader = threading.Thread(target=lambda: lines.extend(server.output), daemon=True)
        reader.start()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == 0
        reader.join(30)
        assert sum(b"refused" in line or b"call ended" in line for line in lines) > N_REFUSED
