"""What the agent does when a caller speaks over it, recorded as a trace: the call's own rules, without sound and waiting."""

from __future__ import annotations

import json
from dataclasses import dataclass

from active_call.agent.cascade import CascadeConversation
from active_call.agent.effects import AgentEffect, Heard, PausedOnVoice, PauseOnVoice, PauseReply, Perform, ResumeReply
from active_call.agent.playbook.parser import parse_playbook
from active_call.agent.turn.adaptive_detector import AdaptiveTurnDetector
from active_call.agent.turn.turn_detector import TurnTaking
from active_call.call.opening.options import DEFAULT_END_OF_TURN_MS
from active_call.contract import commands, events
from active_call.testing.spoken_calls.traced_call import TracedCall
from active_call.testing.spoken_calls.turn_trace import TurnTrace

INTO_REPLY_S = 4.0
"""The agent has spoken for so long when the line of the trace begins."""
_PLAYBOOK = "---\nllm: {{provider: script}}\ngreeting: {}\ninterruption: {{strategy: vad}}\n---\n## *\nI see.\n"


@dataclass(slots=True)
class ReplayedOverlap:
    """What became of the agent's reply, in seconds of the trace; None: it did not happen."""

    began: float
    ended: float
    paused_at: float | None = None
    resumed_at: float | None = None
    """When it went on for the last time."""
    yielded_at: float | None = None
    """When it was given up for the caller's words."""
    heard: str = ""


def replay_overlap(trace: TurnTrace, says: str) -> ReplayedOverlap:
    """Let the caller of `trace` speak over the agent, which says `says`, a long text."""
    return _Replay(trace, says).run()


class _Replay:
    """An agent that speaks on and on."""

    def __init__(self, trace: TurnTrace, says: str) -> None:
        playbook = parse_playbook(_PLAYBOOK.format(json.dumps(says)), file="overlap.md", environment={})
        conversation = CascadeConversation(playbook, {}, turns=TurnTaking(AdaptiveTurnDetector(), speculates=False))
        self._overlap = ReplayedOverlap(trace.began, trace.ended)
        self._call = TracedCall(
            trace,
            conversation,
            self._do,
            end_of_turn_ms=DEFAULT_END_OF_TURN_MS,
            starts_at=-INTO_REPLY_S,
            on_speech=self._on_speech,
        )
        self._play: str | None = None
        self._pauses_on_voice = False

    def run(self) -> ReplayedOverlap:
        self._call.run(lambda: self._overlap.yielded_at is not None)
        self._overlap.heard = " ".join(text for text in self._call.texts if text)
        return self._overlap

    def _on_speech(self) -> None:
        """The media process pauses by itself, as it was told to, and tells it behind the beginning of speech."""
        if self._pauses_on_voice:
            self._pauses_on_voice = False
            self._paused()
            self._call.give(PausedOnVoice())

    def _paused(self) -> None:
        if self._overlap.paused_at is None:
            self._overlap.paused_at = self._call.now

    def _do(self, effect: AgentEffect) -> None:
        match effect:
            case Perform(commands.Tts(text=str(text), play_id=play)) if text and self._play is None:
                self._play = play
                self._call.do_at(self._call.now, lambda: self._call.give(Heard(events.TrackStart(play_id=play))))
            case Perform(commands.Interrupt()):
                self._overlap.yielded_at = self._call.now
            case PauseOnVoice(voiced_ms):
                self._pauses_on_voice = voiced_ms is not None
            case PauseReply():
                self._paused()
            case ResumeReply():
                self._overlap.resumed_at = self._call.now
            case _:
                pass
