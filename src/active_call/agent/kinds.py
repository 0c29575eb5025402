"""Makes the conversation that a playbook asks for. Setting a call up does not know which kind it is."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from active_call.agent.cascade import CascadeConversation
from active_call.agent.conversation import Conversation
from active_call.agent.playbook.scenes import Playbook
from active_call.agent.realtime.actions import OFFERED
from active_call.agent.realtime.conversation import RealtimeConversation
from active_call.agent.tools.builtins import builtin_tools
from active_call.agent.tools.registry import ToolRegistry
from active_call.agent.turn.turn_detector import TurnTaking


def make_conversation(
    playbook: Playbook,
    variables: Mapping[str, Any],
    sip_headers: Mapping[str, str],
    tools: ToolRegistry | None = None,
    *,
    calls_functions: bool = False,
    calls_tools: bool = True,
    has_realtime: bool = False,
    turns: TurnTaking | None = None,
    says_clauses: bool = False,
) -> Conversation:
    """The conversation for one call under `playbook`. `tools`: what a model may call beside the tools of the playbook.

    `calls_functions`: the model calls tools well, so that it is offered the agent's actions as functions where the playbook says nothing.
    `calls_tools`: it calls tools at all; else it is told them in its prompt, and calls them in JSON.

    `says_clauses`: the voice says a reply clause by clause in one breath while it is written.
    `turns`: how the end of the caller's turn is found; a realtime model finds it by itself.
    It is a realtime one when the playbook asks for that (option `realtime`) and a realtime model can be had (`has_realtime`).
    """
    if has_realtime and playbook.option.realtime is not None and playbook.script is None:
        has_functions = playbook.llm.functions is not False
        registry = _registry(playbook, tools, has_functions=has_functions, only=OFFERED)
        return RealtimeConversation(playbook, variables, sip_headers, tools=registry, has_functions=has_functions)
    has_functions = playbook.script is None and _offers_functions(playbook, calls_functions=calls_functions and calls_tools)
    registry = _registry(playbook, tools, has_functions=has_functions)
    return CascadeConversation(
        playbook,
        variables,
        sip_headers,
        tools=registry,
        has_functions=has_functions,
        calls_tools=calls_tools,
        turns=turns,
        says_clauses=says_clauses,
    )


def _offers_functions(playbook: Playbook, *, calls_functions: bool) -> bool:
    wanted = playbook.llm.functions
    return calls_functions if wanted is None else bool(wanted)


def _registry(playbook: Playbook, given: ToolRegistry | None, *, has_functions: bool, only: Collection[str] | None = None) -> ToolRegistry:
    """All tools of a call. A tool of the program overrides one of the playbook with its name, and both over an action of the agent."""
    registry = ToolRegistry(given.tools() if given is not None else ())
    actions = builtin_tools(playbook) if has_functions else ()
    for tool in (*playbook.tools, *(action for action in actions if only is None or action.name in only)):
        if registry.get(tool.name) is None:
            registry.register(tool)
    return registry
