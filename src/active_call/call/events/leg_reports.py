"""Handles the reports of the call's own leg and its media stream: phases of the call, contract events, notifications to the parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never

from msgspec import Struct

from active_call.agent import effects
from active_call.call.call_time import CallTime
from active_call.call.conversation.turn_taking import pause_sound
from active_call.call.events.quality_series import QualitySeries
from active_call.call.parties.executor import CallExecutor
from active_call.call.parties.machine_types import HoldAnswered, Input, PeerHeld
from active_call.call.ports import CallPorts, HangUp
from active_call.call.shared_state import CallState
from active_call.call.sound.answering_watch import AnsweringWatch
from active_call.call.sound.call_progress import CallProgressWatch
from active_call.call.sound.digits import DigitFilter
from active_call.call.sound.media_watchdog import MediaWatchdog
from active_call.call.sound.recording import Recording
from active_call.call.speech.latency import TurnClock
from active_call.call.speech.overlap_pause import OverlapPause
from active_call.call.speech.speech_input import SpeechInput
from active_call.call.speech.speech_output import SpeechOutput
from active_call.call.state import Phase
from active_call.call.transfer.executor import TransferExecutor
from active_call.contract import events
from active_call.legs import events as leg_events
from active_call.media.link import messages as link
from active_call.media.pool.pool import StreamLost


class ReportedTo(Struct, frozen=True):
    """The parts that are notified, and the function that ends the call."""

    machine: CallExecutor
    speech_input: SpeechInput
    speech_output: SpeechOutput
    overlap: OverlapPause
    call_progress: CallProgressWatch
    answering: AnsweringWatch
    media_watchdog: MediaWatchdog
    recording: Recording
    transfers: TransferExecutor
    turn: TurnClock
    hang_up: HangUp
    leg_over: Callable[[leg_events.LegEnded], None]
    quality: QualitySeries


class LegReports:
    """The reports of one call, in the order of its mailbox."""

    def __init__(self, state: CallState, ports: CallPorts, time: CallTime, parts: ReportedTo) -> None:
        self._state = state
        self._ports = ports
        self._time = time
        self._parts = parts
        self._digits = DigitFilter()

    def handle(self, event: leg_events.LegEvent) -> None:
        """An event of the leg."""
        parts, emit = self._parts, self._ports.emit
        match event:
            case leg_events.LegRinging(early_media=early_media):
                if self._state.facts.reach(Phase.RINGING, self._time.utc_now()):
                    emit(events.Ringing(early_media=early_media))
            case leg_events.LegAnswered(sdp):
                if self._state.facts.reach(Phase.ANSWERED, self._time.utc_now()):
                    self._answered(sdp)
            case leg_events.LegReady():
                parts.call_progress.listen()
                parts.call_progress.begin_ambience()
                emit(events.MediaReady())
            case leg_events.LegHeld(on_hold):
                parts.machine.feed(PeerHeld(on_hold))
                parts.transfers.caller_held(on_hold, is_silent=event.is_silent)
            case leg_events.LegHoldAnswered():
                parts.machine.feed(HoldAnswered(event.on_hold, event.code))
            case leg_events.LegRequestRefused(method, code, reason):
                emit(events.Error(sender=method.lower(), error=f"{code} {reason}", code=code))
            case leg_events.LegMessage(body, content_type):
                emit(events.Message(body=body, content_type=content_type))
            case leg_events.LegDigit(digit):
                self._digit(digit, "signalling")
            case leg_events.LegTransferRequested():
                parts.transfers.requested(event)
            case leg_events.LegTransferProgress():
                parts.transfers.progress(event)
            case leg_events.LegEnded():
                parts.leg_over(event)
            case leg_events.LegMedia(report):
                self.handle_media(report)
            case _:
                assert_never(event)

    def _answered(self, sdp: str) -> None:
        self._touch()
        self._parts.machine.feed(Input.LEG_ANSWERED)
        self._ports.emit(events.Answer(sdp=sdp))
        self._parts.media_watchdog.answered()
        self._parts.recording.begin_as_configured()

    def handle_media(self, report: link.Report | StreamLost) -> None:
        """A report of the media process about the leg's stream."""
        parts = self._parts
        match report:
            case link.SpeechStarted():
                self._touch()
                parts.speech_input.speech_started(report)
            case link.SpeechEnded():
                parts.speech_input.speech_ended(report)
            case link.PausedOnVoice():
                self._paused_on_voice(report)
            case link.PauseHeard():
                if self._state.agent is not None and not parts.speech_input.is_suspended:
                    self._state.agent.hear(effects.Paused(pause_sound(report, self._ports.now())))
            case link.PlayStarted():
                self._play_started(report)
            case link.PlayLow():
                parts.speech_output.play_low(report)
            case link.PlayEnded():
                self._touch()
                parts.speech_output.play_ended(report)
            case link.DigitReceived():
                self._digit(report.digit, "media")
            case link.ToneReported():
                parts.call_progress.heard(report)
                parts.answering.heard(report)
            case link.RecordingEnded():
                parts.recording.ended(report)
            case link.StreamDead() if parts.transfers.is_alone:
                pass
            case link.StreamDead():
                parts.media_watchdog.dead(report)
            case link.OrderRefused():
                self._refused(report)
            case link.QualityReported():
                parts.quality.take(report, self._time.to_epoch_ms)
            case link.MediaProblem():
                parts.media_watchdog.problem(report)
            case StreamLost(reason=reason):
                parts.recording.lost()
                self._state.facts.error = f"media process lost: {reason}"
                parts.hang_up(by="system", cause="media_lost", reason="media process lost")
            case _:
                pass

    def _paused_on_voice(self, report: link.PausedOnVoice) -> None:
        self._parts.overlap.paused_on_voice(report.at)
        if self._state.agent is None or self._parts.speech_input.is_suspended:
            self._parts.overlap.end()
        else:
            self._state.agent.hear(effects.PausedOnVoice())

    def _play_started(self, report: link.PlayStarted) -> None:
        text = self._parts.speech_output.play_started(report)
        trace = self._parts.turn.agent_voiced(report.voiced_at, text)
        if trace is not None:
            self._ports.emit(trace)

    def _refused(self, report: link.OrderRefused) -> None:
        """The media process could not execute an order. If the agreed media cannot be set up, the call ends."""
        self._ports.emit(events.Error(sender="media", error=f"{report.order}: {report.reason}"))
        if report.order in (link.ConfigureRtp.__name__, link.UseMessages.__name__):
            reason = self._state.facts.error = f"the media process cannot carry out the negotiated media: {report.reason}"
            self._parts.hang_up(by="system", cause="no_media", reason=reason)

    def _digit(self, digit: str, way: str) -> None:
        """The peer pressed a key; a trunk may report it in two ways."""
        self._touch()
        if self._digits.is_new(digit, way, self._ports.now()):
            self._ports.emit(events.Dtmf(digit=digit))
            self._parts.transfers.forward_digit(digit, from_far=False)

    def _touch(self) -> None:
        """The call is active: restart its inactivity timer."""
        self._state.last_activity_at = self._ports.now()
