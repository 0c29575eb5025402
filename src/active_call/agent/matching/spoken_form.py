"""Normalise texts to a spoken form, so that different spellings of recognisers compare as the same words.

A text goes in; words come out: lower case, without variants of accents and punctuation; every number digit by digit ("forty two", "four
two" and "42" are equal); contractions expanded; symbols of addresses as they are spoken ("cat.b@example.com" becomes "cat dot b at example
dot com"). Number words and contractions are English only; other languages keep their words, and their digits. Pure.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Sequence

_UNITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_TEENS = ("ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen")
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_SMALL = {word: value for value, word in enumerate((*_UNITS, *_TEENS))} | {word: 20 + 10 * n for n, word in enumerate(_TENS)}
_SCALES = {"thousand": 1_000, "million": 1_000_000}
_TIMES = {"double": 2, "triple": 3}
_ORDINALS = {
    "first": "one", "second": "two", "third": "three", "fourth": "four", "fifth": "five", "sixth": "six", "seventh": "seven",
    "eighth": "eight", "ninth": "nine", "tenth": "ten", "eleventh": "eleven", "twelfth": "twelve", "thirteenth": "thirteen",
    "fourteenth": "fourteen", "fifteenth": "fifteen", "sixteenth": "sixteen", "seventeenth": "seventeen", "eighteenth": "eighteen",
    "nineteenth": "nineteen", "twentieth": "twenty", "thirtieth": "thirty",
}  # fmt: skip
"""An ordinal is its number plus "th": "twenty first" and "21st" are equal."""
_WRITTEN_ORDINAL = re.compile(r"(?<=\d)(?:st|nd|rd|th)\b")
_SYMBOLS = {"&": "and", "+": "plus", "%": "percent", "@": "at", "$": "dollars", "€": "euros", "£": "pounds", "#": "hash", "*": "star"}
_WHOLE = {
    "cant": "can not",
    "cannot": "can not",
    "wont": "will not",
    "shant": "shall not",
    "lets": "let us",
    "id": "id",
    "gonna": "going to",
    "wanna": "want to",
    "gotta": "got to",
    "ok": "okay",
    "bye": "goodbye",
    "goodby": "goodbye",
    "oclock": "",
    "email": "e mail",
    "emails": "e mails",
}
"""Words without apostrophes that the suffix rule would corrupt or does not cover."""
_ENDINGS = (
    ("n't", " not"),
    ("'re", " are"),
    ("'ve", " have"),
    ("'ll", " will"),
    ("'m", " am"),
    ("'d", " would"),
)
_IS = frozenset({"it", "he", "she", "that", "this", "what", "where", "when", "who", "how", "there", "here"})
"""After these `'s` is "is"; after other words it is the genitive."""
_SOUND_ALIKE = {
    word: words[0]
    for words in (
        ("you are", "your", "youre"),
        ("hours", "ours"),
        ("there", "their"),
        ("no", "know"),
        ("by", "buy"),
        ("right", "write"),
        ("hear", "here"),
        ("sales", "sails"),
        ("week", "weak"),
        ("mail", "male"),
        ("sun", "son"),
        ("wait", "weight"),
        ("sea", "see"),
        ("meet", "meat"),
        ("flower", "flour"),
        ("order", "odor"),
        ("fair", "fare"),
        ("doctor", "dr"),
        ("mister", "mr"),
        ("street", "st"),
        ("dot net", "dotnet"),
        ("dot com", "dotcom"),
        ("neighbor", "neighbour"),
        ("color", "colour"),
        ("center", "centre"),
        ("favorite", "favourite"),
        ("gray", "grey"),
        ("tire", "tyre"),
        ("tires", "tyres"),
        ("check", "cheque"),
        ("checks", "cheques"),
        ("program", "programme"),
        ("license", "licence"),
        ("theater", "theatre"),
        ("meter", "metre"),
        ("meters", "metres"),
        ("colors", "colours"),
        ("neighbors", "neighbours"),
        ("whether", "weather"),
        ("through", "threw"),
        ("new", "knew"),
        ("real", "reel"),
        ("past", "passed"),
        ("canceled", "cancelled"),
        ("travelling", "traveling"),
        ("sale", "sail"),
    )
    for word in words[1:]
}
"""Words that sound the same, so a recogniser cannot tell them apart."""
_JOINED = re.compile(r"(?<=[a-z])-(?=(?:mail|morrow|night|day)\b)|(?<=\bgood)[- ](?=bye\b)|(?<=\bgood)-(?=by\b)")
_MONEY = re.compile(r"([$€£])\s?(\d+)(?:\.(\d\d))?(?!\d)")
_CENTS = {"$": "cents", "€": "cents", "£": "pence"}
_FULL_HOUR = re.compile(r"(?<=\d):00\b")
_TOKEN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W_]+(?:'[^\W_]+)*|[&+%@$€£#*]")


@functools.lru_cache(maxsize=2048)
def spoken_words(text: str) -> tuple[str, ...]:
    """`text` as normalised words."""
    return tuple(_alike(_digits(_plain_words(text))))


def _plain_words(text: str) -> list[str]:
    folded = unicodedata.normalize("NFKC", text).casefold().replace("’", "'")
    folded = re.sub(r"\b([ap])\.?\s?m\b\.?", r"\1m", folded)
    folded = re.sub(r"(?<=\d),(?=\d{3}\b)", "", folded)
    folded = _WRITTEN_ORDINAL.sub(" th", folded)
    folded = _FULL_HOUR.sub("", folded)
    folded = _MONEY.sub(_money, folded)
    folded = re.sub(r"(?<=\d)\.(?=\d)", " point ", folded)
    folded = re.sub(r"(?<=[^\W_])\.(?=[^\W_])", " dot ", folded)
    folded = _JOINED.sub("", folded)
    words: list[str] = []
    for token in _TOKEN.findall(folded):
        words += _written_out(_SYMBOLS.get(token, token)).split()
    return words


def _money(found: re.Match[str]) -> str:
    """`$5.20` as spoken: "5 dollars and 20 cents"."""
    sign, whole, part = found.groups()
    said = f" {whole} {_SYMBOLS[sign]} "
    return f"{said}and {part} {_CENTS[sign]} " if part and int(part) else said


def _written_out(token: str) -> str:
    bare = token.replace("'", "")
    if bare in _WHOLE:
        return _WHOLE[bare]
    if token.endswith("'s") and token[:-2] in _IS:
        return f"{token[:-2]} is"
    for ending, full in _ENDINGS:
        if token.endswith(ending) and len(token) > len(ending):
            return token[: -len(ending)] + full
    return f"{_ORDINALS[bare]} th" if bare in _ORDINALS else bare


def _alike(words: Sequence[str]) -> list[str]:
    return [part for word in words for part in _SOUND_ALIKE.get(word, word).split()]


def _digits(words: Sequence[str]) -> list[str]:
    """`words` with every number as single digits."""
    result: list[str] = []
    position = 0
    while position < len(words):
        times = _TIMES.get(words[position])
        if times is not None and position + 1 < len(words) and (digit := _digit(words[position + 1])) is not None:
            result += [digit] * times
            position += 2
            continue
        value, following = _number(words, position)
        if value:
            result += value
        elif words[position] in ("o", "oh") and _is_among_digits(words, position, result):
            result.append("0")
        else:
            result.append(words[position])
        position = following
    return result


def _number(words: Sequence[str], position: int) -> tuple[str, int]:
    """The digits of the number that begins at `position`, and its end. If there is none: no digits and the next position."""
    word = words[position]
    if word.isascii() and word.isdigit():
        if position + 1 < len(words) and words[position + 1] in ("hundred", *_SCALES) and len(word) <= 3:
            return _scaled(int(word), words, position + 1)
        return word, position + 1
    small, following = _below_hundred(words, position)
    if small is None:
        return "", position + 1
    return _scaled(small, words, following)


def _scaled(value: int, words: Sequence[str], position: int) -> tuple[str, int]:
    """`value` multiplied by the "hundred", "thousand" and "million" that follow at `position`."""
    if position < len(words) and words[position] == "hundred":
        value, position = _plus_small(value * 100, words, position + 1)
    if position < len(words) and words[position] in _SCALES:
        scale = _SCALES[words[position]]
        value, position = value * scale, position + 1
        below, following = _number(words, position) if position < len(words) else ("", position)
        if below and len(below) < len(str(scale)):
            value, position = value + int(below), following
    return str(value), position


def _plus_small(value: int, words: Sequence[str], position: int) -> tuple[int, int]:
    start = position + 1 if position < len(words) and words[position] == "and" else position
    small, following = _below_hundred(words, start)
    return (value, position) if small is None else (value + small, following)


def _below_hundred(words: Sequence[str], position: int) -> tuple[int | None, int]:
    value = _SMALL.get(words[position]) if position < len(words) else None
    if value is None:
        return None, position
    following = position + 1
    if value >= 20 and following < len(words) and words[following] in _UNITS[1:]:
        return value + _SMALL[words[following]], following + 1
    return value, following


def _digit(word: str) -> str | None:
    if word in _UNITS:
        return str(_UNITS.index(word))
    return "0" if word in ("o", "oh") else word if len(word) == 1 and word.isascii() and word.isdigit() else None


def _is_among_digits(words: Sequence[str], position: int, before: Sequence[str]) -> bool:
    """Whether an "oh" is a zero: digits are on both sides, or more than one on one side."""
    has_before = bool(before) and before[-1].isdigit()
    following = [_digit(word) is not None or word[:1].isdigit() for word in words[position + 1 : position + 4]]
    if not has_before:
        return len(following) > 1 and all(following[:3])
    return following[:1] == [True] or (len(before) > 1 and before[-2].isdigit())
