"""The entry point: which modules a command line loads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from active_call.server.cli import begins_server, has_no_other_command
from active_call.server.commands import main, serve


@pytest.mark.parametrize(
    "line",
    [
        "",
        "serve",
        "serve --conf a.toml",
        "--conf a.toml",
        "--conf=a.toml --http :80",
        "--conf serve",
        "--handler a:b --call sip:a@b",
    ],
)
def test_line_that_only_serves_loads_no_other_command(line: str) -> None:
    assert begins_server(line.split()) and has_no_other_command(line.split())


@pytest.mark.parametrize("line", ["--conf a.toml doctor", "--conf=a.toml show", "--http :80 playbook check a.md"])
def test_command_after_options_is_found(line: str) -> None:
    assert not has_no_other_command(line.split())


def test_command_after_options_runs(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "active_call.server.cli", "--conf", "none.toml", "providers", "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "providers" in done.stdout, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_serving_takes_the_same_options_in_both_programs() -> None:
    def options(group: Any) -> list[list[str]]:
        return [sorted(word for option in command.params for word in option.opts) for command in (group, group.commands["serve"])]

    small, whole = get_command(serve.app), get_command(main.app)
    assert options(small) == options(whole)
    assert (small.name, small.help) == (whole.name, whole.help)
