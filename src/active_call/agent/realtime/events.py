"""The events and orders between a realtime conversation and the session of its model, independent of the vendor.

A session hears the caller's sound and answers with sound. The sound itself does not pass through here. Items have the vendor's ids. The
sound of an item is played with the item's id as play id, so that the call's events (`trackStart`, `interruption`, `trackEnd`) report what
was heard.
"""

from __future__ import annotations

from dataclasses import dataclass

from active_call.agent.items import Item
from active_call.agent.tools.registry import ToolSchema

# -- events of the session ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SessionOpened:
    """The session accepts sound and items from now on."""


@dataclass(frozen=True, slots=True)
class CallerBegan:
    """The model has detected that the caller speaks."""


@dataclass(frozen=True, slots=True)
class CallerEnded:
    """The model has detected the end of the caller's turn. It answers without a request."""


@dataclass(frozen=True, slots=True)
class CallerText:
    """The transcript of the caller's words. It may arrive after the model's answer has begun."""

    text: str


@dataclass(frozen=True, slots=True)
class AgentSound:
    """`ms` more of the sound of item `item` have arrived and were queued for playback."""

    item: str
    ms: int


@dataclass(frozen=True, slots=True)
class AgentText:
    """More of the transcript of item `item`'s sound."""

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
    """The model has finished its sound and calls for this response. `error` is set if it failed.

    Exactly one per response, including a cancelled one.
    """

    error: str = ""


@dataclass(frozen=True, slots=True)
class SessionFailed:
    """The session has ended or could not be opened. `error` is for logs."""

    error: str


RealtimeEvent = (
    SessionOpened | CallerBegan | CallerEnded | CallerText | AgentSound | AgentText | ItemDone | FunctionCall | ResponseDone | SessionFailed
)


# -- orders to the session ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OpenSession:
    """Connect to the model. Answered by SessionOpened or SessionFailed."""

    instructions: str
    tools: tuple[ToolSchema, ...] = ()


@dataclass(frozen=True, slots=True)
class SetInstructions:
    """Replace the instructions, because the scene has changed."""

    instructions: str


@dataclass(frozen=True, slots=True)
class AddItem:
    """Add an item to the model's conversation: a text, a key, the result of a tool."""

    item: Item


@dataclass(frozen=True, slots=True)
class CreateResponse:
    """Make the model speak now."""


@dataclass(frozen=True, slots=True)
class CancelResponse:
    """Stop the current response. No more sound is needed."""


@dataclass(frozen=True, slots=True)
class TruncateItem:
    """The caller has heard only the first `heard_ms` of the item: remove the rest from the model's conversation."""

    item: str
    heard_ms: int


@dataclass(frozen=True, slots=True)
class CloseSession:
    """Close the session."""


RealtimeOrder = OpenSession | SetInstructions | AddItem | CreateResponse | CancelResponse | TruncateItem | CloseSession
