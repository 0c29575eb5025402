"""Which words were heard, from what the playout counted."""

from __future__ import annotations

import pytest

from active_call.call.speaking import _Piece, heard_words

PIECES = [_Piece("Good morning.", 1000.0), _Piece("We are open from nine to five.", 2000.0)]


@pytest.mark.parametrize(
    ("heard_ms", "words"),
    [
        (0.0, ""),
        (500.0, "Good"),
        (1000.0, "Good morning."),
        (2000.0, "Good morning. We are open"),
        (3000.0, "Good morning. We are open from nine to five."),
        (9000.0, "Good morning. We are open from nine to five."),
    ],
)
def test_heard_words_follow_the_samples(heard_ms: float, words: str) -> None:
    text, position = heard_words(PIECES, heard_ms)
    assert text == words
    assert position == len(words.split())


def test_heard_words_of_a_piece_without_sound_yet_are_none() -> None:
    assert heard_words([_Piece("Not made yet.")], 100.0) == ("", 0)
