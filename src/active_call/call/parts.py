"""Creates the parts of one call and connects them. This is the only file of the room that knows every part."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from functools import partial

from msgspec import Struct

from active_call.agent import effects
from active_call.agent.playbook.scenes import Playbook
from active_call.base.errors import ActiveCallError, MediaError
from active_call.call.call_time import CallTime
from active_call.call.conversation.agent_runner import AgentPorts, AgentRunner
from active_call.call.conversation.agent_start import start_agent
from active_call.call.conversation.realtime_session import ModelSession, SessionPorts
from active_call.call.cost.call_cost import CallCost
from active_call.call.cost.last_sentence import LastSentence
from active_call.call.dependencies import CallDependencies
from active_call.call.dispatch import Commanded
from active_call.call.events.event_output import EventOutput
from active_call.call.events.journal import Journal
from active_call.call.events.leg_reports import LegReports, ReportedTo
from active_call.call.faults import Faults
from active_call.call.items import ForAgent
from active_call.call.opening.options import choose_speech
from active_call.call.opening.routing import Router
from active_call.call.opening.setup import CallSetup, SetupParts
from active_call.call.parties.attention import Music as WantedMusic
from active_call.call.parties.attention_executor import AttentionExecutor, AttentionPorts
from active_call.call.parties.bridging import Bridging
from active_call.call.parties.executor import CallExecutor
from active_call.call.parties.machine import CallMachine
from active_call.call.parties.own_leg import OnLeg, OwnLeg
from active_call.call.ports import CallNetwork, CallPorts
from active_call.call.requests import BeginAgent
from active_call.call.shared_state import CallState
from active_call.call.sound.answering_watch import AnsweringWatch
from active_call.call.sound.call_progress import CallProgressWatch
from active_call.call.sound.call_sounds import CallSounds
from active_call.call.sound.media_sockets import MediaSockets
from active_call.call.sound.media_watchdog import MediaWatchdog
from active_call.call.sound.music import Music
from active_call.call.sound.recording import Recording
from active_call.call.sound.taps import SoundTaps
from active_call.call.speech.latency import TurnClock
from active_call.call.speech.other_voices import voice_for
from active_call.call.speech.overlap_pause import OverlapPause
from active_call.call.speech.speech_input import SpeechInput
from active_call.call.speech.speech_metrics import RecogniserMetrics
from active_call.call.speech.speech_output import SpeechOutput
from active_call.call.speech.turn_audio import TurnAudio
from active_call.call.transfer.executor import TransferExecutor
from active_call.call.transfer.ports import TransferPorts
from active_call.contract import commands, events
from active_call.contract.options import TtsOption
from active_call.legs.trunks.outbound_guard import Asker
from active_call.media.pool.pool import MediaStream
from active_call.providers.base import ChatModel, RealtimeModel, TextToSpeech

ATTENTION = "attention"


class CallContext(Struct, frozen=True):
    """The inputs for creating the parts."""

    state: CallState
    ports: CallPorts
    time: CallTime
    output: EventOutput
    journal: Journal
    faults: Faults
    dependencies: CallDependencies
    network: CallNetwork
    router: Router | None
    perform: Callable[[commands.Command, Asker], None]
    """Execute a command now, on behalf of the `Asker`."""


class CallParts(Struct, frozen=True):
    """The parts of one call."""

    speech_input: SpeechInput
    speech_output: SpeechOutput
    taps: SoundTaps
    music: Music
    attention: AttentionExecutor
    call_progress: CallProgressWatch
    answering: AnsweringWatch
    media_watchdog: MediaWatchdog
    recording: Recording
    machine: CallExecutor
    own_leg: OwnLeg
    bridging: Bridging
    transfers: TransferExecutor
    reports: LegReports
    commanded: Commanded
    cost: CallCost
    setup: CallSetup
    """Also begins and ends agents during the call."""
    disconnect: Callable[[], None]
    """Lets parts that use each other forget each other, so that they are freed without the garbage collector. Only after the end."""


def make_parts(context: CallContext) -> CallParts:
    """All parts of a call, connected."""
    return _Wiring(context).parts()


class _Wiring:
    """Creates the parts of one call. Parts that need each other are connected by callables, which run after all parts exist."""

    def __init__(self, context: CallContext) -> None:
        self._context = context
        self._turn = TurnClock()
        library, state = context.dependencies.sounds, context.state
        self._sounds = None if library is None else CallSounds(library, lambda: state.trust)
        self._turn_audio = TurnAudio(context.ports.spawn, context.ports.log)
        self._own_leg: OwnLeg
        self._transfers: TransferExecutor
        self._overlap: OverlapPause
        self._setup: CallSetup
        self._attention: AttentionExecutor

    def _disconnect(self) -> None:
        del self._own_leg, self._transfers, self._overlap, self._setup, self._attention, self._turn_audio

    def parts(self) -> CallParts:
        context = self._context
        state, ports, dependencies = context.state, context.ports, context.dependencies
        machine = CallMachine(is_inbound=state.is_inbound, accept_timeout_s=dependencies.accept_timeout_s)
        speech_input, speech_output = self._speech_input(), self._speech_output()
        taps = SoundTaps(speech_input.forward_always)
        music = self._make_music(lambda: state.leg.stream)
        progress = CallProgressWatch(state, ports, context.time, self._sounds, context.output.tell, self._is_aside)
        attention = self._attention = AttentionExecutor(self._attention_ports(music, speech_input, speech_output, progress))
        self._overlap = OverlapPause(attention, speech_output)
        recording = Recording(state, ports.emit, context.journal, dependencies)
        starts = partial(self._start_agent, speech_input, speech_output, partial(self._mask_input, recording, taps))
        setup_parts = SetupParts(speech_input, self._turn_audio, speech_output, taps, progress, attention, starts)
        setup = self._setup = CallSetup(state, ports, machine, dependencies, context.router, setup_parts)
        executor = CallExecutor(machine, state, ports, attention, setup, self._hang_up)
        on_leg = OnLeg(executor, setup, attention, speech_output, recording, progress, lambda: self._transfers)
        self._own_leg = OwnLeg(state, ports, context.journal, on_leg)
        bridging = Bridging(state, ports, context.network, executor, dependencies.join)
        self._transfers = TransferExecutor(self._transfer_ports(executor, attention, bridging))
        hang_up, watchdog = self._own_leg.hang_up, MediaWatchdog(state.facts, ports, self._own_leg.hang_up)
        answering = AnsweringWatch(state, ports, context.time, hang_up, setup.end_agent, lambda command: context.perform(command, "agent"))
        self._watch_events(answering, taps)
        cost = self._cost(setup, speech_output)
        reported_to = ReportedTo(
            executor,
            speech_input,
            speech_output,
            self._overlap,
            progress,
            answering,
            watchdog,
            recording,
            self._transfers,
            self._turn,
            hang_up,
            self._own_leg.is_over,
            context.journal.quality,
        )
        return CallParts(
            speech_input=speech_input,
            speech_output=speech_output,
            taps=taps,
            music=music,
            attention=attention,
            call_progress=progress,
            answering=answering,
            media_watchdog=watchdog,
            recording=recording,
            machine=executor,
            own_leg=self._own_leg,
            bridging=bridging,
            transfers=self._transfers,
            reports=LegReports(state, ports, context.time, reported_to),
            commanded=Commanded(state, ports, executor, attention, speech_output, recording, bridging, self._transfers, hang_up),
            cost=cost,
            setup=setup,
            disconnect=self._disconnect,
        )

    def _watch_events(self, answering: AnsweringWatch, taps: SoundTaps) -> None:
        context, state, output = self._context, self._context.state, self._context.output
        recogniser = lambda: state.facts.engines.get("asr", {}).get("provider", "asr")  # noqa: E731 (it changes with the language)
        output.watch(answering.observe)
        output.watch(RecogniserMetrics(output.tell, recogniser).observe)
        output.watch(MediaSockets(state, context.ports, taps, context.dependencies.open_socket).observe)

    def _is_aside(self) -> bool:
        return self._attention.state.is_aside

    def _hang_up(self, *, by: str, cause: str, reason: str = "", headers: object = None) -> None:
        del headers
        self._own_leg.hang_up(by=by, cause=cause, reason=reason)

    def _cost(self, setup: CallSetup, speech_output: SpeechOutput) -> CallCost:
        context = self._context
        cost = CallCost(context.state, context.ports, context.time, context.dependencies.spending)
        last = LastSentence(
            context.state,
            context.ports,
            perform=lambda command: context.perform(command, "agent"),
            hang_up=self._own_leg.hang_up,
            end_agent=setup.end_agent,
            voice=lambda: speech_output.synthesiser,
        )
        cost.on_near, cost.on_spent, cost.is_aside = last.prepare, last.begin, self._is_aside
        context.output.watch(last.observe)
        return cost

    def _speech_input(self) -> SpeechInput:
        context = self._context
        return SpeechInput(
            emit=context.output.emit,
            to_epoch_ms=context.time.to_epoch_ms,
            turn=self._turn,
            end_of_turn_ms=choose_speech(context.state.option, None).end_of_turn_ms,
            turn_audio=self._turn_audio,
        )

    def _speech_output(self) -> SpeechOutput:
        context = self._context
        output = SpeechOutput(
            emit=context.output.emit,
            clock=context.time.clock,
            turn=self._turn,
            on_auto_hangup=lambda: self._own_leg.hang_up(by="agent", cause="autohangup"),
            sounds=self._sounds,
            speech=context.dependencies.speech,
        )
        output.maker.voice_of, output.maker.tell_metrics = self._voice_of, context.output.tell
        output.maker.before_step = context.dependencies.before_step
        return output

    def _voice_of(self, wanted: TtsOption | None, current: TextToSpeech | None) -> TextToSpeech | None:
        """The voice of a command with its own option; None: the call's."""
        state = self._context.state
        own = choose_speech(state.option, state.playbook).tts
        return voice_for(wanted, own, self._context.dependencies.engines, current, state.trust)

    def _make_music(self, stream_of: Callable[[], MediaStream | None]) -> Music:
        return Music(stream_of, self._context.ports.spawn, self._pieces_of, self._music_failed)

    def _pieces_of(self, source: str, rate_hz: int) -> AsyncGenerator[bytes, None]:
        """The sound of a file or URL at `rate_hz`. Raises MediaError."""
        if self._sounds is None:
            raise MediaError(f"{source}: this server cannot play sounds")
        return self._sounds.pieces(source, rate_hz)

    def _music_failed(self, error: ActiveCallError) -> None:
        self._context.output.emit(events.Error(sender="play", error=str(error)))

    def _attention_ports(
        self, music: Music, speech_input: SpeechInput, speech_output: SpeechOutput, progress: CallProgressWatch
    ) -> AttentionPorts:
        state, ports = self._context.state, self._context.ports

        def play_music(wanted: WantedMusic | None) -> None:
            if wanted is None:
                music.stop(ATTENTION)
            else:
                music.start(ATTENTION, wanted.source)

        def step_back() -> None:
            state.last_activity_at = ports.now()
            progress.begin_ambience()

        def mute(track: str, muted: bool) -> None:
            if state.leg.stream is not None:
                state.leg.stream.mute(muted, track)

        return AttentionPorts(
            play_music=play_music,
            mute=mute,
            freeze=speech_output.pause,
            suspend=speech_input.suspend,
            resume=speech_input.resume,
            step_aside=progress.end_ambience,
            step_back=step_back,
        )

    def _start_agent(
        self,
        speech_input: SpeechInput,
        speech_output: SpeechOutput,
        mask_input: Callable[[bool], None],
        playbook: Playbook,
        responder: ChatModel | None,
        begin: BeginAgent | None = None,
        realtime: RealtimeModel | None = None,
    ) -> AgentRunner:
        context, number = self._context, self._context.state.agent_number
        session = self._realtime_session(realtime, speech_output) if realtime is not None else None
        speech_input.send_sound_to(session.push_audio if session is not None else None)
        ports = AgentPorts(
            perform=lambda command: context.perform(command, "agent"),
            attempt=context.faults.attempt,
            tell=context.output.tell,
            post=lambda item: context.ports.post(ForAgent(item, number)),
            expect_phrases=speech_input.expect_phrases,
            end_utterance=speech_input.end_now,
            note_overlap=speech_input.note_overlap,
            pause_reply=self._overlap.pause,
            resume_reply=self._overlap.end,
            pause_on_voice=self._overlap.arm,
            prepare_speech=speech_output.maker.prepare,
            judge_turn=self._turn_audio.ask,
            spawn=context.ports.spawn,
            now=context.ports.now,
            switch_language=lambda code, _: self._setup.switch_language(code),
            mask_input=mask_input,
        )
        state, log = context.state, context.ports.log
        return start_agent(playbook, responder, begin, state, context.dependencies, self._turn, ports, log, session)

    def _realtime_session(self, model: RealtimeModel, speech_output: SpeechOutput) -> ModelSession:
        context, number = self._context, self._context.state.agent_number
        option = context.state.option.realtime
        ports = SessionPorts(
            player=speech_output,
            post=lambda event: context.ports.post(ForAgent(effects.FromRealtime(event), number)),
            tell=context.output.tell,
            now=context.ports.now,
            log=context.ports.log,
        )
        return ModelSession(model, option.voice if option is not None else None, ports)

    def _mask_input(self, recording: Recording, taps: SoundTaps, is_secret: bool) -> None:
        """The caller's further input is for the agent only."""
        self._context.output.is_secret = taps.is_secret = is_secret
        recording.leave_out(is_secret)

    def _transfer_ports(self, machine: CallExecutor, attention: AttentionExecutor, bridging: Bridging) -> TransferPorts:
        context = self._context
        return TransferPorts(
            state=context.state,
            call=context.ports,
            time=context.time,
            tell=context.output.tell,
            hang_up=self._own_leg.hang_up,
            network=context.network,
            machine=machine,
            attention=attention,
            bridging=bridging,
            engines=context.dependencies.engines,
            join=context.dependencies.join,
            make_music=self._make_music,
            adopt=self._own_leg.adopt,
            end_if_gone=self._own_leg.end_if_gone,
        )
