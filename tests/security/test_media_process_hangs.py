"""A media process that hangs (it is stopped): its calls end with a record in time, new ones go elsewhere, and it does no more harm."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from peers.process import wait_until
from running_server import Server, running_server

from active_call.testing.phone.user_agent import Phone

NEWS = "Here is the news of the week. On Monday we bake rye bread with honey and walnuts. " * 8
PLAYBOOK = f"""---
llm: {{provider: script}}
greeting: {NEWS}
interruption: {{strategy: none}}
---
# Scene: main

## goodbye
Bye. <hangup/>
"""


def call_up(server: Server, phone: Phone) -> float:
    """Dial and wait for the first word; how long that took."""
    began = time.monotonic()
    phone.dial(f"sip:news@127.0.0.1:{server.udp_port}", transport="udp")
    assert phone.wait_answered()
    assert phone.receiver is not None
    assert wait_until(lambda: len(phone.receiver.voiced_at) > 0, 10)  # type: ignore[union-attr]
    return time.monotonic() - began


def workers(server: Server) -> dict[int, Any]:
    return {worker["index"]: worker for worker in server.health()["media"]}


@pytest.mark.load
def test_hung_media_process_is_replaced_its_calls_end_and_new_ones_work_at_once(tmp_path: Path) -> None:
    with running_server(tmp_path, PLAYBOOK, extra="media_workers = 2") as server, Phone() as first, Phone() as second:
        for phone in (first, second):
            call_up(server, phone)
        before = workers(server)
        assert [before[index]["streams"] for index in (0, 1)] == [1, 1]
        usual = max(phone_takes(server) for _ in range(2))
        hung = before[0]["pid"]
        os.kill(hung, signal.SIGSTOP)
        stopped_at = time.monotonic()
        for _ in range(2):  # while it hangs, noticed or not
            assert phone_takes(server) < usual + 1.0
        ended = first.wait_ended(4)
        assert ended is not None
        assert time.monotonic() - stopped_at < 3.3
        server.wait(lambda: bool(lost_records(server)), 5, "the record of the call that was lost")
        (record,) = lost_records(server)
        assert (record["status"], record["hangupBy"]) == ("failed", "system")
        assert "does not answer" in record["error"]
        assert wait_until(lambda: not psutil.pid_exists(hung), 10)
        assert wait_until(lambda: workers(server)[0]["alive"] and workers(server)[0]["pid"] not in (0, hung), 10)
        assert workers(server)[1]["pid"] == before[1]["pid"]
        assert second.state == "answered"
        phone_takes(server)
        second.hang_up()
        second.wait_ended(5)
        figures = second.receiver.figures().as_dict()  # type: ignore[union-attr]
        assert (figures["lost"], figures["timestamp_gaps"]) == (0, 0)


def lost_records(server: Server) -> list[dict[str, Any]]:
    return [record for record in server.records() if record["hangupReason"] == "media_lost"]


def phone_takes(server: Server) -> float:
    """Seconds until a new caller hears the agent."""
    with Phone() as phone:
        took = call_up(server, phone)
        phone.hang_up()
        phone.wait_ended(5)
        return took


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_recorder_process_that_hangs_or_dies_hurts_no_call(tmp_path: Path, number: signal.Signals) -> None:
    with running_server(tmp_path, PLAYBOOK, recording=True) as server, Phone() as phone:
        call_up(server, phone)
        assert wait_until(lambda: bool(recorders(server)), 5)
        for recorder in recorders(server):
            recorder.send_signal(number)
        try:
            assert phone_takes(server) < 5
            assert phone.receiver is not None
            n_before = len(phone.receiver.voiced_at)
            assert wait_until(lambda: len(phone.receiver.voiced_at) > n_before + 50, 10)  # type: ignore[union-attr]
            phone.hang_up()
            phone.wait_ended(5)
            figures = phone.receiver.figures().as_dict()
            assert (figures["lost"], figures["timestamp_gaps"]) == (0, 0)
            assert len(server.wait_records(2, 20)) == 2
        finally:
            for recorder in recorders(server):
                recorder.send_signal(signal.SIGCONT)


def recorders(server: Server) -> list[psutil.Process]:
    found = []
    for process in psutil.Process(server.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended
            if "active_call.media.record.process" in " ".join(process.cmdline()):
                found.append(process)
    return found
