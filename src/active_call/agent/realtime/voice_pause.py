"""Pause a realtime model's speech when the caller's voice is detected, until the model's session reports whether that is a turn.

In: the call's own voice detection, the pause of the media process, the session's events about the caller. Out: `PauseOnVoice`,
`PauseReply`, `ResumeReply`. The session hears the caller later than the call does, because of the network and its own detector. If it
reports no turn in time, the sound was a noise or a back-channel, and the item resumes at its sample.
"""

from __future__ import annotations

from active_call.agent.effects import PauseOnVoice, PauseReply, ResumeReply
from active_call.agent.outbox import Outbox
from active_call.agent.realtime.playback import RealtimePlayback
from active_call.agent.turn.interruption import Interruptions
from active_call.agent.turn.overlap import LAST_MS
from active_call.agent.turn.timers import Timer, Timers
from active_call.agent.turn.voice_pauses import ONSET_MS

AFTER_VOICE_S = 0.6
"""How long after the caller's voice the session may report a turn."""
MAX_PAUSE_S = 2.0
"""If the session reports nothing for this long, it does not hear the caller."""


class RealtimeVoicePause:
    """The pause of one conversation."""

    def __init__(self, rules: Interruptions, playback: RealtimePlayback, timers: Timers, outbox: Outbox) -> None:
        self._rules = rules
        self._playback = playback
        self._timers = timers
        self._outbox = outbox
        self._is_paused = False
        self._is_voiced = False
        self._asked: PauseOnVoice | None = None

    def review(self, *, is_talking: bool) -> None:
        """Arm or disarm the pause on voice in the media process, depending on the current state."""
        wanted = PauseOnVoice(ONSET_MS, LAST_MS, self._rules.fade_out_ms) if is_talking and self._may_pause else None
        if wanted != self._asked:
            self._asked = wanted
            self._outbox.put(wanted or PauseOnVoice(None))

    @property
    def _may_pause(self) -> bool:
        is_open = self._rules.by_voice and self._playback.has_started and not self._playback.is_settling
        return is_open and not (self._is_paused or self._is_voiced)

    def on_voice(self, now: float, *, is_talking: bool) -> None:
        """The call has detected the start of the caller's voice."""
        may_pause, self._is_voiced = self._may_pause, True
        if is_talking and may_pause:
            self._pause(now)

    def on_silence(self, now: float) -> None:
        """The call has detected its end."""
        self._is_voiced = False
        if self._is_paused:
            self._timers.set(Timer.OVERLAP, now + AFTER_VOICE_S)

    def on_paused(self, now: float, *, is_talking: bool) -> None:
        """The media process has paused the playback after the report of the voice: keep the pause, or resume at once."""
        self._asked = None
        if not self._is_paused and is_talking and self._rules.by_voice and self._playback.has_started:
            self._pause(now)
        elif not self._is_paused:
            self._outbox.put(ResumeReply())

    def on_refused(self) -> None:
        """The playback is about to end, so it is played to its end."""
        self.end()

    def on_due(self, now: float) -> None:
        """The session has reported no turn: resume the playback."""
        if self._is_paused:
            self._outbox.note("reply goes on", said="nothing that the session takes for a turn")
            self.end()
            self._playback.watch(now)

    def _pause(self, now: float) -> None:
        self._is_paused = True
        self._timers.clear(Timer.PLAYBACK)
        self._timers.set(Timer.OVERLAP, now + MAX_PAUSE_S)
        self._outbox.put(PauseReply(LAST_MS, self._rules.fade_out_ms, resumes_at_word=self._rules.option.resume_at == "word"))

    def end(self) -> None:
        """Stop or resume what was paused. No effect if nothing is paused."""
        self._timers.clear(Timer.OVERLAP)
        if self._is_paused:
            self._is_paused = False
            self._outbox.put(ResumeReply())
