"""The server is killed, told to stop twice, its disk is full: every call has one closed record, and its BYE where there was time."""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import signal
import socket
import sqlite3
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from peers.postgres import own_cluster
from peers.sipp import SCENARIOS, Sipp
from running_server import Server
from speechless_server import speechless_server

PLAYBOOK = "---\nllm: {provider: script}\ngreeting: Hello.\n---\n# Scene: main\n## goodbye\nBye. <hangup/>\n"
SDP = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"


class Caller:
    """One call over UDP: a few string operations, no SIP of ours."""

    def __init__(self, server: Server) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.sock.settimeout(10)
        self.target, self.port = ("127.0.0.1", server.udp_port), self.sock.getsockname()[1]
        self.call_id, self.answer = f"{uuid.uuid4().hex}@test", ""

    def send(self, method: str, cseq: int, body: str = "", *, to: str = "<sip:bakery@127.0.0.1>", user: str = "+15550100") -> None:
        lines = [
            f"{method} sip:bakery@127.0.0.1:{self.target[1]} SIP/2.0",
            f"Via: SIP/2.0/UDP 127.0.0.1:{self.port};branch=z9hG4bK{uuid.uuid4().hex[:12]};rport",
            "Max-Forwards: 70",
            f"From: <sip:{user}@127.0.0.1>;tag=caller",
            f"To: {to}",
            f"Call-ID: {self.call_id}",
            f"CSeq: {cseq} {method}",
            f"Contact: <sip:{user}@127.0.0.1:{self.port}>",
            *(["Content-Type: application/sdp"] if body else []),
            f"Content-Length: {len(body)}",
        ]
        self.sock.sendto(("\r\n".join(lines) + "\r\n\r\n" + body).encode(), self.target)

    def call(self, *, user: str = "+15550100") -> str:
        """INVITE, and ACK when it is answered; the first line of the answer."""
        self.send("INVITE", 1, SDP, user=user)
        text = self.sock.recv(65535).decode()
        while text.startswith("SIP/2.0 1"):
            text = self.sock.recv(65535).decode()
        self.answer = text
        to = next(line.partition(":")[2].strip() for line in text.split("\r\n") if line.startswith("To:"))
        self.send("ACK", 1, to=to, user=user)
        return text.partition("\r\n")[0]

    def wait_for(self, method: str, timeout_s: float) -> float:
        """Wait for a request of the server, answer it, and tell when it came."""
        deadline = time.monotonic() + timeout_s
        while True:
            self.sock.settimeout(max(deadline - time.monotonic(), 0.01))
            text = self.sock.recv(65535).decode()
            if text.startswith(f"{method} "):
                kept = [line for line in text.split("\r\n") if re.match(r"(Via|From|To|Call-ID|CSeq):", line)]
                self.sock.sendto(("\r\n".join(["SIP/2.0 200 OK", *kept, "Content-Length: 0"]) + "\r\n\r\n").encode(), self.target)
                return time.monotonic()


@contextlib.contextmanager
def callers(server: Server, count: int) -> Iterator[list[Caller]]:
    made = [Caller(server) for _ in range(count)]
    try:
        for caller in made:
            assert caller.call() == "SIP/2.0 200 OK"
        yield made
    finally:
        for caller in made:
            caller.sock.close()


def staying(folder: Path) -> Path:
    """The scenario of callers who stay for a minute, in silence."""
    text = (SCENARIOS / "caller_hangs_up.xml").read_text(encoding="utf-8")
    text = re.sub(r"<nop>.*?</nop>", "", text, flags=re.DOTALL).replace('milliseconds="2000"', 'milliseconds="60000"')
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "caller_stays.xml").write_text(text, encoding="utf-8")
    return folder / "caller_stays.xml"


def kill(server: Server) -> None:
    server.was_killed = True
    os.kill(server.pid, signal.SIGKILL)
    server.process.wait(5)


def listed(server: Server, query: str = "limit=1000") -> list[dict[str, Any]]:
    return list(server.get(f"/api/records?{query}"))


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> Iterator[str]:
    """What to add to the config file, below `[callrecord]`."""
    if request.param == "sqlite":
        yield ""
        return
    with own_cluster() as cluster:
        yield f'database = "{cluster.url}"\n'


