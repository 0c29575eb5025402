"""What was used: seconds, characters and tokens, of which engine. Pure values.

The units of one use exclude each other, so that a price for each adds up: cached input is no input, and sound tokens are no text tokens.
Reasoning tokens, requests and cached characters tell more about the use, and are never priced.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Literal

Kind = Literal["asr", "tts", "llm", "realtime", "telephony"]
KINDS: Final = ("asr", "tts", "llm", "realtime", "telephony")


class Unit(StrEnum):
    """What is counted, by its name in records."""

    SECONDS = "seconds"
    """Of sound: sent to a recogniser, made by a synthesiser; of a telephone leg, from answer to end."""
    CHARACTERS = "characters"
    """Of text that a synthesiser was given."""
    INPUT_TOKENS = "inputTokens"
    """Of text, without those that the vendor had in its cache."""
    CACHED_INPUT_TOKENS = "cachedInputTokens"
    OUTPUT_TOKENS = "outputTokens"
    """Of text, with those that the model thought with."""
    AUDIO_INPUT_TOKENS = "audioInputTokens"
    CACHED_AUDIO_TOKENS = "cachedAudioTokens"
    AUDIO_OUTPUT_TOKENS = "audioOutputTokens"
    REASONING_TOKENS = "reasoningTokens"
    """Of the output, those that the model thought with."""
    CACHED_CHARACTERS = "cachedCharacters"
    """Of speech that was kept from before: nobody was asked for it, and it costs nothing."""
    REQUESTS = "requests"


UNPRICED: Final = frozenset({Unit.REASONING_TOKENS, Unit.CACHED_CHARACTERS, Unit.REQUESTS})
"""They are part of another unit, or cost nothing."""
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


@dataclass(frozen=True, slots=True)
class Billed:
    """Who bills a use: `provider` is the adapter's name, or the host of a server of one's own; `model` is empty if there is none."""

    kind: Kind
    provider: str
    model: str = ""

    def __str__(self) -> str:
        return " ".join(part for part in (self.kind, self.provider, self.model) if part)


@dataclass(frozen=True, slots=True)
class Used:
    """One use. `is_estimated`: the vendor did not tell the amounts."""

    billed: Billed
    amounts: Amounts = field(default_factory=dict)
    is_estimated: bool = False
