"""Names of recordings, with what peers may send as a caller."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from active_call.base.errors import ConfigError, MediaError
from active_call.store.names import safe_name
from active_call.store.recordings import numbered, recorded_rate_hz, recording_path, with_ending
from searches import searching

AT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
CALLER = '"A B" <sip:+15551230001@example.com;user=phone>'


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("{id}", "s.1.wav"),
        ("{date}/{time}-{caller}-{callee}-{id}", "20260304/050607-+15551230001-bob-s.1.wav"),
        ("{caller}", "+15551230001-s.1.wav"),
        ("../../{id}", "s.1.wav"),
        ("/abs/{id}.wav", "abs/s.1.wav"),
    ],
)
def test_pattern_is_filled_in_below_the_folder(tmp_path: Path, pattern: str, name: str) -> None:
    path = recording_path(tmp_path, pattern, session_id="s.1", caller=CALLER, callee="sip:bob@example.com", at=AT)
    assert path == tmp_path / name
    assert path.parent.is_dir()


def test_unknown_field_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\{id\}, \{date\}.*found \{name\}"):
        recording_path(tmp_path, "{name}", session_id="s", caller="", callee="", at=AT)


@searching(40)
@given(session_id=st.text(max_size=300), caller=st.text(max_size=300))
def test_no_caller_and_no_id_leads_out_of_the_folder(tmp_path_factory: pytest.TempPathFactory, session_id: str, caller: str) -> None:
    root = tmp_path_factory.getbasetemp() / "recorders"
    path = recording_path(root, "{caller}/{callee}-{id}", session_id=session_id, caller=caller, callee=caller, at=AT)
    assert path.resolve().parent.parent == root.resolve()
    assert len(path.name.encode()) <= 255


@given(st.text(max_size=200), st.text(max_size=200))
def test_safe_names_of_different_ids_differ(first: str, second: str) -> None:
    assert (safe_name(first) == safe_name(second)) == (first == second)
    assert "/" not in safe_name(first)
    assert not safe_name(first).startswith(".")


@pytest.mark.parametrize(
    ("path", "format_name", "expected"),
    [
        ("/tmp/a.wav", None, "/tmp/a.wav"),
        ("/tmp/a.1", None, "/tmp/a.1.wav"),
        ("/tmp/a.1", "ogg", "/tmp/a.1.ogg"),
        ("/tmp/a.WAV", "ogg", "/tmp/a.ogg"),
        ("/tmp/a.ogg", "wav", "/tmp/a.wav"),
        ("/tmp/a.opus", None, "/tmp/a.opus"),
        ("/tmp/a.wav", "pcmu", "/tmp/a.pcmu.wav"),
        ("/tmp/a.pcmu.wav", "pcma", "/tmp/a.pcma.wav"),
        ("/tmp/a", "mp3", "/tmp/a.mp3"),
        ("/tmp/a.wav", "pcm", "/tmp/a.pcm"),
        ("/tmp/a.wav", "g722", "/tmp/a.g722"),
        ("/tmp/a.pcm", None, "/tmp/a.pcm"),
        ("/tmp/a.g722", "pcmu", "/tmp/a.pcmu.wav"),
    ],
)
def test_ending_follows_the_format(path: str, format_name: str | None, expected: str) -> None:
    assert with_ending(path, format_name) == expected


def test_unknown_format_is_told_with_the_known_ones() -> None:
    with pytest.raises(MediaError, match="'flac'; expected wav, ogg, mp3, pcmu, pcma"):
        with_ending("a", "flac")


def test_pattern_with_an_ending_of_another_format_gets_the_right_one(tmp_path: Path) -> None:
    path = recording_path(tmp_path, "{id}.wav", session_id="s.1", caller="", callee="", at=AT, format_name="ogg")
    assert path == tmp_path / "s.1.ogg"


def test_second_recording_of_a_call_does_not_overwrite_the_first() -> None:
    assert [numbered(Path("/r/s.1.pcmu.wav"), n).name for n in (1, 2)] == ["s.1.pcmu.wav", "s.1-2.pcmu.wav"]


def test_rate_of_a_recording_is_one_that_a_line_has() -> None:
    assert [recorded_rate_hz(rate_hz) for rate_hz in (8000, 16_000, 24_000, 48_000)] == [8000, 16_000, 16_000, 16_000]
