"""Recordings, read back with the standard library's own WAV reader and with FFmpeg."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
import wave
from pathlib import Path

import av
import av.error
import numpy as np
import pytest

from active_call.media.link.messages import RecordingEnded
from active_call.media.record import recorder as recorder_module
from active_call.media.record.files import open_file
from active_call.media.record.recorder import Recorder
from active_call.media.record.wav import StereoWav


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
    ended = {report.stream: report for report in finish(recorder)}
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
    (ended,) = finish(recorder)
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
    (ended,) = finish(recorder)
    assert ended.error
    assert ended.duration_ms == 0


def finish(recorder: Recorder) -> list[RecordingEnded]:
    """Close it, and wait for the reports of all that is open: on a busy machine its process may begin late."""
    recorder.close()
    ended: list[RecordingEnded] = []
    deadline = time.monotonic() + 60
    while True:
        ended += recorder.take_ended()
        if not recorder._open:
            recorder.close()
            return ended
        assert time.monotonic() < deadline
        time.sleep(0.01)


def synchronised(recorder: Recorder, folder: Path) -> None:
    """Return when the recorder process has carried out everything that was ordered so far."""
    marker = recorder.begin(999, str(folder / "marker.wav"), 8000)
    recorder.end(marker, 0)
    deadline = time.monotonic() + 20
    while not any(report.stream == 999 for report in recorder.take_ended()):
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_recorder_process_starts_without_numpy() -> None:
    """Loading it takes half of the start of a process that only writes WAV files."""
    program = "import sys, active_call.media.record.process; print('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "False\n"


def process_of(recorder: Recorder) -> int:
    (process,) = recorder._processes
    return process.process.pid


def test_recorder_whose_process_stands_still_never_blocks_and_loses_no_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder_module, "QUEUE_TICKS", 20)
    recorder = Recorder()
    number = recorder.begin(1, str(tmp_path / "1.wav"), 8000)
    synchronised(recorder, tmp_path)
    os.kill(process_of(recorder), signal.SIGSTOP)
    tick = 0
    while recorder.lost_pieces < 100:
        recorder.write(tick, (number,), piece(tick % 1000 + 1))
        tick += 1
    os.kill(process_of(recorder), signal.SIGCONT)
    recorder.end(number, tick)
    (ended,) = finish(recorder)
    left = read(tmp_path / "1.wav")[1][:, 0].reshape(tick, 160)
    assert ended.duration_ms == tick * 20
    assert f"{recorder.lost_pieces * 20} ms" in ended.error
    assert all((row == n % 1000 + 1).all() or not row.any() for n, row in enumerate(left))
    assert sum(not row.any() for row in left) == recorder.lost_pieces


def voices(seconds: float, rate_hz: int = 16_000) -> np.ndarray:
    """(samples, 2): two tones that come and go at different times, 500 Hz left in even seconds, 800 Hz right in odd ones."""
    t = np.arange(int(seconds * rate_hz)) / rate_hz
    even = (t.astype(int) % 2 == 0).astype(float)
    sound = np.stack([even * np.sin(2 * np.pi * 500 * t), (1 - even) * np.sin(2 * np.pi * 800 * t)], axis=1)
    return (10_000 * sound).astype("<i2")


def record(recorder: Recorder, number: int, sound: np.ndarray, rate_hz: int = 16_000, first_tick: int = 0) -> int:
    frames = sound.reshape(-1, rate_hz // 50, 2)
    for n, frame in enumerate(frames):
        recorder.write(first_tick + n, (number,), frame.tobytes())
    return first_tick + len(frames)


def decoded(path: Path, rate_hz: int = 16_000) -> np.ndarray:
    """The file as FFmpeg reads it, (samples, 2)."""
    resampler = av.AudioResampler(format="s16", layout="stereo", rate=rate_hz)
    with av.open(str(path)) as file:
        frames = [piece for frame in file.decode(audio=0) for piece in resampler.resample(frame)]
        frames += resampler.resample(None)
    return np.concatenate([frame.to_ndarray().reshape(-1, 2) for frame in frames])


def assert_sounds_like(heard: np.ndarray, sound: np.ndarray, rate_hz: int, *, slack_ms: float) -> None:
    """Both channels have their tones where they belong and nothing of the other's; the time is right within `slack_ms`."""
    slack = int(slack_ms * rate_hz / 1000)
    n = min(len(heard), len(sound))
    for channel in (0, 1):
        for second in range(n // rate_hz):
            part = heard[second * rate_hz + slack : (second + 1) * rate_hz - slack, channel].astype(float)
            level = np.sqrt((part**2).mean())
            if sound[second * rate_hz + 100 : second * rate_hz + 900, channel].any():
                assert level == pytest.approx(7071, rel=0.15)
            else:
                assert level < 7071 * 10 ** (-40 / 20)


ENDINGS = [("wav", 0, 1), ("pcmu.wav", 0, 1), ("pcma.wav", 0, 1), ("ogg", 60, 4), ("mp3", 250, 3)]
"""With the time that decoding may add in ms, and how many times smaller than PCM the file is at least."""


@pytest.mark.parametrize("rate_hz", [8000, 16_000])
@pytest.mark.parametrize(("ending", "slack_ms", "ratio"), ENDINGS)
def test_recording_in_any_format_keeps_both_voices_apart_and_in_their_place(
    tmp_path: Path, ending: str, slack_ms: int, ratio: int, rate_hz: int
) -> None:
    recorder = Recorder()
    path = tmp_path / f"a.{ending}"
    sound = voices(6, rate_hz)
    number = recorder.begin(1, str(path), rate_hz)
    recorder.end(number, record(recorder, number, sound, rate_hz))
    (ended,) = finish(recorder)
    assert (ended.duration_ms, ended.error, ended.path) == (6000, "", str(path))
    heard = decoded(path, rate_hz)
    assert abs(len(heard) - len(sound)) <= max(slack_ms, 1) * 2 * rate_hz / 1000
    assert_sounds_like(heard, sound, rate_hz, slack_ms=max(slack_ms, 2))
    assert path.stat().st_size < sound.nbytes / ratio + 100


@pytest.mark.parametrize(("ending", "slack_ms", "ratio"), ENDINGS)
def test_recorder_process_killed_leaves_files_that_play_to_the_last_second(tmp_path: Path, ending: str, slack_ms: int, ratio: int) -> None:
    recorder = Recorder()
    path = tmp_path / f"a.{ending}"
    number = recorder.begin(7, str(path), 16_000)
    tick = record(recorder, number, voices(6))
    synchronised(recorder, tmp_path)
    os.kill(process_of(recorder), signal.SIGKILL)
    while not (ended := recorder.take_ended()):
        time.sleep(0.005)
    assert [(report.stream, report.path) for report in ended] == [(7, str(path))]
    assert "died" in ended[0].error
    heard = decoded(path)
    assert len(heard) >= 5 * 16_000
    assert_sounds_like(heard, voices(6), 16_000, slack_ms=max(slack_ms, 2))

    again = recorder.begin(8, str(tmp_path / "b.wav"), 16_000)
    recorder.end(again, record(recorder, again, voices(1), first_tick=tick))
    (ended_again,) = finish(recorder)
    assert (ended_again.duration_ms, ended_again.error) == (1000, "")


OWNER = """
import sys, time
from active_call.media.link.messages import RecordingEnded
from active_call.media.record.recorder import Recorder
from active_call.media.record.files import open_file
recorder = Recorder()
number = recorder.begin(1, sys.argv[1], 16000)
for tick in range(300):
    recorder.write(tick, (number,), bytes([tick % 100, 0]) * 640)
while recorder._queue.qsize():
    time.sleep(0.001)
print("written", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("ending", ["wav", "ogg"])
def test_media_process_killed_leaves_files_that_are_finished_properly(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    with subprocess.Popen([sys.executable, "-c", OWNER, str(path)], stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"written\n"
        owner.kill()
    deadline = time.monotonic() + 20
    while True:
        try:
            if len(decoded(path)) >= 299 * 320:
                break
        except (av.error.FFmpegError, FileNotFoundError):
            pass
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert len(decoded(path)) == pytest.approx(300 * 320, abs=320)


@pytest.mark.parametrize("ending", ["wav", "ogg", "mp3", "pcmu.wav"])
def test_disk_that_is_full_ends_the_recording_with_its_reason_at_once_and_spares_the_others(tmp_path: Path, ending: str) -> None:
    recorder = Recorder()
    full, path = recorder.begin(1, str(tmp_path / f"full.{ending}"), 16_000), tmp_path / f"full.{ending}"
    other = recorder.begin(2, str(tmp_path / "other.wav"), 8000)
    synchronised(recorder, tmp_path)
    resource.prlimit(process_of(recorder), resource.RLIMIT_FSIZE, (30_000, 30_000))
    ended: list[RecordingEnded] = []
    tick = 0
    while not ended:
        tick = record(recorder, full, voices(1), first_tick=tick)
        for _ in range(200):  # about as fast as it is encoded
            time.sleep(0.001)
            ended += recorder.take_ended()
            if ended or not recorder._queue.qsize():
                break
        assert tick < 50 * 600
    assert (ended[0].stream, ended[0].path) == (1, str(path))
    assert "File too large" in ended[0].error
    assert not recorder.is_open(full)
    record(recorder, full, voices(1), first_tick=tick)
    recorder.end(full, tick + 50)
    for n in range(20):
        recorder.write(n, (other,), piece(3))
    recorder.end(other, 20)
    assert [(report.stream, report.duration_ms, report.error) for report in finish(recorder)] == [(2, 400, "")]
    assert len(decoded(path)) > 16_000 * 0.1


def test_format_follows_the_ending_whatever_its_letters(tmp_path: Path) -> None:
    for name, codec in (("A.OGG", "opus"), ("b.opus", "opus"), ("c.PCMU.WAV", "pcm_mulaw"), ("d.raw", "pcm_s16le"), ("e.mp3", "mp3float")):
        file = open_file(str(tmp_path / name), 16_000)
        file.append(voices(1).tobytes())
        file.close()
        with av.open(str(tmp_path / name)) as written:
            assert written.streams.audio[0].codec_context.name.removeprefix("lib") == codec


@pytest.mark.parametrize("rate_hz", [8000, 16_000])
def test_pcm_is_both_voices_as_they_are_without_a_header(tmp_path: Path, rate_hz: int) -> None:
    recorder, path, sound = Recorder(), tmp_path / "a.pcm", voices(2, rate_hz)
    number = recorder.begin(1, str(path), rate_hz)
    recorder.end(number, record(recorder, number, sound, rate_hz))
    (ended,) = finish(recorder)
    assert (ended.duration_ms, ended.error) == (2000, "")
    assert path.read_bytes() == sound.tobytes()


@pytest.mark.parametrize("rate_hz", [8000, 16_000])
def test_g722_is_both_voices_in_one_at_64_kbit_per_second(tmp_path: Path, rate_hz: int) -> None:
    recorder, path, sound = Recorder(), tmp_path / "a.g722", voices(4, rate_hz)
    number = recorder.begin(1, str(path), rate_hz)
    recorder.end(number, record(recorder, number, sound, rate_hz))
    (ended,) = finish(recorder)
    assert ended.error == ""
    assert ended.duration_ms == pytest.approx(4000, abs=5)
    assert path.stat().st_size == pytest.approx(4 * 8000, abs=40)
    with av.open(str(path), format="g722") as file:
        heard = np.concatenate([frame.to_ndarray()[0] for frame in file.decode(audio=0)]).astype(float)
    for second, tone_hz in enumerate((500, 800, 500, 800)):
        part = heard[second * 16_000 + 1600 : (second + 1) * 16_000 - 1600]
        spectrum = np.abs(np.fft.rfft(part * np.hanning(len(part))))
        assert np.argmax(spectrum) * 16_000 / len(part) == pytest.approx(tone_hz, abs=5)
        assert np.sqrt((part**2).mean()) == pytest.approx(7071 / 2, rel=0.15)


def test_g722_in_pieces_of_any_length_loses_no_sample(tmp_path: Path) -> None:
    data, whole, pieces = voices(1).tobytes(), open_file(str(tmp_path / "a.g722"), 16_000), open_file(str(tmp_path / "b.g722"), 16_000)
    whole.append(data)
    for start in range(0, len(data), 4 * 333):
        pieces.append(data[start : start + 4 * 333])
    whole.close()
    pieces.close()
    assert (tmp_path / "a.g722").read_bytes() == (tmp_path / "b.g722").read_bytes()
    assert whole.duration_ms == pieces.duration_ms == 1000


@pytest.mark.parametrize("ending", ["pcm", "g722"])
def test_headerless_file_on_a_full_disk_ends_with_its_reason(tmp_path: Path, ending: str) -> None:
    recorder = Recorder()
    full = recorder.begin(1, str(tmp_path / f"full.{ending}"), 16_000)
    synchronised(recorder, tmp_path)
    resource.prlimit(process_of(recorder), resource.RLIMIT_FSIZE, (10_000, 10_000))
    recorder.end(full, record(recorder, full, voices(4)))
    (ended,) = finish(recorder)
    assert "File too large" in ended.error
    assert (tmp_path / f"full.{ending}").stat().st_size == 10_000
