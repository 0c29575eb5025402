"""Texts that a recogniser is asked about a second time."""

from __future__ import annotations

import pytest

from active_call.providers.asr.expected_phrases import HUMS, alternatives_to, as_sentence, hums_for, is_phrase


@pytest.mark.parametrize(
    ("text", "log_probability", "seconds", "hums"),
    [
        ("For us.", -2.9, 0.9, HUMS),
        ("No.", -0.4, 0.7, ()),
        ("For us.", -2.9, 2.0, ()),
        ("I would like to pay.", -4.0, 1.2, ()),
    ],
)
def test_short_doubtful_text_may_have_been_a_hum(text, log_probability, seconds, hums):
    assert hums_for(text, log_probability, seconds) == hums


PHRASES = ("where is your shop", "goodbye")


@pytest.mark.parametrize(
    ("text", "rival"),
    [
        ("Very near shock.", "Where is your shop?"),
        ("And where is yourself?", "And where is your shop?"),
        ("Thank you. Good boy.", "Thank you. Goodbye."),
        ("No, good boy.", "No, Goodbye."),
    ],
)
def test_phrase_is_weighed_as_it_would_be_written(text, rival):
    assert alternatives_to(text, PHRASES)[0] == rival


def test_doubtful_text_of_a_word_or_two_may_have_been_any_phrase_of_one_word() -> None:
    phrases = ("goodbye", "thank you goodbye")
    assert alternatives_to("To fight.", phrases) == ()
    assert alternatives_to("To fight.", phrases, is_doubtful=True) == ("Goodbye.",)
    assert alternatives_to("To fight with him.", phrases, is_doubtful=True) == ()


def test_phrase_is_known_behind_what_callers_say_before_it():
    assert is_phrase("And where is your shop?", PHRASES) and is_phrase("Good-bye.", PHRASES)
    assert not is_phrase("Where is your sister?", PHRASES) and not is_phrase("", PHRASES)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("next tuesday", "Next tuesday."),
        ("do you deliver", "Do you deliver?"),
        ("you deliver?", "You deliver?"),
        ("Yes.", "Yes."),
        ("", ""),
    ],
)
def test_text_is_written_as_a_sentence(text: str, written: str) -> None:
    assert as_sentence(text) == written
