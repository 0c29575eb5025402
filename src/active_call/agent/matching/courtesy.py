"""Courtesies that callers put around what they want: "thanks for your help, goodbye" means "goodbye". Data and a search in it.

Words in the form of `spoken_form` go in, the positions of courtesies come out. English and German; `ranking` has single words of other
languages.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import product

from active_call.agent.matching.spoken_form import spoken_words

_THANKS = ("thank you", "thanks", "many thanks")
_MUCH = ("", "a lot", "so much", "very much", "again", "once again", "a million")
_FOR = ("", "for your help", "for all your help", "for your time", "for the help", "for helping me", "for the information",
        "for everything", "for calling", "for your assistance", "for your patience")  # fmt: skip
_DAYS = ("day", "one", "evening", "weekend", "afternoon", "morning", "night", "time", "week")
_OTHERS = (
    "that is all", "that is it", "that was all", "that is everything", "that will be all", "that is all i need", "that is all i needed",
    "that is all i wanted", "that is all i wanted to know", "i think that is all", "i think that is it", "nothing else", "nothing more",
    "no thank you", "no thanks",
    "no more questions", "no other questions", "i have no more questions", "all right", "alright", "okay so", "so yeah", "take care",
    "you too", "see you", "see you later", "see you soon", "talk to you later", "if you do not mind", "if that is okay", "excuse me",
    "good morning", "good afternoon", "good evening", "good day", "you have been very helpful", "that was very helpful", "great", "perfect",
    "wonderful",
    "lovely", "excellent",
    "vielen dank", "danke", "danke schön", "dankeschön", "für ihre hilfe", "das war es", "das ist alles", "das war alles", "bitte",
    "guten tag", "guten morgen", "guten abend", "schönen tag", "schönen tag noch", "einen schönen tag", "einen schönen tag noch",
)  # fmt: skip


def _all() -> frozenset[tuple[str, ...]]:
    thanks = (" ".join(parts) for parts in product(_THANKS, _MUCH, _FOR))
    wishes = (f"have a {how}{day}" for how, day in product(("", "nice ", "good ", "great ", "lovely ", "wonderful "), _DAYS))
    return frozenset(spoken_words(text) for text in (*thanks, *_FOR[1:], *wishes, *_OTHERS))


_COURTESIES = _all()
_LONGEST = max(map(len, _COURTESIES))


@lru_cache(maxsize=2048)
def without_courtesies(words: tuple[str, ...]) -> tuple[str, ...]:
    """`words` without courtesies; all of them if nothing else was said."""
    return tuple(word for word, is_courtesy in zip(words, courteous(words), strict=True) if not is_courtesy) or words


def courteous(words: Sequence[str]) -> list[bool]:
    """Whether each of `words` belongs to a courtesy. Overlapping matches: the longest wins."""
    marks = [False] * len(words)
    position = 0
    while position < len(words):
        lengths = range(min(_LONGEST, len(words) - position), 0, -1)
        length = next((n for n in lengths if tuple(words[position : position + n]) in _COURTESIES), 0)
        marks[position : position + length] = [True] * length
        position += length or 1
    return marks
