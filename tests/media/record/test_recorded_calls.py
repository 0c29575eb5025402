"""Recordings of a real media process that is killed, judged by ffprobe and ffmpeg."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

RATE_HZ = 16_000

pytestmark = pytest.mark.interop


def probe(path: Path) -> dict[str, str]:
    """What ffprobe says of the file; empty when it cannot make sense of it."""
    entries = "stream=codec_name,channels:format=duration"
    command = ["ffprobe", "-v", "error", "-show_entries", entries, "-of", "default=noprint_wrappers=1", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return dict(line.split("=", 1) for line in done.stdout.splitlines() if done.returncode == 0 and not done.stderr)


def decoded(path: Path) -> np.ndarray:
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-f", "s16le", "-ar", str(RATE_HZ), "-"]
    done = subprocess.run(command, capture_output=True, check=True)
    assert not done.stderr
    return np.frombuffer(done.stdout, "<i2").reshape(-1, 2).astype(float)


def recorders_of(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    threads = [path.read_text().split() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    return sorted({int(child) for child in [*children, *(child for thread in threads for child in thread)]})


CODEC_DELAY_S = 0.05
"""What a decoder leaves out at the beginning, and a piece of sound that was on its way to the file."""


@pytest.mark.parametrize("ending", ["ogg", "wav"])
@pytest.mark.parametrize("killed", ["media process", "both"])
def test_call_whose_media_process_is_killed_has_its_recording_to_the_last_second(
    media: Any, saw: Any, tmp_path: Path, ending: str, killed: str
) -> None:
    path = tmp_path / f"call.{ending}"

    async def story() -> None:
        async with media.pool() as pool, media.call(pool=pool) as call:
            call.stream.start_recording(str(path), RATE_HZ)
            call.stream.queue_audio("a", (8000 * np.sin(np.arange(8000 * 10) * 0.5)).astype("<i2").tobytes())
            began = time.monotonic()
            await call.talk([saw(160)] * 200)
            recorded_s = time.monotonic() - began
            (recorder,) = recorders_of(pool.workers[0].pid)
            os.kill(pool.workers[0].pid, signal.SIGKILL)
            if killed == "both":
                os.kill(recorder, signal.SIGKILL)
            deadline = time.monotonic() + 10
            while Path(f"/proc/{recorder}").exists() and "State:\tZ" not in Path(f"/proc/{recorder}/status").read_text():
                assert time.monotonic() < deadline
                await asyncio.sleep(0.01)
            facts = probe(path)
            assert facts["channels"] == "2"
            assert facts["codec_name"] == {"ogg": "opus", "wav": "pcm_s16le"}[ending]
            least_s = recorded_s - 1.0 - CODEC_DELAY_S
            assert least_s < float(facts["duration"]) < recorded_s + 1.0
            sound = decoded(path)
            assert least_s < len(sound) / RATE_HZ
            assert (np.sqrt((sound[RATE_HZ:-4000] ** 2).mean(axis=0)) > 1000).all()

    asyncio.run(asyncio.wait_for(story(), 60))
