from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from active_call.providers.speech.spoken_english import spoken_words
from active_call.providers.tts.sentences import CLAUSE_PAUSE_MS, MAX_PART_CHARS, SENTENCE_PAUSE_MS, as_written, parts_of


def texts(text: str) -> list[str]:
    return [" ".join(word.written for word in part.words) for part in parts_of(text, spoken_words)]


def test_sentences_are_parts_and_short_ones_stay_with_what_follows() -> None:
    assert texts("No! That is it. Dr. Smith is here.") == ["No! That is it.", "Dr. Smith is here."]
    assert texts("") == texts(" \n ") == []


def test_first_part_ends_at_a_clause_and_later_sentences_stay_whole() -> None:
    long = "We are open from nine in the morning until five in the afternoon, and on Sundays we rest at home."
    assert (
        texts(f"{long} {long}")
        == [
            "We are open from nine in the morning until five in the afternoon, and on Sundays we rest at home.",
            long,
        ]
        or texts(f"{long} {long}")[-1] == long
    )
    early = "If you want to know that, we are open from nine in the morning until five in the afternoon."
    assert texts(early) == ["If you want to know that,", "we are open from nine in the morning until five in the afternoon."]


def test_pause_is_that_of_the_mark_at_the_end() -> None:
    early = "If you want to know that, we are open from nine in the morning until five in the afternoon. Yes, we are."
    assert [part.pause_ms for part in parts_of(early, spoken_words)] == [CLAUSE_PAUSE_MS, SENTENCE_PAUSE_MS, SENTENCE_PAUSE_MS]


@given(st.lists(st.sampled_from(["word", "a", "comma,", "end.", "longerword" * 3, "what?", "x" * 200]), max_size=80))
def test_no_word_is_lost_and_no_part_is_long(words: list[str]) -> None:
    parts = parts_of(" ".join(words), as_written)
    assert [word.written for part in parts for word in part.words] == words
    assert all(len(part.words) == 1 or sum(len(word.spoken) + 1 for word in part.words) <= MAX_PART_CHARS + 1 for part in parts)
