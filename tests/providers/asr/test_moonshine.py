"""The local recogniser for English: real sentences in the telephone band, noise, and what its adapter says of itself."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr

from active_call.agent.matching.spoken_form import spoken_words
from active_call.base.errors import ConfigError
from active_call.contract.options import AsrOption
from active_call.providers.asr import invented_text, moonshine_engine
from active_call.providers.asr.moonshine import create
from active_call.providers.asr.moonshine_decoder import Views
from active_call.providers.asr.moonshine_engine import Effort, Heard
from active_call.providers.base import Final, Partial
from active_call.providers.local import on_this_machine
from active_call.providers.registry import Engines
from active_call.providers.selection import select_asr
from active_call.testing.sound.audio import MULAW

VECTORS = Path(__file__).parents[2] / "vectors" / "speech"
SENTENCES = (VECTORS / "sentences.txt").read_text(encoding="utf-8").splitlines()


@cache
def telephone(voice: str, number: int) -> bytes:
    """Line `number` of the sentences as its caller's sound: 16 kHz, with a quarter of a second of silence on both sides."""
    narrow = MULAW.decode((VECTORS / f"{voice}_{number:02}.ulaw").read_bytes()).astype(np.float32)
    wide = np.concatenate([np.zeros(4_000), soxr.resample(narrow, 8_000, 16_000), np.zeros(4_000)])
    return np.clip(wide, -32_768, 32_767).astype("<i2").tobytes()


def test_text_has_punctuation_and_a_confidence() -> None:
    text, confidence = moonshine_engine.transcribe(telephone("joe", 2))
    assert text == "When are you open?" and 0.8 < confidence <= 1.0


def words_right(
    voice: str, noise_db: float | None = None, transcribe: Callable[[bytes], tuple[str, float]] = moonshine_engine.transcribe
) -> tuple[float, int]:
    """The share of words that are right over all sentences (1 less the word error rate), and how many sentences are right as a whole."""
    n_words = n_wrong = n_sentences = 0
    for number, sentence in enumerate(SENTENCES, 1):
        pcm = telephone(voice, number) if noise_db is None else noisy(telephone(voice, number), noise_db, number)
        said, heard = spoken_words(sentence), spoken_words(transcribe(pcm)[0])
        wrong = word_errors(said, heard)
        n_words, n_wrong, n_sentences = n_words + len(said), n_wrong + wrong, n_sentences + (wrong == 0)
    return 1 - n_wrong / n_words, n_sentences


def word_errors(said: Sequence[str], heard: Sequence[str]) -> int:
    """Words put in, left out and replaced, the fewest."""
    row = list(range(len(heard) + 1))
    for n, word in enumerate(said, 1):
        diagonal, row[0] = row[0], n
        for m, other in enumerate(heard, 1):
            diagonal, row[m] = row[m], min(row[m] + 1, row[m - 1] + 1, diagonal + (word != other))
    return row[-1]


def noisy(pcm: bytes, noise_db: float, seed: int) -> bytes:
    """The sound with white noise, `noise_db` below it."""
    sound = np.frombuffer(pcm, dtype="<i2").astype(float)
    level = np.sqrt(np.mean(sound**2)) * 10 ** (-noise_db / 20)
    return np.clip(sound + np.random.default_rng(seed).normal(0, level, len(sound)), -32_768, 32_767).astype("<i2").tobytes()


@pytest.mark.parametrize(
    ("voice", "noise_db", "least", "least_sentences"),
    [("joe", None, 0.95, 20), ("rms", None, 0.9, 17), ("joe", 20.0, 0.93, 18), ("joe", 10.0, 0.88, 15), ("rms", 10.0, 0.73, 10)],
)
def test_words_of_26_sentences_are_right_in_the_telephone_band(
    voice: str, noise_db: float | None, least: float, least_sentences: int
) -> None:
    share, n_sentences = words_right(voice, noise_db)
    print(f"{voice}, noise {noise_db}: {share:.1%} of words, {n_sentences} of {len(SENTENCES)} sentences")
    assert share >= least and n_sentences >= least_sentences


@pytest.mark.parametrize("name", ["silence", "faint noise", "loud noise", "hum", "cough"])
def test_what_is_no_speech_gives_no_words(name: str) -> None:
    random = np.random.default_rng(3)
    cough = np.zeros(24_000)
    cough[8_000:9_600] = random.normal(0, 9_000, 1_600) * np.exp(-np.arange(1_600) / 400)
    sound = {
        "silence": np.zeros(24_000),
        "faint noise": random.normal(0, 16, 24_000),
        "loud noise": random.normal(0, 3_000, 24_000),
        "hum": 3_000 * np.sin(np.arange(24_000) * 0.17),
        "cough": cough,
    }[name]
    assert moonshine_engine.transcribe(sound.astype("<i2").tobytes()) == ("", 0.0)


