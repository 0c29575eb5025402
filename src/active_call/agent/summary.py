"""Limit the prompt of a long conversation: all but the last items are replaced by a summary that the model writes.

In: the history, and the finished summary. Out: when to ask for a summary, and of what. Theory: the last `limit` items stay. When 1.5 times
as many have been added since the last summary, the older ones are summarised together with it. Until the summary arrives, or if it fails,
the prompt does not change.
"""

from __future__ import annotations

from msgspec import Struct

from active_call.agent.items import AgentItem, History, Item, SystemItem, ToolCallItem, ToolResultItem, UserItem

MAX_SUMMARY_CHARS = 4_000
MIN_LIMIT = 4


class SummaryRequest(Struct, frozen=True):
    """The text to summarise, and the number of items that the summary replaces."""

    text: str
    n_items: int


class RollingSummary:
    """The summary of one conversation."""

    def __init__(self, history: History, limit: int) -> None:
        self._history = history
        self._limit = max(limit, MIN_LIMIT)
        self._asked: SummaryRequest | None = None

    def request(self) -> SummaryRequest | None:
        """The next summary request; None if it is not needed yet or one is open."""
        history = self._history
        if self._asked is not None or len(history.items) - history.n_summarised <= self._limit * 3 // 2:
            return None
        until = _boundary(history.items, len(history.items) - self._limit)
        if until <= history.n_summarised:
            return None
        lines = [line for item in history.items[history.n_summarised : until] if (line := _line(item))]
        before = [f"Summary so far: {history.summary}"] if history.summary else []
        self._asked = SummaryRequest("\n".join((*before, *lines)), until)
        return self._asked

    def take(self, text: str) -> None:
        """Take the requested summary; empty if it failed."""
        asked, self._asked = self._asked, None
        text = " ".join(text.split())[:MAX_SUMMARY_CHARS]
        if asked is not None and text:
            self._history.summary = text
            self._history.n_summarised = asked.n_items


def _boundary(items: list[Item], near: int) -> int:
    """The last index up to `near` at which the caller begins to speak, so that tool calls stay together with their results."""
    return next((index for index in range(min(near, len(items) - 1), 0, -1) if isinstance(items[index], UserItem)), 0)


def _line(item: Item) -> str:
    match item:
        case UserItem(text):
            return f"Caller: {text}"
        case AgentItem(text):
            return f"Agent: {text}"
        case SystemItem(text):
            return f"({text})"
        case ToolCallItem(name=name):
            return f"(The agent used {name}.)"
        case ToolResultItem(text=text):
            return f"(Result: {text[:300]})" if text else ""
