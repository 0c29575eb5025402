"""Recognition by sherpa-onnx: with the Moonshine model that this machine has, since others must be downloaded."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr
from msgspec.structs import replace

from active_call.base.errors import ConfigError
from active_call.contract.options import AsrOption
from active_call.providers.asr import moonshine_engine, sherpa, sherpa_engine
from active_call.providers.asr.sherpa import create, create_sensevoice, find_model
from active_call.providers.base import Final
from active_call.providers.models.catalogue import model_named
from active_call.providers.registry import Engines
from active_call.testing.sound.audio import MULAW

VECTORS = Path(__file__).parents[2] / "vectors" / "speech"
FILES = {"encoder": "encoder_model.ort", "decoder": "decoder_model_merged.ort", "tokens": "tokens.txt"}


@cache
def telephone(number: int) -> bytes:
    narrow = MULAW.decode((VECTORS / f"joe_{number:02}.ulaw").read_bytes()).astype(np.float32)
    wide = np.concatenate([np.zeros(4_000), soxr.resample(narrow, 8_000, 16_000), np.zeros(4_000)])
    return np.clip(wide, -32_768, 32_767).astype("<i2").tobytes()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The installed Moonshine model as sherpa-onnx wants it: with the tokens in base64, one a line."""
    here, source = tmp_path_factory.mktemp("models") / "mine", moonshine_engine.model_folder()
    assert source is not None
    here.mkdir()
    for name in ("encoder_model.ort", "decoder_model_merged.ort"):
        (here / name).symlink_to(source / name)
    tokens = moonshine_engine.read_tokens((source / "tokenizer.bin").read_bytes())
    lines = (f"{base64.b64encode(token or bytes(1)).decode()} {number}" for number, token in enumerate(tokens))
    (here / "tokens.txt").write_text("\n".join(lines) + "\n", encoding="ascii")
    return here


def own(folder: Path, **changes: Any) -> AsrOption:
    return AsrOption(provider="sherpa", model_type=str(folder), extra={"kind": "moonshine", "files": FILES} | changes)


def test_real_sentence_is_understood_with_a_model_in_a_folder(folder: Path, services_with: Callable[..., Any]) -> None:
    async def run() -> None:
        async with services_with() as services:
            engines = Engines(services)
            engine = engines.get_recogniser(own(folder))
            assert engine.capabilities.partials and not engine.capabilities.words
            await engines.warm()
            results: asyncio.Queue[Any] = asyncio.Queue()
            recognition = engine.open(results.put_nowait, language="en")
            recognition.start_utterance(1, 4_000)
            recognition.push_audio(telephone(6), 0)
            recognition.end_utterance(1, len(telephone(6)) // 2 - 4_000)
            final = await results.get()
            while not isinstance(final, Final):
                final = await results.get()
            assert final.text == "I would like to speak to a human being, please."
            await recognition.close()
            await engines.close()

    asyncio.run(run())


def test_noise_and_nothing_give_no_words(folder: Path) -> None:
    files = tuple((role, str(folder / name)) for role, name in FILES.items())
    noise = np.random.default_rng(3).normal(0, 3_000, 24_000).astype("<i2").tobytes()
    assert sherpa_engine.transcribe(noise, "moonshine", files, "") == ("", [])
    assert sherpa_engine.transcribe(b"", "moonshine", files, "") == ("", [])


@pytest.mark.parametrize(
    ("changes", "key", "words"),
    [
        ({"kind": "vosk"}, "asr.extra.kind", "one of moonshine, parakeet"),
        ({"files": {"encoder": "e"}}, "asr.extra.files", "decoder, encoder, tokens"),
        ({"files": FILES | {"tokens": "absent.txt"}}, "asr.extra.files", "absent.txt"),
        ({"files": None}, "asr.extra.files", "decoder, encoder, tokens"),
    ],
)
def test_own_model_that_is_described_wrongly_is_an_error_that_names_the_setting(
    folder: Path, changes: dict[str, Any], key: str, words: str
) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        find_model(own(folder, **changes), folder)
    assert caught.value.key == key


def test_model_that_is_not_here_is_an_error_with_the_command_and_the_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"active-call models download sensevoice.*{tmp_path}/sensevoice"):
        find_model(AsrOption(model_type="sensevoice"), tmp_path)
    with pytest.raises(ConfigError, match=r"to download: .*parakeet-v3.*whisper-tiny"):
        find_model(AsrOption(language="de"), tmp_path)
    with pytest.raises(ConfigError, match=r"unknown model 'gpt'.*path of a folder"):
        find_model(AsrOption(model_type="gpt"), tmp_path)


def put(name: str, folder: Path) -> None:
    model = model_named(name)
    (folder / name).mkdir()
    for path in model.files_in(folder / name).values():
        path.write_bytes(b"x")


def test_installed_model_for_the_language_is_chosen(tmp_path: Path) -> None:
    put("sensevoice", tmp_path)
    put("whisper-base", tmp_path)
    assert find_model(AsrOption(language="zh-CN"), tmp_path).name == "sensevoice"
    assert find_model(AsrOption(language="de"), tmp_path).name == "whisper-base"
    assert find_model(AsrOption(), tmp_path).name == "sensevoice"
    assert dict(find_model(AsrOption(model_type="SenseVoice"), tmp_path).files)["model"] == str(tmp_path / "sensevoice" / "model.int8.onnx")


def test_sensevoice_is_a_provider_of_its_own(tmp_path: Path, services_with: Callable[..., Any]) -> None:
    put("sensevoice", tmp_path)

    async def run() -> None:
        async with services_with() as services:
            services = replace(services, environment={"OFFLINE_MODELS_DIR": str(tmp_path)})
            engine = create_sensevoice(AsrOption(provider="sensevoice", language="yue"), services)
            assert engine.capabilities.languages[0] == "zh" and engine.capabilities.words
            with pytest.raises(ConfigError, match=r"does not know 'de'; models that do: .*parakeet-v3"):
                create_sensevoice(AsrOption(language="de"), services)
            with pytest.raises(ConfigError, match="does not know"):
                engine.open(lambda event: None, language="fr")

    asyncio.run(run())


def test_missing_package_is_named_with_its_command(services_with: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sherpa, "find_spec", lambda name: None)

    async def run() -> None:
        async with services_with() as services:
            with pytest.raises(ConfigError, match=r"active-call\[sherpa\]"):
                create(AsrOption(), services)

    asyncio.run(run())


def test_tokens_become_words_with_times() -> None:
    tokens, times = ["\u2581hel", "lo", "\u2581wor", "ld"], [0.1, 0.3, 0.6, 0.8]
    assert sherpa_engine.words_of(tokens, times) == [("hello", 0.1, pytest.approx(0.5)), ("world", 0.6, pytest.approx(1.0))]
    assert [word for word, _, _ in sherpa_engine.words_of([" Good", "bye", "."], [0.0, 0.2, 0.4])] == ["Goodbye."]
    assert [word for word, _, _ in sherpa_engine.words_of(["营", "业"], [0.0, 0.2])] == ["营", "业"]
    assert sherpa_engine.words_of(["a"], []) == [] and sherpa_engine.words_of([], []) == []


def test_words_of_a_text_count_from_where_its_sound_begins() -> None:
    from active_call.providers.asr.utterances import TimedWord, Transcript

    words = Transcript("a b", words=(TimedWord("a", 0.0, 0.5), TimedWord("b", 0.5, 1.0))).words_from(16_000)
    assert [(word.text, word.start_sample, word.end_sample) for word in words] == [("a", 16_000, 24_000), ("b", 24_000, 32_000)]
