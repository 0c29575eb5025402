"""Which destinations a list of patterns names: numbers, addresses, hosts.

Patterns and addresses enter, yes or no leaves. Pure; knows no trunks and no configuration. `*` stands for any characters.

    +49*                        numbers, in whatever form they are written: +49 30 1234, 004930123
    desk@example.com            one address; `sip:` before it changes nothing
    *@example.com               every address of that host
    example.com, *.example.com  the same
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

from active_call.sip.grammar import unescape
from active_call.sip.uri import Uri

_NUMBER_PATTERN = re.compile(r"\+?[0-9*#?().\s-]*\Z")
_NOT_DIALLED = re.compile(r"[^0-9+*#]")
_SHORTEST_WORLDWIDE = 11
"""A number without + counts as one with its country code from so many digits on."""
_SCHEME = re.compile(r"(sips?|tel):", re.IGNORECASE)


def number_forms(user: str, country_code: str | None = None) -> frozenset[str]:
    """The forms of a number that a pattern may mean: as dialled, and with + and country code. Empty for what is no number."""
    text = unicodedata.normalize("NFKC", unescape(user)).partition(";")[0].strip()
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
    if country_code and not digits.startswith(("+", "00")):
        forms.add(f"+{country_code}{digits.removeprefix('0')}")
    return frozenset(forms)


def is_number_pattern(pattern: str) -> bool:
    """Whether a pattern is one of numbers."""
    return bool(_NUMBER_PATTERN.match(_bare(pattern)))


def names_number(patterns: Iterable[str], forms: Iterable[str]) -> bool:
    """Whether a pattern of numbers names one of these forms."""
    compiled = [_number_glob(_bare(pattern)) for pattern in patterns]
    return any(each.fullmatch(form) for form in forms for each in compiled)


def names_host(patterns: Iterable[str], host: str) -> bool:
    """Whether a pattern of hosts names `host`."""
    host = host.lower().rstrip(".").strip("[]")
    return any(_glob(pattern.lower().strip("[]")).fullmatch(host) for pattern in patterns)


def names_address(patterns: Iterable[str], uri: Uri, *, is_home: bool) -> bool:
    """Whether a pattern names `uri`. `is_home`: its host is where numbers go, so that a pattern of numbers is enough."""
    return any(_names(_bare(pattern), uri, is_home) for pattern in patterns)


def is_written_in(text: str, uri: Uri, *, is_home: bool) -> bool:
    """Whether `text`, which an author has written, names the address itself; a number too, where `is_home`."""
    user = unescape(uri.user or "")
    at_host = f"{user}@{uri.host_port}" if user else uri.host_port
    wanted = [at_host, *([user] if is_home and len(user) > 2 else [])]
    if any(re.search(rf"(?<![\w.+@-]){re.escape(each)}(?![\w@-]|\.\w|:\d)", text, re.IGNORECASE) for each in wanted):
        return True
    return is_home and user.startswith("+") and bool(number_forms(user) & _written_numbers(text))


@lru_cache(maxsize=64)
def _written_numbers(text: str) -> frozenset[str]:
    """The numbers with + that stand in a text, with whatever stands between their digits."""
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
    """`host` names every port of it, `host:port` that one."""
    return names_host((pattern,), uri.host) or names_host((pattern,), uri.host_port)


def _bare(pattern: str) -> str:
    return _SCHEME.sub("", pattern.strip(), count=1).partition(";")[0]


@lru_cache(maxsize=1024)
def _glob(pattern: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part) for part in pattern.split("*")))


@lru_cache(maxsize=1024)
def _number_glob(pattern: str) -> re.Pattern[str]:
    return _glob(re.sub(r"[().\s-]", "", pattern))
