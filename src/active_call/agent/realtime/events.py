"""What goes between a realtime conversation and the session of its model, in the words of no vendor.

A session hears the caller's sound and answers with sound; the sound itself does not pass here. Items have the vendor's ids. The sound of an
item is played under the item's id as play id, so that the call's events (`trackStart`, `interruption`, `trackEnd`) tell what was heard.
"""

from __future__ import annotations

from dataclasses import dataclass

from active_call.agent.items import Item
from active_call.agent.tools.registry import ToolSchema

# -- events of the session ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SessionOpened:
    """The session takes sound and items from now on."""


@dataclass(frozen=True, slots=True)
class CallerBegan:
    """The model has noticed that the caller speaks."""


@dataclass(frozen=True, slots=True)
class CallerEnded:
    """The model has decided that the caller's turn is over; it answers of its own accord."""


@dataclass(frozen=True, slots=True)
class CallerText:
    """What the caller has said, as the model understood it; it may come after the model's answer has begun."""

    text: str


@dataclass(frozen=True, slots=True)
class AgentSound:
    """`ms` more of the sound of item `item` have arrived and are given out to be played."""

    item: str
    ms: int


@dataclass(frozen=True, slots=True)
class AgentText:
    """More of the text of item `item`, which is what its sound says."""

    item: str
    text: str


@dataclass(frozen=True, slots=True)
class ItemDone:
    """All sound and text of item `item` have arrived."""

    item: str


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """The model calls a tool. `arguments` is JSON as the model wrote it."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ResponseDone:
    """The model has said and called everything that belongs to this answer; `error` when it could not.

    It comes exactly once for each answer, also for one that was cancelled.
    """

    error: str = ""


@dataclass(frozen=True, slots=True)
class SessionFailed:
    """The session is over, or cannot be had; `error` is for logs."""

    error: str


RealtimeEvent = (
    SessionOpened | CallerBegan | CallerEnded | CallerText | AgentSound | AgentText | ItemDone | FunctionCall | ResponseDone | SessionFailed
)


# -- orders to the session ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OpenSession:
    """Connect to the model. It comes back as SessionOpened or SessionFailed."""

    instructions: str
    tools: tuple[ToolSchema, ...] = ()


@dataclass(frozen=True, slots=True)
class SetInstructions:
    """Replace the instructions: another scene has begun."""

    instructions: str


@dataclass(frozen=True, slots=True)
class AddItem:
    """Add an item to the model's conversation: a text, a key, the result of a tool."""

    item: Item


@dataclass(frozen=True, slots=True)
class CreateResponse:
    """Let the model speak now."""


@dataclass(frozen=True, slots=True)
class CancelResponse:
    """Stop the answer under way; no more sound is wanted."""


@dataclass(frozen=True, slots=True)
class TruncateItem:
    """The caller has heard only the first `heard_ms` of the item: the model must forget the rest of it."""

    item: str
    heard_ms: int


@dataclass(frozen=True, slots=True)
class CloseSession:
    """Nothing more is wanted of the session."""


RealtimeOrder = OpenSession | SetInstructions | AddItem | CreateResponse | CancelResponse | TruncateItem | CloseSession
