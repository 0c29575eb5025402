"""The speech models that `active-call models` knows, as a table. The archives are from the releases of the sherpa-onnx project.

The checksums are those that the project publishes with its archives. Nothing is downloaded here.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from pathlib import Path

from msgspec import Struct

from active_call.base.errors import ConfigError

RELEASES = "https://github.com/k2-fsa/sherpa-onnx/releases/download/"


class ModelKind(Enum):
    """How sherpa-onnx loads a model."""

    MOONSHINE = "moonshine"
    PARAKEET = "parakeet"
    SENSE_VOICE = "sensevoice"
    SUPERTONIC = "supertonic"
    """Synthesis; all other kinds are recognition."""
    WHISPER = "whisper"
    ZIPFORMER = "zipformer"
    """A streaming model."""


class SpeechModel(Struct, frozen=True):
    """One model. `files` maps the roles that its kind needs to names in the archive's folder. `size_mb` is the archive's, in 10⁶ bytes."""

    name: str
    kind: ModelKind
    archive: str
    sha256: str
    size_mb: int
    languages: tuple[str, ...]
    """BCP 47 primary tags; empty: dozens, detected by the model."""
    licence: str
    licence_url: str
    files: Mapping[str, str]
    release: str = "asr-models"

    @property
    def url(self) -> str:
        return f"{RELEASES}{self.release}/{self.archive}"

    def speaks(self, language: str | None) -> bool:
        """Whether it supports `language`, a BCP 47 tag; None and `auto` mean any."""
        primary = (language or "auto").lower().replace("_", "-").partition("-")[0]
        return primary == "auto" or not self.languages or primary in self.languages

    def files_in(self, folder: Path) -> dict[str, Path]:
        """The files by role in the model's own `folder`."""
        return {role: folder / name for role, name in self.files.items()}


_APACHE = ("Apache-2.0", "https://www.apache.org/licenses/LICENSE-2.0")
_MIT_WHISPER = ("MIT (OpenAI Whisper)", "https://github.com/openai/whisper/blob/main/LICENSE")
_EUROPEAN = tuple("bg cs da de el en es et fi fr hr hu it lt lv mt nl pl pt ro ru sk sl sv uk".split())  # noqa: SIM905 - reads better


def _whisper(size: str, sha256: str, size_mb: int) -> SpeechModel:
    files = {"encoder": f"{size}-encoder.int8.onnx", "decoder": f"{size}-decoder.int8.onnx", "tokens": f"{size}-tokens.txt"}
    return SpeechModel(
        f"whisper-{size}", ModelKind.WHISPER, f"sherpa-onnx-whisper-{size}.tar.bz2", sha256, size_mb, (), *_MIT_WHISPER, files=files
    )


MODELS: tuple[SpeechModel, ...] = (
    SpeechModel(
        "zipformer-en-20m",
        ModelKind.ZIPFORMER,
        "sherpa-onnx-streaming-zipformer-en-20M-2023-02-17.tar.bz2",
        "9c559283e8498d3fe95913c79ca1cb454bb26281ac2b102b41306c7d752765d9",
        128,
        ("en",),
        *_APACHE,
        files={
            "encoder": "encoder-epoch-99-avg-1.int8.onnx",
            "decoder": "decoder-epoch-99-avg-1.onnx",
            "joiner": "joiner-epoch-99-avg-1.int8.onnx",
            "tokens": "tokens.txt",
        },
    ),
    SpeechModel(
        "moonshine-base-en",
        ModelKind.MOONSHINE,
        "sherpa-onnx-moonshine-base-en-quantized-2026-02-27.tar.bz2",
        "43232c1d13013d37317163baec3135bd771a186a4356f28c889bab453bb0e891",
        111,
        ("en",),
        "MIT (Moonshine AI)",
        "https://github.com/moonshine-ai/moonshine/blob/main/LICENSE",
        files={"encoder": "encoder_model.ort", "decoder": "decoder_model_merged.ort", "tokens": "tokens.txt"},
    ),
    SpeechModel(
        "sensevoice",
        ModelKind.SENSE_VOICE,
        "sherpa-onnx-sense-voice-zh-en-ja-ko-yue-int8-2024-07-17.tar.bz2",
        "7d1efa2138a65b0b488df37f8b89e3d91a60676e416f515b952358d83dfd347e",
        163,
        ("zh", "en", "ja", "ko", "yue"),
        "FunASR Model Open Source License 1.1",
        "https://github.com/modelscope/FunASR/blob/main/MODEL_LICENSE",
        files={"model": "model.int8.onnx", "tokens": "tokens.txt"},
    ),
    SpeechModel(
        "parakeet-v3",
        ModelKind.PARAKEET,
        "sherpa-onnx-nemo-parakeet-tdt-0.6b-v3-int8.tar.bz2",
        "5793d0fd397c5778d2cf2126994d58e9d56b1be7c04d13c7a15bb1b4eafb16bf",
        487,
        _EUROPEAN,
        "CC-BY-4.0 (NVIDIA)",
        "https://huggingface.co/nvidia/parakeet-tdt-0.6b-v3",
        files={"encoder": "encoder.int8.onnx", "decoder": "decoder.int8.onnx", "joiner": "joiner.int8.onnx", "tokens": "tokens.txt"},
    ),
    _whisper("tiny", "c46116994e539aa165266d96b325252728429c12535eb9d8b6a2b10f129e66b1", 116),
    _whisper("base", "911b2083efd7c0dca2ac3b358b75222660dc09fb716d64fbfc417ba6c99ff3de", 208),
)
"""The recognition models."""

SUPERTONIC: SpeechModel = SpeechModel(
    "supertonic",
    ModelKind.SUPERTONIC,
    "sherpa-onnx-supertonic-tts-int8-2026-03-06.tar.bz2",
    "8c74359f63edd5045d47747f65331f0f6dbcbc91d7e898dd756d631295fe3259",
    85,
    ("en", "ko", "es", "pt", "fr"),
    "OpenRAIL-M (Supertone)",
    "https://huggingface.co/Supertone/supertonic-2/blob/main/LICENSE",
    files={
        "duration_predictor": "duration_predictor.int8.onnx",
        "text_encoder": "text_encoder.int8.onnx",
        "vector_estimator": "vector_estimator.int8.onnx",
        "vocoder": "vocoder.int8.onnx",
        "tts_json": "tts.json",
        "unicode_indexer": "unicode_indexer.bin",
        "voice_style": "voice.bin",
    },
    release="tts-models",
)
ALL_MODELS: tuple[SpeechModel, ...] = (*MODELS, SUPERTONIC)


def model_named(name: str) -> SpeechModel:
    """The model of that name. Raises ConfigError with the known names."""
    for model in ALL_MODELS:
        if model.name == name.lower():
            return model
    raise ConfigError("model", f"unknown model {name!r}; known: {', '.join(model.name for model in ALL_MODELS)}")
