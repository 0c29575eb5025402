"""Whether the agent is with the caller: not during a hold, a transfer or a bridge.

Reasons to step aside enter and leave, each by its name; while there is any, nothing is heard, nothing sounds in the background, and nobody
counts the caller's silence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from active_call.call.call import Call


class CallerSilence:
    """The agent's, in one call."""

    def __init__(self, session: Call) -> None:
        self._session = session
        self._reasons: set[str] = set()

    @property
    def is_aside(self) -> bool:
        """Somebody else has the caller's ear."""
        return bool(self._reasons)

    def step_aside(self, why: str, *, hears: bool = False) -> None:
        """Leave the caller to somebody else, or to music; nothing is heard meanwhile unless `hears`."""
        if not self._reasons:
            self._session.surroundings.end_ambience()
        self._reasons.add(why)
        if not hears:
            self._session.hearing.suspend(why)

    def step_back(self, why: str) -> None:
        """That reason is gone; with the last of them the agent is back. Harmless where it was none."""
        was_aside = self.is_aside
        self._reasons.discard(why)
        self._session.hearing.resume(why)
        if was_aside and not self._reasons:
            self._session.touch()
            self._session.surroundings.begin_ambience()
