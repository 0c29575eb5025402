"""Makes the conversation that a playbook asks for. Setting a call up does not know which kind it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from active_call.agent.cascade import CascadeConversation
from active_call.agent.conversation import Conversation
from active_call.agent.playbook.scenes import Playbook
from active_call.agent.realtime.conversation import RealtimeConversation
from active_call.agent.tools.registry import ToolRegistry
from active_call.agent.turn.turn_detector import TurnTaking


def make_conversation(
    playbook: Playbook,
    variables: Mapping[str, Any],
    sip_headers: Mapping[str, str],
    tools: ToolRegistry | None = None,
    *,
    has_realtime: bool = False,
    turns: TurnTaking | None = None,
) -> Conversation:
    """The conversation for one call under `playbook`. `tools`: what a model may call beside the tags of playbooks.

    `turns`: how the end of the caller's turn is found; a realtime model finds it by itself.
    It is a realtime one when the playbook asks for that (option `realtime`) and a realtime model can be had (`has_realtime`).
    """
    if has_realtime and playbook.option.realtime is not None and playbook.script is None:
        return RealtimeConversation(playbook, variables, sip_headers, tools=tools)
    return CascadeConversation(playbook, variables, sip_headers, tools=tools, turns=turns)
