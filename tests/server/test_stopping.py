"""The first stop signal ends the program in order, the second hurries, the third leaves; and no stop waits for ever."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from active_call.server.stopping import EXIT_CODE, LATE_CODE, ExitLimit, Stopping

PROGRAM = """
import asyncio, logging, os, sys, threading, time
from active_call.server import launching, stopping
logging.basicConfig()
stopping.STOP_S, stopping.HURRIED_S, stopping.EXIT_S = {times}

async def work():
    asyncio.current_task().set_name("the work")
    print("ready", flush=True)
{body}


logging.getLogger().handlers[0].setFormatter(logging.Formatter("%(message)s %(tasks)s", defaults={{"tasks": ""}}))
launching.run_loop(work(), is_last=True)
"""
LONG = (300.0, 300.0, 300.0)
STUCK_STEP = """
    while True:
        time.sleep(0.01)
"""
DEAF_TASK = """
    while True:
        try:
            await asyncio.sleep(300)
        except asyncio.CancelledError:
            pass
"""
STUCK_THREAD = """
    asyncio.get_running_loop().run_in_executor(None, time.sleep, 300)
    await asyncio.sleep(300)
"""
OWN_THREAD = """
    threading.Thread(target=time.sleep, args=(300,)).start()
    await asyncio.sleep(300)
"""


@contextmanager
def program(body: str, times: tuple[float, float, float]) -> Iterator[subprocess.Popen[bytes]]:
    """The program, ready; it is ended at the end of the block."""
    text = PROGRAM.format(times=times, body=body)
    running = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert running.stdout is not None
        assert running.stdout.readline() == b"ready\n"
        yield running
    finally:
        running.kill()
        running.communicate()


def test_signals_cancel_once_then_end_calls_then_leave() -> None:
    said: list[object] = []
    stopping = Stopping(exit_now=said.append)
    stopping.end_calls_now = lambda: said.append("end_calls_now")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
        stopping.handle(number, lambda: said.append("cancel"))
    assert said == ["cancel", "end_calls_now", EXIT_CODE]


def test_third_signal_ends_a_loop_that_is_stuck_in_a_step() -> None:
    with program(STUCK_STEP, LONG) as running:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
            running.send_signal(number)
            time.sleep(0.3)  # signals of one kind that come together are one
        assert running.wait(30) == EXIT_CODE


@pytest.mark.parametrize("body", [STUCK_STEP, DEAF_TASK])
def test_stop_that_takes_too_long_ends_and_says_what_it_was_doing(body: str) -> None:
    with program(body, (0.5, 300.0, 300.0)) as running:
        running.send_signal(signal.SIGTERM)
        assert running.wait(30) == LATE_CODE
        assert running.stderr is not None
        said = running.stderr.read()
    assert b"exiting now" in said
    assert b"in work" in said or b"the work" in said  # the stack, or the name of the task


def test_second_signal_leaves_little_time() -> None:
    with program(DEAF_TASK, (300.0, 0.5, 300.0)) as running:
        running.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        running.send_signal(signal.SIGINT)
        assert running.wait(30) == LATE_CODE


@pytest.mark.parametrize("body", [STUCK_THREAD, OWN_THREAD])
def test_thread_that_does_not_end_does_not_hold_up_the_exit(body: str) -> None:
    with program(body, (300.0, 300.0, 0.5)) as running:
        running.send_signal(signal.SIGTERM)
        assert running.wait(30) == 0


def test_limit_that_is_lifted_ends_nothing() -> None:
    ended: list[int] = []
    limit = ExitLimit(ended.append)
    limit.start()
    limit.allow(0.3, "late")
    limit.allow(float("inf"))
    limit_of_others = ExitLimit(lambda code: (ended.append(code), over.set()))
    over = threading.Event()
    limit_of_others.start()
    limit_of_others.allow(0.6, "late", 7)
    assert over.wait(30)
    assert ended == [7]


def test_signals_while_the_program_is_loaded_end_it_silently_or_not_at_all() -> None:
    """A request to reload does not end it; an interrupt ends it at once, without a traceback."""
    program = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts background programs without
from active_call.server import cli

def preload():
    os.kill(os.getpid(), signal.SIGHUP)
    print("survived", flush=True)
    os.kill(os.getpid(), signal.SIGINT)
    print("not reached", flush=True)

cli.preload = preload
sys.argv = ["active-call", "serve"]
cli.main()
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (-signal.SIGINT, b"survived\n", b"")
