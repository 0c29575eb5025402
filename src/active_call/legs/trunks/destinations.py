"""Match destinations (numbers, addresses, hosts) against lists of patterns.

Patterns and addresses go in, yes or no comes out. Pure; knows no trunks and no configuration. `*` matches any characters.

    +49*                        numbers in any notation: +49 30 1234, 004930123
    desk@example.com            one address; a `sip:` before it has no effect
    *@example.com               every address of that host
    example.com, *.example.com  the same
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

from active_call.sip.syntax.grammar import unescape
from active_call.sip.syntax.uri import Uri

_NUMBER_PATTERN = re.compile(r"\+?[0-9*#?().\s-]*\Z")
_NOT_DIALLED = re.compile(r"[^0-9+*#]")
_SHORTEST_WORLDWIDE = 11
"""A number without + and at least this many digits is assumed to include a country code."""
_STARTS_OF_NUMBERS = tuple("+0123456789*#")
_MARKS_BEFORE = re.compile(r"[^\w+*#]+")
"""Characters that a switch ignores before a number (RFC 3966 §5.1.1 lists some as visual separators)."""
_PHONE_CONTEXT = re.compile(r"phone-context=(\+[0-9().-]+)", re.IGNORECASE)
_SERVICE_CODES = (re.compile(r"[*#]+[0-9]{2}[*#]*"), re.compile(r"[*#]+[0-9]{3}[*#]*"))
_ACCESS_CODES = re.compile(r"(?:00|011)+0*")
_KEYPAD = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "22233344455566677778889999")
"""The keys of letters (ITU-T E.161), with which some switches dial 1900FLOWERS."""
_SCHEME = re.compile(r"(sips?|tel):", re.IGNORECASE)


def number_forms(user: str, country_code: str | None = None) -> frozenset[str]:
    """The forms of a number that a pattern may mean: as dialled, and with + and country code. Empty if it is not a number."""
    text, _, parameters = unicodedata.normalize("NFKC", unescape(user)).partition(";")
    text = text.strip()
    if text[:1] not in "+0123456789*#(" or not text:
        return frozenset()
    digits = _NOT_DIALLED.sub("", text)
    forms = {digits}
    if digits.startswith("011"):
        forms.add("+" + digits[3:])
    if digits.startswith("00"):
        forms.add("+" + digits[2:])
    if digits[:1] not in "+0" and len(digits) >= _SHORTEST_WORLDWIDE:
        forms.add("+" + digits)
    if digits.isdigit() and not digits.startswith("00"):
        context = _context_of(parameters) or (f"+{country_code}" if country_code else "")
        forms |= {context + digits.removeprefix("0")} if context else set()
    return frozenset(forms)


def possible_numbers(user: str, country_code: str | None = None) -> frozenset[str]:
    """Every form of a number that some switch may read from a user part. A denied pattern must match none. Empty if it is not a number.

    In addition to `number_forms`: letters as keys, marks before the number, several `+`, service codes (`*67`, `#31#`), repeated access
    codes, digits of other scripts, a scheme or a phone-context within the user part.
    """
    text, _, parameters = unicodedata.normalize("NFKC", unescape(user)).partition(";")
    text = _MARKS_BEFORE.sub("", _SCHEME.sub("", _with_plain_digits(text).strip(), count=1))
    if not text.startswith(_STARTS_OF_NUMBERS):
        return frozenset()
    digits = _NOT_DIALLED.sub("", text)
    spelled = _NOT_DIALLED.sub("", text.upper().translate(_KEYPAD))
    read = {digits, spelled, *_behind_service_codes(digits)}
    if "+" in digits:
        read.add("+" + digits.rpartition("+")[2])
    bare = {each.replace("+", "") for each in read}
    forms = read.union(*(number_forms(each, country_code) for each in read | bare))
    if "+" in digits:
        forms |= {"+" + each for each in bare}
    if context := _context_of(parameters):
        forms |= {f"{context}{each.lstrip('0')}" for each in bare}
    return frozenset(forms | {"+" + rest for each in bare if (rest := _behind_access_codes(each)) != each})


def _with_plain_digits(text: str) -> str:
    return "".join(str(unicodedata.decimal(each)) if each.isdecimal() else each for each in text)


def _context_of(parameters: str) -> str:
    """The prefix that a number's phone-context puts before it: a country code, possibly with more digits (RFC 3966 §5.1.5)."""
    found = _PHONE_CONTEXT.search(parameters)
    return _NOT_DIALLED.sub("", found.group(1)) if found else ""


