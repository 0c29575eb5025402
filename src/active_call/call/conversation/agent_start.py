"""Creates the agent of a call from its playbook, and connects it with the call."""

from __future__ import annotations

from functools import partial

from active_call.agent.make_conversation import make_conversation
from active_call.agent.playbook.scenes import Playbook
from active_call.agent.tools.registry import ToolRegistry
from active_call.call.conversation.agent_runner import AgentPorts, AgentRunner, RealtimeSession
from active_call.call.conversation.knowledge import knowledge_of
from active_call.call.conversation.mcp_tools import find_tools
from active_call.call.conversation.tool_execution import ToolFunction
from active_call.call.conversation.turn_taking import turn_taking
from active_call.call.conversation.web_requests import WebRequests, access_of
from active_call.call.dependencies import CallDependencies
from active_call.call.log import CallLog
from active_call.call.requests import BeginAgent
from active_call.call.shared_state import CallState
from active_call.call.speech.latency import TurnClock
from active_call.legs.sip.identity import identity_of
from active_call.providers.base import ChatModel
from active_call.providers.chat import ChatModelCapabilities


def start_agent(
    playbook: Playbook,
    responder: ChatModel | None,
    begin: BeginAgent | None,
    state: CallState,
    dependencies: CallDependencies,
    turn: TurnClock,
    ports: AgentPorts,
    log: CallLog,
    realtime: RealtimeSession | None = None,
) -> AgentRunner:
    """Create the agent, with the variables that every playbook may use; `begin` if a program requested it.

    `realtime`: the session of the speech-to-speech model, if the playbook uses one.
    """
    facts = state.facts
    built_in = {
        "session_id": facts.session_id,
        "call_type": facts.call_type,
        "caller": facts.caller,
        "callee": facts.callee,
        "start_time": facts.started_at.isoformat(),
        "trunk": facts.trunk,
    }
    if state.is_inbound:
        built_in |= identity_of(state.leg.headers)
    requests = WebRequests(access_of(playbook), dependencies.http, dependencies.guarded or dependencies.http)
    capabilities = responder.capabilities if responder is not None else ChatModelCapabilities()
    knowledge = knowledge_of(playbook, dependencies.knowledge, log)
    tools = ToolRegistry(begin.tools.tools() if begin is not None and begin.tools is not None else ())
    functions: dict[str, ToolFunction] = dict(begin.functions or {}) if begin is not None else {}
    is_searched = knowledge is not None and knowledge.option.mode in ("tool", "both") and capabilities.tools
    if knowledge is not None and is_searched and tools.get(knowledge.tool.name) is None:
        tools.register(knowledge.tool)
        functions[knowledge.tool.name] = knowledge.search
    agent = make_conversation(
        playbook,
        {**built_in, **facts.variables},
        state.leg.headers,
        tools,
        calls_functions=capabilities.functions,
        calls_tools=capabilities.tools,
        has_realtime=realtime is not None,
        turns=turn_taking(state.option, playbook, hears_freely=state.hears_freely, has_judge=state.has_turn_judge),
        says_clauses=state.says_clauses,
    )
    http_tools = {tool.name: tool.http for tool in playbook.tools if tool.http is not None}
    pool = dependencies.mcp
    find = partial(find_tools, options=playbook.mcp, pool=pool, log=log) if playbook.mcp and pool is not None else None
    context_of = knowledge.context if knowledge is not None and (knowledge.option.mode != "tool" or not is_searched) else None
    return AgentRunner(
        agent, responder, requests, turn, ports, log, functions, realtime, http_tools=http_tools, find_tools=find, context_of=context_of
    )
