"""The interface of a model that hears the end of a turn."""

from __future__ import annotations

from typing import Protocol

JUDGED_S = 8.0
"""How much sound such a model looks at: the end of the turn."""


class TurnJudge(Protocol):
    """Says how likely it is that a speaker has finished, from the sound alone."""

    async def warm(self) -> None:
        """Load what `judge` needs, once. Raises ProviderError."""
        ...

    async def judge(self, pcm: bytes) -> float:
        """The probability, 0 to 1, that the turn is over. `pcm`: s16le mono at 16 kHz, the turn so far with the silence after it.

        Raises ProviderError. Cancelling drops the question.
        """
        ...
