"""A whole server that takes four calls a second for 20 minutes: no call fails, and none of its processes grows.

`SOAK_MINUTES` in the environment makes it shorter or longer; memory is judged from the second quarter on.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import psutil
import pytest
from growth import Growth
from peers.process import wait_until
from peers.sipp import SCENARIOS, Sipp
from running_server import Server, running_server

MINUTES = float(os.environ.get("SOAK_MINUTES", "20"))
RATE = 4
STAY_S = 8
SAMPLE_S = 5.0
MAX_RISE_MB = 6.0
"""Of one process in 15 minutes and 3600 calls. A leak of 2 kB a call would be more."""
PLAYBOOK = """---
llm: {provider: script}
greeting: Thank you for calling. All of our bakers are at work, and your call will be answered in turn.
interruption: {strategy: none}
followup: {timeout: 60000, max: 1}
---
# Scene: main

## (silence)
Bye. <hangup/>
"""


def processes(server: Server) -> dict[str, int]:
    """The server and all below it, by a name that tells them apart."""
    root = psutil.Process(server.pid)
    named = {"control": root.pid}
    for child in root.children(recursive=True):
        command = " ".join(child.cmdline())
        kind = next((name for name in ("media.worker", "record.process", "engine_process") if name in command), "other")
        named[f"{kind} {child.cmdline()[-2] if kind == 'engine_process' else ''} {child.pid}".replace("  ", " ")] = child.pid
    return named


def keep_tidy(folder: Path) -> None:
    """Recordings of a soak would fill the disk: those that are finished go."""
    for file in folder.rglob("*.wav"):
        if time.time() - file.stat().st_mtime > 60:
            file.unlink()


@pytest.mark.slow
@pytest.mark.timeout(MINUTES * 60 + 600)
def test_server_with_calls_coming_and_going_does_not_grow(tmp_path: Path) -> None:
    n_calls = int(MINUTES * 60 * RATE)
    scenario = (SCENARIOS / "caller_hangs_up.xml").read_text(encoding="utf-8")
    (tmp_path / "caller_stays.xml").write_text(scenario.replace('milliseconds="2000"', f'milliseconds="{STAY_S * 1000}"'), encoding="utf-8")
    with running_server(tmp_path / "server", PLAYBOOK, cold=True, recording=True) as server:
        target = f"127.0.0.1:{server.udp_port}"
        with Sipp("caller_hangs_up", tmp_path / "first", target=target, calls=4, rate=4) as warm_up:
            assert warm_up.result().successful == 4  # every process is there now
        growths = {name: Growth(pid) for name, pid in processes(server).items()}
        soak = Sipp(
            tmp_path / "caller_stays.xml",
            tmp_path / "sipp",
            target=target,
            calls=n_calls,
            rate=RATE,
            limit=RATE * STAY_S * 3,
            timeout_s=int(MINUTES * 60) + 120,
        )
        with soak as run:
            run.start()
            ends_at = time.monotonic() + MINUTES * 60
            while time.monotonic() < ends_at:
                for growth in growths.values():
                    growth.sample()
                keep_tidy(tmp_path / "server")
                time.sleep(SAMPLE_S)
            result = run.result()
        assert (result.successful, result.failed, result.unexpected) == (n_calls, 0, 0), result.errors
        figures = {name: growth.fitted(MINUTES * 15) for name, growth in growths.items()}
        print(json.dumps({"calls": n_calls, "retransmissions": result.retransmissions} | figures))
        assert wait_until(lambda: server.health()["calls"] == 0 and not any(server.health()["sip"].values()), 40), server.health()
        assert all(psutil.pid_exists(growth.pid) for growth in growths.values())
        for name, growth in figures.items():
            assert growth["rise_mb"] < MAX_RISE_MB, (name, growth)
        for growth in growths.values():
            growth.sample()
            assert growth.descriptors[-1] <= growth.descriptors[0] + 2
        assert "ERROR" not in server.log
