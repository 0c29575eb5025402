from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from active_call.providers.asr.grammar import compile_grammar, spoken_words
from active_call.providers.asr.spelling import pronounce


@pytest.mark.parametrize(
    ("phrase", "spoken"),
    [
        ("Talk to Sales!", "talk to sales"),
        ("press 1", "press one"),
        ("flight 1042", "flight one thousand forty two"),
        ("90210", "nine zero two one zero"),
        ("room 007", "room zero zero seven"),
        ("I’d like a café & a tea", "i'd like a cafe and a tea"),
        ("100%", "one hundred percent"),
        ("what's-up", "what's up"),
        ("3000000", "three zero zero zero zero zero zero"),
        ("20", "twenty"),
        ("---", ""),
    ],
)
def test_phrase_becomes_the_words_that_are_said(phrase: str, spoken: str) -> None:
    assert " ".join(spoken_words(phrase)) == spoken


@pytest.mark.parametrize(
    ("heard", "phrase"),
    [
        ("talk to sales", "Talk to Sales!"),
        ("um talk to sales", "Talk to Sales!"),
        ("talk to sales thank you", "Talk to Sales!"),
        ("hello talk to sales please", "Talk to Sales!"),
        ("thank you", "Thank you."),
        ("please", None),
        ("press one um", "press 1"),
        ("", None),
    ],
)
def test_what_was_heard_becomes_the_phrase_as_written(heard: str, phrase: str | None) -> None:
    grammar = compile_grammar(["Talk to Sales!", "Thank you.", "press 1", "talk to sales"])
    assert grammar is not None
    assert grammar.phrase_in(heard.split()) == phrase


def test_phrases_without_words_make_no_grammar() -> None:
    assert compile_grammar(["...", ""]) is None
    assert compile_grammar(["\U000108a7", "\U00010a40"]) is None, "numerals that are neither letters nor decimal digits"


@given(st.lists(st.text(max_size=40), max_size=8))
def test_every_phrase_with_words_is_found_again_and_every_word_is_plain(phrases: list[str]) -> None:
    grammar = compile_grammar(phrases)
    for phrase in phrases:
        words = spoken_words(phrase)
        if words:
            assert grammar is not None
            assert spoken_words(grammar.phrase_in(words) or "") == words
            assert all(word.replace("'", "").isalpha() for word in words)


@pytest.mark.parametrize(
    ("word", "phones"),
    [
        ("zendesk", "Z EH N D EH S K"),
        ("telnyx", "T EH L N IY K S"),
        ("sdk", "EH S D IY K EY"),
        ("glide", "G L AY D"),
        ("cell", "S EH L"),
        ("oq", "OW K"),
    ],
)
def test_unknown_word_sounds_as_it_is_spelt(word: str, phones: str) -> None:
    assert pronounce(word) == phones


def test_word_of_another_script_cannot_be_pronounced() -> None:
    assert pronounce("销售") is None
