"""Shared by the programs of the comparison: JSON lines to and from the measuring program, the speech to play, and Silero's network per
call.

They run in their own virtual environment and import nothing of active-call.
"""

from __future__ import annotations

import importlib.util
import json
import os
import resource
import sys
from pathlib import Path
from typing import Any

import numpy as np

FRAME_SAMPLES = 160
RATE_HZ = 8000
PIECE_S = 1


def listen() -> dict[str, Any]:
    """The next line of the program that started this one; exits if there is none."""
    line = sys.stdin.readline()
    if not line:
        raise SystemExit(0)
    return dict(json.loads(line))


def say(message: dict[str, Any]) -> None:
    """Send a line to the program that started this one."""
    print(json.dumps(message), flush=True)


def leave() -> None:
    """Exit at once: tear-down is not measured."""
    os._exit(0)


def own_figures() -> dict[str, Any]:
    """Memory and threads of this process."""
    rss_mb = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
    return {"rss_mb": rss_mb, "threads": len(list(Path("/proc/self/task").iterdir()))}


def speech_frames(path: str) -> np.ndarray:
    """The speech that all programs play, (n, 160) int16."""
    return np.fromfile(path, np.int16).reshape(-1, FRAME_SAMPLES)


def silero_path() -> Path:
    """The network in the pipecat-ai wheel."""
    spec = importlib.util.find_spec("pipecat")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("pipecat-ai is not installed")
    return Path(spec.submodule_search_locations[0]) / "audio" / "vad" / "data" / "silero_vad.onnx"


class Silero:
    """One session of ONNX Runtime with one thread, 16 kHz in chunks of 512; counts beginnings of speech."""

    def __init__(self, path: str) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.inter_op_num_threads = options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"], sess_options=options)
        self._state = np.zeros((2, 1, 128), np.float32)
        self._context = np.zeros(64, np.float32)
        self._rate = np.array(16_000, np.int64)
        self._waiting = np.zeros(0, np.float32)
        self._voiced = self._unvoiced = 0
        self.is_speaking = False
        self.n_speech = 0

    def push(self, pcm: np.ndarray) -> None:
        """16 kHz samples, int16."""
        self._waiting = np.concatenate((self._waiting, pcm.astype(np.float32) / 32768))
        while len(self._waiting) >= 512:
            chunk, self._waiting = self._waiting[:512], self._waiting[512:]
            samples = np.concatenate((self._context, chunk))
            outputs = self._session.run(None, {"input": samples[None], "state": self._state, "sr": self._rate})
            self._state, self._context = outputs[1], chunk[-64:]
            self._judge(float(outputs[0][0, 0]))

    def _judge(self, probability: float) -> None:
        self._voiced = self._voiced + 1 if probability >= 0.5 else 0
        self._unvoiced = self._unvoiced + 1 if probability < 0.35 else 0
        if not self.is_speaking and self._voiced >= 2:
            self.is_speaking = True
            self.n_speech += 1
        elif self.is_speaking and self._unvoiced >= 3:
            self.is_speaking = False
