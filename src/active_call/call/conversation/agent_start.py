"""Makes the agent of a call from its playbook, and connects it with the call."""

from __future__ import annotations

from active_call.agent.kinds import make_conversation
from active_call.agent.playbook.scenes import Playbook
from active_call.call.conversation.agent_runner import AgentPorts, AgentRunner
from active_call.call.conversation.turn_taking import turn_taking
from active_call.call.conversation.web_requests import WebRequests, access_of
from active_call.call.dependencies import CallDependencies
from active_call.call.log import CallLog
from active_call.call.requests import BeginAgent
from active_call.call.shared_state import CallState
from active_call.call.speech.latency import TurnClock
from active_call.legs.sip.identity import identity_of
from active_call.providers.base import ChatModel


def start_agent(
    playbook: Playbook,
    responder: ChatModel | None,
    begin: BeginAgent | None,
    state: CallState,
    dependencies: CallDependencies,
    turn: TurnClock,
    ports: AgentPorts,
    log: CallLog,
) -> AgentRunner:
    """The agent, with the variables that every playbook may use; `begin` where a program has asked for it."""
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
    agent = make_conversation(
        playbook,
        {**built_in, **facts.variables},
        state.leg.headers,
        begin.tools if begin is not None else None,
        turns=turn_taking(state.option, playbook, hears_freely=state.hears_freely, has_judge=state.has_turn_judge),
    )
    return AgentRunner(agent, responder, requests, turn, ports, log, begin.functions if begin is not None else None)
