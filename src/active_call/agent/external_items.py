"""Items that outside systems add to a running conversation (commands `history` and `custom`).

In: a speaker and a text, or any data. Out: a history item. It is data: it is never parsed as a template or a tag.
"""

from __future__ import annotations

import json
from typing import Any

from active_call.agent.items import AGENT, SYSTEM, USER, Item, SystemItem, item_of

MAX_DATA_CHARS = 8_000
"""Maximum length of one piece of data in the model's prompt."""

_ROLES = {
    "user": USER, "caller": USER, "callee": USER, "customer": USER,
    "assistant": AGENT, "agent": AGENT, "bot": AGENT, "ai": AGENT,
    "system": SYSTEM,
}  # fmt: skip


def said_item(speaker: str, text: str) -> Item:
    """An item for words of `speaker`. A speaker who is neither the caller nor the agent is named in it."""
    role = _ROLES.get(speaker.strip().lower())
    return item_of(role, text) if role else SystemItem(f"{speaker.strip()}: {text}")


def data_item(data: Any, sender: str | None) -> Item:
    """`data` as an item for the model."""
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False, default=str)
    if len(text) > MAX_DATA_CHARS:
        text = f"{text[:MAX_DATA_CHARS]} …"
    return SystemItem(f"[Data from {sender.strip() if sender else 'outside'}: {text}]")
