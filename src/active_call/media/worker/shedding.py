"""Load shedding: decide how much optional work a media process skips because its ticks are late.

The lateness of ticks goes in, `level` comes out. Pure. Essential work is always done: decoding, detection, playing, SRTP. Optional work is
skipped while ticks are late and resumed after a period without lateness, one level at a time. Level 1 skips the improvement of the callers'
sound (noise suppression, gain). Level 2 also encodes Opus with less effort, which the peer can hear.

| level  | ticks                                                                              | then     |
|--------|------------------------------------------------------------------------------------|----------|
| 0, 1   | `MANY` of the last `WINDOW` are over `LATE_S` late, all since the level was raised | one more |
| 1, 2   | none of the last `CALM` (level 2: `CALM_OPUS`) is over `LATE_S` late               | one less |
"""

from __future__ import annotations

from typing import Final

LATE_S: Final = 0.008
"""Below the 10 ms at which `pool/admission` accepts no more calls, so that both act before a caller hears anything."""
WINDOW: Final = 50
MANY: Final = 5
CALM: Final = 250
CALM_OPUS: Final = 1500
"""A change of the band is audible, so it must not happen every few seconds."""
LEVEL_OPUS: Final = 2


class Shedding:
    """The shedding state of one media process. Call `note_tick` once per tick."""

    def __init__(self) -> None:
        self.level = 0
        self._late_at: list[int] = []
        self._tick = self._changed_at = 0

    @property
    def is_shedding(self) -> bool:
        """Whether anything is skipped."""
        return self.level > 0

    def note_tick(self, late_s: float) -> bool:
        """A tick started `late_s` late. Returns whether `level` has changed."""
        self._tick += 1
        if late_s > LATE_S:
            since = max(self._tick - WINDOW, self._changed_at if self.level else 0)
            self._late_at = [at for at in self._late_at if at > since] + [self._tick]
            if len(self._late_at) >= MANY and self.level < LEVEL_OPUS:
                return self._change(self.level + 1)
        elif self.level:
            calm_since = max(self._changed_at, self._late_at[-1] if self._late_at else 0)
            if self._tick - calm_since >= (CALM_OPUS if self.level == LEVEL_OPUS else CALM):
                return self._change(self.level - 1)
        return False

    def _change(self, level: int) -> bool:
        self.level = level
        self._changed_at = self._tick
        return True
