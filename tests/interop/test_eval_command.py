"""`active-call eval` as a user runs it: the quick set, and the persona of the guide, against servers that it starts."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "active_call.server.cli", "eval"]


def run(*arguments: str) -> tuple[int, list[dict[str, object]], str]:
    done = subprocess.run([*COMMAND, *arguments, "--json"], capture_output=True, text=True, timeout=110, check=False)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


@pytest.mark.alone
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
    assert 1 <= total["turns"] <= 4
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
    (tmp_path / "one.yaml").write_text(example, encoding="utf-8")
    (tmp_path / "two.yaml").write_text(
        "steps: [listen, hang_up]\nexpect: {heard: [we sell motor cars], ended_by: agent}\n", encoding="utf-8"
    )
    code, lines, complaint = run(str(tmp_path / "one.yaml"), str(tmp_path / "two.yaml"))
    assert complaint == ""
    first, second, total = lines
    assert first["ok"], first
    assert not second["ok"]
    assert len(second["failures"]) == 2  # type: ignore[arg-type]
    assert (code, total["ok"]) == (1, False)


def test_persona_that_is_wrong_cannot_be_run(tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text("steps: [{shout: hello}]\n", encoding="utf-8")
    code, lines, complaint = run(str(tmp_path / "wrong.yaml"))
    assert (code, lines) == (2, [])
    assert "wrong.yaml: steps[0]: 'shout' is none of" in complaint
