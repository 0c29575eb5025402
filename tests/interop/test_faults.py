"""Processes that stall or die while calls are up: what the caller hears, and what is written down."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest
from peers.process import wait_until
from peers.sipp import SCENARIOS, Sipp
from running_server import Server, running_server

from active_call.testing.phone.receiver import AudioReceiver
from active_call.testing.phone.user_agent import Phone
from active_call.testing.sound import audio, listening

ANNOUNCEMENT = (
    "Here is the news of the week. On Monday we bake rye bread with honey and walnuts. On Tuesday there are cinnamon rolls,"
    " warm from the oven. On Wednesday the children of the village come to visit us and make their own pizza."
)
PLAYBOOK = f"""---
llm: {{provider: script}}
greeting: {ANNOUNCEMENT}
interruption: {{strategy: none}}
---
# Scene: main

## goodbye
Bye. <hangup/>
"""


def longest_silence_s(heard: audio.Pcm, first: int, last: int) -> float:
    """The longest stretch without speech between two samples of the timeline."""
    voiced = np.flatnonzero(audio.frame_levels(heard[first:last]) > audio.VOICED_LEVEL)
    return float(np.diff(voiced).max() - 1) * 0.02


def clock_error_s(receiver: AudioReceiver) -> float:
    """How much more time the time stamps of the sound tell than has passed from its first packet to its last."""
    first, last = receiver.packets[0], receiver.packets[-1]
    return (last.timestamp - first.timestamp) % 2**32 / audio.RATE_HZ - (last.at - first.at)


@pytest.mark.slow
def test_control_process_stopped_for_400_ms_is_not_heard(tmp_path: Path) -> None:
    """As the caller hears it. `test_control_process_stopped_for_3_s_under_load…` has a longer stop, by the packets."""
    with running_server(tmp_path, PLAYBOOK) as server, Phone() as phone:
        phone.dial(f"sip:news@127.0.0.1:{server.tls_port};transport=tls", srtp=True)
        assert phone.wait_answered()
        assert phone.receiver is not None
        assert wait_until(lambda: len(phone.receiver.voiced_at) > 50, 10)  # it speaks
        for _ in range(3):
            os.kill(server.pid, signal.SIGSTOP)
            time.sleep(0.4)
            assert psutil.Process(server.pid).status() == psutil.STATUS_STOPPED
            os.kill(server.pid, signal.SIGCONT)
            time.sleep(0.8)
        assert wait_until(lambda: time.monotonic() - phone.receiver.voiced_at[-1] > 1.5, 30)
        figures = phone.receiver.figures().as_dict()
        heard = phone.heard
        phone.hang_up()
        phone.wait_ended(5)
        assert phone.violations == []
        for name in ("lost", "repeated_sequence", "out_of_order", "timestamp_gaps", "repeated_frames", "rejected"):
            assert figures[name] == 0, figures
        whole = listening.utterances(heard)
        assert len(whole) == 1
        assert longest_silence_s(heard, whole[0].start, whole[0].end) < 0.8  # the pauses between sentences, no more
        recognised = listening.Recogniser([ANNOUNCEMENT], ["Here is the news of the week.", "Please hold the line."])
        assert recognised.recognise(heard[whole[0].start : whole[0].end]).sentences == (ANNOUNCEMENT,)


def test_media_process_killed_ends_its_calls_and_no_others(tmp_path: Path) -> None:
    with running_server(tmp_path, PLAYBOOK, extra="media_workers = 2") as server, Phone() as first, Phone() as second:
        for phone in (first, second):
            phone.dial(f"sip:news@127.0.0.1:{server.udp_port}", transport="udp")
            assert phone.wait_answered()
        workers = {worker["index"]: worker for worker in server.health()["media"]}
        assert [workers[index]["streams"] for index in (0, 1)] == [1, 1]
        for phone in (first, second):
            assert phone.receiver is not None
            assert wait_until(lambda receiver=phone.receiver: len(receiver.voiced_at) > 25, 10)
        os.kill(workers[0]["pid"], signal.SIGKILL)
        ended = first.wait_ended(5)
        assert ended is not None
        assert ended.by == "agent"
        (record,) = server.wait_records(1, 10)
        assert (record["status"], record["hangupReason"], record["hangupBy"]) == ("failed", "media_lost", "system")
        assert "media process" in record["error"]
        # The other call goes on as if nothing had happened.
        n_before = len(second.receiver.voiced_at)  # type: ignore[union-attr]
        assert second.state == "answered"
        assert wait_until(lambda: len(second.receiver.voiced_at) > n_before + 50, 10)  # type: ignore[union-attr]
        # And a new process has taken the place of the dead one.
        assert wait_until(lambda: all(worker["alive"] for worker in server.health()["media"]), 10)
        replaced = {worker["index"]: worker for worker in server.health()["media"]}
        assert replaced[0]["pid"] != workers[0]["pid"]
        assert replaced[1]["pid"] == workers[1]["pid"]
        with Phone() as third:
            third.dial(f"sip:news@127.0.0.1:{server.udp_port}", transport="udp")
            assert third.wait_answered()
            assert wait_until(lambda: third.receiver is not None and len(third.receiver.voiced_at) > 25, 10)
            third.hang_up()
            third.wait_ended(5)
        second.hang_up()
        second.wait_ended(5)
        assert second.receiver is not None
        assert second.receiver.figures().lost == 0
        assert abs(clock_error_s(second.receiver)) < 1  # a busy machine may skip ticks; `make test-load` counts them
        assert first.violations == second.violations == []


def test_control_process_killed_takes_the_media_processes_with_it(tmp_path: Path) -> None:
    with running_server(tmp_path, PLAYBOOK) as server, Phone() as phone:
        phone.dial(f"sip:news@127.0.0.1:{server.udp_port}", transport="udp")
        assert phone.wait_answered()
        below = [process.pid for process in psutil.Process(server.pid).children(recursive=True)]
        assert below
        server.process.kill()
        server.process.wait(5)
        assert wait_until(lambda: not any(_lives(pid) for pid in below), 10)
        server.was_killed = True


N_CALLERS = 48
STAY_S = 15


@contextmanager
def callers(server: Server, folder: Path) -> Iterator[Sipp]:
    """SIPp as 48 callers who speak for a while; all are up when the context begins, and their result is still to be read at its end."""
    folder.mkdir()
    scenario = (SCENARIOS / "caller_hangs_up.xml").read_text(encoding="utf-8")
    (folder / "caller_stays.xml").write_text(scenario.replace('milliseconds="2000"', f'milliseconds="{STAY_S * 1000}"'), encoding="utf-8")
    target = f"127.0.0.1:{server.udp_port}"
    with Sipp(folder / "caller_stays.xml", folder, target=target, calls=N_CALLERS, rate=16, limit=N_CALLERS, timeout_s=60) as run:
        run.start()
        assert wait_until(lambda: server.health()["calls"] == N_CALLERS, 15), server.health()
        yield run


@contextmanager
def listening_phone(server: Server) -> Iterator[Phone]:
    """A caller who hears the announcement, and hears it flawlessly: no packet lost, late by more than a jitter buffer
    holds, or out of place.
    """
    with Phone() as phone:
        phone.dial(f"sip:news@127.0.0.1:{server.udp_port}", transport="udp")
        assert phone.wait_answered()
        assert phone.receiver is not None
        assert wait_until(lambda: len(phone.receiver.voiced_at) > 50, 10)
        yield phone
        assert phone.state == "answered"
        figures = phone.receiver.figures().as_dict()
        phone.hang_up()
        phone.wait_ended(5)
        assert phone.violations == []
        for name in ("lost", "repeated_sequence", "out_of_order", "timestamp_gaps", "rejected"):
            assert figures[name] == 0, figures


@pytest.mark.load
def test_control_process_stopped_for_3_s_under_load_is_not_heard_and_costs_no_call(tmp_path: Path) -> None:
    with running_server(tmp_path / "server", PLAYBOOK, recording=True) as server, callers(server, tmp_path / "sipp") as run:
        with listening_phone(server) as phone:
            assert phone.receiver is not None
            n_before = len(phone.receiver.voiced_at)
            os.kill(server.pid, signal.SIGSTOP)
            time.sleep(3)
            assert psutil.Process(server.pid).status() == psutil.STATUS_STOPPED
            assert len(phone.receiver.voiced_at) > n_before + 75  # it was spoken all the while, from what the media process had
            os.kill(server.pid, signal.SIGCONT)
            time.sleep(2)
        result = run.result()
        assert (result.successful, result.failed) == (N_CALLERS, 0), result.errors
        records = server.wait_records(N_CALLERS + 1)
        assert {(record["hangupBy"], record["hangupReason"]) for record in records} == {("caller", "remote_bye")}


@pytest.mark.load
def test_media_process_of_two_killed_under_load_ends_half_of_the_calls_with_a_record(tmp_path: Path) -> None:
    with (
        running_server(tmp_path / "server", PLAYBOOK, extra="media_workers = 2", recording=True) as server,
        callers(server, tmp_path / "sipp") as run,
    ):
        workers = server.health()["media"]
        lost, going_on = (worker["streams"] for worker in workers)
        assert lost + going_on == N_CALLERS
        assert min(lost, going_on) > N_CALLERS // 3
        os.kill(workers[0]["pid"], signal.SIGKILL)
        records = server.wait_records(lost, 10)
        assert {(record["status"], record["hangupReason"]) for record in records} == {("failed", "media_lost")}
        result = run.result()
        assert result.successful == going_on, result.errors
        records = server.wait_records(N_CALLERS)
        ended = [(record["hangupBy"], record["hangupReason"]) for record in records]
        assert ended.count(("caller", "remote_bye")) == going_on
        assert all(record["media"]["packets_lost"] == 0 for record in records if record["hangupReason"] == "remote_bye")
        assert all(worker["alive"] and worker["streams"] == 0 for worker in server.health()["media"])


@pytest.mark.load
def test_engine_processes_stopped_and_killed_under_load_are_not_heard_and_are_replaced(tmp_path: Path) -> None:
    with running_server(tmp_path / "server", PLAYBOOK, recording=True) as server, callers(server, tmp_path / "sipp") as run:
        with listening_phone(server):
            engines = _engines(server)
            assert engines
            for pid in engines:
                os.kill(pid, signal.SIGSTOP)
            time.sleep(3)
            for pid in engines:
                os.kill(pid, signal.SIGCONT)
            time.sleep(1)
            for pid in engines:
                os.kill(pid, signal.SIGKILL)
            time.sleep(2)
        result = run.result()
        assert (result.successful, result.failed) == (N_CALLERS, 0), result.errors
        with listening_phone(server):  # what it hears is synthesised or recognised by a new process
            assert not set(engines) & set(_engines(server))
        assert server.health()["status"] == "ok"


def _engines(server: Server) -> list[int]:
    """The processes that recognise and synthesise."""
    children = psutil.Process(server.pid).children(recursive=True)
    return [child.pid for child in children if any("engine_process" in part for part in child.cmdline())]


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
