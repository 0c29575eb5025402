"""Find digits in recognised speech: "double four, oh seven", "twenty one", "zwei drei", "一二三". Pure.

In: a recognised text. Out: its digits in order, and whether the text contains anything else. Filler words between digits (and, the number
is, bitte) do not count as anything else.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

_ENGLISH = "zero one two three four five six seven eight nine"
_GERMAN = "null eins zwei drei vier fünf sechs sieben acht neun"
_SPANISH = "cero uno dos tres cuatro cinco seis siete ocho nueve"
_FRENCH = "zéro un deux trois quatre cinq six sept huit neuf"
_TEEN_WORDS = "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
_TEN_WORDS = "twenty thirty forty fifty sixty seventy eighty ninety"
_ORDINAL_WORDS = (
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth sixteenth "
    "seventeenth eighteenth nineteenth twentieth"
)
_FILLING_WORDS = (
    "and the is it's its my number code pin then plus a uh um yes okay ok please on st nd rd th und die das ist meine nummer bitte dann ja "
    "y el es mi numero número por favor et le mon numéro est 是 号 码"
)


def _numbered(words: str, start: int = 0) -> dict[str, str]:
    return {word: str(n) for n, word in enumerate(words.split(), start)}


_DIGITS: Mapping[str, str] = {
    **_numbered(_ENGLISH), **_numbered(_GERMAN), **_numbered(_SPANISH), **_numbered(_FRENCH),
    **dict(zip("零一二三四五六七八九", "0123456789", strict=True)),
    "〇": "0", "幺": "1", "两": "2", "oh": "0", "o": "0", "nought": "0", "zwo": "2", "ein": "1", "fuenf": "5", "niner": "9",
    "star": "*", "asterisk": "*", "stern": "*", "pound": "#", "hash": "#", "raute": "#",
}  # fmt: skip
_NUMBERS: Mapping[str, str] = {**_numbered(_TEEN_WORDS, 10), **_numbered(_ORDINAL_WORDS, 1), "thirtieth": "30"}
"""Numbers below twenty, and days as spoken: "the twenty fourth"."""
_TENS = _numbered(_TEN_WORDS, 2)
_TIMES = {"double": 2, "triple": 3, "treble": 3, "doppel": 2}
_BETWEEN = frozenset(_FILLING_WORDS.split())
_TOKEN = re.compile(r"\d+|[*#]|[^\W\d_]+(?:['’][^\W\d_]+)?")
_ASKS_FOR_TIME = re.compile(r"\b(?:one|a|two|einen?|un)\s+(?:second|moment|minute|minutes|sekunde|moment|augenblick)\b")
_CJK = re.compile(r"[\u4e00-\u9fff〇]")


def spoken_digits(text: str) -> tuple[str, bool]:
    """The digits in `text`, and whether it contains nothing else of meaning."""
    digits: list[str] = []
    is_pure = True
    times, tens = 1, False
    for token in _tokens(text):
        found = token if token[0].isdigit() or token in ("*", "#") else _DIGITS.get(token) or _NUMBERS.get(token)
        if token in _TIMES:
            times = _TIMES[token]
            continue
        if found is not None:
            if tens and len(found) == 1 and found != "0" and found.isdigit():
                digits[-1] = digits[-1][:-1] + found  # twenty + one: 21
            else:
                digits.append(found * times)
        elif token in _TENS:
            digits.append(f"{_TENS[token]}0" * times)
        elif token not in _BETWEEN:
            is_pure = False
        tens, times = token in _TENS, 1
    return "".join(digits), is_pure


def _tokens(text: str) -> list[str]:
    folded = _ASKS_FOR_TIME.sub(" wait ", unicodedata.normalize("NFKC", text).casefold().replace("-", " "))
    tokens: list[str] = []
    for token in _TOKEN.findall(folded):
        tokens.extend(token if _CJK.search(token) else (token,))
    return tokens
