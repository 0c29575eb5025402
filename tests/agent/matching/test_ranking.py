"""The rank of phrases for what was freely heard: the faults that callers met, and what holds for any text."""

from __future__ import annotations

import time
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from active_call.agent.matching.phones import likeness
from active_call.agent.matching.ranking import MIN_SHARE, Match, best_match, last_sentence
from active_call.agent.matching.spoken_form import spoken_words

PHRASES = (
    "goodbye",
    "thank you goodbye",
    "opening hours",
    "what are your opening hours",
    "address",
    "what is your name",
    "where is your shop",
    "when are you open",
    "speak to a human",
    "transfer me please",
    "cancel my appointment",
    "book a table for 2",
    "yes",
    "no",
)


def best_phrase(heard: str, phrases: Iterable[str]) -> Match | None:
    return best_match(spoken_words(heard), [spoken_words(phrase) for phrase in phrases], last_sentence(heard))


def found(heard: str) -> tuple[str, bool] | None:
    match = best_phrase(heard, PHRASES)
    return None if match is None else (PHRASES[match.position], match.is_strong())


@pytest.mark.parametrize(
    ("heard", "phrase"),
    [
        ("could you tell me your opening hours please", "opening hours"),
        ("Could you tell me you're opening ours, please?", "opening hours"),
        ("What are your opening hours on Saturday?", "what are your opening hours"),
        ("Where's your shot?", "where is your shop"),
        ("Thank you, good-bye.", "thank you goodbye"),
        ("Bye bye then.", "goodbye"),
        ("I would like to speak to a human, please.", "speak to a human"),
        ("I want a book a table for two.", "book a table for 2"),
        ("Yes, please.", "yes"),
        ("No, thank you.", "no"),
        ("no, cancel my appointment", "cancel my appointment"),
        ("Okay, bye-bye.", "goodbye"),
        ("Thanks for your help, good-bye.", "thank you goodbye"),
        ("No thank you, bye bye.", "thank you goodbye"),
        ("No thanks, bye.", "goodbye"),
        ("That's all. Thank you. bye.", "thank you goodbye"),
        ("That's all, thank you so much for your time, have a nice day, goodbye!", "thank you goodbye"),
        ("OK, so, please transfer me.", "transfer me please"),
        ("I will call again tomorrow at nine. Goodbye.", "goodbye"),
    ],
)
def test_natural_sentence_is_the_phrase_and_surely_so(heard: str, phrase: str) -> None:
    assert found(heard) == (phrase, True)


@pytest.mark.parametrize(
    ("heard", "phrase"),
    [
        ("how do I say goodbye to my contract with the electricity company", "goodbye"),
        ("I don't want to cancel my appointment", "cancel my appointment"),
        ("transfer my appointment please", "transfer me please"),
        ("I want to book a table for four people tomorrow evening", "book a table for 2"),
        ("Dubai.", "goodbye"),
        ("Go by.", "goodbye"),
        ("Thank you, Dubai.", "goodbye"),
        ("I did not want to say it. Not goodbye.", "goodbye"),
        ("My daughter told her friend goodbye", "goodbye"),
    ],
)
def test_phrase_in_another_request_is_weak(heard: str, phrase: str) -> None:
    assert found(heard) == (phrase, False)


@pytest.mark.parametrize(
    "heard",
    [
        "",
        "thank you",
        "please",
        "um",
        "My name is Katherine Baker.",
        "Is there parking behind the building?",
        "...",
        "Thank you, defied.",
        "That's all, thank you.",
    ],
)
def test_what_no_phrase_expects_is_none(heard: str) -> None:
    assert found(heard) is None


def test_phrase_between_other_words_is_inside_and_one_at_an_end_is_not() -> None:
    for heard, is_inside in (
        ("how do I say goodbye to my contract with the electricity company", True),
        ("my daughter told her friend goodbye", False),
        ("goodbye to all of my money", False),
        ("please, could you, goodbye, now", False),
    ):
        match = best_phrase(heard, ["goodbye"])
        assert match is not None, heard
        assert match.is_inside == is_inside, heard


