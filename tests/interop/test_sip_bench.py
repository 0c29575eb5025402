"""`active-call bench sip` as a user runs it: what it prints, over each transport. How fast this machine is is nobody's test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "active_call.server.cli", "bench", "sip", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
def test_bench_sip_at_a_rate_ends_with_one_json_object_of_calls_that_succeeded(transport: str) -> None:
    done = bench("--transport", transport, "--rate", "10", "--seconds", "1.5", "--json")
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert (figures["transport"], figures["calls"], figures["failed"]) == (transport, 15, 0)
    assert 5 < figures["calls_per_s"] <= 10
    for name in ("trying_ms", "answer_ms"):
        assert 0 < figures[name]["p50"] <= figures[name]["p95"] <= figures[name]["p99"]
    assert figures["trying_ms"]["p50"] <= figures["answer_ms"]["p50"]
    assert figures["retransmissions"] >= 0
    assert ("new_connections_per_s" in figures) == (transport != "udp")
    if transport != "udp":
        assert figures["new_connections_per_s"] > 1


def test_bench_sip_with_a_playbook_whose_engine_is_unknown_ends_with_its_name(tmp_path: Path) -> None:
    playbook = tmp_path / "broken.md"
    playbook.write_text("---\nllm: {provider: script}\nasr: {provider: nobody}\n---\n# Scene: main\n\n## *\nYes.\n")
    done = bench("--rate", "10", "--seconds", "0.5", "--playbook", str(playbook), "--json")
    assert done.returncode == 2
    assert "nobody" in done.stderr


def test_bench_of_another_name_is_refused_with_the_known_ones() -> None:
    command = [sys.executable, "-m", "active_call.server.cli", "bench", "fax"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert "known: media, server, sip" in done.stderr
