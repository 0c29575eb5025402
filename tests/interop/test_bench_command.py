"""`active-call bench` as a user runs it, briefly."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict

import pytest

from active_call.bench.host import choose_cores
from active_call.bench.media import Workload, measured


@pytest.mark.load
def test_bench_media_prints_one_json_object_and_loses_nothing() -> None:
    command = [sys.executable, "-m", "active_call.server.cli", "bench", "media"]
    options = ["--calls", "8", "--seconds", "2", "--srtp", "--vad", "--record", "4", "--json"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=60, check=True)
    (line,) = done.stdout.splitlines()
    figures = json.loads(line)
    assert figures["calls"] == 8
    assert figures["lost"] == figures["wrong"] == figures["refused"] == figures["starved"] == 0
    assert 0.8 < figures["speech"]["found"] / figures["speech"]["spoken"] <= 1.1
    for name in ("tick_late_ms", "packet_offset_ms", "sender_late_ms"):
        assert 0 <= figures[name]["p50"] <= figures[name]["p99"] <= figures[name]["max"]
    assert figures["cpu_ms_per_call_second"] > 0
    assert figures["rss_mb"] > 10


def test_measuring_twice_pins_twice_and_leaves_this_process_where_it_was() -> None:
    before = os.sched_getaffinity(0)
    runs = [measured(Workload(4, 1)) for _ in range(2)]
    assert os.sched_getaffinity(0) == before
    assert runs[0]["cores"] == runs[1]["cores"] == asdict(choose_cores())
