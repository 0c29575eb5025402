"""Lets the agent's reply stand still while the caller speaks over it, and go on: a claim of its own on the caller's attention.

In: the agent's `PauseReply` and `ResumeReply`. Out: the claim OVERLAP, and how this pause sounds. It does not touch the pauses of others
(the `pause` command, a hold): the reply goes on when the last reason is gone. `PauseOnVoice` lets the media process pause before the agent
knows of the voice; what it has done becomes the same claim.
"""

from __future__ import annotations

from active_call.agent.effects import PauseOnVoice, PauseReply
from active_call.call.company.attention import Why
from active_call.call.company.attention_executor import AttentionExecutor
from active_call.call.speech.output_ports import PLAIN_PAUSE, PauseManner, VoicePauseOrder
from active_call.call.speech.speech_output import SpeechOutput

PAUSE_FADE_MS = 8
"""Soon silent, and no click."""


class OverlapPause:
    """The pause of one call's agent."""

    def __init__(self, attention: AttentionExecutor, speech_output: SpeechOutput) -> None:
        self._attention = attention
        self._speech_output = speech_output

    def pause(self, order: PauseReply) -> bool:
        """Pause. False, and nothing is done, when less than the order says is left to be heard."""
        left_ms = self._speech_output.left_ms()
        if left_ms is not None and left_ms < order.unless_left_ms:
            return False
        fade_ms = PAUSE_FADE_MS if order.fade_ms is None else order.fade_ms
        self._speech_output.manner = PauseManner(fade_ms, resumes_at_word=order.resumes_at_word)
        self._attention.claim(Why.OVERLAP)
        return True

    def arm(self, order: PauseOnVoice) -> None:
        """Let the media process pause by itself at the caller's voice, or no longer."""
        if order.voiced_ms is None:
            self._speech_output.pause_on_voice(None)
            return
        fade_ms = PAUSE_FADE_MS if order.fade_ms is None else order.fade_ms
        self._speech_output.pause_on_voice(VoicePauseOrder(order.voiced_ms, order.unless_left_ms, fade_ms))

    def paused_on_voice(self, at: float) -> None:
        """The media process has paused, at `at`. The agent says what becomes of it; without one, `end` is to be called."""
        self._attention.claim(Why.OVERLAP)
        self._speech_output.paused_on_voice(at)

    def end(self) -> None:
        """The pause is over; harmless where there is none."""
        self._attention.release(Why.OVERLAP)
        self._speech_output.manner = PLAIN_PAUSE
