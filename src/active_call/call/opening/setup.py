"""The set-up of a call: who takes it, with which engines, and then the answer or the dialling. Executes the set-up actions of the machine.

Decisions and preparations run as tasks of the call; their results are posted into its mailbox and handled there, in order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Protocol

from msgspec import Struct

from active_call.agent import effects
from active_call.agent.playbook.scenes import Playbook
from active_call.base.errors import ActiveCallError, LocalProtocolError, MediaError
from active_call.call.conversation.agent_runner import AgentRunner
from active_call.call.dependencies import CallDependencies
from active_call.call.items import Fatal, Routed
from active_call.call.opening.connections import able_to_connect, keep_connected
from active_call.call.opening.engines import CallEngines
from active_call.call.opening.options import SpeechChoice, choose_speech, merged
from active_call.call.opening.routing import IncomingCall, Router
from active_call.call.parties.attention import Music, Why
from active_call.call.parties.attention_executor import AttentionExecutor
from active_call.call.parties.machine import CallMachine
from active_call.call.parties.machine_types import Stage
from active_call.call.ports import CallPorts
from active_call.call.requests import BeginAgent
from active_call.call.shared_state import CallState
from active_call.call.sound.call_progress import CallProgressWatch
from active_call.call.sound.taps import SoundTaps
from active_call.call.speech.speech_input import SpeechInput, VadSettings
from active_call.call.speech.speech_output import SpeechOutput
from active_call.call.speech.turn_audio import TurnAudio
from active_call.call.state import Phase
from active_call.contract import commands, events
from active_call.contract.options import CallOption
from active_call.legs.abilities import dialog_tags
from active_call.legs.leg import Leg
from active_call.providers.base import ChatModel, RealtimeModel

RING_AFTER_S = 0.2


class StartAgent(Protocol):
    """Creates the agent of the call; `begin` if a program requested it."""

    def __call__(
        self, playbook: Playbook, responder: ChatModel | None, begin: BeginAgent | None = None, realtime: RealtimeModel | None = None
    ) -> AgentRunner: ...


class SetupParts(Struct, frozen=True):
    """The parts that set-up prepares."""

    speech_input: SpeechInput
    turn_audio: TurnAudio
    speech_output: SpeechOutput
    taps: SoundTaps
    call_progress: CallProgressWatch
    attention: AttentionExecutor
    start_agent: StartAgent


class CallSetup:
    """The set-up of one call."""

    def __init__(
        self,
        state: CallState,
        ports: CallPorts,
        machine: CallMachine,
        dependencies: CallDependencies,
        router: Router | None,
        parts: SetupParts,
    ) -> None:
        self._state = state
        self._ports = ports
        self._machine = machine
        self._dependencies = dependencies
        self._router = router
        self._parts = parts
        self._engines = CallEngines(state, ports, dependencies, parts.speech_input, parts.speech_output, parts.turn_audio)
        self._is_speaking = False
        self._ring_timer: asyncio.TimerHandle | None = None

    @property
    def accept_timeout_s(self) -> float:
        """How long an inbound call waits for a decision."""
        return self._dependencies.accept_timeout_s

    # -- actions of the machine

    def ask_who_takes_it(self) -> None:
        """Report an inbound call, ask the router, and send ringing if that takes time."""
        leg = self._state.leg
        self._ports.emit(events.Incoming(caller=leg.caller, callee=leg.callee, sdp=leg.offer, headers=shown_headers(leg.headers)))
        if self._router is not None:
            self._ports.spawn(self._route(self._router), "route")
        self._ring_timer = asyncio.get_running_loop().call_later(RING_AFTER_S, self._decision_is_slow)

    def dial(self) -> None:
        """Place the call; Fatal follows if that fails."""
        self._ports.spawn(self._dial(), "dial")

    def answer(self) -> None:
        """Prepare the engines, then answer the leg; Fatal follows if that fails."""
        if self._ring_timer is not None:
            self._ring_timer.cancel()
            self._ring_timer = None  # it refers to the context of the call
        self._ports.spawn(self._answer(), "accept")

    def check_engines(self, option: CallOption) -> None:
        """Raise ConfigError or ProviderError if an engine that the call would use with `option` is not available."""
        state, of_playbook = self._state, self._state.playbook.option if self._state.playbook is not None else CallOption()
        whole = merged(merged(merged(option, state.own_option), of_playbook), self._dependencies.defaults)
        self._engines.choose(state.playbook, whole, choose_speech(whole, state.playbook), state.trust)

    def ring(self, command: commands.Ringing) -> None:
        """Send ringing to the caller."""
        self._ports.spawn(self._ring(command), "ring")

    def continue_with(self, leg: Leg) -> None:
        """The call has another leg: speak and listen there, with a new recogniser stream."""
        choice = choose_speech(self._state.option, self._state.playbook)
        if not self._state.is_realtime:
            self._engines.hear_again(choice)
        if leg.stream is not None:
            self._parts.speech_output.use(leg.stream, None)
            self._parts.speech_input.listen_to(leg.stream, _vad_of(choice, has_agent=self._state.agent is not None))
            self._parts.taps.use(leg.stream)

    # -- an agent during a call

    def begin_agent(self, begin: BeginAgent) -> None:
        """Let an agent take over the conversation; it greets at once. If that fails, raises ActiveCallError and changes nothing."""
        state, parts = self._state, self._parts
        if state.facts.phase is not Phase.ANSWERED:
            raise LocalProtocolError("the call is not answered")
        if state.agent is not None:
            raise LocalProtocolError("this call already has an agent")
        states = self._machine.now
        if states.blocked_by is not None:
            raise LocalProtocolError(f"the agent cannot start: {states.blocked_by}")
        playbook = begin.playbook if isinstance(begin.playbook, Playbook) else self._dependencies.playbooks.load(begin.playbook)
        before = choose_speech(state.option, state.playbook)
        option = merged(merged(state.own_option, playbook.option), self._dependencies.defaults)
        choice, trust = choose_speech(option, playbook), state.trust_with(playbook, option)
        chosen = self._engines.choose(playbook, option, choice, trust, own_model=begin.model)
        is_heard_otherwise = chosen.realtime is not None or choice.asr != before.asr
        recognition = self._engines.open_recognition(chosen.recogniser, choice.asr.language) if is_heard_otherwise else None
        state.playbook, state.option, state.facts.playbook = playbook, option, playbook.file
        self._engines.take(chosen, choice, has_own_model=begin.model is not None)
        if is_heard_otherwise:
            self._engines.hear_with(recognition)  # none with a realtime model
        if state.leg.stream is not None:
            parts.speech_input.listen_to(state.leg.stream, _vad_of(choice, has_agent=True))
        state.agent = parts.start_agent(playbook, chosen.responder, begin, chosen.realtime)
        state.agent.ignore_plays(parts.speech_output.live_plays())
        if states.is_on_hold:
            initiator = states.peer_role if states.held_by_peer else "system"
            state.agent.hear(effects.Heard(events.Hold(on_hold=True, initiator=initiator)))
        state.agent.hear(effects.Heard(events.MediaReady()))

    def switch_language(self, language: str) -> None:
        """Change the language of recognition; an `error` event if no engine supports it."""
        self._engines.switch_language(language)

    def end_agent(self) -> None:
        """The agent stops speaking and leaves; does nothing if there is none. Recognition continues with the call's own recogniser."""
        state, speech_input, speech_output = self._state, self._parts.speech_input, self._parts.speech_output
        agent, state.agent = state.agent, None
        if agent is None:
            return
        state.agent_number += 1
        heard = speech_output.heard_so_far(self._ports.now())
        speech_output.interrupt()
        speech_output.forget_items()
        agent.leave(heard)
        self._ports.spawn(agent.release(), "agent")
        if state.is_realtime:
            speech_input.send_sound_to(None)
            state.is_realtime = False
            self._engines.hear_again(choose_speech(state.option, state.playbook))

    # -- tasks

    def _decision_is_slow(self) -> None:
        if self._machine.now.stage is Stage.DECIDING:
            self._ports.later(self._ring_while_deciding)

    def _ring_while_deciding(self) -> None:
        """While a decision takes time, signal ringing to the caller, because carriers expect a sign of progress soon."""
        if self._machine.now.stage is Stage.DECIDING and not self._machine.now.is_ending:
            self._ports.spawn(self._state.leg.ring(), "ring")

    async def _ring(self, command: commands.Ringing) -> None:
        leg = self._state.leg
        if not (command.early_media or command.ringtone):
            await leg.ring()
            return
        try:
            choice = choose_speech(self._state.option, None)
            synthesiser = self._dependencies.engines.get_synthesiser(choice.tts, self._state.trust)
            self._parts.speech_output.use(None, synthesiser)
            await self._open_sound()
            await leg.ring(early_media=True)
        except ActiveCallError as error:
            reason = str(error)
            self._ports.later(lambda: self._ports.emit(events.Error(sender="command", error=f"ringing: {reason}")))
            return
        if command.ringtone:
            self._ports.later(lambda: self._play_ringtone(command.ringtone))

    def _play_ringtone(self, source: str | None) -> None:
        if self._state.facts.phase < Phase.ANSWERED:
            self._parts.attention.claim(Why.RINGBACK, music=Music(source))

    async def _open_sound(self) -> None:
        """Open the stream and direct speech to it. May be called again."""
        stream = await self._state.leg.open_media()
        self._parts.speech_output.use(stream, None)
        if not self._is_speaking:
            self._is_speaking = True
            self._ports.spawn(self._parts.speech_output.run(), "speaking")

    async def _route(self, router: Router) -> None:
        """Ask the router. On any error the call is refused with a code, and the reason is kept."""
        try:
            async with asyncio.timeout(self._dependencies.accept_timeout_s):
                decision = await router.route(self._incoming_call())
        except ActiveCallError as error:
            self._ports.post(Fatal(error, 480))
        except Exception as error:  # a user's handler may raise anything
            self._ports.log.exception("handler failed")
            self._ports.post(Fatal(error, 500))
        else:
            self._ports.post(Routed(decision))

    def _incoming_call(self) -> IncomingCall:
        facts, leg = self._state.facts, self._state.leg
        from_tag, to_tag = dialog_tags(leg)
        return IncomingCall(
            session_id=facts.session_id,
            caller=leg.caller,
            callee=leg.callee,
            call_id=leg.call_id,
            headers=leg.headers,
            offer=leg.offer,
            created_at=facts.started_at,
            variables=facts.variables,
            trunk=facts.trunk,
            playbooks=self._dependencies.playbooks,
            from_tag=from_tag,
            to_tag=to_tag,
        )

    async def _answer(self) -> None:
        leg = self._state.leg
        try:
            await leg.ring()
            self._dependencies.before_step()  # none of these three need wait for anything, and each is costly
            await self._prepare()
            self._dependencies.before_step()
            await leg.accept(self._state.option)
        except MediaError as error:
            self._ports.post(Fatal(error, 503))
        except ActiveCallError as error:
            self._ports.post(Fatal(error, 500))
        except Exception as error:  # an adapter may raise anything
            self._ports.log.exception("call could not be answered")
            self._ports.post(Fatal(error, 500))

    async def _dial(self) -> None:
        try:
            await self._prepare()
            await self._state.leg.dial(self._state.option)
        except ActiveCallError as error:
            self._ports.post(Fatal(error, 503))
        except Exception as error:  # an adapter may raise anything
            self._ports.log.exception("call could not be placed")
            self._ports.post(Fatal(error, 503))

    async def _prepare(self) -> None:
        """Select engines, start the agent. Raises ConfigError or ProviderError if an engine is not available."""
        state, parts, of_playbook = self._state, self._parts, CallOption()
        if state.playbook is not None:
            state.facts.playbook = state.playbook.file
            of_playbook = state.playbook.option
        state.option = merged(merged(state.own_option, of_playbook), self._dependencies.defaults)
        choice = choose_speech(state.option, state.playbook)
        chosen = self._engines.choose(state.playbook, state.option, choice, state.trust)
        if self._dependencies.load_engines is not None:
            self._dependencies.load_engines()
        self._engines.take(chosen, choice)
        if ahead := able_to_connect(chosen.synthesiser, chosen.responder):
            self._ports.spawn(keep_connected(ahead, lambda: state.facts.phase < Phase.ANSWERED), "connections")
        if chosen.realtime is None:
            parts.speech_input.use(self._engines.open_recognition(chosen.recogniser, choice.asr.language))
        if state.playbook is not None:
            state.agent = parts.start_agent(state.playbook, chosen.responder, realtime=chosen.realtime)
        await self._open_sound()
        if state.leg.stream is not None:
            parts.speech_input.listen_to(state.leg.stream, _vad_of(choice, has_agent=self._state.agent is not None))
            parts.taps.use(state.leg.stream)
            parts.call_progress.listen()


def shown_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers of an invitation for events: without credentials."""
    return {name: value for name, value in headers.items() if name.lower() not in ("authorization", "proxy-authorization")}


def _vad_of(choice: SpeechChoice, *, has_agent: bool) -> VadSettings:
    pauses = has_agent and choice.turn.kind != "fixed"
    return VadSettings(choice.voice_threshold, choice.min_speech_ms, choice.silence_ms, pauses)
