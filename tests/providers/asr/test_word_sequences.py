"""The trigram model that weighs texts which sound alike."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from active_call.providers.asr.word_sequences import LEAST_OF_AN_END, UNKNOWN, WordSequences, english, plain_words


@pytest.mark.parametrize(
    ("likely", "unlikely"),
    [
        ("Is there a table free for tonight?", "Is there a fable free-forked hide?"),
        ("We have two dogs and a cat.", "We have two ducks in the cat,"),
        ("How much is a ticket to London?", "How much is it you could to London?"),
        ("Room 2 5.", "Rune two five."),
    ],
)
def test_likely_words_are_rated_higher(likely: str, unlikely: str) -> None:
    model = english()
    assert model is not None
    assert model.rate(likely) > model.rate(unlikely)


def test_words_are_plain() -> None:
    assert plain_words("It\u2019s 4-5, Good-by!") == ("it's", "four", "five", "goodbye")


def test_each_word_is_rated_after_the_two_before_it() -> None:
    asked: list[tuple[str, ...]] = []

    def log_probability(words: Sequence[str]) -> float:
        asked.append(tuple(words))
        return -1.0 if words[0] != "zlorp" else -50_000.0

    model = WordSequences(log_probability)
    assert model.rate("one two three") == -4.0
    histories = [words for words in asked if len(words) > 1]
    assert histories == [("one", "<s>"), ("two", "one", "<s>"), ("three", "two", "one"), ("</s>", "three", "two")]
    asked.clear()
    assert model.rate("one zlorp two") == -3.0 + UNKNOWN, "an unknown word costs a fixed amount, and the next one has no history"
    assert ("two",) in asked and ("two", "zlorp") not in asked


def test_unfinished_sentence_costs_a_limited_amount() -> None:
    assert WordSequences(lambda words: -30.0 if words[0] == "</s>" else -1.0).rate("send it to") == -3.0 + LEAST_OF_AN_END
