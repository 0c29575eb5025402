"""`--processes`: a run of pytest in forked processes reports what a run in one process would, and survives the death of one of them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

TESTS = """
import os
import pytest

@pytest.fixture(scope="session")
def shared():
    yield
    with open("ends.txt", "a") as file:
        file.write(os.environ["PYTEST_XDIST_WORKER"] + "\\n")

def test_that_passes(shared, tmp_path):
    print("seen by nobody")
    (tmp_path / "file").write_text("own")

def test_that_fails(shared):
    print("what it printed")
    assert os.environ["PYTEST_XDIST_WORKER"] == "gw9"

@pytest.mark.skip(reason="not today")
def test_that_is_skipped():
    pass

@pytest.mark.xdist_group("dying")
def test_before_the_end():
    pass

@pytest.mark.xdist_group("dying")
def test_that_ends_its_process():
    os._exit(3)

@pytest.mark.xdist_group("dying")
def test_after_the_end(shared):
    pass

@pytest.mark.xdist_group("together")
@pytest.mark.parametrize("i", range(20))
def test_of_one_group(i, shared):
    with open("group.txt", "a") as file:
        file.write(f"{os.getpid()}\\n")
"""


def test_results_are_those_of_one_process_and_a_dead_process_fails_only_its_test(tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = xdist_group: one process\ncache_dir = cache\n")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-m", "pytest", "-q", "-ra", "-p", "forked_processes", "-p", "no:schemathesis", "--processes", "3"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200, check=False)
    told = done.stdout + done.stderr
    assert done.returncode == 1, told
    assert "2 failed, 23 passed, 1 skipped" in told, told
    assert "The process that ran this test ended with 3." in told
    assert "what it printed" in told
    assert "seen by nobody" not in told
    assert re.search(r"assert 'gw\d' == 'gw9'", told), told
    failed = (tmp_path / "cache" / "v" / "cache" / "lastfailed").read_text()
    assert "test_that_fails" in failed
    assert "test_that_ends_its_process" in failed
    assert "test_after_the_end" not in failed
    assert len(set((tmp_path / "group.txt").read_text().split())) == 1
    ends = (tmp_path / "ends.txt").read_text().split()
    assert len(ends) == len(set(ends)), "each process ends what its tests shared, once"


STOPPING = """
import time
import pytest

def test_first():
    assert False

@pytest.mark.parametrize("i", range(400))
def test_other(i):
    time.sleep(0.05)
"""


def test_run_that_stops_at_the_first_failure_hands_out_nothing_more(tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text(STOPPING)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "forked_processes", "-p", "no:schemathesis", "--processes", "2"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 1, done.stdout
    assert "stopping after 1 failures" in done.stdout
    assert "400 passed" not in done.stdout
