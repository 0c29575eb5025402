"""Shared by adapters of recognition vendors: reading expected words, numbers and enumerations from an `AsrOption`. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from active_call.base.errors import ConfigError
from active_call.contract.options import AsrOption


def terms_of(
    option: AsrOption,
    phrases: Iterable[str],
    limit: int,
    *,
    max_chars: int | None = None,
    max_words: int | None = None,
    in_all: int | None = None,
) -> list[str]:
    """The configured keyterms, then the currently expected phrases; each once, at most `limit`.

    A term of more than `max_chars` or `max_words` is left out, since the vendor would refuse all of them; so is one with which there would
    be more than `in_all` characters together.
    """
    terms: dict[str, None] = {}
    left = in_all
    for given in (*(option.keyterms or ()), *phrases):
        words = given.split()
        term = " ".join(words)
        is_long = (max_chars is not None and len(term) > max_chars) or (max_words is not None and len(words) > max_words)
        if not term or term in terms or is_long or (left is not None and len(term) > left):
            continue
        terms[term] = None
        left = None if left is None else left - len(term)
    return list(terms)[:limit]


def number_in(option: AsrOption, name: str, low: float, high: float) -> float | None:
    """`extra.NAME` as a number from `low` to `high`. Raises ConfigError."""
    value = option.extra.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ConfigError(f"asr.extra.{name}", f"expected a number from {low:g} to {high:g}, found {value!r}")
    return value


def one_of(option: AsrOption, name: str, known: Sequence[str], default: str) -> str:
    """`extra.NAME` as one of the words `known`. Raises ConfigError."""
    value = option.extra.get(name, default)
    if value not in known:
        raise ConfigError(f"asr.extra.{name}", f"expected one of {', '.join(known)}, found {value!r}")
    return str(value)
