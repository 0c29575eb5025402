"""The folder that the demo writes its recording and record into."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from active_call.server.commands.main import app


def test_folder_that_cannot_be_made_is_named_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    result = CliRunner().invoke(app, ["demo", "--folder", str(tmp_path / "file" / "out")])
    assert result.exit_code == 2
    assert result.stderr == f"--folder: {tmp_path / 'file' / 'out'} cannot be made: Not a directory\n"
