"""A voice of sherpa-onnx inside its engine process: one model for each that was asked for.

A sentence, the model's files, a voice's number, a language and a speed enter; s16le sound at `RATE_HZ` leaves, from a process of one thread
(a pool has one for each core). https://k2-fsa.github.io/sherpa/onnx/tts/supertonic.html
"""

from __future__ import annotations

import functools
from typing import Any, Final

import numpy as np

RATE_HZ: Final = 24_000
"""Models make 44.1 kHz: more than half of it would be thrown away by a telephone."""
STEPS: Final = 5
"""Of the flow; fewer sound rough, more cost time and are hardly heard on a telephone."""
Files = tuple[tuple[str, str], ...]
"""The model's files: pairs of role and path."""


def warm(files: Files) -> None:
    """Load the model."""
    _voice(files)


def synthesise(text: str, files: Files, number: int, language: str, speed: float, gain: float) -> bytes:
    """The sound of `text`, spoken by the voice `number`."""
    import sherpa_onnx
    import soxr

    settings = sherpa_onnx.GenerationConfig()
    settings.sid, settings.num_steps, settings.speed = number, STEPS, speed
    settings.extra = {"lang": language}
    made = _voice(files).generate(text, settings)
    samples = np.asarray(made.samples, dtype=np.float32)
    if not len(samples):
        raise RuntimeError("sherpa-onnx has made no sound")
    narrow = soxr.resample(samples, made.sample_rate, RATE_HZ) if made.sample_rate != RATE_HZ else samples
    return bytes(np.clip(narrow * gain * 32_767.0, -32_768, 32_767).astype("<i2").tobytes())


@functools.lru_cache(maxsize=4)
def _voice(files: Files) -> Any:
    import sherpa_onnx

    model = sherpa_onnx.OfflineTtsSupertonicModelConfig(**dict(files))
    config = sherpa_onnx.OfflineTtsConfig(model=sherpa_onnx.OfflineTtsModelConfig(supertonic=model, num_threads=1, provider="cpu"))
    if not config.validate():
        raise RuntimeError(f"sherpa-onnx cannot load the voice in {files[0][1]}")
    return sherpa_onnx.OfflineTts(config)
