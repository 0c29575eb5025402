"""SIPp as many callers at once, and what is left in the server afterwards: nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psutil
import pytest
from peers.process import wait_until
from peers.sipp import Sipp
from running_server import Server, running_server

from ports import rtp_of_servers

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
FEW = 10
"""By each transport: nothing is left of calls, however few they are."""
MANY = 250
"""Ten seconds of the full rate show what a longer time shows; `test_server_soak` has twenty minutes."""
QUIET_AFTER_S = 40.0
"""RFC 3261 and RFC 6026: a transaction may live for 64*T1 = 32 s after its call."""


def assert_nothing_left(server: Server, before: dict[int, int]) -> None:
    """No session, transaction, dialog, stream, port or descriptor of the calls is left."""

    def is_quiet() -> bool:
        health = server.health()
        return health["calls"] == 0 and not any(health["sip"].values()) and all(worker["streams"] == 0 for worker in health["media"])

    assert wait_until(is_quiet, QUIET_AFTER_S), server.health()
    assert wait_until(lambda: _grown(server.descriptors(), before) == {}, 10), _grown(server.descriptors(), before)
    media_ports = [
        connection.laddr.port
        for pid in server.media_pids()
        for connection in psutil.Process(pid).net_connections("udp")
        if rtp_of_servers()[0] <= connection.laddr.port <= rtp_of_servers()[1]
    ]
    assert media_ports == []


def _grown(now: dict[int, int], before: dict[int, int]) -> dict[int, int]:
    """Processes with more descriptors than before; the HTTP client of this test may hold one or two."""
    return {pid: count - before.get(pid, 0) for pid, count in now.items() if count > before.get(pid, 0) + 2}


@pytest.mark.parametrize("n_calls", [FEW, pytest.param(MANY, marks=pytest.mark.load)])
def test_calls_by_udp_and_by_tcp_at_20_a_second_with_rtp_all_succeed_and_leave_nothing(tmp_path: Path, n_calls: int) -> None:
    with running_server(tmp_path / "server", PLAYBOOK, cold=True, recording=True) as server:
        target = f"127.0.0.1:{server.udp_port}"
        with Sipp("agent_hangs_up", tmp_path / "first", target=target, calls=1) as warm_up:
            assert warm_up.result().successful == 1
        server.wait_records(1)
        before = server.descriptors()
        load: dict[str, Any] = {"target": target, "calls": n_calls, "rate": 20, "limit": 200, "timeout_s": 120}
        with (
            Sipp("agent_hangs_up", tmp_path / "udp", transport="u1", **load) as by_udp,
            Sipp("agent_hangs_up", tmp_path / "tcp", transport="t1", **load) as by_tcp,
        ):
            by_udp.start()
            by_tcp.start()
            for run in (by_udp, by_tcp):
                result = run.result()
                assert (result.successful, result.failed, result.unexpected) == (n_calls, 0, 0), result.errors + server.log[-3000:]
            assert result.retransmissions == 0  # by TCP
        records = server.wait_records(2 * n_calls + 1)
        assert {record["status"] for record in records} == {"answered"}
        assert {record["hangupBy"] for record in records} == {"agent"}
        assert min(record["durationS"] for record in records) >= 1.5
        assert all(record["media"]["packets_received"] > 20 for record in records)
        assert_nothing_left(server, before)
        assert "ERROR" not in server.log


def test_caller_who_hangs_up_ends_the_call(tmp_path: Path) -> None:
    with running_server(tmp_path / "server", PLAYBOOK.replace("timeout: 100", "timeout: 60000")) as server:
        before = server.descriptors()
        with Sipp("caller_hangs_up", tmp_path / "sipp", target=f"127.0.0.1:{server.udp_port}", calls=10, rate=10) as run:
            result = run.result()
        assert (result.successful, result.failed) == (10, 0), result.errors
        records = server.wait_records(10)
        assert {(record["hangupBy"], record["hangupReason"]) for record in records} == {("caller", "remote_bye")}
        assert_nothing_left(server, {**before, **{pid: 10_000 for pid in server.descriptors() if pid not in before}})


def test_caller_who_cancels_before_the_answer_is_not_answered(tmp_path: Path) -> None:
    handler = '[handler]\ntype = "python"\ntarget = "slow_handler:decide"'
    folder = tmp_path / "server"
    folder.mkdir()
    (folder / "slow_handler.py").write_text(
        "import asyncio\n\nasync def decide(call):\n    await asyncio.sleep(30)\n    return 'main.md'\n"
    )
    with running_server(folder, PLAYBOOK, handler=handler, environment={"PYTHONPATH": str(folder)}) as server:
        with Sipp("caller_cancels", tmp_path / "sipp", target=f"127.0.0.1:{server.udp_port}", calls=5, rate=5) as run:
            result = run.result()
        assert (result.successful, result.failed) == (5, 0), result.errors
        records = server.wait_records(5)
        assert {(record["status"], record["hangupBy"], record["hangupReason"]) for record in records} == {
            ("rejected", "caller", "cancelled")
        }
        assert wait_until(lambda: not any(server.health()["sip"].values()), QUIET_AFTER_S)


def test_caller_who_vanishes_is_hung_up_on(tmp_path: Path) -> None:
    with running_server(tmp_path / "server", PLAYBOOK.replace("timeout: 100", "timeout: 120000")) as server:
        with Sipp("caller_vanishes", tmp_path / "sipp", target=f"127.0.0.1:{server.udp_port}", calls=2, rate=2, timeout_s=80) as run:
            run.start()
            records = server.wait_records(2, 60)
        assert {(record["hangupBy"], record["hangupReason"]) for record in records} == {("system", "rtp_timeout")}
        assert all("no media from the peer" in record["error"] for record in records)
