"""Where the agent's effects are collected, and with them the lines of the conversation that the watchers of the call are told."""

from __future__ import annotations

from typing import Any

from active_call.agent.effects import AgentEffect, Note, Perform, Tell
from active_call.agent.items import History
from active_call.contract import commands, events


class Outbox:
    """Effects in order, until they are taken."""

    def __init__(self) -> None:
        self.history = History()
        self._effects: list[AgentEffect] = []

    def put(self, effect: AgentEffect) -> None:
        self._effects.append(effect)

    def take(self) -> list[AgentEffect]:
        effects, self._effects = self._effects, []
        return effects

    def perform(self, command: commands.Command) -> None:
        self.put(Perform(command))

    def note(self, message: str, **fields: Any) -> None:
        self.put(Note(message, fields))

    def add_line(self, role: str, text: str, at_ms: int = 0) -> None:
        """A line of the conversation: kept, and told; nothing for an empty text. `at_ms`: when it was said, where that is not now."""
        if text:
            self.history.add(role, text)
            self.put(Tell(events.AddHistory(timestamp=at_ms, speaker=role, text=text, sender="dialogue")))
