"""The states of a conversation and the table of their transitions. `turn.floor` has the holder of the turn within them.

    idle       the call has no sound yet
    listening  no reply of the agent is requested or playing
    thinking   a reply has been requested and is not audible yet
    speaking   a reply is being said, or its files are playing
    paused     the call is on hold, by the caller or by the agent
    away       the caller is connected to somebody else: being transferred, or bridged to another call
    ending     a goodbye or a transfer is under way: it is neither interrupted nor answered
    ended      the call is over; the agent does nothing more

Exactly one reply is current. Every reply has a number. A new reply and every interruption increment it, and a model's text for an older
number is dropped. In `listening` the current reply has nothing left to say.
"""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """The state of the conversation."""

    IDLE = "idle"
    LISTENING = "listening"
    THINKING = "thinking"
    SPEAKING = "speaking"
    PAUSED = "paused"
    AWAY = "away"
    ENDING = "ending"
    ENDED = "ended"


class Signal(StrEnum):
    """The events that change it."""

    ASK = "ask"
    """A reply has been requested."""
    SAY = "say"
    """A reply starts to be said."""
    DONE = "done"
    """The reply has been heard to its end, or it had no words."""
    CUT = "cut"
    """The reply was interrupted."""
    HOLD = "hold"
    UNHOLD = "unhold"
    LEAVE = "leave"
    """A goodbye or a transfer has begun."""
    STAY = "stay"
    """The goodbye or transfer is cancelled: the conversation continues."""
    PART = "part"
    """The caller is transferred to somebody else."""
    BACK = "back"
    """The caller is back with the agent."""
    OVER = "over"


TABLE: dict[State, dict[Signal, State]] = {
    State.IDLE: {
        Signal.ASK: State.THINKING,
        Signal.SAY: State.SPEAKING,
        Signal.DONE: State.LISTENING,
        Signal.LEAVE: State.ENDING,
        Signal.PART: State.AWAY,
        Signal.OVER: State.ENDED,
    },
    State.LISTENING: {
        Signal.ASK: State.THINKING,
        Signal.SAY: State.SPEAKING,
        Signal.DONE: State.LISTENING,
        Signal.HOLD: State.PAUSED,
        Signal.LEAVE: State.ENDING,
        Signal.PART: State.AWAY,
        Signal.OVER: State.ENDED,
    },
    State.THINKING: {
        Signal.ASK: State.THINKING,
        Signal.SAY: State.SPEAKING,
        Signal.DONE: State.LISTENING,
        Signal.CUT: State.LISTENING,
        Signal.HOLD: State.PAUSED,
        Signal.LEAVE: State.ENDING,
        Signal.PART: State.AWAY,
        Signal.OVER: State.ENDED,
    },
    State.SPEAKING: {
        Signal.ASK: State.THINKING,
        Signal.SAY: State.SPEAKING,
        Signal.DONE: State.LISTENING,
        Signal.CUT: State.LISTENING,
        Signal.HOLD: State.PAUSED,
        Signal.LEAVE: State.ENDING,
        Signal.PART: State.AWAY,
        Signal.OVER: State.ENDED,
    },
    State.PAUSED: {
        Signal.UNHOLD: State.LISTENING,
        Signal.CUT: State.PAUSED,
        Signal.LEAVE: State.ENDING,
        Signal.PART: State.AWAY,
        Signal.OVER: State.ENDED,
    },
    State.AWAY: {
        Signal.BACK: State.LISTENING,
        Signal.LEAVE: State.ENDING,
        Signal.OVER: State.ENDED,
    },
    State.ENDING: {
        Signal.SAY: State.ENDING,
        Signal.STAY: State.LISTENING,
        Signal.PART: State.AWAY,
        Signal.OVER: State.ENDED,
    },
    State.ENDED: {},
}
"""A signal that a state does not list has no effect."""


class Phase:
    """The current state."""

    def __init__(self) -> None:
        self.state = State.IDLE

    def fire(self, signal: Signal) -> bool:
        """Apply `signal`. False if the state does not list it, with no change."""
        following = TABLE[self.state].get(signal)
        if following is None:
            return False
        self.state = following
        return True