@pytest.mark.parametrize("n_calls", [5, pytest.param(100, marks=pytest.mark.load)])
def test_kill_9_under_calls_leaves_exactly_one_closed_record_each(tmp_path: Path, database: str, n_calls: int) -> None:
    with speechless_server(tmp_path / "server", PLAYBOOK, callrecord=database) as server:
        scenario, target = staying(tmp_path / "scenario"), f"127.0.0.1:{server.udp_port}"
        with Sipp(scenario, tmp_path / "sipp", target=target, calls=n_calls, rate=20, limit=n_calls) as run:
            run.start()
            server.wait(lambda: len(server.get("/list")["active_calls"]) == n_calls, 20, f"{n_calls} calls")
            server.wait(lambda: all(call["answerTime"] for call in server.get("/list")["active_calls"]), 20, "their answers")
            alive = {call["id"] for call in server.get("/list")["active_calls"]}
            kill(server)
    with speechless_server(tmp_path / "server", PLAYBOOK, callrecord=database) as server:
        found = listed(server)
        assert {record["id"] for record in found} == alive
        assert len(found) == n_calls
        assert {record["status"] for record in found} == {"crashed"}
        server.wait_records(n_calls)
        files = {record["sessionId"]: record for record in server.records()}
        assert files.keys() == alive
        # The first message of a call is written down before its answer goes out; that it was answered, a moment later.
        oldest = next(record["id"] for record in reversed(found) if files[record["id"]]["answerTime"])
        whole = server.get(f"/api/records/{oldest}")
        assert whole == files[oldest]
        assert "+15550100" in whole["caller"]
        assert "'answered'" in whole["error"]
    with speechless_server(tmp_path / "server", PLAYBOOK, callrecord=database) as server:
        assert len(listed(server)) == n_calls


def test_kill_9_while_calls_come_loses_none_that_was_answered(tmp_path: Path) -> None:
    with speechless_server(tmp_path / "server", PLAYBOOK) as server:
        made = [Caller(server) for _ in range(60)]
        answered: list[str] = []
        for caller in made:
            assert caller.call() == "SIP/2.0 200 OK"
            answered.append(caller.call_id)
            if len(answered) == 30:
                break
        kill(server)
        for caller in made:
            caller.sock.close()
    with speechless_server(tmp_path / "server", PLAYBOOK) as server:
        server.wait_records(30)
        found = [record["callId"] for record in server.records()]
        assert sorted(found) == sorted(answered)


@pytest.mark.parametrize("signals", [(signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGINT)])
def test_second_stop_signal_ends_calls_at_once_each_with_bye_and_record(tmp_path: Path, signals: tuple[int, int]) -> None:
    with speechless_server(tmp_path / "server", PLAYBOOK, graceful_s=60) as server, callers(server, 5) as made:
        server.process.send_signal(signals[0])
        time.sleep(1)
        assert server.process.poll() is None
        began = time.monotonic()
        server.process.send_signal(signals[1])
        for caller in made:
            assert caller.wait_for("BYE", 5) - began < 3
        assert server.process.wait(15) == 0
        records = server.records()
        assert {(record["hangupReason"], record["status"]) for record in records} == {("shutdown", "answered")}
        assert len(records) == 5
        assert re.search(r"stopping, no new calls are taken .*calls=5", server.log)
        assert re.search(r"ending calls now", server.log)


def test_calls_under_a_storm_of_two_signals_get_bye_and_record(tmp_path: Path) -> None:
    """Both signals in the same instant, as a terminal and a wrapper send them."""
    with speechless_server(tmp_path / "server", PLAYBOOK, graceful_s=60) as server, callers(server, 3) as made:
        server.process.send_signal(signal.SIGINT)
        server.process.send_signal(signal.SIGTERM)
        for caller in made:
            caller.wait_for("BYE", 5)
        assert server.process.wait(15) == 0
        assert [record["hangupReason"] for record in server.records()] == ["shutdown"] * 3


def test_third_stop_signal_leaves_at_once_and_the_next_start_closes_the_calls(tmp_path: Path) -> None:
    with speechless_server(tmp_path / "server", PLAYBOOK, graceful_s=60) as server, callers(server, 2):
        server.was_killed = True
        for _ in range(3):
            server.process.send_signal(signal.SIGTERM)
            time.sleep(0.05)
        assert server.process.wait(3) == 130
    with speechless_server(tmp_path / "server", PLAYBOOK) as server:
        found = [(record["outcome"], record["id"]) for record in listed(server)]
        assert len(found) == 2
        assert {outcome for outcome, _ in found} <= {"crashed", "answered"}


