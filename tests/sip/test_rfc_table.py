"""The table of what the RFCs demand names modules and tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TABLE = (ROOT / "docs" / "design" / "rfc.md").read_text(encoding="utf-8")


def test_every_test_that_the_table_names_exists() -> None:
    named = set(re.findall(r"`(test_[a-z0-9_]+)`", TABLE))
    assert len(named) > 100
    existing = {
        name for path in (ROOT / "tests").rglob("test_*.py") for name in re.findall(r"^def (test_[a-z0-9_]+)", path.read_text(), re.M)
    }
    assert named - existing == set()


def test_every_module_that_the_table_names_exists() -> None:
    rows = [line.split("|") for line in TABLE.splitlines() if line.startswith("|") and not line.startswith("|---")]
    named = {name for row in rows for name in re.findall(r"`([a-z0-9_/]+)`", row[-3]) if not name.startswith("test_")}
    assert len(named) > 40
    source = ROOT / "src" / "active_call"
    assert {name for name in named if not any((room / name).with_suffix(".py").exists() for room in (source, source / "sip"))} == set()


def test_every_failure_of_the_list_has_a_row() -> None:
    failures = TABLE.partition("\n## RFCs")[0]
    numbers = re.findall(r"^\| (\d+)(?:–(\d+))? \|", failures, re.M)
    covered = [n for first, last in numbers for n in range(int(first), int(last or first) + 1)]
    assert covered == list(range(1, 36))
