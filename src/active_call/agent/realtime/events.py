"""The events and orders between a realtime conversation and the session of its model, independent of the vendor.

A session hears the caller's sound and answers with sound. The sound itself does not pass through here. Items have the vendor's ids. The
sound of an item is played with the item's id as play id, so that the call's events (`trackStart`, `interruption`, `trackEnd`) report what
was heard.
"""

from __future__ import annotations

from msgspec import Struct

from active_call.agent.items import Item
from active_call.agent.tools.registry import ToolSchema

# -- events of the session ---------------------------------------------------------------------------------------------------------------


class SessionOpened(Struct, frozen=True):
    """The session accepts sound and items from now on."""


class CallerBegan(Struct, frozen=True):
    """The model has detected that the caller speaks."""


class CallerEnded(Struct, frozen=True):
    """The model has detected the end of the caller's turn. It answers without a request."""


class CallerText(Struct, frozen=True):
    """The transcript of the caller's words. It may arrive after the model's answer has begun."""

    text: str


class AgentSound(Struct, frozen=True):
    """`ms` more of the sound of item `item` have arrived and were queued for playback."""

    item: str
    ms: int


class AgentText(Struct, frozen=True):
    """More of the transcript of item `item`'s sound."""

    item: str
    text: str


class ItemDone(Struct, frozen=True):
    """All sound and text of item `item` have arrived."""

    item: str


class FunctionCall(Struct, frozen=True):
    """The model calls a tool. `arguments` is JSON as the model wrote it."""

    id: str
    name: str
    arguments: str


class ResponseDone(Struct, frozen=True):
    """The model has finished its sound and calls for this response. `error` is set if it failed.

    Exactly one per response, including a cancelled one.
    """

    error: str = ""


class SessionFailed(Struct, frozen=True):
    """The session has ended or could not be opened. `error` is for logs."""

    error: str


RealtimeEvent = (
    SessionOpened | CallerBegan | CallerEnded | CallerText | AgentSound | AgentText | ItemDone | FunctionCall | ResponseDone | SessionFailed
)


# -- orders to the session ---------------------------------------------------------------------------------------------------------------


class OpenSession(Struct, frozen=True):
    """Connect to the model. Answered by SessionOpened or SessionFailed."""

    instructions: str
    tools: tuple[ToolSchema, ...] = ()


class SetInstructions(Struct, frozen=True):
    """Replace the instructions, because the scene has changed."""

    instructions: str


class AddItem(Struct, frozen=True):
    """Add an item to the model's conversation: a text, a key, the result of a tool."""

    item: Item


class CreateResponse(Struct, frozen=True):
    """Make the model speak now."""


class CancelResponse(Struct, frozen=True):
    """Stop the current response. No more sound is needed."""


class TruncateItem(Struct, frozen=True):
    """The caller has heard only the first `heard_ms` of the item: remove the rest from the model's conversation."""

    item: str
    heard_ms: int


class CloseSession(Struct, frozen=True):
    """Close the session."""


RealtimeOrder = OpenSession | SetInstructions | AddItem | CreateResponse | CancelResponse | TruncateItem | CloseSession
