"""`active-call eval` as a user runs it: the quick set, and the persona of the guide, against servers that it starts."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from active_call.testing.sound.still_voice import write_still_voice

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "active_call.server.cli", "eval"]

LATE_MS = 20.0
"""Where the caller's packets leave so late, the machine gives it no time to speak: the call says nothing of the agent and is repeated."""
N_TRIES = 3


def run(*arguments: str, **environment: str) -> tuple[int, list[dict[str, object]], str]:
    command, more = [*COMMAND, *arguments, "--json"], {**os.environ, **environment}
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, env=more)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


@pytest.mark.load
def test_quick_set_ends_with_every_figure_and_writes_junit(tmp_path: Path) -> None:
    code, lines, complaint = run("--quick", "--junit", str(tmp_path / "eval.xml"))
    assert complaint == ""
    *calls, total = lines
    assert len(calls) == total["calls"] == 2
    for name in (
        "turns",
        "interruptions",
        "voice_to_voice_ms_median",
        "missed_barge_ins_percent",
        "words_right_percent",
        "end_of_turn_ms_median",
    ):
        assert total[name] is not None, name
    assert 1 <= total["turns"] <= 7, "the two callers say seven things that end a turn"
    assert code == (0 if total["ok"] else 1)
    # How well the agent did is for the bounds to judge; here every failure has to be told, and told alike.
    assert not (total["ok"] and total["failures"])
    suite = ElementTree.parse(tmp_path / "eval.xml").getroot()  # written by us a moment ago
    names = [call["persona"] for call in calls]
    assert [case.get("name") for case in suite] == [*names, "figures"]
    assert {case.get("name") for case in suite if case.find("failure") is not None} - {"figures"} == set(total["failures"])
    assert set(total["failures"]) <= set(names)


@pytest.mark.alone
def test_persona_of_the_guide_gets_what_it_expects_and_another_does_not(tmp_path: Path) -> None:
    guide = (ROOT / "docs" / "evals.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL)
    assert "\nvoice: piper:joe\n" in example
    assert example.count("- listen\n") == 2
    # A busy machine makes pauses between the sentences of a greeting: this caller waits for a longer silence before it speaks.
    patient = example.replace("- listen\n", "- listen: {timeout_s: 40, silence_ms: 2500}\n")
    (tmp_path / "one.yaml").write_text(patient.replace("piper:joe", "piper:still"), encoding="utf-8")
    (tmp_path / "two.yaml").write_text(
        "steps: [listen, hang_up]\nexpect: {heard: [we sell motor cars], ended_by: agent}\n", encoding="utf-8"
    )
    playbook = (ROOT / "evals" / "playbook.md").read_text(encoding="utf-8")
    (tmp_path / "shop.md").write_text(
        playbook.replace("\ngreeting:", "\ntts: {provider: piper, speaker: still}\ngreeting:", 1), encoding="utf-8"
    )
    personas = (str(tmp_path / "one.yaml"), str(tmp_path / "two.yaml"))
    files = ("--playbook", str(tmp_path / "shop.md"), "--junit", str(tmp_path / "eval.xml"))
    voice = write_still_voice(tmp_path / "voices")
    for _ in range(N_TRIES):
        code, lines, complaint = run(*personas, *files, **voice)
        assert complaint == ""
        first, second, total = lines
        if first["ok"] or total["own_late_ms_p99"] < LATE_MS:  # type: ignore[operator]
            break
    assert first["ok"], (first["failures"], first["understood"], first["reply_ms"])
    assert not second["ok"]
    assert len(second["failures"]) == 2  # type: ignore[arg-type]
    assert (code, total["ok"]) == (1, False)
    for name in ("turns", "words_right_percent", "end_of_turn_ms_median", "voice_to_voice_ms_median"):
        assert total[name] is not None, name
    suite = ElementTree.parse(tmp_path / "eval.xml").getroot()  # written by us a moment ago
    told = {case.get("name"): case.find("failure") is not None for case in suite}
    assert told == {first["persona"]: False, second["persona"]: True, "figures": False}


def test_persona_that_is_wrong_cannot_be_run(tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text("steps: [{shout: hello}]\n", encoding="utf-8")
    code, lines, complaint = run(str(tmp_path / "wrong.yaml"))
    assert (code, lines) == (2, [])
    assert "wrong.yaml: steps[0]: 'shout' is none of" in complaint
