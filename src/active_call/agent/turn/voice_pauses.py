"""Lets the media process pause the agent by itself when the caller begins to speak, exactly while that is what voice is to do.

In: the state after each input. Out: `PauseOnVoice` whenever what is to happen at the caller's voice changes. The media process is some
40 ms sooner than the news of the voice and the order that follows from it. It is not asked while interruptions are off, while words are
needed to interrupt, in the protected beginning of a reply, while the caller enters something, and while nothing sounds or what sounds
stands still.
"""

from __future__ import annotations

from active_call.agent.effects import PauseOnVoice, ResumeReply
from active_call.agent.outbox import Outbox
from active_call.agent.turn.barge_in import BargeIn
from active_call.agent.turn.timers import Timer, Timers

ONSET_MS = 32
"""So much voice pauses the agent: one chunk of the detector. Two make speech of it; until then the media process goes on by itself."""


class VoicePauses:
    """What the media process was asked for, for one conversation."""

    def __init__(self, barge_in: BargeIn, timers: Timers, outbox: Outbox) -> None:
        self._barge_in = barge_in
        self._timers = timers
        self._outbox = outbox
        self._asked: PauseOnVoice | None = None
        """It is asked for a pause, until the caller's voice has come."""

    def review(self, now: float, *, is_collecting: bool) -> None:
        """Something has happened: ask for a pause at the caller's voice, or take that back."""
        due_in_s = None if is_collecting else self._barge_in.voice_pauses_in_s(now)
        self._timers.clear(Timer.ARM)
        if due_in_s is not None and due_in_s > 0:
            self._timers.set(Timer.ARM, now + due_in_s)
        wanted = self._barge_in.pause_on_voice(ONSET_MS) if due_in_s is not None and due_in_s <= 0 else None
        if wanted != self._asked:
            self._asked = wanted
            self._outbox.put(wanted or PauseOnVoice(None))

    def on_paused(self, now: float) -> None:
        """The media process has paused what sounded: it stands still, or goes on at once where that is not wanted any more."""
        self._asked = None
        if not self._barge_in.takes_pause(now):
            self._outbox.put(ResumeReply())
