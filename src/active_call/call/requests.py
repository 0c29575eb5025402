"""Requests of a program to a call that wait for a result (`CallHandle.request`): contract commands, and an agent during a call.

A call with a playbook has its agent without a request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from msgspec import Struct, field

from active_call.agent.playbook.scenes import Playbook
from active_call.agent.tools.registry import ToolRegistry
from active_call.base.errors import ActiveCallError
from active_call.call.conversation.tool_execution import ToolFunction
from active_call.contract import commands
from active_call.providers.base import ChatModel


class BeginAgent(Struct, frozen=True):
    """An agent takes over the conversation of an answered call. `playbook`: its playbook, or the name of a playbook file."""

    playbook: Playbook | str
    tools: ToolRegistry = field(default_factory=ToolRegistry)
    functions: Mapping[str, ToolFunction] = field(default_factory=dict)
    """Runs the tools, by name."""
    model: ChatModel | None = None
    """Replies instead of the playbook's model."""


class EndAgent(Struct, frozen=True):
    """The agent stops speaking and leaves the call, which continues."""


class OtherPath(ActiveCallError):
    """The client's entity tag is that of an earlier path (RFC 9725, section 4.3.1)."""

    code = "precondition_failed"


class Renegotiate(Struct, frozen=True):
    """The peer's client offers again. `text`: a description, or a fragment of one (RFC 8840). `if_match`: the client's entity tag.

    `answer` gets our description, or fragment (empty if only candidates came), and the new entity tag; or ActiveCallError.
    """

    text: str
    answer: asyncio.Future[tuple[str, str]]
    is_fragment: bool = False
    if_match: str = "*"


Request = commands.Command | BeginAgent | EndAgent | Renegotiate
