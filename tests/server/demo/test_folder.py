"""The folder that the demo writes its recording and record into."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_folder_that_cannot_be_made_is_named_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    command = (sys.executable, "-m", "active_call.server.cli", "demo", "--folder", str(tmp_path / "file" / "out"))
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)  # its log replaces that of the tests
    assert done.returncode == 2
    assert done.stderr == f"--folder: {tmp_path / 'file' / 'out'} cannot be made: Not a directory\n"
