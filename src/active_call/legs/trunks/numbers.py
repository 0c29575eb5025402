"""Write telephone numbers in a trunk's format (E.164). The user part of an address goes in; the number in that format comes out.

Names, extensions and short codes do not change, nor does any ambiguous number, because a wrong guess would call somebody else.
"""

from __future__ import annotations

import re
from typing import Literal

NumberFormat = Literal["as_given", "+e164", "e164", "national"]

_INTERNATIONAL = re.compile(r"(?:\+|00)([1-9][0-9]{6,14})")
_DIGITS = re.compile(r"[1-9][0-9]{10,14}")
"""Without + or 00, eleven or more digits are an international number: no national number with area code is that long."""


def written(user: str, number_format: NumberFormat, country_code: str | None = None) -> str:
    """`user` in the trunk's format.

    `national` removes the country code, for numbers of that country only. With `country_code`, numbers in national notation (a leading 0,
    or ten digits if the code is 1) are recognised too.
    """
    if number_format == "as_given":
        return user
    digits = international(user, country_code)
    if digits is None:
        return user
    if number_format == "national" and country_code:
        return digits.removeprefix(country_code) if digits.startswith(country_code) else f"+{digits}"
    return f"+{digits}" if number_format == "+e164" else digits


def international(user: str, country_code: str | None = None) -> str | None:
    """The digits of an E.164 number, without +; None if `user` is not certainly one."""
    bare = re.sub(r"[-.() ]", "", user) if re.fullmatch(r"\+?[-.() 0-9]+", user) else user
    if match := _INTERNATIONAL.fullmatch(bare):
        return match[1]
    if country_code is not None and bare.isascii() and bare.isdigit():
        if country_code == "1" and len(bare) == 10 and bare[0] not in "01":
            return f"1{bare}"
        if bare.startswith("0") and not bare.startswith("00") and 7 <= len(bare) <= 13:
            return f"{country_code}{bare[1:]}"
        if bare.startswith(country_code) and 9 <= len(bare) <= 15:
            return bare
    return bare if _DIGITS.fullmatch(bare) else None
