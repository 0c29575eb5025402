"""How to read English text that a voice would misread: telephone numbers, prices, times, dates, codes, addresses, abbreviations.

A text enters. Its words leave in order, each with its spoken form, so that spoken times can be mapped to written words. The first
rule that matches is used; other text is spoken as written. Plain numbers are left to the voice, which reads them well. For voices of this
machine; vendors have their own rules. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from msgspec import Struct

from active_call.providers.speech.spoken_words import (
    CURRENCIES,
    IRREGULAR_PLURALS,
    MONEY_PLURALS,
    MONTHS,
    ORDINAL_ENDINGS,
    SAID_AS_WORDS,
    SHORT_DAYS,
    SHORT_MONTHS,
    SPELLED,
    SPOKEN_MARKS,
    UNITS,
    WITH_DOT,
)

Match = re.Match[str]
MIN_SPELLED_DIGITS = 7
"""A bare number with this many digits is not a quantity, and is read digit by digit."""
YEARS = re.compile(r"(?:19|20)\d\d")
_GROUP = re.compile(r"\d+")


class SpokenWord(Struct, frozen=True):
    """One written word, or several that are spoken as a unit, and the spoken form."""

    written: str
    spoken: str


def spoken_words(text: str) -> list[SpokenWord]:
    """The words of `text` with their spoken forms."""
    if text.isupper() and " " in text:
        text = text.capitalize()
    replacements = _replacements(text)
    words: list[SpokenWord] = []
    position = 0
    while (begin := _skip_space(text, position)) < len(text):
        position = begin
        said: list[str] = []
        while position < len(text) and not text[position].isspace():
            found = replacements.get(position)
            if found is None:
                said.append(text[position])
                position += 1
            else:
                position, spoken = found
                said.append(spoken)
        words.append(SpokenWord(text[begin:position], "".join(said)))
    return words


def spoken_english(text: str) -> str:
    """`text` in its spoken form."""
    return " ".join(word.spoken for word in spoken_words(text))


def _skip_space(text: str, position: int) -> int:
    while position < len(text) and text[position].isspace():
        position += 1
    return position


def _replacements(text: str) -> dict[int, tuple[int, str]]:
    """Where the spoken form differs: start → end, words. They do not overlap."""
    found: dict[int, tuple[int, str]] = {}
    taken = bytearray(len(text))
    for pattern, say in RULES:
        for match in pattern.finditer(text):
            begin, end = match.span("it") if "it" in pattern.groupindex else match.span()
            if any(taken[begin:end]):
                continue
            said = say(match)
            if said is not None:
                found[begin] = (end, said)
                taken[begin:end] = b"\1" * (end - begin)
    return found


# -- what is said


def spelled(text: str) -> str:
    """Letters and digits one by one."""
    return " ".join(text)


def plural(count: str, one: str, many: str | None = None) -> str:
    """`one` for a count of 1, else its plural."""
    return one if count == "1" else many or IRREGULAR_PLURALS.get(one) or MONEY_PLURALS.get(one) or f"{one}s"


def ordinal(day: int) -> str:
    """1 → 1st."""
    return f"{day}{'th' if day % 100 in (11, 12, 13) else ORDINAL_ENDINGS.get(day % 10, 'th')}"


def year(number: str) -> str:
    """A year as two pairs; 2000 to 2009 and full hundreds as the voice says them."""
    if len(number) != 4 or number[2:] == "00" or number[:3] == "200":
        return number
    return f"{number[:2]} {number[2:] if number[2] != '0' else f'oh {number[3]}'}"


def _address(match: Match) -> str:
    parts = re.split(r"([._@+&~/:-])", match.group())
    words = [
        SPOKEN_MARKS.get(part, spelled(part) if part.isdigit() else re.sub(r"(?<=\D)(?=\d)|(?<=\d)(?=\D)", " ", part)) for part in parts
    ]
    return " ".join(word for word in words if word)


def _telephone(match: Match) -> str | None:
    written = match.group()
    groups = _GROUP.findall(written)
    n_digits = sum(map(len, groups))
    is_marked = written[0] in "+(0" or "-" in written
    if not MIN_SPELLED_DIGITS <= n_digits <= 17 or not (is_marked or len(groups) == 1 or len(groups[-1]) == 4):
        return None
    if len(groups) == 2 and all(YEARS.fullmatch(group) for group in groups):
        return None
    if len(groups) == 1:
        groups = _in_groups(groups[0])
    plus = "plus " if written[0] == "+" else ""
    return plus + ", ".join(spelled(group) for group in groups)


def _in_groups(digits: str) -> list[str]:
    """Digits in threes, the last four together, so that a listener can write them down."""
    head, tail = digits[:-4], digits[-4:]
    first = len(head) % 3
    return [group for group in (head[:first], *(head[i : i + 3] for i in range(first, len(head), 3)), tail) if group]


def _money(match: Match) -> str:
    unit, small = CURRENCIES[(match["sign"] or match["after"]).upper()]
    whole, part, scale = match["whole"] or match["whole2"], match["part"] or match["part2"], match["scale"]
    whole = whole.replace(",", "")
    if scale:
        scale = {"k": "thousand", "m": "million", "bn": "billion"}.get(scale.lower(), scale.lower())
        return f"{whole}{f'.{part}' if part else ''} {scale} {plural('2', unit)}"
    cents = (part or "").ljust(2, "0").lstrip("0") if part and len(part) <= 2 else ""
    said = f"{whole} {plural(whole, unit)}"
    if part and len(part) > 2:
        return f"{whole}.{part} {plural('2', unit)}"
    if not cents or not small:
        return said
    small_said = f"{cents} {plural(cents, small)}"
    return small_said if whole == "0" else f"{said} and {small_said}"


def _time(match: Match) -> str:
    hour, minute, half = int(match["hour"]), match["minute"] or "00", (match["half"] or "").replace(".", "").replace(" ", "").lower()
    if not half and hour > 12:
        hour, half = hour - 12, "pm"
    elif not half and hour == 0:
        hour, half = 12, "am"
    minutes = "" if minute == "00" else f" oh {minute[1]}" if minute[0] == "0" else f" {minute}"
    ending = f" {spelled(half).upper()}" if half else "" if minutes else " o'clock"
    return f"{hour}{minutes}{ending}"


def _date(match: Match) -> str | None:
    values = match.groupdict()
    if values["iso_year"]:
        number, month, day = values["iso_year"], int(values["iso_month"]), int(values["iso_day"])
    else:
        number, month, day = values["year"] or "", int(values["first"]), int(values["second"])
        if month > 12:
            month, day = day, month
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return None
    if len(number) == 2:
        number = f"20{number}"
    return f"{MONTHS[month - 1]} {ordinal(day)}{f', {year(number)}' if number else ''}"


def _month(match: Match) -> str | None:
    name, day, number = match["month"].rstrip("."), match["day"], match["of"]
    month = SHORT_MONTHS.get(name, name)
    if name == "May" and not day:
        return None
    said = f"{month} {ordinal(int(day))}" if day else month
    return f"{said}, {year(number)}" if number else said


def _fraction(match: Match) -> str:
    known = {"1/2": "one half", "1/4": "one quarter", "3/4": "three quarters", "1/3": "one third", "2/3": "two thirds", "24/7": "24 7"}
    return known[match.group()]


def _code(match: Match) -> str | None:
    written = match["it"]
    letters = [char for char in written if char.isalpha()]
    if not letters or len(letters) == sum(map(str.isalnum, written)):
        return None
    groups = [group if group.isalpha() and len(group) > 3 else spelled(group) for group in re.split(r"[-_/]", written) if group]
    return ", ".join(groups)


def _abbreviation(match: Match) -> str | None:
    return WITH_DOT.get(match["short"].lower())


def _unit(match: Match) -> str | None:
    unit = UNITS.get(match["unit"].lower())
    return None if unit is None else f"{match['n']} {plural(match['n'], unit)}"


def _capitals(match: Match) -> str | None:
    written = match.group()
    if written in SPELLED and written != "IT":
        return spelled(written)
    if written in SAID_AS_WORDS or len(written) > 3 or any(vowel in written for vowel in "AEIOU"):
        return None
    return spelled(written)


def _names(values: dict[str, str] | tuple[str, ...]) -> str:
    return "|".join(sorted(map(re.escape, values), key=len, reverse=True))


_END = r"(?![\w@])"
_BEGIN = r"(?<![\w@.,/$€£-])"
_AMOUNT = r"\d{1,3}(?:,\d{3})+|\d+"
_SIGNS = r"US\$|[$€£¥₹]|(?:USD|EUR|GBP|JPY|INR|CHF|CAD|AUD)\s"
_AFTER = r"€|£|(?:USD|EUR|GBP|JPY|INR|CHF|CAD|AUD)\b"

RULES: list[tuple[re.Pattern[str], Callable[[Match], str | None]]] = [
    (re.compile(r"(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+"), _address),
    (
        re.compile(rf"{_BEGIN}(?:[a-z0-9-]+\.)+(?:com|org|net|io|dev|info|edu|gov|co|uk|us|eu|de|fr|ai|app)(?:/[\w/-]*\w)?{_END}", re.I),
        _address,
    ),
    (
        re.compile(
            rf"{_BEGIN}(?:(?P<iso_year>\d{{4}})-(?P<iso_month>\d\d)-(?P<iso_day>\d\d)|(?P<first>\d{{1,2}})/(?P<second>\d{{1,2}})/(?P<year>\d{{4}}|\d\d)){_END}"
        ),
        _date,
    ),
    (
        re.compile(
            rf"(?<![\w$€£])(?:(?P<sign>{_SIGNS})\s?(?P<whole>{_AMOUNT})(?:\.(?P<part>\d+))?|(?P<whole2>{_AMOUNT})(?:\.(?P<part2>\d+))?\s?(?P<after>{_AFTER}))"
            r"(?:\s?(?P<scale>thousand|million|billion|bn|[kKmM])\b)?"
        ),
        _money,
    ),
    (re.compile(r"(?<![\w.,])\(?\+?\(?\d[\d\s().-]*\d(?![\d%]|[.,:/]\d)(?![\w@])"), _telephone),
    (
        re.compile(
            rf"{_BEGIN}(?P<hour>[01]?\d|2[0-3]):(?P<minute>[0-5]\d)(?::[0-5]\d)?(?:\s?(?P<half>[ap]\.?\s?m\b\.?(?=\s+(?-i:[a-z\d]))|[ap]\.?m\b))?(?![\d:])",
            re.I,
        ),
        _time,
    ),
    (re.compile(rf"{_BEGIN}(?P<hour>1[0-2]|[1-9])(?P<minute>)\s?(?P<half>[ap]\.m\b\.?(?=\s+(?-i:[a-z\d]))|[ap]\.?m\b)", re.I), _time),
    (
        re.compile(
            rf"\b(?P<month>{'|'.join(MONTHS)}|(?:{'|'.join(sorted(SHORT_MONTHS, key=len, reverse=True))})\b\.?(?=\s+\d))"
            r"(?:\s+(?P<day>[12]\d|3[01]|0?[1-9])(?:st|nd|rd|th)?(?![\d:.%]\d|\d|\s?[ap]\.?m\b))?(?:,?\s+(?P<of>(?:19|20)\d\d)\b)?"
        ),
        _month,
    ),
    (re.compile(rf"\b(?P<it>(?:{'|'.join(SHORT_DAYS)})\.)(?=[\s,])"), lambda match: SHORT_DAYS[match["it"][:-1]]),
    (
        re.compile(r"\b(?:in|since|of|year|from|until|by)\s+(?P<it>1[1-9]\d\d|20\d\d)\b(?!\s*(?:%|[a-z]+s\b))", re.I),
        lambda match: year(match["it"]),
    ),
    (re.compile(r"\b(?P<c>19|20)(?P<d>[2-9])0s\b"), lambda match: f"{match['c']} {match['d']}0s"),
    (re.compile(r"(?<![\d/.])(?:1/2|1/4|3/4|1/3|2/3|24/7)(?![\d/])"), _fraction),
    (re.compile(r"(?<![\w.,:/-])(?P<a>\d{1,4})\s?[-–]\s?(?P<b>\d{1,4})(?![\w/-]|[.,:]\d)"), lambda match: f"{match['a']} to {match['b']}"),
    (re.compile(r"(?<!\w)(?P<it>#)\s?(?=\w)"), lambda match: "number "),
    (re.compile(r"(?<!\w)(?P<it>[Nn]o\.)\s?(?=\d)"), lambda match: "number"),
    (
        re.compile(
            r"\b(?:codes?|pin|numbers?|extension|ext\.?|room|flight|order|id|reference|account|ending in)\b"
            r"(?:\s+(?:is|was|are|number|no\.|#))?[\s:]+#?(?P<it>\d{3,6})\b(?![.,:]\d|%)",
            re.I,
        ),
        lambda match: spelled(match["it"]),
    ),
    (re.compile(r"(?<![\w.,-])(?P<it>[A-Z0-9]+(?:[-_/][A-Z0-9]+)*)(?![\w-]|[.,]\d)"), _code),
    (re.compile(rf"(?<![\w.])(?<!\d,)(?P<n>\d+(?:[.,]\d+)*)\s?(?P<unit>{_names(UNITS)})(?:\.(?=\s+(?-i:[a-z\d])))?{_END}", re.I), _unit),
    (re.compile(r"\b[A-Z][a-z]+\s+(?P<it>St(?:\.(?=\s+[a-z]))?)(?!\w)"), lambda match: "Street"),
    (re.compile(r"\bSt\.(?=\s+[A-Z])"), lambda match: "Saint"),
    (re.compile(rf"\b(?P<short>{_names(WITH_DOT)})\.(?!\w)", re.I), _abbreviation),
    (re.compile(r"(?<=\s)&(?=\s)"), lambda match: "and"),
    (re.compile(r"\b[A-Z]{2,5}\b"), _capitals),
]
