"""Which files are played, and where recordings of a call's own choice may lie."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from active_call.base.errors import MediaError
from active_call.store.audio_cache import AudioCache
from active_call.store.private_files import private_folder
from active_call.store.recordings import path_inside
from active_call.store.sound_folders import SoundFolders


@pytest.fixture
def folders(tmp_path: Path) -> SoundFolders:
    for name in ("sounds/a.wav", "config/b.wav", "config/recorders/c.wav", "config/recorders/moh/d.wav", "config/cdr/e.json", "top.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    return SoundFolders(
        tmp_path, {Path("sounds"), Path("config"), Path("config/recorders/moh")}, {Path("config/recorders"), Path("config/cdr")}
    )


@pytest.mark.parametrize("name", ["sounds/a.wav", "config/b.wav", "config/recorders/moh/d.wav", "config/../sounds/a.wav"])
def test_file_in_a_listed_folder_is_played(folders: SoundFolders, tmp_path: Path, name: str) -> None:
    assert folders.open_path(tmp_path / name) == (tmp_path / name).resolve()


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "top.wav",
        "sounds/../top.wav",
        "config/recorders/c.wav",
        "config/recorders/moh/../c.wav",
        "config/cdr/e.json",
        "sounds",
        "/dev/zero",
    ],
)
def test_any_other_file_is_not(folders: SoundFolders, tmp_path: Path, name: str) -> None:
    with pytest.raises(MediaError):
        folders.open_path(tmp_path / name)


def test_folder_that_one_call_is_trusted_with_holds_sounds_for_that_call_alone(folders: SoundFolders, tmp_path: Path) -> None:
    (tmp_path / "books").mkdir()
    (tmp_path / "books/hello.wav").write_bytes(b"x")
    trusted = {tmp_path / "books", tmp_path / "config"}
    assert folders.open_path(tmp_path / "books/hello.wav", trusted).name == "hello.wav"
    for path in ("books/hello.wav", "top.wav"):
        with pytest.raises(MediaError):
            folders.open_path(tmp_path / path)
    with pytest.raises(MediaError):
        folders.open_path(tmp_path / "config/recorders/c.wav", trusted)


def test_link_counts_as_what_it_leads_to(folders: SoundFolders, tmp_path: Path) -> None:
    (tmp_path / "sounds/link.wav").symlink_to("/etc/passwd")
    (tmp_path / "sounds/other.wav").symlink_to(tmp_path / "config/recorders/c.wav")
    (tmp_path / "top").symlink_to(tmp_path / "sounds")
    for name in ("sounds/link.wav", "sounds/other.wav"):
        with pytest.raises(MediaError):
            folders.open_path(tmp_path / name)
    assert folders.open_path(tmp_path / "top/a.wav")


def test_name_with_nul_is_refused(folders: SoundFolders, tmp_path: Path) -> None:
    with pytest.raises(MediaError):
        folders.open_path(tmp_path / "sounds/a\0.wav")


def test_pipe_is_not_opened(folders: SoundFolders, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "sounds/pipe.wav")
    with pytest.raises(MediaError, match="not a file"):
        folders.open_path(tmp_path / "sounds/pipe.wav")


@pytest.mark.parametrize("name", ["/etc/cron.d/x.wav", "../x.wav", "a/../../x.wav", "a\0.wav", "link/x.wav"])
def test_recording_does_not_leave_its_folder(tmp_path: Path, name: str) -> None:
    root = tmp_path / "recorders"
    root.mkdir()
    (root / "link").symlink_to(tmp_path)
    with pytest.raises(MediaError):
        path_inside(root, name)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["recorders"]


def test_recording_lies_under_its_folder_however_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    root = Path("config/recorders")
    assert path_inside(root, "a/b.wav") == root / "a/b.wav"
    assert path_inside(root, "./config/recorders/b.wav").resolve() == (tmp_path / "config/recorders/b.wav")
    assert path_inside(root, str(tmp_path / "config/recorders/b.wav")) == tmp_path / "config/recorders/b.wav"
    assert stat.S_IMODE((root / "a").stat().st_mode) == 0o700


def test_what_is_kept_is_for_this_user_alone(tmp_path: Path) -> None:
    old = os.umask(0o022)
    try:
        cache = AudioCache(tmp_path / "one/cache")
        part = cache.begin("key")
        part.append(b"\0\0")
        part.keep({})
        private_folder(tmp_path / "two/three")
    finally:
        os.umask(old)
    modes = {str(path.relative_to(tmp_path)): stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    part.file.close()
    assert {mode for name, mode in modes.items() if name.endswith(".pcm")} == {0o600}
    assert {mode for name, mode in modes.items() if not name.endswith(".pcm")} == {0o700}


def test_links_that_lead_to_each_other_are_no_sound(folders: SoundFolders, tmp_path: Path) -> None:
    (tmp_path / "sounds/one.wav").symlink_to(tmp_path / "sounds/two.wav")
    (tmp_path / "sounds/two.wav").symlink_to(tmp_path / "sounds/one.wav")
    with pytest.raises((MediaError, OSError)):
        folders.open_path(tmp_path / "sounds/one.wav")