def test_yes_please_is_no_transfer() -> None:
    assert best_phrase("yes please", ["transfer me please", "connect me please", "thank you goodbye"]) is None


def test_low_confidence_of_the_recogniser_makes_a_match_weak() -> None:
    match = best_phrase("goodbye", PHRASES)
    assert match is not None and match.is_strong(0.9) and match.is_strong(None) and not match.is_strong(0.3)


def test_phrase_of_light_words_alone_is_found_when_it_was_said() -> None:
    match = best_phrase("thank you", ["thank you"])
    assert match is not None and match.is_exact
    assert best_phrase("who are you", ["who are you"]) is not None


def test_words_that_sound_alike_are_near_and_digits_are_not() -> None:
    assert likeness("shop", "shot") > 0.8 and likeness("hello", "goodbye") < 0.3
    assert likeness("5", "9") == 0.0 and likeness("x", "x") == 1.0


def test_longer_whole_phrase_wins_over_a_shorter_one() -> None:
    assert found("please tell me what are your opening hours") == ("what are your opening hours", True)


def test_very_long_speech_is_compared_by_its_end_in_bounded_time() -> None:
    match = best_match([f"word{n}" for n in range(20_000)] + ["speak", "to", "a", "human"], [spoken_words(phrase) for phrase in PHRASES])
    assert match is not None and PHRASES[match.position] == "speak to a human" and not match.is_strong()


WORDS = st.lists(
    st.sampled_from(
        ["opening", "hours", "goodbye", "please", "transfer", "human", "appointment", "not", "yes", "no", "when", "5", "seven", "open"]
    ),
    max_size=8,
)


@given(WORDS, st.lists(WORDS.map(" ".join), min_size=1, max_size=6))
def test_best_match_is_one_of_the_phrases_with_shares_of_one(heard: list[str], phrases: list[str]) -> None:
    match = best_phrase(" ".join(heard), phrases)
    if match is not None:
        assert 0 <= match.position < len(phrases)
        assert MIN_SHARE <= match.phrase_share <= 1.0 + 1e-9 and 0.0 < match.heard_share <= 1.0 + 1e-9
        assert 0.0 < match.score <= 1.0 + 1e-9 and match.n_words > 0
        assert set(spoken_words(" ".join(heard))), "nothing was said"


@given(st.text(max_size=40), st.lists(st.text(max_size=20), max_size=4))
def test_any_text_and_any_phrases_are_compared_without_an_error(heard: str, phrases: list[str]) -> None:
    match = best_phrase(heard, phrases)
    assert match is None or spoken_words(phrases[match.position])


@given(st.sampled_from(PHRASES), st.sampled_from(["", "um", "please", "thank you"]), st.sampled_from(["", "please", "thank you", "now"]))
def test_phrase_with_fillers_around_it_stays_itself(phrase: str, before: str, after: str) -> None:
    match = best_phrase(f"{before} {phrase} {after}", [phrase])
    assert match is not None and match.is_strong()


@given(st.sampled_from(PHRASES), WORDS)
def test_more_words_around_a_phrase_never_make_it_surer(phrase: str, more: list[str]) -> None:
    alone, among = best_phrase(phrase, [phrase]), best_phrase(" ".join([phrase, *more]), [phrase])
    assert alone is not None and among is not None
    assert among.heard_share <= alone.heard_share and among.score <= alone.score + 1e-9


def test_marks_without_an_end_are_searched_for_the_last_sentence_in_time() -> None:
    begun = time.process_time()
    assert last_sentence("well" + "?!." * 5_000 + "x") == ()
    assert time.process_time() - begun < 1.0
    assert last_sentence("Well?! ... It is fine, yes.") == ("it", "is", "fine", "yes")