def _behind_service_codes(digits: str) -> list[str]:
    """The possible numbers after a code such as *67 or #31#. Only the switch knows the length of the code."""
    return [digits[match.end() :] for each in _SERVICE_CODES if (match := each.match(digits)) is not None]


def _behind_access_codes(digits: str) -> str:
    """The number without leading 00 and 011, also repeated ones."""
    return _ACCESS_CODES.sub("", digits, count=1)


def is_number_pattern(pattern: str) -> bool:
    """Whether a pattern is for numbers."""
    return bool(_NUMBER_PATTERN.match(_bare(pattern)))


def names_number(patterns: Iterable[str], forms: Iterable[str]) -> bool:
    """Whether a number pattern matches one of these forms."""
    compiled = [_number_glob(_bare(pattern)) for pattern in patterns]
    return any(each.fullmatch(form) for form in forms for each in compiled)


def names_host(patterns: Iterable[str], host: str) -> bool:
    """Whether a host pattern matches `host`."""
    host = host.lower().rstrip(".").strip("[]")
    return any(_glob(pattern.lower().strip("[]")).fullmatch(host) for pattern in patterns)


def names_address(patterns: Iterable[str], uri: Uri, *, is_home: bool) -> bool:
    """Whether a pattern matches `uri`. `is_home`: its host is where numbers are dialled, so a number pattern is sufficient."""
    return any(_names(_bare(pattern), uri, is_home) for pattern in patterns)


def is_written_in(text: str, uri: Uri, *, is_home: bool) -> bool:
    """Whether `text`, written by an author, contains the address itself; or its number, if `is_home`."""
    user = unescape(uri.user or "")
    at_host = f"{user}@{uri.host_port}" if user else uri.host_port
    wanted = [at_host, *([user] if is_home and len(user) > 2 else [])]
    if any(re.search(rf"(?<![\w.+@-]){re.escape(each)}(?![\w@-]|\.\w|:\d)", text, re.IGNORECASE) for each in wanted):
        return True
    return is_home and user.startswith("+") and bool(number_forms(user) & _written_numbers(text))


@lru_cache(maxsize=64)
def _written_numbers(text: str) -> frozenset[str]:
    """The numbers with + in a text, without the separators between their digits."""
    return frozenset(_NOT_DIALLED.sub("", each) for each in re.findall(r"\+[0-9][0-9 ().-]{3,24}[0-9]", text))


def _names(pattern: str, uri: Uri, is_home: bool) -> bool:
    user, at, host = pattern.rpartition("@")
    if at:
        return _names_place(host, uri) and _names_user(user, uri)
    if is_number_pattern(pattern):
        return is_home and names_number((pattern,), number_forms(uri.user or ""))
    return _names_place(pattern, uri)


def _names_user(pattern: str, uri: Uri) -> bool:
    user = unescape(uri.user or "")
    return bool(_glob(pattern.lower()).fullmatch(user.lower())) or (
        is_number_pattern(pattern) and names_number((pattern,), number_forms(user))
    )


def _names_place(pattern: str, uri: Uri) -> bool:
    """`host` matches every port, `host:port` only that one."""
    return names_host((pattern,), uri.host) or names_host((pattern,), uri.host_port)


def _bare(pattern: str) -> str:
    return _SCHEME.sub("", pattern.strip(), count=1).partition(";")[0]


@lru_cache(maxsize=1024)
def _glob(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part) for part in pattern.split("*")))


@lru_cache(maxsize=1024)
def _number_glob(pattern: str) -> re.Pattern[str]:
    return _glob(re.sub(r"[().\s-]", "", pattern))
