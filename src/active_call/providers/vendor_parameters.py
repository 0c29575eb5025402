"""Shared by adapters of speech vendors: language tags and URL parameters. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

OURS = frozenset({"encoding"})
"""Keys of `extra` that are not vendor parameters."""
_REGIONS = {
    "en": "US", "zh": "CN", "ja": "JP", "ko": "KR", "pt": "BR", "hi": "IN", "ar": "EG", "da": "DK", "sv": "SE", "cs": "CZ", "el": "GR",
    "he": "IL", "uk": "UA", "vi": "VN", "et": "EE", "sl": "SI", "nb": "NO", "ms": "MY", "ta": "IN", "te": "IN", "bn": "IN", "fa": "IR",
    "ca": "ES",
}  # fmt: skip
"""Default regions for languages whose code is not the code of a country that speaks them."""


def tag_of(language: str | None) -> str | None:
    """A BCP 47 tag as vendors write it (`en-US`); None for no language and for `auto`."""
    if not language or language.strip().lower() in ("auto", "multi"):
        return None
    first, *rest = language.strip().replace("_", "-").split("-")
    return "-".join([first.lower(), *(part.upper() if len(part) == 2 else part for part in rest)])


def regional_tag(language: str | None, default: str) -> str:
    """A tag with a region, for vendors that require one. A language without a region gets its most spoken form (`en` → `en-US`)."""
    tag = tag_of(language)
    if tag is None:
        return default
    return tag if "-" in tag else f"{tag}-{_REGIONS.get(tag, tag.upper())}"


def base_language(language: str | None) -> str | None:
    """The language without region (`en`)."""
    tag = tag_of(language)
    return tag.partition("-")[0] if tag else None


def with_parameters(url: str, parameters: Mapping[str, Any], extra: Mapping[str, Any]) -> str:
    """`url` with a query. `extra` overrides `parameters`. None omits a parameter; a list repeats it."""
    pairs = [
        (name, text_of_parameter(each))
        for name, value in {**parameters, **{key: value for key, value in extra.items() if key not in OURS}}.items()
        if value is not None
        for each in (value if isinstance(value, list | tuple) else [value])
    ]
    sign = "&" if "?" in url else "?"
    return f"{url}{sign}{urlencode(pairs)}" if pairs else url


def text_of_parameter(value: Any) -> str:
    """A value in the form it has in a query: `true`, `0.7`, text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
