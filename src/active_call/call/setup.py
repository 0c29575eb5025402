"""How a call comes about: who takes it, with which engines, and then the answer, the refusal or the dialling.

Decisions and preparations run as tasks of the call; what comes of them is posted into its mailbox and handled there, in order.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, assert_never

from active_call.agent.kinds import make_conversation
from active_call.agent.playbook.scenes import Playbook
from active_call.base.errors import ActiveCallError, LocalProtocolError, MediaError
from active_call.call.agent_runner import AgentPorts, AgentRunner
from active_call.call.options import choose_speech, merged
from active_call.call.routing import Accepted, Decision, IncomingCall, LeftOpen, Refused, Router
from active_call.call.speech_input import VadSettings, open_recognition
from active_call.call.state import Phase
from active_call.call.web_requests import WebRequests, access_of
from active_call.contract import commands, events
from active_call.contract.options import CallOption
from active_call.legs.sip.identity import identity_of
from active_call.providers.base import ChatModel

if TYPE_CHECKING:
    from active_call.call.call import Call
    from active_call.call.leg import Leg

RING_AFTER_S = 0.2
RINGTONE = "ringtone"
"""Why there is music before the answer."""
UNANSWERED = "unanswered"
"""Why nothing plays in a call of ours before the answer: the first words would be lost on the ringing."""
REFUSALS = {480: "Temporarily Unavailable", 500: "Server Internal Error", 503: "Service Unavailable"}


@dataclass(frozen=True, slots=True)
class Routed:
    """A router has decided."""

    decision: Decision


@dataclass(frozen=True, slots=True)
class Fatal:
    """Something that the call needs cannot be had; it ends with `code`."""

    error: Exception
    code: int


class CallSetup:
    """The beginning of one call. `own_option` is what was chosen for this call alone, by its client or its handler."""

    def __init__(self, session: Call, router: Router | None, own_option: CallOption) -> None:
        self._session = session
        self._router = router
        self.own_option = own_option
        self.deciding_until: float | None = None
        """Until when somebody has to accept an inbound call; None when nobody has to."""
        self._is_speaking = False
        self._is_taken = False
        """Somebody has accepted the call."""

    def begin(self) -> None:
        """Set out: ask who takes an inbound call, or dial."""
        session = self._session
        if session.facts.direction != "inbound":
            session.spawn(self._dial(), "dial")
            return
        session.emit(events.Incoming(caller=session.leg.caller, callee=session.leg.callee, sdp=session.leg.offer))
        self.deciding_until = session.now() + session.services.accept_timeout_s
        if self._router is not None:
            session.spawn(self._route(self._router), "route")
        session.spawn(self._ring_while_deciding(), "ring")

    def handle_timeout(self, now: float) -> None:
        """Nobody has decided in time: 408."""
        if self.deciding_until is not None and now >= self.deciding_until:
            self.deciding_until = None
            session = self._session
            session.is_ending = True
            session.facts.error = f"nobody accepted the call within {session.services.accept_timeout_s:g} s"
            session.leg.reject(408, "Request Timeout")

    def decided(self, decision: Decision) -> None:
        """Do what was decided."""
        session = self._session
        if self._is_taken or session.is_ending:
            session.log.info("decision comes too late", extra={"decision": type(decision).__name__})
            return
        match decision:
            case Accepted(playbook, option, variables):
                session.playbook = playbook
                session.facts.variables.update(variables)
                session.given_texts += [str(value) for value in variables.values()]
                self.accept(option)
            case Refused(code, reason):
                self.reject(code, reason)
            case LeftOpen():
                pass
            case _:
                assert_never(decision)

    def accept(self, option: CallOption) -> None:
        """Answer the call: get the engines ready, then the leg. Raises LocalProtocolError for a call that is settled already."""
        self._require_open()
        if self._is_taken:
            raise LocalProtocolError("the call is being answered already")
        self._is_taken = True
        self.deciding_until = None
        self.own_option = merged(option, self.own_option)
        self._session.spawn(self._accept(), "accept")

    def reject(self, code: int, reason: str) -> None:
        """Refuse the call. Raises LocalProtocolError for a call that is settled already, or a code that refuses nothing."""
        self._require_open()
        self._session.leg.reject(code, reason)
        self.deciding_until = None
        self._session.is_ending = True
        self._session.emit(events.Reject(code=code, reason=reason))

    def _require_open(self) -> None:
        """Raise LocalProtocolError unless this is an inbound call that is neither answered nor over."""
        session = self._session
        if session.facts.direction != "inbound":
            raise LocalProtocolError("only an inbound call can be accepted, refused or let ring")
        if session.is_ending:
            raise LocalProtocolError("the call is over, or being ended")
        if session.facts.phase >= Phase.ANSWERED:
            raise LocalProtocolError("the call is answered already")

    def ring(self, command: commands.Ringing) -> None:
        """Let the caller hear that it rings; with early media or a ringing tone the sound is opened before the answer.

        Raises LocalProtocolError for a call that is settled already.
        """
        self._require_open()
        self._session.spawn(self._ring(command), "ring")

    def go_on_with(self, leg: Leg) -> None:
        """The call has another leg: speak and listen there, with a recogniser that has heard nothing of the one before."""
        session, stream = self._session, leg.stream
        choice = choose_speech(session.option, session.playbook)
        recogniser = session.services.engines.get_recogniser(choice.asr)
        recognition = open_recognition(recogniser, session.post, session.recogniser_failed, language=choice.asr.language)
        session.spawn(session.hearing.replace(recognition), "ear")
        if stream is not None:
            session.speaking.use(stream, None)
            session.hearing.listen_to(stream, VadSettings(choice.voice_threshold, choice.min_speech_ms, choice.silence_ms))

    def give_up(self, failure: Fatal) -> None:
        """The call cannot go on; say why, and end it with the right code."""
        session = self._session
        if session.is_ending:
            session.log.info("failure of a call that is ending", extra={"error": str(failure.error)})
            return
        session.facts.error = str(failure.error)
        session.emit(events.Error(sender="call", error=str(failure.error), code=failure.code))
        if session.facts.phase is Phase.ANSWERED or session.facts.direction == "outbound":
            session.hang_up(by="system", cause="error", reason=str(failure.error))
        else:
            self.deciding_until = None
            session.is_ending = True
            session.leg.reject(failure.code, REFUSALS[failure.code])

    # -- tasks

    async def _ring_while_deciding(self) -> None:
        """A decision that takes its time is waited for with a ringing tone, as carriers want to hear something soon."""
        await asyncio.sleep(RING_AFTER_S)
        if self.deciding_until is not None:
            await self._session.leg.ring()

    async def _ring(self, command: commands.Ringing) -> None:
        session = self._session
        if not (command.early_media or command.ringtone):
            await session.leg.ring()
            return
        try:
            session.speaking.use(None, session.services.engines.get_synthesiser(choose_speech(session.option, None).tts))
            await self._open_sound()
            await session.leg.ring(early_media=True)
        except ActiveCallError as error:
            reason = str(error)
            session.post_later(lambda: session.emit(events.Error(sender="ringing", error=reason)))
            return
        if command.ringtone:
            session.post_later(lambda: self._play_ringtone(command.ringtone))

    def _play_ringtone(self, source: str | None) -> None:
        if self._session.facts.phase < Phase.ANSWERED:
            self._session.music.start(RINGTONE, source)

    async def _open_sound(self) -> None:
        """Get the stream, and let what is to be said go there. Harmless a second time."""
        session = self._session
        stream = await session.leg.open_media()
        session.speaking.use(stream, None)
        if not self._is_speaking:
            self._is_speaking = True
            session.spawn(session.speaking.run(), "speaking")

    async def _route(self, router: Router) -> None:
        """Ask who takes the call. Whatever goes wrong, the call is refused with a code and the reason is kept."""
        session = self._session
        call = IncomingCall(
            session_id=session.id,
            caller=session.leg.caller,
            callee=session.leg.callee,
            call_id=session.leg.call_id,
            headers=session.leg.headers,
            offer=session.leg.offer,
            created_at=session.facts.started_at,
            variables=session.facts.variables,
            trunk=session.facts.trunk,
            playbooks=session.services.playbooks,
        )
        try:
            async with asyncio.timeout(session.services.accept_timeout_s):
                decision = await router.route(call)
        except ActiveCallError as error:
            session.post(Fatal(error, 480))
        except Exception as error:  # a user's handler may raise anything
            session.log.exception("handler failed")
            session.post(Fatal(error, 500))
        else:
            session.post(Routed(decision))

    async def _accept(self) -> None:
        session = self._session
        try:
            await session.leg.ring()
            await self._prepare()
            await session.leg.accept(session.option)
        except MediaError as error:
            session.post(Fatal(error, 503))
        except ActiveCallError as error:
            session.post(Fatal(error, 500))
        except Exception as error:  # an adapter may raise anything
            session.log.exception("call could not be answered")
            session.post(Fatal(error, 500))

    async def _dial(self) -> None:
        try:
            self._session.speaking.pause(True, UNANSWERED)
            await self._prepare()
            await self._session.leg.dial(self._session.option)
        except ActiveCallError as error:
            self._session.post(Fatal(error, 503))
        except Exception as error:  # an adapter may raise anything
            self._session.log.exception("call could not be placed")
            self._session.post(Fatal(error, 503))

    async def _prepare(self) -> None:
        """Choose engines, wake the agent. Raises ConfigError or ProviderError when an engine cannot be had."""
        session, of_playbook = self._session, CallOption()
        if session.playbook is not None:
            session.facts.playbook = session.playbook.file
            of_playbook = session.playbook.option
        session.option = merged(merged(self.own_option, of_playbook), session.services.defaults)
        choice = choose_speech(session.option, session.playbook)
        engines = session.services.engines
        recogniser, synthesiser = engines.get_recogniser(choice.asr), engines.get_synthesiser(choice.tts)
        responder = engines.get_responder(choice.llm) if choice.llm is not None else None
        session.hearing.set_end_of_turn(choice.end_of_turn_ms)
        session.hearing.use(open_recognition(recogniser, session.post, session.recogniser_failed, language=choice.asr.language))
        session.speaking.use(None, synthesiser)
        if session.playbook is not None:
            session.brain = self._wake(session.playbook, responder)
        await self._open_sound()
        stream = session.leg.stream
        if stream is not None:
            session.hearing.listen_to(stream, VadSettings(choice.voice_threshold, choice.min_speech_ms, choice.silence_ms))
            session.surroundings.listen()

    def _wake(self, playbook: Playbook, responder: ChatModel | None) -> AgentRunner:
        session = self._session
        facts = session.facts
        built_in = {
            "session_id": facts.session_id,
            "call_type": facts.call_type,
            "caller": facts.caller,
            "callee": facts.callee,
            "start_time": facts.started_at.isoformat(),
            "trunk": facts.trunk,
        }
        if facts.direction == "inbound":
            built_in |= identity_of(session.leg.headers)
        requests = WebRequests(access_of(playbook), session.services.http, session.services.guarded or session.services.http)
        agent = make_conversation(playbook, {**built_in, **facts.variables}, session.leg.headers)
        ports = AgentPorts(
            perform=partial(session.perform, asked_by="agent"),
            attempt=session.faults.attempt,
            tell=session.tell,
            post=session.post_to_agent,
            expect_phrases=session.hearing.expect_phrases,
            spawn=session.spawn,
            now=session.now,
        )
        return AgentRunner(agent, responder, requests, session.turn, ports, session.log)
