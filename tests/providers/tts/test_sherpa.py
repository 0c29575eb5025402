"""Supertonic by sherpa-onnx: which files and voices are meant, and what the engine is asked. The model itself must be downloaded."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from active_call.base.errors import ConfigError
from active_call.contract.options import TtsOption
from active_call.providers.base import speech_of
from active_call.providers.models.catalogue import SUPERTONIC
from active_call.providers.registry import create_synthesiser
from active_call.providers.tts import sherpa_engine
from active_call.providers.tts.sherpa import SPEAKERS, number_of

MODEL_RATE_HZ = 44_100


@dataclass
class Library:
    """Stands for sherpa-onnx: a tone of a tenth of a second for each word, and what it was asked."""

    asked: list[tuple[str, int, str, float]] = field(default_factory=list)
    loaded: list[dict[str, str]] = field(default_factory=list)

    def module(self) -> Any:
        def generate(text: str, settings: Any) -> Any:
            self.asked.append((text, settings.sid, settings.extra["lang"], settings.speed))
            n_samples = MODEL_RATE_HZ // 10 * len(text.split())
            return SimpleNamespace(samples=(0.5 * np.sin(np.arange(n_samples) / 20)).tolist(), sample_rate=MODEL_RATE_HZ)

        def supertonic(**files: str) -> dict[str, str]:
            self.loaded.append(files)
            return files

        return SimpleNamespace(
            GenerationConfig=SimpleNamespace,
            OfflineTtsSupertonicModelConfig=supertonic,
            OfflineTtsModelConfig=lambda **model: model,
            OfflineTtsConfig=lambda **config: SimpleNamespace(validate=lambda: True, **config),
            OfflineTts=lambda config: SimpleNamespace(generate=generate),
            __spec__=SimpleNamespace(),
        )


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Iterator[Library]:
    library = Library()
    monkeypatch.setitem(sys.modules, "sherpa_onnx", library.module())
    sherpa_engine._voice.cache_clear()
    yield library
    sherpa_engine._voice.cache_clear()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of models, with the files of Supertonic in it."""
    here = tmp_path / SUPERTONIC.name
    here.mkdir()
    for name in SUPERTONIC.files.values():
        (here / name).write_text("x")
    return tmp_path


def test_text_is_spoken_by_the_named_voice_in_the_language(library: Library, folder: Path, services_with: Callable[..., Any]) -> None:
    async def run() -> None:
        async with services_with({"OFFLINE_MODELS_DIR": str(folder)}) as services:
            option = TtsOption(provider="supertonic", speaker="f2", language="es-MX", speed=3.0)
            engine = create_synthesiser(option, services)
            chunks = [chunk async for chunk in speech_of(engine, "Buenos días a todos. ¿En qué puedo ayudar?")]
            assert library.asked == [("Buenos días a todos.", 1, "es", 2.0), ("¿En qué puedo ayudar?", 1, "es", 2.0)]
            assert library.loaded == [{role: str(folder / "supertonic" / name) for role, name in SUPERTONIC.files.items()}]
            n_samples = sum(len(chunk.pcm) for chunk in chunks) // 2
            assert abs(n_samples / sherpa_engine.RATE_HZ - 1.05) < 0.01  # eight words and a pause
            await engine.close()

    asyncio.run(run())


def test_numbers_are_read_out_in_english_and_a_stream_may_have_another_voice(
    library: Library, folder: Path, services_with: Callable[..., Any]
) -> None:
    async def run() -> None:
        async with services_with({}) as services:
            engine = create_synthesiser(TtsOption(provider="sherpa", model=str(folder / "supertonic")), services)
            assert [chunk async for chunk in speech_of(engine, "It costs $5.", speaker="M3", speed=1.2)]
            assert library.asked == [("It costs 5 dollars.", SPEAKERS.index("M3"), "en", 1.2)]

    asyncio.run(run())


@pytest.mark.parametrize(
    ("option", "key", "words"),
    [
        (TtsOption(provider="supertonic", language="de"), "tts.language", "speaks en, ko, es, pt, fr, not 'de'"),
        (TtsOption(provider="supertonic", speaker="Joe"), "tts.speaker", "known: F1"),
        (TtsOption(provider="supertonic", model="kokoro"), "tts.model", "unknown model 'kokoro'"),
        (
            TtsOption(provider="supertonic", model="/nowhere/at/all"),
            "tts.model",
            "missing files: /nowhere/at/all/duration_predictor",
        ),
        (TtsOption(provider="supertonic", volume=11), "tts.volume", "1 to 10"),
    ],
)
def test_what_cannot_be_had_is_named(library: Library, folder: Path, option: TtsOption, key: str, words: str, services_with: Any) -> None:
    async def run() -> None:
        async with services_with({"OFFLINE_MODELS_DIR": str(folder)}) as services:
            with pytest.raises(ConfigError, match=words) as caught:
                create_synthesiser(option, services)
            assert caught.value.key == key

    asyncio.run(run())


def test_model_that_is_not_here_is_told_with_the_command_that_brings_it(library: Library, tmp_path: Path, services_with: Any) -> None:
    async def run() -> None:
        async with services_with({"OFFLINE_MODELS_DIR": str(tmp_path)}) as services:
            with pytest.raises(ConfigError, match="active-call models download supertonic"):
                create_synthesiser(TtsOption(provider="supertonic"), services)

    asyncio.run(run())


def test_voices_have_names_and_numbers() -> None:
    assert [number_of(name) for name in ("F1", "m5", "3", "10", "Joe")] == [0, 9, 3, None, None]
