"""Processes that are forked for us: what they get, how their end is told, and what happens when the one that forks is gone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from active_call.base.fork_server import start_fork_server

pytestmark = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="processes are forked on Linux only")


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """What a program of its own has found: a process of pytest has threads."""
    folder = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *sys.path])}
    done = subprocess.run(
        [sys.executable, str(folder / "forking_program.py")], capture_output=True, text=True, env=environment, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return {**json.loads(done.stdout), "stderr": done.stderr}


def test_child_is_forked_and_gets_arguments_descriptor_and_environment(found: dict[str, Any]) -> None:
    first, second = found["first"], found["second"]
    assert first["parent"] == second["parent"] == found["server"]
    assert len({found["own"], found["server"], first["pid"], second["pid"]}) == 4
    assert (first["word"], first["added"], first["taken"], first["stdin"]) == ("one", "one", None, "")
    assert (second["word"], second["added"]) == ("two", "two")
    assert first["threads"] == 1
    assert first["interrupts"]


def test_fork_server_loads_what_its_children_need_and_this_process_does_not(found: dict[str, Any]) -> None:
    assert found["first"]["has_loaded"]
    assert not found["own_has_loaded"]


def test_fork_server_rests_and_serves_again(found: dict[str, Any]) -> None:
    assert found["after"]["parent"] == found["server"]
    assert found["after"]["has_loaded"]
    assert (found["after"]["word"], found["after"]["added"], found["after"]["taken"]) == ("after", "after", None)
    assert found["codes_over_rest"] == [7, 7]
    assert found["resting_mb"] < 6


def test_children_are_programs_if_the_fork_server_cannot_load_its_modules(found: dict[str, Any]) -> None:
    assert found["without"]["parent"] == found["own"]
    assert "no_such_module" in found["stderr"]


def test_child_is_shown_by_its_module(found: dict[str, Any]) -> None:
    assert found["first"]["shown"].startswith("active-call forking_program")


def test_end_of_a_child_is_told_with_its_code(found: dict[str, Any]) -> None:
    assert found["codes"] == [7, 1]
    assert "ValueError: as it was told" in found["stderr"]
    assert found["killed"] == -9


def test_children_outlive_the_process_that_forks_and_the_next_is_a_program(found: dict[str, Any]) -> None:
    assert found["orphan"] == -9  # which is how the other one ended: its own code nobody knows
    assert found["as_a_program"]["parent"] == found["own"]
    assert found["as_a_program"]["word"] == "five"
    assert found["its_code"] == 7


def test_fork_server_that_hangs_holds_nobody_up(found: dict[str, Any]) -> None:
    hung = found["hung"]
    assert hung["code"] == -9  # it ended with 7, which only the fork server knows
    assert (hung["after"]["parent"], hung["after_code"]) == (found["own"], 7)
    assert (hung["again"]["parent"], hung["again_code"]) == (found["own"], 7)


def test_process_with_threads_is_not_forked() -> None:
    release = threading.Event()
    thread = threading.Thread(target=release.wait)
    thread.start()
    try:
        assert start_fork_server("wave:open") is None
    finally:
        release.set()
        thread.join()
