"""The settings that select a language model: the keys under `llm`. Recognition and synthesis engines take the contract's own options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct, field


class LlmSettings(Struct, frozen=True):
    """A language model's settings; `None` leaves the choice to the adapter."""

    provider: str | None = None
    model: str | None = None
    base_url: str | None = None
    api_key: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further parameters of the request, sent as they are."""
    fallback: tuple[str, ...] = ()
    """Providers to try in turn when this one fails."""
    hedge_after_s: float | None = None
    """After this long without text, the next of `fallback` is asked as well."""
    reasoning: str | None = None
    """The reasoning effort, in the vendor's word (`low`, `medium`, …); None: the lowest that the model offers."""
