"""Pauses and resumes the agent's reply while the caller speaks over it, by its own claim on the caller's attention.

The agent's `PauseReply` and `ResumeReply` enter; the claim OVERLAP leaves, with the manner of the pause. Other pauses (the `pause` command,
a hold) are independent: the reply continues when the last reason is gone. With `PauseOnVoice` the media process pauses before the agent
knows of the voice; its report becomes the same claim.
"""

from __future__ import annotations

from active_call.agent.effects import PauseOnVoice, PauseReply
from active_call.call.parties.attention import Why
from active_call.call.parties.attention_executor import AttentionExecutor
from active_call.call.speech.output_ports import PLAIN_PAUSE, PauseOptions, VoicePauseOrder
from active_call.call.speech.speech_output import SpeechOutput

PAUSE_FADE_MS = 8
"""Short, but long enough to avoid a click."""


class OverlapPause:
    """The pause of one call's agent."""

    def __init__(self, attention: AttentionExecutor, speech_output: SpeechOutput) -> None:
        self._attention = attention
        self._speech_output = speech_output

    def pause(self, order: PauseReply) -> bool:
        """Pause. Returns False and does nothing if less than the order's minimum is left to play."""
        left_ms = self._speech_output.left_ms()
        if left_ms is not None and left_ms < order.unless_left_ms:
            return False
        fade_ms = PAUSE_FADE_MS if order.fade_ms is None else order.fade_ms
        self._speech_output.pause_options = PauseOptions(fade_ms, resumes_at_word=order.resumes_at_word)
        self._attention.claim(Why.OVERLAP)
        return True

    def arm(self, order: PauseOnVoice) -> None:
        """Let the media process itself pause when the caller speaks, or not any more."""
        if order.voiced_ms is None:
            self._speech_output.pause_on_voice(None)
            return
        fade_ms = PAUSE_FADE_MS if order.fade_ms is None else order.fade_ms
        self._speech_output.pause_on_voice(VoicePauseOrder(order.voiced_ms, order.unless_left_ms, fade_ms))

    def paused_on_voice(self, at: float) -> None:
        """The media process paused at `at`. The agent decides what follows; without an agent, `end` must be called."""
        self._attention.claim(Why.OVERLAP)
        self._speech_output.paused_on_voice(at)

    def end(self) -> None:
        """End the pause; does nothing if there is none."""
        self._attention.release(Why.OVERLAP)
        self._speech_output.pause_options = PLAIN_PAUSE
