"""What a program may ask of a call and wait for (`CallHandle.request`): contract commands, and an agent for a call that is under way.

A call that begins under a playbook has its agent without asking.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from active_call.agent.playbook.scenes import Playbook
from active_call.agent.tools.registry import ToolRegistry
from active_call.base.errors import ActiveCallError
from active_call.call.conversation.tool_execution import ToolFunction
from active_call.contract import commands
from active_call.providers.base import ChatModel


@dataclass(frozen=True, slots=True)
class BeginAgent:
    """An agent takes over the conversation of an answered call. `playbook`: what it goes by, or the name of a playbook file."""

    playbook: Playbook | str
    tools: ToolRegistry = field(default_factory=ToolRegistry)
    functions: Mapping[str, ToolFunction] = field(default_factory=dict)
    """What runs the tools, by their names."""
    model: ChatModel | None = None
    """Answers in place of the model that the playbook names."""


@dataclass(frozen=True, slots=True)
class EndAgent:
    """The agent stops speaking and leaves the call, which goes on."""


class OtherPath(ActiveCallError):
    """The client's entity tag is that of an earlier path (RFC 9725, section 4.3.1)."""

    code = "precondition_failed"


@dataclass(frozen=True, slots=True)
class Renegotiate:
    """The peer's client offers again. `text`: a description, or a fragment of one (RFC 8840). `if_match`: the entity tag that it knows.

    `answer` gets our description, or fragment (empty if only candidates came), and the entity tag that holds then; or ActiveCallError.
    """

    text: str
    answer: asyncio.Future[tuple[str, str]]
    is_fragment: bool = False
    if_match: str = "*"


Request = commands.Command | BeginAgent | EndAgent | Renegotiate
