"""`active-call bench sip` as a user runs it: what it prints, over each transport. How fast this machine is is nobody's test."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from forked_starts import forked_starts


def bench(folder: Path, *arguments: str) -> tuple[int, str]:
    """Its exit code, and what it has printed and said."""
    with (folder / "output.txt").open("wb") as output:
        process = forked_starts().start(folder, output.fileno(), dict(os.environ), arguments=("bench", *arguments))
        code = process.wait(120)
    return code, (folder / "output.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
def test_bench_sip_at_a_rate_ends_with_one_json_object_of_calls_that_succeeded(tmp_path: Path, transport: str) -> None:
    code, printed = bench(tmp_path, "sip", "--transport", transport, "--rate", "10", "--seconds", "1.5", "--json")
    assert code == 0, printed
    figures = json.loads(printed.splitlines()[-1])
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
    code, printed = bench(tmp_path, "sip", "--rate", "10", "--seconds", "0.5", "--playbook", str(playbook), "--json")
    assert code == 2
    assert "nobody" in printed


def test_bench_of_another_name_is_refused_and_the_help_has_the_known_ones(tmp_path: Path) -> None:
    code, printed = bench(tmp_path, "fax")
    assert code == 2
    assert "'fax'" in printed and "bench --help" in printed
    code, printed = bench(tmp_path, "--help")
    assert code == 0
    assert all(name in printed for name in ("media", "server", "sip"))
