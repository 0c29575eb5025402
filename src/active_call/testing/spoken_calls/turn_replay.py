"""When the agent takes a turn that was recorded as a trace: the call's own rules, without sound and waiting."""

from __future__ import annotations

import functools
import json

from active_call.agent.cascade import CascadeConversation
from active_call.agent.effects import AgentEffect, Heard, Perform
from active_call.agent.playbook.parser import parse_playbook
from active_call.agent.playbook.scenes import Playbook
from active_call.agent.turn.adaptive_detector import AdaptiveTurnDetector
from active_call.agent.turn.turn_detector import TurnDetector, TurnTaking
from active_call.call.opening.options import DEFAULT_END_OF_TURN_MS
from active_call.contract import commands, events
from active_call.testing.spoken_calls.call import PlayedTurn
from active_call.testing.spoken_calls.traced_call import TracedCall
from active_call.testing.spoken_calls.turn_trace import TurnTrace

_PLAYBOOK = "---\nllm: {{provider: script}}\ngreeting: {}\n---\n## *\nI see.\n"


def replay_turn(
    trace: TurnTrace, asked: str, detector: TurnDetector | None = None, *, end_of_turn_ms: int = DEFAULT_END_OF_TURN_MS
) -> PlayedTurn:
    """Take the turn of `trace`, which answers the agent's `asked`. `end_of_turn_ms`: as `eou.timeout`."""
    return _Replay(trace, asked, detector or AdaptiveTurnDetector(), end_of_turn_ms).run()


@functools.cache
def _playbook(asked: str) -> Playbook:
    return parse_playbook(_PLAYBOOK.format(json.dumps(asked)), file="turn.md", environment={})


class _Replay:
    """An agent that has asked, and a caller who answers."""

    def __init__(self, trace: TurnTrace, asked: str, detector: TurnDetector, end_of_turn_ms: int) -> None:
        conversation = CascadeConversation(_playbook(asked), {}, turns=TurnTaking(detector, speculates=False))
        self._call = TracedCall(trace, conversation, self._do, end_of_turn_ms=end_of_turn_ms)
        self._turn = PlayedTurn(trace.began, trace.ended)
        self._asking: str | None = None
        """The play in which the agent asks."""

    def run(self) -> PlayedTurn:
        self._call.run(lambda: bool(self._turn.answers))
        self._turn.heard = " ".join(text for text in self._call.texts if text)
        return self._turn

    def _do(self, effect: AgentEffect) -> None:
        match effect:
            case Perform(commands.Tts(text=str(text), play_id=play)) if text:
                if self._asking is not None and play != self._asking:
                    self._turn.answers.append(self._call.now)
                elif self._asking is None:
                    self._asking = play
                    self._call.do_at(self._call.now, lambda: self._call.give(Heard(events.TrackStart(play_id=play))))
                    self._call.do_at(self._call.now, lambda: self._call.give(Heard(events.TrackEnd(play_id=play))))
            case _:
                pass
