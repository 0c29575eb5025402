"""Arm the media process to pause the agent when the caller begins to speak, exactly while voice may interrupt.

In: the state after each input. Out: `PauseOnVoice` whenever the reaction to the caller's voice changes. The media process is about 40 ms
faster than the report of the voice and the resulting order. It is not armed while interruptions are off, while words are required to
interrupt, in the protected beginning of a reply, while a collector is active, and while nothing plays or the playback is paused.
"""

from __future__ import annotations

from active_call.agent.effects import PauseOnVoice, ResumeReply
from active_call.agent.outbox import Outbox
from active_call.agent.turn.barge_in import BargeIn
from active_call.agent.turn.timers import Timer, Timers

ONSET_MS = 32
"""Amount of voice that pauses the agent: one chunk of the detector. Two confirm speech; without the second the media process resumes."""


class VoicePauses:
    """The current arming of the media process, for one conversation."""

    def __init__(self, barge_in: BargeIn, timers: Timers, outbox: Outbox) -> None:
        self._barge_in = barge_in
        self._timers = timers
        self._outbox = outbox
        self._asked: PauseOnVoice | None = None
        """The armed pause, until the caller's voice arrives."""

    def review(self, now: float, *, is_collecting: bool) -> None:
        """Arm or disarm the pause on voice, depending on the current state."""
        due_in_s = None if is_collecting else self._barge_in.voice_pauses_in_s(now)
        self._timers.clear(Timer.ARM)
        if due_in_s is not None and due_in_s > 0:
            self._timers.set(Timer.ARM, now + due_in_s)
        wanted = self._barge_in.pause_on_voice(ONSET_MS) if due_in_s is not None and due_in_s <= 0 else None
        if wanted != self._asked:
            self._asked = wanted
            self._outbox.put(wanted or PauseOnVoice(None))

    def on_paused(self, now: float) -> None:
        """The media process has paused the playback: keep the pause, or resume at once if it is no longer wanted."""
        self._asked = None
        if not self._barge_in.takes_pause(now):
            self._outbox.put(ResumeReply())
