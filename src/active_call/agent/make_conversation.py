"""Create the conversation that a playbook asks for. Call set-up does not know its kind."""

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
    """Create the conversation for one call under `playbook`. `tools`: what a model may call in addition to the playbook's tools.

    `calls_functions`: the model calls tools reliably, so it gets the agent's actions as functions if the playbook does not decide.
    `calls_tools`: the model supports tools; else they are described in its prompt, and it calls them in JSON.

    `says_clauses`: the synthesiser takes a streamed reply clause by clause.
    `turns`: how the end of the caller's turn is detected; a realtime model detects it itself.
    The conversation is a realtime one if the playbook asks for it (option `realtime`) and a realtime model is available (`has_realtime`).
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
    """All tools of a call. A tool of the program overrides a playbook tool with its name, and both override an action of the agent."""
    registry = ToolRegistry(given.tools() if given is not None else ())
    actions = builtin_tools(playbook) if has_functions else ()
    for tool in (*playbook.tools, *(action for action in actions if only is None or action.name in only)):
        if registry.get(tool.name) is None:
            registry.register(tool)
    return registry
