"""sherpa-onnx synthesis inside an engine process. Each requested model is loaded once.

In: a sentence, the model's files, a voice number, a language and a speed. Out: s16le sound at `RATE_HZ`. The process has one thread; a pool
has one process per core. https://k2-fsa.github.io/sherpa/onnx/tts/supertonic.html
"""

from __future__ import annotations

import functools
from typing import Any, Final

import numpy as np

RATE_HZ: Final = 24_000
"""Models produce 44.1 kHz; a telephone line discards more than half of that bandwidth."""
STEPS: Final = 5
"""Steps of the flow model. Fewer steps sound rough; more cost time and are hardly audible on a telephone."""
Files = tuple[tuple[str, str], ...]
"""The model's files: pairs of role and path."""


def warm(files: Files) -> None:
    """Load the model."""
    _voice(files)


def synthesise(text: str, files: Files, number: int, language: str, speed: float, gain: float) -> bytes:
    """Synthesise `text` with the voice `number`."""
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
