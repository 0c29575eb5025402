"""`active-call init`: a project whose test passes at once, and that never overwrites."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from active_call.server.commands import main
from active_call.server.commands.main import app

FILES = {".env.example", ".gitignore", "README.md", "active-call.toml", "tests/test_bot.py"}


def init(folder: Path, *flags: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["init", str(folder), *flags])
    return result.exit_code, result.output


@pytest.mark.parametrize(("flags", "first"), [((), "playbooks/reception.md"), (("--python",), "bot.py")])
def test_new_project_has_all_files_and_its_tests_pass(tmp_path: Path, flags: tuple[str, ...], first: str) -> None:
    folder = tmp_path / "my bot"
    code, output = init(folder, *flags)
    assert code == 0
    written = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert written == FILES | {first}
    assert all(str(folder / name) in output for name in written)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # of the plug-ins of this machine a new project needs none
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


def test_file_that_exists_is_kept_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine", encoding="utf-8")
    code, _ = init(tmp_path)
    assert code == 2
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]


def test_gitignore_that_exists_is_kept(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("mine", encoding="utf-8")
    code, output = init(tmp_path)
    assert code == 0 and "active-call.toml" in output and ".gitignore" not in output
    assert (tmp_path / ".gitignore").read_text(encoding="utf-8") == "mine"


def test_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    code, output = init(tmp_path / "file")
    assert code == 2 and "is a file; expected the name of a folder" in output


@pytest.mark.parametrize(("found", "told"), [(None, "; pip install pytest; python -m pytest; "), (object(), "my-bot; python -m pytest; ")])
def test_next_step_installs_what_the_tests_need_if_it_is_missing(
    found: object, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main, "find_spec", lambda name: found)
    assert told in init(tmp_path / "my-bot")[1]
