"""Load shedding: decide whether a media process skips optional work because its ticks are late.

The lateness of ticks goes in, `is_shedding` comes out. Pure. Essential work is always done: decoding, detection, playing, SRTP. Optional
work is skipped while ticks are late and resumed after a period without lateness. In a media process the optional work is the improvement of
the callers' sound (noise suppression, gain).

| state    | ticks                                                            | then     |
|----------|------------------------------------------------------------------|----------|
| normal   | `MANY` of the last `WINDOW` are over `LATE_S` late               | shedding |
| shedding | none of the last `CALM` is over `LATE_S` late                    | normal   |
"""

from __future__ import annotations

from typing import Final

LATE_S: Final = 0.008
"""Below the 10 ms at which `pool/admission` accepts no more calls, so that both act before a caller hears anything."""
WINDOW: Final = 50
MANY: Final = 5
CALM: Final = 250


class Shedding:
    """The shedding state of one media process. Call `note_tick` once per tick."""

    def __init__(self) -> None:
        self.is_shedding = False
        self._late_at: list[int] = []
        self._tick = 0

    def note_tick(self, late_s: float) -> bool:
        """A tick started `late_s` late. Returns whether `is_shedding` has changed."""
        self._tick += 1
        if late_s > LATE_S:
            self._late_at = [at for at in self._late_at if at > self._tick - WINDOW] + [self._tick]
        was_shedding = self.is_shedding
        if was_shedding:
            self.is_shedding = self._tick - self._late_at[-1] < CALM
        else:
            self.is_shedding = len(self._late_at) >= MANY and self._late_at[0] > self._tick - WINDOW
        return self.is_shedding is not was_shedding
