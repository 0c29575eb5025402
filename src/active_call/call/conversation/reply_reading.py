"""How the text of one reply is read: at once until the first clause is spoken, then in larger pieces.

A model writes much faster than anyone speaks. Reading its text token by token while the first clause is spoken would cost most of a
reply's CPU time, and make nothing earlier.
"""

from __future__ import annotations

from typing import Final

from active_call.agent import effects

REST_S: Final = 0.1
"""What comes within this time is read together. A clause takes longer to speak."""


class ReplyReading:
    """The state of one reply's reading."""

    def __init__(self) -> None:
        self._is_spoken = self._calls_tool = False

    def rest_s(self) -> float:
        """See `ReplyRequest.rest_s`. A tool call must not wait: its result may be what the caller waits for."""
        return REST_S if self._is_spoken and not self._calls_tool else 0.0

    def note_speech(self) -> None:
        """A clause of the reply is being spoken."""
        self._is_spoken = True

    def note_tool_call(self) -> None:
        """The model has begun to call a tool."""
        self._calls_tool = True


class UnreadText:
    """Text of a reply in the call's mailbox. Text that comes before the agent has read it is added to it."""

    def __init__(self, reply: effects.ReplyNumber, text: str) -> None:
        self._reply = reply
        self._parts = [text]
        self.is_read = False

    def add(self, text: str) -> None:
        """Add the next text. Only while it is unread."""
        self._parts.append(text)

    def read(self) -> effects.ModelText:
        """The text so far, for the agent."""
        self.is_read = True
        return effects.ModelText(self._reply, "".join(self._parts))
