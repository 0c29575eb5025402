"""`active-call init`: a project whose test passes at once, and that never overwrites."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from active_call.server.commands.main import app

FILES = {".env.example", "README.md", "active-call.toml", "tests/test_bot.py"}


def init(folder: Path, *flags: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["init", str(folder), *flags])
    return result.exit_code, result.output


@pytest.mark.parametrize(("flags", "main"), [((), "playbooks/reception.md"), (("--python",), "bot.py")])
def test_new_project_has_all_files_and_its_tests_pass(tmp_path: Path, flags: tuple[str, ...], main: str) -> None:
    folder = tmp_path / "my bot"
    code, output = init(folder, *flags)
    assert code == 0
    written = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert written == FILES | {main}
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


def test_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert init(tmp_path / "file")[0] == 2
