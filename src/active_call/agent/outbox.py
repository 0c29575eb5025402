"""Collect a conversation's effects in order, and report new turns of its history to the watchers of the call."""

from __future__ import annotations

from typing import Any

from active_call.agent.effects import AgentEffect, EmitEvent, Note, Perform
from active_call.agent.items import History, Item, turn_of
from active_call.contract import commands, events


class Outbox:
    """Effects in order, until `take`."""

    def __init__(self) -> None:
        self.history = History()
        self._effects: list[AgentEffect] = []

    def put(self, effect: AgentEffect) -> None:
        """Append `effect`."""
        self._effects.append(effect)

    def take(self) -> list[AgentEffect]:
        """All effects since the last `take`."""
        effects, self._effects = self._effects, []
        return effects

    def perform(self, command: commands.Command) -> None:
        """Append a contract command."""
        self.put(Perform(command))

    def note(self, message: str, **fields: Any) -> None:
        """Append a log entry."""
        self.put(Note(message, fields))

    def add(self, item: Item, at_ms: int = 0) -> None:
        """Add `item` to the history and report it if it is a turn. An item without words is ignored.

        `at_ms`: when it happened (Unix ms), if not now.
        """
        turn = turn_of(item)
        if turn is None:
            return
        self.history.add(item)
        role, text = turn
        self.put(EmitEvent(events.AddHistory(timestamp=at_ms, speaker=role, text=text, sender="dialogue")))

    def remember(self, item: Item) -> None:
        """Add `item` to the history without a report: it is for the model only, or the watchers already have it."""
        self.history.add(item)
