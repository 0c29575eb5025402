"""The pronunciation of English words that no dictionary has, from their spelling: names and brands in a playbook's phrases.

A word enters; ARPAbet phones, as in cmudict, leave. The rules are rough: besides a dictionary of 134 000 words they are seldom needed.
Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_SOUNDS: tuple[tuple[str, str], ...] = (
    ("tion", "SH AH N"),
    ("sion", "ZH AH N"),
    ("ough", "AO"),
    ("augh", "AO"),
    ("eigh", "EY"),
    ("tch", "CH"),
    ("igh", "AY"),
    ("sch", "SH"),
    ("ch", "CH"),
    ("sh", "SH"),
    ("th", "TH"),
    ("ph", "F"),
    ("wh", "W"),
    ("ck", "K"),
    ("ng", "NG"),
    ("qu", "K W"),
    ("kn", "N"),
    ("wr", "R"),
    ("gh", "G"),
    ("ee", "IY"),
    ("ea", "IY"),
    ("oo", "UW"),
    ("ou", "AW"),
    ("ow", "OW"),
    ("oa", "OW"),
    ("oi", "OY"),
    ("oy", "OY"),
    ("ai", "EY"),
    ("ay", "EY"),
    ("ey", "IY"),
    ("ei", "AY"),
    ("ie", "IY"),
    ("au", "AO"),
    ("aw", "AO"),
    ("ew", "Y UW"),
    ("ue", "UW"),
    ("ar", "AA R"),
    ("er", "ER"),
    ("ir", "ER"),
    ("or", "AO R"),
    ("ur", "ER"),
    ("a", "AE"),
    ("b", "B"),
    ("c", "K"),
    ("d", "D"),
    ("e", "EH"),
    ("f", "F"),
    ("g", "G"),
    ("h", "HH"),
    ("i", "IH"),
    ("j", "JH"),
    ("k", "K"),
    ("l", "L"),
    ("m", "M"),
    ("n", "N"),
    ("o", "OW"),
    ("p", "P"),
    ("q", "K"),
    ("r", "R"),
    ("s", "S"),
    ("t", "T"),
    ("u", "AH"),
    ("v", "V"),
    ("w", "W"),
    ("x", "K S"),
    ("y", "IY"),
    ("z", "Z"),
)
"""English letters to sounds, longest first. The last 26 are single letters."""
_LONG_VOWELS = {"a": "EY", "e": "IY", "i": "AY", "o": "OW", "u": "Y UW"}
_LETTER_NAMES = {
    "a": "EY",
    "b": "B IY",
    "c": "S IY",
    "d": "D IY",
    "e": "IY",
    "f": "EH F",
    "g": "JH IY",
    "h": "EY CH",
    "i": "AY",
    "j": "JH EY",
    "k": "K EY",
    "l": "EH L",
    "m": "EH M",
    "n": "EH N",
    "o": "OW",
    "p": "P IY",
    "q": "K Y UW",
    "r": "AA R",
    "s": "EH S",
    "t": "T IY",
    "u": "Y UW",
    "v": "V IY",
    "w": "D AH B AH L Y UW",
    "x": "EH K S",
    "y": "W AY",
    "z": "Z IY",
}


_SHORT_Y = re.compile(r"^[^aeiouy]{1,3}y$")
_KNOWN = {
    "goodbye": "G UH D B AY",
    "good": "G UH D",
    "buy": "B AY",
    "bye": "B AY",
    "die": "D AY",
    "eye": "AY",
    "dubai": "D UW B AY",
    "i": "AY",
    "eyes": "AY Z",
}
"""Words that callers say often and for which the rules are wrong."""


def pronounce(word: str) -> str | None:
    """ARPAbet phones of a word by its spelling; None for letters that are not English.

    A word without a vowel is an abbreviation and is spelt out.
    """
    letters = word.replace("'", "")
    if not letters or any(letter not in _LETTER_NAMES for letter in letters):
        return None
    if letters in _KNOWN:
        return _KNOWN[letters]
    if not set(letters) & set("aeiouy"):
        return " ".join(_LETTER_NAMES[letter] for letter in letters)
    if _SHORT_Y.match(letters):  # my, by, try
        return " ".join((*_sounds(letters[:-1]), "AY"))
    return " ".join(_sounds(letters))


def _sounds(letters: str) -> Iterator[str]:
    silent_e = re.fullmatch(r"(.*)([aeiou])([^aeiouwxy])e", letters)
    if silent_e:
        head, vowel, consonant = silent_e.groups()
        yield from _sounds(head)
        yield _LONG_VOWELS[vowel]
        yield from _sounds(consonant)
        return
    position = 0
    while position < len(letters):
        spelling, sound = next(pair for pair in _SOUNDS if letters.startswith(pair[0], position))
        following = letters[position + len(spelling) : position + len(spelling) + 1]
        if spelling == "c" and following in ("e", "i", "y"):
            sound = "S"
        elif spelling == "g" and following in ("e", "i", "y"):
            sound = "JH"
        elif spelling == "y" and position == 0:
            sound = "Y"
        position += len(spelling)
        if len(spelling) == 1 and following == spelling and spelling not in "aeiou":
            position += 1  # doubled consonants sound once
        yield sound
