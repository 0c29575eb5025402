"""Smart Turn: its input is that of its makers, its questions are asked in batches, and a call goes on where it is missing."""

from __future__ import annotations

import asyncio
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from active_call.base.errors import ConfigError, ProviderError
from active_call.providers.turn import smart_turn, smart_turn_engine
from active_call.providers.turn.smart_turn import MAX_BATCH, MAX_WAITING, SmartTurn, find_model
from active_call.providers.turn.whisper_features import N_FRAMES, N_MELS, N_SAMPLES, features_of

HAS_PIPECAT = importlib.util.find_spec("pipecat") is not None
needs_pipecat = pytest.mark.skipif(not HAS_PIPECAT, reason="pipecat-ai, which carries network and features, is not installed")
RNG = np.random.default_rng(11)


def sound(seconds: float, pitch_hz: float = 140.0) -> bytes:
    """A buzz that comes and goes, in noise."""
    t = np.arange(int(seconds * 16_000)) / 16_000
    wave = np.sum([np.sin(2 * np.pi * pitch_hz * n * t) / n for n in range(1, 12)], axis=0) * (np.sin(2 * np.pi * 3 * t) > -0.3)
    return (wave * 4000 + RNG.normal(size=len(t)) * 30).astype("<i2").tobytes()


def published_features(pcm: bytes) -> np.ndarray:
    """By the code of the network's makers, which is loaded from its file so that their package is not imported."""
    spec = importlib.util.find_spec("pipecat")
    assert spec is not None and spec.submodule_search_locations
    file = Path(next(iter(spec.submodule_search_locations))) / "audio/turn/smart_turn/_whisper_features.py"
    module_spec = importlib.util.spec_from_file_location("their_features", file)
    assert module_spec is not None and module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    samples = (np.frombuffer(pcm, "<i2").astype(np.float32) / 32768)[-N_SAMPLES:]
    found: np.ndarray = module.compute_whisper_log_mel_features(np.pad(samples, (N_SAMPLES - len(samples), 0)))
    return found


@needs_pipecat
@pytest.mark.parametrize("seconds", [0.0, 0.7, 3.0, 8.0, 9.5])
def test_features_are_those_of_the_networks_makers(seconds: float) -> None:
    pcm = sound(seconds)
    (ours,) = features_of([pcm])
    assert ours.shape == (N_MELS, N_FRAMES) and ours.dtype == np.float32
    np.testing.assert_allclose(ours, published_features(pcm), atol=2e-6)


def test_sound_stands_at_the_end_behind_silence_and_only_the_last_eight_seconds_count() -> None:
    short, long, end = sound(1.0), sound(12.0), sound(8.0)
    first, second, third = features_of([short, long[: -len(end)] + end, end])
    assert first[:, :690].max() < first[:, 720:].max() - 0.5, "zeros come first"
    np.testing.assert_array_equal(second, third)


@needs_pipecat
def test_network_gives_a_probability_for_each_of_a_batch() -> None:
    pytest.importorskip("onnxruntime")
    path, sounds = str(find_model(None)), [sound(2.0), sound(4.0, 220), b""]
    together = smart_turn_engine.judge(path, sounds)
    assert together == pytest.approx([smart_turn_engine.judge(path, [one])[0] for one in sounds], abs=0.02)
    assert all(0 <= probability <= 1 for probability in together)


class Processes:
    """Engine processes that answer when they are told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.answers: asyncio.Queue[Any] = asyncio.Queue()

    async def run(self, function: Any, *args: Any) -> Any:
        self.asked.append((function, *args))
        answer = await self.answers.get()
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def close(self) -> None: ...


@pytest.fixture
def model_file(tmp_path: Path) -> str:
    file = tmp_path / "network.onnx"
    file.write_bytes(b"x")
    return str(file)


def batches(processes: Processes) -> list[list[bytes]]:
    return [asked[2] for asked in processes.asked]


def test_questions_of_many_calls_are_asked_together(model_file: str) -> None:
    async def story() -> None:
        processes = Processes()
        judge = SmartTurn(model_file, processes)
        first = asyncio.create_task(judge.judge(b"0"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        others = [asyncio.create_task(judge.judge(bytes([n]))) for n in range(1, 7)]
        await asyncio.sleep(0)
        others[2].cancel()
        processes.answers.put_nowait([0.5])
        assert await first == 0.5
        processes.answers.put_nowait([0.1, 0.2, 0.4, 0.5])
        processes.answers.put_nowait([0.6])
        assert await asyncio.gather(*(one for one in others if one is not others[2])) == [0.1, 0.2, 0.4, 0.5, 0.6]
        assert batches(processes) == [[b"0"], [b"\x01", b"\x02", b"\x04", b"\x05"], [b"\x06"]]
        assert max(len(batch) for batch in batches(processes)) <= MAX_BATCH
        await judge.close()

    asyncio.run(asyncio.wait_for(story(), 5))


def test_failed_batch_fails_its_questions_alone_and_too_many_are_refused(model_file: str) -> None:
    async def story() -> None:
        processes = Processes()
        judge = SmartTurn(model_file, processes)
        task = asyncio.create_task(judge.judge(b"0"))
        await asyncio.sleep(0)
        processes.answers.put_nowait(ProviderError("smart-turn", "its process died", retryable=True))
        with pytest.raises(ProviderError, match="died"):
            await task
        tasks = [asyncio.create_task(judge.judge(b"1")) for _ in range(MAX_WAITING + MAX_BATCH + 3)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        refused = [task for task in tasks if task.done() and isinstance(task.exception(), ProviderError)]
        assert refused, "an answer would come too late"
        await judge.close()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(asyncio.wait_for(story(), 5))


def test_missing_network_is_a_clear_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no file"):
        find_model(str(tmp_path / "none.onnx"))
    monkeypatch.setattr(smart_turn.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install --no-deps pipecat-ai"):
        find_model(None)
