"""What a conversation is doing: its states and the table of their changes. Who has the turn within them is `turn.floor`'s matter.

    idle       the call has no sound yet
    listening  nothing of the agent's is asked for or sounding
    thinking   a reply has been asked for and nothing of it sounds yet
    speaking   a reply is being said, or its files played
    paused     the call is on hold, by the caller or by the agent
    away       the caller is with somebody else: being transferred, or bridged with another call
    ending     a goodbye or a transfer is under way: it is neither interrupted nor answered
    ended      the call is over; nothing leaves the agent any more

Exactly one reply is current. Every reply has a number; a new reply, and every interruption, raises it, and a model's text for an older
number is dropped. In `listening` no reply is current that still has something to say.
"""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """What the conversation is doing."""

    IDLE = "idle"
    LISTENING = "listening"
    THINKING = "thinking"
    SPEAKING = "speaking"
    PAUSED = "paused"
    AWAY = "away"
    ENDING = "ending"
    ENDED = "ended"


class Signal(StrEnum):
    """What changes it."""

    ASK = "ask"
    """A reply has been asked for."""
    SAY = "say"
    """A reply begins to be said."""
    DONE = "done"
    """The reply has been heard to its end, or there was nothing to say."""
    CUT = "cut"
    """The reply was cut short."""
    HOLD = "hold"
    UNHOLD = "unhold"
    LEAVE = "leave"
    """A goodbye has begun, or a transfer."""
    STAY = "stay"
    """The goodbye or transfer is off: the conversation continues."""
    PART = "part"
    """The caller is handed over to somebody else."""
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
"""A signal that a state does not list leaves it as it is."""


class Phase:
    """The current state."""

    def __init__(self) -> None:
        self.state = State.IDLE

    def fire(self, signal: Signal) -> bool:
        """Change the state by `signal`; False when the state does not know it and nothing has changed."""
        following = TABLE[self.state].get(signal)
        if following is None:
            return False
        self.state = following
        return True
