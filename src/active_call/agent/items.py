"""The history of the conversation, as a list of typed items. Every other view of it is derived from this list.

In: items in the order in which they happened. Out: the messages for a model (`History.prompts`) and the turns of the record (`turn_of`). An
agent item contains only what the caller heard. This module does not know how an item was spoken or recognised.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, assert_never

from msgspec import Struct, field

WINDOW_ITEMS = 60
"""Maximum number of items in the model's prompt: about ten minutes of conversation."""

USER = "user"
AGENT = "assistant"
SYSTEM = "system"
TOOL = "tool"

RUNNING = "(still running; the result follows)"
CANCELLED = "(cancelled: the caller interrupted)"

_PRESSED = "[pressed "


def pressed(digit: str) -> str:
    """The caller's text for a pressed key."""
    return f"{_PRESSED}{digit}]"


def is_pressed(text: str) -> bool:
    """Whether a text of the caller is a key instead of words."""
    return text.startswith(_PRESSED)


# -- items -------------------------------------------------------------------------------------------------------------------------------


class UserItem(Struct, frozen=True):
    """What the caller said, or the key that was pressed (see `pressed`)."""

    text: str


class AgentItem(Struct, frozen=True):
    """What the caller heard of the agent. `is_interrupted`: there was more to say."""

    text: str
    is_interrupted: bool = False


class SystemItem(Struct, frozen=True):
    """Information for the model only: an event of the call, a text from outside."""

    text: str


class ToolCallItem(Struct, frozen=True):
    """The model has called a tool. `arguments` have passed the tool's schema, or are empty if they did not."""

    id: str
    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


class ToolResultItem(Struct, frozen=True):
    """The tool call `id` has finished. `text` is its result, or its error as text; both are empty if it was cancelled."""

    id: str
    text: str = ""
    is_error: bool = False
    is_cancelled: bool = False


Item = UserItem | AgentItem | SystemItem | ToolCallItem | ToolResultItem


def item_of(role: str, text: str) -> Item:
    """The item for a text of `role` (user, assistant, anything else: system)."""
    if role == USER:
        return UserItem(text)
    return AgentItem(text) if role == AGENT else SystemItem(text)


def turn_of(item: Item) -> tuple[str, str] | None:
    """Role and text of `item` as a turn of the record. None if it is not a turn or has no words."""
    match item:
        case UserItem(text):
            return (USER, text) if text else None
        case AgentItem(text):
            return (AGENT, text) if text else None
        case SystemItem() | ToolCallItem() | ToolResultItem():
            return None
        case _:
            assert_never(item)


# -- prompts for a model -----------------------------------------------------------------------------------------------------------------


class Prompt(Struct, frozen=True):
    """One message for the model. `tool_calls`: the assistant called these; `tool_call_id`: `text` is the result of that call."""

    role: str
    text: str
    tool_calls: tuple[ToolCallItem, ...] = ()
    tool_call_id: str = ""


class History:
    """All items of a call."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.summary = ""
        """The summary of the first `n_summarised` items, if there is one."""
        self.n_summarised = 0

    def add(self, item: Item) -> None:
        """Append `item`."""
        self.items.append(item)

    def last_words_of_agent(self) -> str:
        """What the caller last heard of the agent without words of the caller in between; empty if the caller has spoken since."""
        words: list[str] = []
        for item in reversed(self.items):
            if isinstance(item, UserItem):
                break
            if isinstance(item, AgentItem) and item.text:
                words.insert(0, item.text)
        return " ".join(words)

    def prompts(self, *more: Item) -> tuple[Prompt, ...]:
        """The last items as messages. Consecutive texts of one side are one message. `more`: further items, as if they had been added.

        Every tool call is followed at once by one result, as vendors require. A result that arrived before the caller spoke again is placed
        there. A later one stays at its own position, as a system message, so that the model treats it as new.
        """
        window = [*self.items, *more]
        window = window[max(self.n_summarised, len(window) - WINDOW_ITEMS) :]
        prompt_results = _prompt_results(window)
        merged: list[Prompt] = [Prompt(SYSTEM, f"[The conversation so far: {self.summary}]")] if self.summary else []
        for item in window:
            for prompt in _prompts_of(item, prompt_results, window):
                _append(merged, prompt)
        return tuple(merged)


def _prompt_results(items: Sequence[Item]) -> dict[str, ToolResultItem]:
    """The results that arrived before the caller spoke again, by call id."""
    open_calls: set[str] = set()
    found: dict[str, ToolResultItem] = {}
    for item in items:
        match item:
            case ToolCallItem():
                open_calls.add(item.id)
            case ToolResultItem() if item.id in open_calls:
                found[item.id] = item
            case UserItem():
                open_calls.clear()
            case _:
                pass
    return found


def _prompts_of(item: Item, prompt_results: Mapping[str, ToolResultItem], window: Sequence[Item]) -> list[Prompt]:
    match item:
        case UserItem(text):
            return [Prompt(USER, text)]
        case AgentItem(text):
            return [Prompt(AGENT, text)]
        case SystemItem(text):
            return [Prompt(SYSTEM, text)]
        case ToolCallItem():
            result = prompt_results.get(item.id)
            text = RUNNING if result is None else _result_text(result)
            return [Prompt(AGENT, "", tool_calls=(item,)), Prompt(TOOL, text, tool_call_id=item.id)]
        case ToolResultItem():
            return [] if item.id in prompt_results else [Prompt(SYSTEM, _late_text(item, window))]
        case _:
            assert_never(item)


def _append(merged: list[Prompt], prompt: Prompt) -> None:
    last = merged[-1] if merged else None
    is_text = prompt.role in (USER, AGENT) and not prompt.tool_calls
    if last is not None and is_text and last.role == prompt.role and not last.tool_calls:
        merged[-1] = Prompt(prompt.role, f"{last.text} {prompt.text}")
    else:
        merged.append(prompt)


def _result_text(result: ToolResultItem) -> str:
    if result.is_cancelled:
        return CANCELLED
    return f"Error: {result.text}" if result.is_error else result.text


def _late_text(result: ToolResultItem, window: Sequence[Item]) -> str:
    call = next((item for item in window if isinstance(item, ToolCallItem) and item.id == result.id), None)
    what = f"{call.name}({json.dumps(dict(call.arguments), ensure_ascii=False, default=str)})" if call else "an earlier tool call"
    return f"[Result of {what}: {_result_text(result)}]"
