"""Every module that a table of docs/design names exists where the table says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src/active_call"
HEADING = re.compile(r"^\| (?:(?:file|module)(?: of `([a-z_/]+)`)?|`([a-z_]+)` module) \|")
NAME = re.compile(r"`([a-z_0-9./]+)`")


def modules_of(page: Path) -> list[tuple[str, Path]]:
    """The names in the first columns of the module tables, each with the path that it means."""
    found: list[tuple[str, Path]] = []
    folders: list[Path] | None = None
    for line in page.read_text(encoding="utf-8").split("\n"):
        heading = HEADING.match(line)
        if heading is not None:
            room, other = SOURCE / page.stem, heading[1] or heading[2]
            folders = [room / other, SOURCE / other] if other else [room, SOURCE]
        elif not line.startswith("|"):
            folders = None
        elif folders is not None:
            for name in NAME.findall(line.split("|")[1]):
                candidates = [folder / name for folder in folders]
                found.append((name, next((path for path in candidates if exists(path)), candidates[0])))
    return found


def exists(path: Path) -> bool:
    return path.exists() or path.with_name(f"{path.name}.py").is_file()


@pytest.mark.parametrize("page", sorted((ROOT / "docs/design").glob("*.md")), ids=lambda page: page.stem)
def test_modules_named_by_a_design_page_exist(page: Path) -> None:
    assert [name for name, path in modules_of(page) if not exists(path)] == []


def test_module_tables_are_found() -> None:
    assert sum(len(modules_of(page)) for page in (ROOT / "docs/design").glob("*.md")) > 300
