"""Units of usage: seconds, characters and tokens, by engine. Pure values.

The units of one use exclude each other, so that their costs add up: cached input is not counted as input, sound tokens are not counted as
text tokens. Reasoning tokens, requests and cached characters are additional information, and are never priced.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, Literal

from msgspec import Struct, field

Kind = Literal["asr", "tts", "llm", "realtime", "telephony"]
KINDS: Final = ("asr", "tts", "llm", "realtime", "telephony")


class Unit(StrEnum):
    """What is counted, by its name in records."""

    SECONDS = "seconds"
    """Of sound: sent to a recogniser, made by a synthesiser; for a telephone leg, from answer to end."""
    CHARACTERS = "characters"
    """Characters of text given to a synthesiser."""
    INPUT_TOKENS = "inputTokens"
    """Text tokens, without those that the vendor had in its cache."""
    CACHED_INPUT_TOKENS = "cachedInputTokens"
    OUTPUT_TOKENS = "outputTokens"
    """Text tokens, including reasoning."""
    AUDIO_INPUT_TOKENS = "audioInputTokens"
    CACHED_AUDIO_TOKENS = "cachedAudioTokens"
    AUDIO_OUTPUT_TOKENS = "audioOutputTokens"
    REASONING_TOKENS = "reasoningTokens"
    """Output tokens used for reasoning."""
    CACHED_CHARACTERS = "cachedCharacters"
    """Characters of speech from the cache: no engine was used, and it costs nothing."""
    REQUESTS = "requests"


UNPRICED: Final = frozenset({Unit.REASONING_TOKENS, Unit.CACHED_CHARACTERS, Unit.REQUESTS})
"""Part of another unit, or free."""
TOKENS: Final = frozenset(
    {
        Unit.INPUT_TOKENS,
        Unit.CACHED_INPUT_TOKENS,
        Unit.OUTPUT_TOKENS,
        Unit.AUDIO_INPUT_TOKENS,
        Unit.CACHED_AUDIO_TOKENS,
        Unit.AUDIO_OUTPUT_TOKENS,
    }
)
Amounts = Mapping[Unit, float]


class Billed(Struct, frozen=True):
    """Who bills a use: `provider` is the adapter's name, or the host of a private server; `model` is empty if there is none."""

    kind: Kind
    provider: str
    model: str = ""

    def __str__(self) -> str:
        return " ".join(part for part in (self.kind, self.provider, self.model) if part)


class Used(Struct, frozen=True):
    """One use. `is_estimated`: the vendor did not report the amounts."""

    billed: Billed
    amounts: Amounts = field(default_factory=dict)
    is_estimated: bool = False
