"""Recordings, read back with the standard library's own WAV reader."""

from __future__ import annotations

import threading
import wave
from pathlib import Path

import numpy as np
import pytest

from active_call.media import recorder as recorder_module
from active_call.media.recorder import Recorder
from active_call.media.wav import StereoWav


def piece(value: int, rate_hz: int = 8000) -> bytes:
    frame = np.empty((rate_hz // 50, 2), "<i2")
    frame[:, 0] = value
    frame[:, 1] = -value
    return frame.tobytes()


def read(path: Path) -> tuple[int, np.ndarray]:
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (2, 2)
        return file.getframerate(), np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)


def test_wav_whose_writer_was_killed_is_playable_up_to_the_last_flush(tmp_path: Path) -> None:
    path = tmp_path / "calls" / "a.wav"
    wav = StereoWav(str(path), 8000)
    wav.append(piece(1))
    wav.append(piece(2))
    rate_hz, frames = read(path)  # not closed
    wav.close()
    assert rate_hz == 8000
    assert frames[:, 0].tolist() == [1] * 160 + [2] * 160


def test_recorder_with_several_files_keeps_them_apart_and_aligned(tmp_path: Path) -> None:
    recorder = Recorder()
    one = recorder.begin(1, str(tmp_path / "1.wav"), 8000)
    two = recorder.begin(2, str(tmp_path / "2.wav"), 8000)
    recorder.write(10, (one,), piece(5))
    recorder.write(11, (one, two), piece(6) + piece(7))
    recorder.end(one, 12)
    recorder.end(two, 12)
    recorder.close()
    ended = {report.stream: report for report in recorder.take_ended()}
    assert [ended[stream].duration_ms for stream in (1, 2)] == [40, 20]
    assert not any(report.error for report in ended.values())
    assert read(tmp_path / "1.wav")[1][:, 0].tolist() == [5] * 160 + [6] * 160
    assert read(tmp_path / "2.wav")[1][:, 1].tolist() == [-7] * 160


def test_recorder_with_a_missing_tick_puts_silence_in_its_place_and_tells(tmp_path: Path) -> None:
    recorder = Recorder()
    number = recorder.begin(1, str(tmp_path / "1.wav"), 16_000)
    recorder.write(0, (number,), piece(1, 16_000))
    recorder.write(3, (number,), piece(4, 16_000))
    recorder.end(number, 5)
    recorder.close()
    (ended,) = recorder.take_ended()
    left = read(tmp_path / "1.wav")[1][:, 0].reshape(5, 320)
    assert left[:, 0].tolist() == [1, 0, 0, 4, 0]
    assert ended.duration_ms == 100
    assert "60 ms" in ended.error


def test_recorder_whose_folder_cannot_be_made_ends_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    recorder = Recorder()
    number = recorder.begin(1, str(tmp_path / "file" / "1.wav"), 8000)
    recorder.write(0, (number,), piece(1))
    recorder.end(number, 1)
    recorder.close()
    (ended,) = recorder.take_ended()
    assert ended.error
    assert ended.duration_ms == 0


def test_recorder_on_a_disk_that_stalls_never_blocks_and_loses_no_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = threading.Event()
    append = StereoWav.append

    def stalled(wav: StereoWav, data: bytes | bytearray) -> None:
        disk.wait(10)
        append(wav, data)

    monkeypatch.setattr(StereoWav, "append", stalled)
    monkeypatch.setattr(recorder_module, "QUEUE_TICKS", 20)
    recorder = Recorder()
    number = recorder.begin(1, str(tmp_path / "1.wav"), 8000)
    for tick in range(200):
        recorder.write(tick, (number,), piece(tick + 1))
    assert recorder.lost_pieces >= 200 - 20 - 26
    disk.set()
    recorder.end(number, 200)
    recorder.close()
    (ended,) = recorder.take_ended()
    left = read(tmp_path / "1.wav")[1][:, 0].reshape(200, 160)
    assert ended.duration_ms == 4000
    assert f"{recorder.lost_pieces * 20} ms" in ended.error
    assert all((row == tick + 1).all() or not row.any() for tick, row in enumerate(left))
