"""The interface of a model that detects the end of a turn from sound."""

from __future__ import annotations

from typing import Protocol

JUDGED_S = 8.0
"""How much sound such a model uses: the end of the turn."""


class TurnJudge(Protocol):
    """Estimates from the sound alone whether a speaker has finished."""

    async def warm(self) -> None:
        """Load the model, once. Raises ProviderError."""
        ...

    async def judge(self, pcm: bytes) -> float:
        """The probability, 0 to 1, that the turn is over. `pcm`: s16le mono at 16 kHz, the turn so far with the silence after it.

        Raises ProviderError. Cancelling drops the request.
        """
        ...