def test_start_that_fails_when_a_call_has_come_already_ends_the_call(tmp_path: Path) -> None:
    """The HTTP port is taken: SIP listens by then."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        folder = tmp_path / "server"
        with speechless_server(folder, PLAYBOOK) as server:
            pass
        config = (folder / "active-call.toml").read_text(encoding="utf-8")
        config = re.sub(r'http_addr = ".*"', f'http_addr = "127.0.0.1:{taken.getsockname()[1]}"', config)
        (folder / "active-call.toml").write_text(config, encoding="utf-8")
        ended = subprocess.run(
            server.process.args, cwd=folder, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL
        )
        assert ended.returncode == 2
        assert "http_addr" in ended.stderr + ended.stdout


def test_refused_calls_have_records_and_a_flood_of_them_only_counts(tmp_path: Path) -> None:
    extra = '[admission]\nmax_calls = 2\nstrangers = "reject"\n[[trunks]]\nname = "mine"\naddresses = ["127.0.0.1"]\nmax_calls = 1\n'
    with speechless_server(tmp_path / "server", PLAYBOOK, extra=extra.replace("addresses", "allow")) as server, callers(server, 1):
        refused = Caller(server)
        with contextlib.closing(refused.sock):
            assert refused.call(user="+15550999").startswith("SIP/2.0 503")
        server.wait(lambda: bool(listed(server, "status=rejected")), 5, "the record of a refused call")
        (record,) = listed(server, "status=rejected")
        whole = server.get(f"/api/records/{record['id']}")
        assert (whole["sipCode"], whole["trunk"], whole["callId"]) == (503, "mine", refused.call_id)
        assert "+15550999" in whole["caller"]
        assert "trunk_calls" in whole["error"]
        flood = Caller(server)
        with contextlib.closing(flood.sock):
            for index in range(300):
                flood.call_id = f"{index}@flood"
                flood.send("INVITE", 1, SDP)
        server.wait(lambda: server.health()["records"]["refused_unrecorded"] > 200, 10, "counted refusals")
        assert len(listed(server, "status=rejected")) < 60


def test_full_disk_is_told_and_records_are_written_when_there_is_room_again(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], check=False).returncode:
        pytest.skip("no file system of one megabyte can be mounted here")
    try:
        with speechless_server(tmp_path / "server", PLAYBOOK, root=str(disk)) as server:
            ballast = disk / "ballast"
            with callers(server, 1) as (caller,):
                with contextlib.suppress(OSError), ballast.open("wb") as file:
                    while True:
                        file.write(b"x" * 4096)
                        file.flush()
                caller.send("BYE", 2, to=_to(caller))
                server.wait(lambda: server.health()["status"] == "degraded", 10, "a health that says degraded")
                problems = server.health()["problems"]
                assert any("full" in problem["reason"] or "No space" in problem["reason"] for problem in problems), problems
                with callers(server, 1) as (second,):  # calls go on
                    second.send("BYE", 2, to=_to(second))
                server.wait(lambda: not server.get("/list")["active_calls"], 5, "the end of the calls")
            ballast.unlink()
            server.wait(lambda: server.health()["status"] == "ok", 40, "a health that says ok")
            assert len(listed(server)) == 2
            server.wait(lambda: len(list(disk.rglob("*.json"))) == 2, 40, "both files")
    finally:
        subprocess.run(["umount", "-l", disk], check=False)


def test_health_tells_a_full_disk_of_recordings_for_as_long_as_it_is_full(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], check=False).returncode:
        pytest.skip("no file system of one megabyte can be mounted here")
    try:
        (tmp_path / "server").mkdir()
        (tmp_path / "server" / "recordings").symlink_to(disk)
        with speechless_server(tmp_path / "server", PLAYBOOK, recording=True) as server:
            ballast = disk / "ballast"
            with contextlib.suppress(OSError), ballast.open("wb") as file:
                while True:
                    file.write(b"x" * 4096)
                    file.flush()
            with callers(server, 1) as (caller,):
                server.wait(lambda: server.health()["status"] == "degraded", 10, "a health that says degraded")
                caller.send("BYE", 2, to=_to(caller))
                server.wait(lambda: not server.get("/list")["active_calls"], 5, "the end of the call")
            (problem,) = server.health()["problems"]
            assert problem["part"] == "recordings" and "No space" in problem["reason"]
            time.sleep(7)  # a probe has been made
            assert server.health()["status"] == "degraded"
            ballast.unlink()
            server.wait(lambda: server.health()["status"] == "ok", 15, "a health that says ok, without a further call")
            assert not [path for path in disk.iterdir() if path.suffix != ".wav"]
    finally:
        subprocess.run(["umount", "-l", disk], check=False)


def test_record_that_ends_when_descriptors_are_short_is_written_later(tmp_path: Path) -> None:
    with speechless_server(tmp_path / "server", PLAYBOOK) as server, callers(server, 1) as (caller,):
        usual = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (psutil.Process(server.pid).num_fds() - 5, usual[1]))
        caller.send("BYE", 2, to=_to(caller))
        time.sleep(1.5)
        assert not server.records()
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, usual)
        (record,) = server.wait_records(1, 15)
        assert record["callId"] == caller.call_id
        server.wait(lambda: server.health()["status"] == "ok", 20, "a health that says ok")
        assert re.search(r"degraded .*Too many open files", server.log)


def test_folder_that_is_in_the_way_is_told_and_the_record_is_written_later(tmp_path: Path) -> None:
    with speechless_server(tmp_path / "server", PLAYBOOK) as server, callers(server, 1) as (caller,):
        day = server.folder / "cdr" / time.strftime("%Y%m%d", time.gmtime())
        day.write_text("in the way")
        caller.send("BYE", 2, to=_to(caller))
        server.wait(lambda: server.health()["status"] == "degraded", 10, "a health that says degraded")
        assert len(listed(server)) == 1
        day.unlink()
        server.wait(lambda: server.health()["status"] == "ok", 20, "a health that says ok")
        assert len(server.wait_records(1)) == 1


def test_read_only_folder_of_records_is_told_and_calls_are_taken(tmp_path: Path) -> None:
    (tmp_path / "server").mkdir()
    (tmp_path / "server" / "cdr").write_text("no folder")
    with speechless_server(tmp_path / "server", PLAYBOOK, status="degraded") as server:
        assert {problem["part"] for problem in server.health()["problems"]} == {"records", "records folder"}
        with callers(server, 1) as (caller,):
            caller.send("BYE", 2, to=_to(caller))
        server.wait(lambda: not server.get("/list")["active_calls"], 5, "the end of the call")
        assert "degraded" in server.log
    assert caller.call_id in server.log  # the record itself, since there is no other place for it


def test_records_answer_the_filters_over_http(tmp_path: Path) -> None:
    with speechless_server(tmp_path / "server", PLAYBOOK) as server:
        for _ in range(5):
            with callers(server, 1) as (caller,):
                caller.send("BYE", 2, to=_to(caller))
        server.wait_records(5)
        with urllib.request.urlopen(f"http://127.0.0.1:{server.http_port}/api/records?limit=2&direction=inbound", timeout=30) as response:
            page, link = json.loads(response.read()), response.headers["Link"]
            assert response.headers["X-Total-Count"] == "5"
        assert page[0].keys() >= {"id", "date", "duration", "status"}
        following = re.match(r'<(.*)>; rel="next"', link)
        assert following is not None
        assert not {entry["id"] for entry in page} & {entry["id"] for entry in server.get(following[1])}
        for query, status in (
            ("from=yesterday", 400),
            ("cursor=xx", 400),
            ("min_duration=nan", 400),
            ("limit=x", 400),
            ("q=" + "x" * 999, 400),
        ):
            with pytest.raises(urllib.error.HTTPError) as refused:
                server.get(f"/api/records?{query}")
            with refused.value:
                assert refused.value.code == status
        with sqlite3.connect(server.folder / "cdr" / "records.db") as raw:
            assert raw.execute("SELECT count(*) FROM calls WHERE state = 'closed'").fetchone() == (5,)
        raw.close()


def _to(caller: Caller) -> str:
    return next(line.partition(":")[2].strip() for line in caller.answer.split("\r\n") if line.startswith("To:"))
