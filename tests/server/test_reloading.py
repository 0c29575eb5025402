"""What a reload takes from a config file that is being written, or that is none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from active_call.base.errors import ConfigError
from active_call.server.reloading import ConfigSource

CONFIG = 'udp_port = 5070\n[[trunks]]\nname = "one"\nallow = ["192.0.2.0/24"]\n'


@pytest.mark.parametrize("text", ["", "\n", "# to be continued\n"])
def test_file_without_settings_opens_nothing(tmp_path: Path, text: str) -> None:
    """The defaults let everybody in: an editor empties the file before it writes it."""
    file = tmp_path / "active-call.toml"
    source = ConfigSource(file, {}, {}, had_file=True)
    file.write_text(CONFIG)
    assert [trunk.name for trunk in source.load().trunks] == ["one"]
    file.write_text(text)
    with pytest.raises(ConfigError, match="has no settings"):
        source.load()


def test_pipe_and_folder_are_told_and_not_waited_for(tmp_path: Path) -> None:
    file = tmp_path / "active-call.toml"
    source = ConfigSource(file, {}, {}, had_file=True)
    os.mkfifo(file)
    with pytest.raises(ConfigError, match="not a regular file"):
        source.load()
    file.unlink()
    file.mkdir()
    with pytest.raises(ConfigError, match="not a regular file"):
        source.load()


def test_server_without_a_file_reloads_its_defaults(tmp_path: Path) -> None:
    assert not ConfigSource(tmp_path / "active-call.toml", {}, {}, had_file=False).load().trunks