@pytest.mark.parametrize("pcm", [b"", b"\0", bytes(640), bytes(3_199)])
def test_sound_too_short_for_a_word_gives_none(pcm: bytes) -> None:
    assert moonshine_engine.transcribe(pcm) == ("", 0.0)


def test_long_speech_is_understood_to_its_end() -> None:
    text, _ = moonshine_engine.transcribe(b"".join(telephone("joe", number) for number in range(1, 11)))
    assert text.startswith("Could you tell me") and "human being" in text and text.lower().endswith("thank you.")


@pytest.mark.parametrize(
    ("text", "is_invented"),
    [
        ("You", True),
        ("Thank you for watching!", True),
        ("Thank you.", False),
        ("...", True),
        ("for the for the for the for the for the for the for the", True),
        ("5 5 5 5 5 5 5 5 5 5 5 5 5", False),
        ("no no no no", False),
    ],
)
def test_invented_texts_are_known(text: str, is_invented: bool) -> None:
    assert invented_text.is_invented(text) == is_invented


def test_tokens_have_lengths_of_one_and_two_bytes() -> None:
    long = b"x" * 300
    data = bytes([3]) + b"abc" + bytes([0]) + bytes([300 % 128 + 128, 300 // 128]) + long
    assert moonshine_engine.read_tokens(data) == [b"abc", b"", long]


def test_adapter_tells_partials_and_the_final_and_what_it_can(services_with: Callable[..., Any]) -> None:
    pcm = telephone("joe", 6)

    async def run() -> None:
        async with services_with() as services:
            engines = Engines(services)
            engine = engines.get_recogniser(AsrOption(provider="moonshine"))
            assert engine.capabilities.partials and engine.capabilities.free_speech and not engine.capabilities.words
            await engines.warm()
            results: asyncio.Queue[Any] = asyncio.Queue()
            recognition = engine.open(results.put_nowait, language="en-US")
            recognition.start_utterance(1, 4_000)
            for start in range(0, len(pcm), 640):
                recognition.push_audio(pcm[start : start + 640], start // 2)
                await asyncio.sleep(0.005)
            recognition.end_utterance(1, len(pcm) // 2 - 4_000)
            heard = [await results.get()]
            while not isinstance(heard[-1], Final):
                heard.append(await results.get())
            assert heard[-1].text == "I would like to speak to a human being, please." and heard[-1].confidence > 0.8
            assert heard[0].text.startswith("I would") and all(isinstance(partial, Partial) for partial in heard[:-1])
            await recognition.close()
            await engines.close()

    asyncio.run(run())


def test_another_language_is_refused_with_a_way_out(services_with: Callable[..., Any]) -> None:
    async def run() -> None:
        async with services_with() as services:
            with pytest.raises(ConfigError, match="active-call models list"):
                create(AsrOption(language="de"), services)
            create(AsrOption(language="en_GB"), services)

    asyncio.run(run())


def test_missing_package_is_named_with_its_command(services_with: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moonshine_engine, "model_folder", lambda: None)

    async def run() -> None:
        async with services_with() as services:
            with pytest.raises(ConfigError, match=r"active-call\[local\]"):
                create(AsrOption(), services)

    asyncio.run(run())


@pytest.fixture(autouse=True)
def _models_looked_up_anew() -> None:
    on_this_machine.forget_models()


def test_nothing_chosen_means_moonshine_for_english_and_pocketsphinx_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def chosen(language: str | None) -> str:
        return select_asr(AsrOption(language=language), {}).provider

    assert [chosen(language) for language in (None, "auto", "en", "en-GB")] == ["moonshine"] * 4
    assert chosen("fr") == "pocketsphinx", "which says that it knows English only"
    monkeypatch.setattr(moonshine_engine, "model_folder", lambda: None)
    on_this_machine.forget_models()
    assert chosen("en") == "pocketsphinx"
    monkeypatch.setattr(on_this_machine, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"active-call\[local\]"):
        chosen("en")


@pytest.mark.parametrize("provider", [None, "local"])
def test_engines_choose_moonshine_where_none_is_named(provider: str | None, services_with: Callable[..., Any]) -> None:
    async def run() -> None:
        async with services_with() as services:
            engines = Engines(services)
            assert engines.get_recogniser(AsrOption(provider=provider)).name == "moonshine"
            await engines.close()

    asyncio.run(run())


def test_doubtful_text_is_recognised_again_at_other_paces(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Effort] = []
    heard = {Effort.DRAFT: Heard("we are so"), Effort.USUAL: Heard("we are sold on", -4.0, 5, 0.5, 1.0)}
    heard[Effort.THOROUGH] = Heard("we are holding on", -3.0, 5, 0.7, 1.0)

    def hear(samples: np.ndarray, phrases: tuple[str, ...], effort: Effort = Effort.USUAL) -> Heard:
        asked.append(effort)
        return heard[effort]

    monkeypatch.setattr(moonshine_engine, "_hear", hear)
    pcm = (np.ones(32000) * 1000).astype("<i2").tobytes()
    assert moonshine_engine.transcribe(pcm) == ("we are sold on", 0.5) and asked == [Effort.USUAL]
    assert moonshine_engine.draft(pcm)[0] == "we are so" and asked.pop() is Effort.DRAFT
    assert moonshine_engine.forecast(pcm) == ("we are sold on", 0.5, False) and asked.pop() is Effort.USUAL
    assert moonshine_engine.transcribe(pcm, (), True) == ("we are holding on", 0.7)
    assert asked == [Effort.USUAL, Effort.USUAL, Effort.THOROUGH]
    assert moonshine_engine.transcribe_again(pcm) == ("we are holding on", 0.7)
    assert asked.pop() is Effort.THOROUGH, "without the first pass"
    asked.clear()
    for sure in (
        Heard("hello", -0.1, 2, 0.95, 0.5),
        Heard(""),
        Heard("hello you", -3.0, 3, 0.82, 1.2),
        Heard("hello there", -3.0, 3, 0.5, 2.5),
    ):
        heard[Effort.USUAL] = sure
        assert moonshine_engine.transcribe(pcm, (), True) == (sure.text, sure.confidence)
    assert moonshine_engine.forecast(pcm) == ("hello there", 0.5, True)
    assert moonshine_engine.forecast(pcm[:20000])[2], "a short sound is not recognised again"
    heard[Effort.USUAL] = Heard("don't know", -3.0, 3, 0.5)
    assert moonshine_engine.transcribe(pcm[:20000], (), True) == ("don't know", 0.5)
    assert moonshine_engine.transcribe_again(pcm[:20000]) == ("don't know", 0.5)
    assert set(asked) == {Effort.USUAL}, "what is sure or clear, what is no speech, and a short sound are recognised once"


def test_text_at_all_paces_is_at_least_as_likely_as_the_greedy_one_and_is_rated_equally() -> None:
    model = moonshine_engine._model()
    pcm = np.frombuffer(noisy(telephone("rms", 3), 10.0, 3), dtype="<i2").astype(np.float32) / 32_768
    sounds = (pcm, *(moonshine_engine._at_pace(pcm, pace) for pace in moonshine_engine.PACES))
    views = Views.of([model._encode(sound) for sound in sounds])
    greedy, found = (model._decoder.likeliest(views, 60, width) for width in (1, 4))
    assert found.log_probability >= greedy.log_probability - 0.1, "the model's 8-bit values differ a little between batches"
    rated = model._decoder.rate(views, found.tokens)
    assert rated.by_view == pytest.approx(found.by_view, abs=0.3) and len(set(rated.by_view)) == 3


def test_padding_of_a_shorter_view_does_not_change_its_likelihood() -> None:
    model = moonshine_engine._model()
    short, long = (np.frombuffer(telephone("joe", number), dtype="<i2").astype(np.float32) / 32_768 for number in (2, 1))
    tokens = model._numbers_of("When are you open?")
    alone = model._decoder.rate(Views.of([model._encode(short)]), tokens).by_view[0]
    beside = model._decoder.rate(Views.of([model._encode(short), model._encode(long)]), tokens).by_view[0]
    assert beside == pytest.approx(alone, abs=0.05)


def test_tokens_of_a_phrase_are_those_that_the_model_writes() -> None:
    model = moonshine_engine._model()
    for number in range(1, len(SENTENCES) + 1):
        sound = moonshine_engine._samples(telephone("joe", number))
        written = model._decoder.likeliest(Views.of([model._encode(sound)]), 80)
        assert model._numbers_of(model._heard(written).text) == list(written.tokens)


@pytest.mark.parametrize(
    ("phrase", "last"),
    [
        ("how much is a bunch of roses", ["\u2581ros", "es"]),
        ("do you repair bicycles", ["icy", "cles"]),
        ("Zo\u00eb", ["\u2581Zo", "\u00eb"]),
    ],
)
def test_tokens_of_rare_words_are_not_their_longest_beginnings(phrase: str, last: list[str]) -> None:
    model = moonshine_engine._model()
    tokens = [model._tokens[number].decode() for number in model._numbers_of(phrase)]
    assert "".join(tokens).replace("\u2581", " ").strip() == phrase
    assert tokens[-2:] == last


def test_texts_near_the_likeliest_are_found_in_order() -> None:
    model = moonshine_engine._model()
    views = Views.of([model._encode(moonshine_engine._samples(noisy(telephone("rms", 3), 10.0, 3)))])
    found = model._decoder.texts(views, 60, 4, 4.0)
    likelihoods = [one.log_probability for one in found]
    assert len(found) > 1 and likelihoods == sorted(likelihoods, reverse=True)
    assert likelihoods[-1] >= likelihoods[0] - 4.0 and len({one.tokens for one in found}) == len(found)
    assert found[0].tokens == model._decoder.likeliest(views, 60, 4).tokens


def test_words_decide_between_texts_that_sound_alike() -> None:
    heard = [Heard(text, share) for text, share in (("A fable free-forked hide?", -7.4), ("A table free for tonight?", -8.9))]
    found = moonshine_engine._likeliest_words(heard)
    assert found.text == "A table free for tonight?" and 2.0 < found.lead < 20.0
    alone = moonshine_engine._likeliest_words(heard[:1])
    assert alone.text == heard[0].text and alone.lead == math.inf
    far = [heard[0], Heard("A table free for tonight?", -40.0)]
    assert moonshine_engine._likeliest_words(far).text == heard[0].text
    same_words = [heard[0], Heard("A fable, free-forked hide.", -7.5)]
    assert moonshine_engine._likeliest_words(same_words).lead == math.inf, "another punctuation is no doubt"


def test_phrase_that_is_near_any_of_the_likely_texts_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    model = moonshine_engine._model()
    likely = [Heard("Very, very soft.", -5.0, 5, 0.5), Heard("Where is your shock?", -6.0, 5, 0.5)]
    monkeypatch.setattr(model, "_texts", lambda views, max_tokens, effort: likely)
    monkeypatch.setattr(model, "_heard", lambda found: found)
    monkeypatch.setattr(model, "_rated", lambda views, text: Heard(text, -50.0 if text == "Mm." else -6.5, 5, 0.5))
    silence = np.zeros(48_000, np.float32)
    assert model.transcribe(silence, ("where is your shop",), Effort.THOROUGH).text == "Where is your shop?"
    assert model.transcribe(silence, ("how much are roses",), Effort.THOROUGH).text in [one.text for one in likely]


def test_invented_text_with_likely_words_does_not_replace_what_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    model = moonshine_engine._model()
    said, invented = Heard("Five-five-five.", -3.0, 7, 0.6), Heard("Bye-bye-bye.", -3.5, 8, 0.6)
    likely = [said, invented]
    monkeypatch.setattr(model, "_texts", lambda views, max_tokens, effort: likely)
    monkeypatch.setattr(model, "_heard", lambda found: found)
    monkeypatch.setattr(model, "_rated", lambda views, text: Heard(text, -50.0, 5, 0.5))
    silence = np.zeros(48_000, np.float32)
    monkeypatch.setattr(moonshine_engine, "may_be_digits", lambda text: False)
    assert model.transcribe(silence).text == said.text
    likely.reverse()
    assert not model.transcribe(silence).text, "what is invented is the likeliest by its sound: there was no word"


@pytest.mark.parametrize(("confidence", "is_clear"), [(0.82, True), (0.78, False)])
def test_expected_phrase_of_enough_confidence_is_clear(confidence: float, is_clear: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model = moonshine_engine._model()
    near = [Heard("Where is your shop?", -1.0, 5, confidence), Heard("Where is your shot?", -1.1, 5, 0.8)]
    monkeypatch.setattr(model, "_texts", lambda views, max_tokens, effort: near)
    monkeypatch.setattr(model, "_heard", lambda found: found)
    monkeypatch.setattr(moonshine_engine, "english", lambda: None)
    silence = np.zeros(48_000, np.float32)
    heard = model.transcribe(silence, ("where is your shop",))
    assert heard.text == "Where is your shop?" and moonshine_engine._is_doubtful(heard, silence) is not is_clear
    assert moonshine_engine._is_doubtful(model.transcribe(silence), silence), "no phrase is expected"


def test_what_was_said_is_rated_far_above_a_short_reply() -> None:
    said, other = moonshine_engine.rate(telephone("joe", 2), ("When are you open?", "Okay."))
    assert -3 < said < 0 and other < said - 10
