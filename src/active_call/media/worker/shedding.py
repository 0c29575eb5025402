"""Whether a media process leaves out optional work, because its ticks are late. The lateness of ticks enters, `is_shedding` leaves. Pure.

Sound comes first: decoding, detection, playing and SRTP are always done. What a call can do without is left out while ticks are late, and
done again once they have been in time for a while. Of a media process this is the improvement of the callers' voices (noise suppression,
gain).

| at present | ticks                                                            | then     |
|------------|------------------------------------------------------------------|----------|
| all        | `MANY` of the last `WINDOW` are over `LATE_S` late               | shedding |
| shedding   | none of the last `CALM` is over `LATE_S` late                    | all      |
"""

from __future__ import annotations

from typing import Final

LATE_S: Final = 0.008
"""Below the 10 ms at which `pool/admission` takes no more calls, so that both hold before a caller hears anything."""
WINDOW: Final = 50
MANY: Final = 5
CALM: Final = 250


class Shedding:
    """Of one media process. Call `note_tick` once a tick."""

    def __init__(self) -> None:
        self.is_shedding = False
        self._late_at: list[int] = []
        self._tick = 0

    def note_tick(self, late_s: float) -> bool:
        """A tick has begun `late_s` late; whether `is_shedding` has changed."""
        self._tick += 1
        if late_s > LATE_S:
            self._late_at = [at for at in self._late_at if at > self._tick - WINDOW] + [self._tick]
        was_shedding = self.is_shedding
        if was_shedding:
            self.is_shedding = self._tick - self._late_at[-1] < CALM
        else:
            self.is_shedding = len(self._late_at) >= MANY and self._late_at[0] > self._tick - WINDOW
        return self.is_shedding is not was_shedding
