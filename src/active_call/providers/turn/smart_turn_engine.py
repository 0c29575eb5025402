"""Smart Turn v3 in its engine process: sounds enter, probabilities leave. One thread; 20 to 100 ms of CPU each.

The network (8.7 MB ONNX, BSD 2-clause, Daily) takes features `(N, 80, 800)`; its output is named `logits` and is a probability already.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from active_call.providers.turn.whisper_features import features_of


def load(path: str) -> None:
    """Load the network and run it once. Raises ONNX Runtime's error for a file that is not a model."""
    judge(path, [b""])


def judge(path: str, sounds: list[bytes]) -> list[float]:
    """The probability that the turn has ended, for each sound: s16le mono at 16 kHz, of which the last 8 s are used."""
    outputs = _session(path).run(None, {"input_features": features_of(sounds)})
    return [float(probability) for probability in outputs[0].reshape(-1)]


@cache
def _session(path: str) -> Any:
    import onnxruntime  # not at the top: only this process needs it

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
