"""Background sound: levels, ducking, the loop, and many streams in one batch, on a file of known samples."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from active_call.media.send.ambience import Ambience

FRAME = 160
HEADER = b"\x55" * 64


def file_of(folder: Path, samples: np.ndarray, name: str = "a.pcm") -> str:
    (folder / name).write_bytes(HEADER + samples.astype("<i2").tobytes())
    return str(folder / name)


def run(ambience: Ambience, pcm: np.ndarray, slots: list[int] | None = None) -> np.ndarray:
    """Mix (frames, streams, 160) and return it as (streams, samples)."""
    out = pcm.copy()
    for frame in out:
        ambience.mix(frame, np.array(slots if slots is not None else range(frame.shape[0])))
    return out.transpose(1, 0, 2).reshape(pcm.shape[1], -1)


def loaded(ambience: Ambience) -> None:
    """Mix into nothing until the thread has read the file."""
    deadline = time.monotonic() + 5
    while not ambience._sounds:
        ambience.mix(np.zeros((0, FRAME), np.int16), np.zeros(0, np.intp))
        assert time.monotonic() < deadline


def silence(n_frames: int, n_streams: int = 1) -> np.ndarray:
    return np.zeros((n_frames, n_streams, FRAME), np.int16)


def test_background_rises_to_its_normal_level_and_is_the_file_again_and_again(tmp_path: Path) -> None:
    sound = np.random.default_rng(1).integers(-10_000, 10_000, 1003)
    ambience = Ambience(4)
    ambience.begin(2, file_of(tmp_path, sound), len(HEADER), normal_level=0.5, transition_speed=0.1)
    loaded(ambience)
    heard = run(ambience, silence(100), [2])[0]
    expected = np.resize(sound, len(heard)) * 0.5
    assert np.abs(heard[5 * FRAME :] - expected[5 * FRAME :]).max() <= 1
    assert np.abs(heard[:FRAME]).max() < 0.12 * 10_000
    ambience.close()


def test_background_goes_down_while_the_agent_speaks_and_comes_back_after(tmp_path: Path) -> None:
    ambience = Ambience(1)
    ambience.begin(0, file_of(tmp_path, np.full(8000, 10_000)), len(HEADER), duck_level=0.1, normal_level=0.3, transition_speed=0.01)
    loaded(ambience)
    assert np.allclose(run(ambience, silence(40))[0][-FRAME:], 3000, atol=1)
    speech = silence(30)
    speech[:, :, 0::2] = 5000
    speech[:, :, 1::2] = -5000
    background = run(ambience, speech)[0] - speech.reshape(-1)
    assert np.all(np.diff(background) <= 1)
    assert np.abs(np.diff(background)).max() <= 2  # no step that could be heard
    assert np.allclose(background[20 * FRAME :], 1000, atol=1)
    after = run(ambience, silence(60))[0]
    assert np.allclose(after[: 19 * FRAME], 1000, atol=1)  # between two words it does not pump
    assert np.allclose(after[-FRAME:], 3000, atol=1)
    ambience.close()


def test_streams_in_one_batch_keep_their_own_file_place_and_level(tmp_path: Path) -> None:
    ramp, constant = np.arange(1, 5000), np.full(100, 20_000)
    ambience = Ambience(8)
    ambience.begin(5, file_of(tmp_path, ramp, "ramp"), len(HEADER), normal_level=1.0, transition_speed=1.0)
    loaded(ambience)
    run(ambience, silence(10), [5])
    ambience.begin(1, file_of(tmp_path, constant, "constant"), len(HEADER), normal_level=0.1, transition_speed=1.0)
    ambience.begin(3, str(tmp_path / "ramp"), len(HEADER), normal_level=1.0, transition_speed=1.0)
    while len(ambience._sounds) < 2:
        ambience.mix(np.zeros((1, FRAME), np.int16), np.array([0]))
    heard = run(ambience, silence(3, 4), [1, 3, 4, 5])
    assert heard[0][FRAME:].tolist() == [2000] * 2 * FRAME
    assert heard[1][FRAME:].tolist() == list(range(161, 481))
    assert not heard[2].any()
    assert heard[3].tolist() == list(range(1601, 2081))
    ambience.close()


def test_loud_speech_with_background_is_clipped_and_never_wraps(tmp_path: Path) -> None:
    ambience = Ambience(1)
    ambience.begin(0, file_of(tmp_path, np.full(100, 32_000)), len(HEADER), duck_level=1.0, normal_level=1.0, transition_speed=1.0)
    loaded(ambience)
    assert run(ambience, np.full((5, 1, FRAME), 30_000, np.int16)).min() >= 30_000
    ambience.close()


def test_ended_background_is_silent_and_its_file_is_let_go_with_the_last_stream(tmp_path: Path) -> None:
    path = file_of(tmp_path, np.full(100, 1000))
    ambience = Ambience(3)
    for slot in (0, 1):
        ambience.begin(slot, path, len(HEADER), transition_speed=1.0)
    loaded(ambience)
    ambience.end(0)
    assert [bool(row.any()) for row in run(ambience, silence(2, 2))] == [False, True]
    ambience.end(1)
    assert not ambience._sounds
    assert not run(ambience, silence(2, 2)).any()
    ambience.close()


@pytest.mark.parametrize("content", [None, b"", HEADER, HEADER + b"x"])
def test_file_without_sound_leaves_silence(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "x").write_bytes(content)
    ambience = Ambience(1)
    ambience.begin(0, str(tmp_path / "x"), len(HEADER))
    thread = ambience._files._thread
    assert thread is not None
    ambience.close()
    thread.join(5)
    assert not run(ambience, silence(3)).any()
