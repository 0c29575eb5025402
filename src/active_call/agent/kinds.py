"""Makes the conversation that a playbook asks for. Setting a call up does not know which kind it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from active_call.agent.cascade import CascadeConversation
from active_call.agent.conversation import Conversation
from active_call.agent.playbook.scenes import Playbook
from active_call.agent.tools.registry import ToolRegistry


def make_conversation(
    playbook: Playbook, variables: Mapping[str, Any], sip_headers: Mapping[str, str], tools: ToolRegistry | None = None
) -> Conversation:
    """The conversation for one call under `playbook`. `tools`: what a model may call beside the tags of playbooks."""
    return CascadeConversation(playbook, variables, sip_headers, tools=tools)
