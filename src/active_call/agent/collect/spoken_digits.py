"""Find digits in recognised speech: "double four, oh seven", "twenty one", "zwei drei", "一二三". Pure.

In: a recognised text. Out: its digits in order, and whether the text contains anything else. Filler words between digits (and, the number
is, bitte) do not count as anything else.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence

from active_call.agent.matching.spoken_form import spoken_words

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
_SCALES = frozenset({"hundred", "thousand"})
_ENGLISH_NUMBERS = frozenset({*_ENGLISH.split(), *_TEEN_WORDS.split(), *_TEN_WORDS.split(), *_SCALES, "oh"})
_BETWEEN = frozenset(_FILLING_WORDS.split())
_TOKEN = re.compile(r"\d+|[*#]|[^\W\d_]+(?:['’][^\W\d_]+)?")
_ASKS_FOR_TIME = re.compile(r"\b(?:one|a|two|einen?|un)\s+(?:second|moment|minute|minutes|sekunde|moment|augenblick)\b")
_CJK = re.compile(r"[\u4e00-\u9fff〇]")


def spoken_digits(text: str) -> tuple[str, bool]:
    """The digits in `text`, and whether it contains nothing else of meaning."""
    return digits_of(tokens_of(text))


def digits_of(tokens: Sequence[str]) -> tuple[str, bool]:
    """The same for `tokens_of` a text or a part of it."""
    digits: list[str] = []
    is_pure = True
    times, tens = 1, False
    for token in tokens:
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


def tokens_of(text: str) -> list[str]:
    """The words and digits of `text`, Chinese by character. Numbers with "hundred" and "thousand" are one token in digits."""
    folded = _ASKS_FOR_TIME.sub(" wait ", unicodedata.normalize("NFKC", text).casefold().replace("-", " "))
    tokens: list[str] = []
    for token in _TOKEN.findall(folded):
        tokens.extend(token if _CJK.search(token) else (token,))
    return [token for token in _with_scales(tokens) if token] if _SCALES.intersection(tokens) else tokens


def _with_scales(tokens: list[str]) -> list[str]:
    """`tokens` with each run of number words that has a "hundred" or "thousand" as digits: "four hundred and seven" is 407."""
    result: list[str] = []
    at = 0
    while at < len(tokens):
        end = at
        while end < len(tokens) and (_is_number_word(tokens[end]) or (end > at and tokens[end] == "and")):
            end += 1
        run = tokens[at:end]
        result += (
            ["".join(word for word in spoken_words(" ".join(run)) if word.isdecimal())]
            if _SCALES.intersection(run[1:])
            else run or [tokens[at]]
        )
        at = max(end, at + 1)
    return result


def _is_number_word(token: str) -> bool:
    return token in _ENGLISH_NUMBERS or token.isdecimal()
