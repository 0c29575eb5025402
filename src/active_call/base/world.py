"""The interfaces to the outside world: the clock and the source of randomness.

Pure rooms get these through their constructors and are tested with the deterministic ones in `active_call.testing`.
"""

from __future__ import annotations

import secrets
import time
import uuid
from datetime import UTC, datetime
from typing import Protocol

from msgspec import Struct, field


class Clock(Protocol):
    """The clock. Use `now` to order events and measure durations, `utc_now` for people and records."""

    def now(self) -> float:
        """Monotonic seconds, comparable between the processes of one machine (CLOCK_MONOTONIC)."""
        ...

    def utc_now(self) -> datetime:
        """The aware time of day in UTC."""
        ...


class Randomness(Protocol):
    """Unpredictable values: tags, branches, keys, jittered delays."""

    def token(self, n_bytes: int) -> str:
        """`n_bytes` of entropy as lower-case hexadecimal, twice as many characters."""
        ...

    def random_bytes(self, n_bytes: int) -> bytes:
        """`n_bytes` fit for a key."""
        ...

    def uniform(self, low: float, high: float) -> float:
        """A number in [low, high)."""
        ...

    def uuid(self) -> str:
        """A version 4 UUID in its usual text form."""
        ...


class SystemClock:
    """The machine's clocks. `now` is the library function itself, because each call reads the time about ten times a second."""

    now = staticmethod(time.monotonic)

    def utc_now(self) -> datetime:
        return datetime.now(UTC)


class SystemRandomness:
    """The operating system's randomness."""

    def token(self, n_bytes: int) -> str:
        return secrets.token_hex(n_bytes)

    def random_bytes(self, n_bytes: int) -> bytes:
        return secrets.token_bytes(n_bytes)

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * (secrets.randbits(53) / (1 << 53))

    def uuid(self) -> str:
        return str(uuid.uuid4())


class World(Struct, frozen=True):
    """Clock and randomness together, for constructors."""

    clock: Clock = field(default_factory=SystemClock)
    randomness: Randomness = field(default_factory=SystemRandomness)
