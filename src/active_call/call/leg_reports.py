"""What the call's own leg and its media stream tell, put into effect: phases of the call, events to whoever watches, news to the parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from active_call.call.digits import DigitFilter
from active_call.call.setup import RINGTONE, UNANSWERED
from active_call.call.state import Phase
from active_call.contract import events
from active_call.legs import events as leg_events
from active_call.media.link import messages as link
from active_call.media.pool.pool import StreamLost

if TYPE_CHECKING:
    from active_call.call.call import Call


class LegReports:
    """Of one call, in the order of its mailbox."""

    def __init__(self, session: Call) -> None:
        self._session = session
        self._digits = DigitFilter()

    def handle(self, event: leg_events.LegEvent) -> None:
        """Something has happened on the leg."""
        session = self._session
        now = session.utc_now()
        match event:
            case leg_events.LegRinging(early_media=early_media):
                if session.facts.reach(Phase.RINGING, now):
                    session.emit(events.Ringing(early_media=early_media))
            case leg_events.LegAnswered(sdp):
                if session.facts.reach(Phase.ANSWERED, now):
                    self._answered(sdp)
            case leg_events.LegReady():
                session.surroundings.listen()
                session.surroundings.begin_ambience()
                session.emit(events.MediaReady())
            case leg_events.LegHeld():
                session.holding.held(event)
            case leg_events.LegHoldAnswered():
                session.holding.answered(event)
            case leg_events.LegRequestRefused(method, code, reason):
                session.emit(events.Error(sender=method.lower(), error=f"{code} {reason}", code=code))
            case leg_events.LegMessage(body, content_type):
                session.emit(events.Message(body=body, content_type=content_type))
            case leg_events.LegDigit(digit):
                self._digit(digit, "signalling")
            case leg_events.LegTransferRequested():
                session.transfers.requested(event)
            case leg_events.LegTransferProgress():
                session.transfers.progress(event)
            case leg_events.LegEnded():
                session.leg_over(event)
            case leg_events.LegMedia(report):
                self.handle_media(report)
            case _:
                assert_never(event)

    def _answered(self, sdp: str) -> None:
        session = self._session
        session.touch()
        session.music.stop(RINGTONE)
        session.speaking.pause(False, UNANSWERED)
        session.emit(events.Answer(sdp=sdp))
        session.direction.answered()
        session.recording.begin_as_configured()

    def handle_media(self, report: link.Report | StreamLost) -> None:
        """The media process has told something of the leg's stream."""
        session = self._session
        match report:
            case link.SpeechStarted():
                session.touch()
                session.hearing.speech_started(report)
            case link.SpeechEnded():
                session.hearing.speech_ended(report)
            case link.PlayStarted():
                text = session.speaking.play_started(report)
                trace = session.turn.agent_voiced(report.voiced_at, text)
                if trace is not None:
                    session.emit(trace)
            case link.PlayLow():
                session.speaking.play_low(report)
            case link.PlayEnded():
                session.touch()
                session.speaking.play_ended(report)
            case link.DigitReceived():
                self._digit(report.digit, "media")
            case link.ToneReported():
                session.surroundings.heard(report)
            case link.RecordingEnded():
                session.recording.ended(report)
            case link.StreamDead() if session.transfers.is_alone:
                pass
            case link.StreamDead():
                session.direction.dead(report)
            case link.OrderRefused():
                self._refused(report)
            case link.MediaProblem():
                session.direction.problem(report)
            case StreamLost(reason=reason):
                session.recording.lost()
                session.facts.error = f"media process lost: {reason}"
                session.hang_up(by="system", cause="media_lost", reason="media process lost")
            case _:
                pass

    def _refused(self, report: link.OrderRefused) -> None:
        """The media process could not carry out an order; without what was agreed on there is no call."""
        session = self._session
        session.emit(events.Error(sender="media", error=f"{report.order}: {report.reason}"))
        if report.order == link.ConfigureRtp.__name__:
            session.facts.error = f"the media process cannot do what was agreed on: {report.reason}"
            session.hang_up(by="system", cause="no_media", reason=session.facts.error)

    def _digit(self, digit: str, way: str) -> None:
        """The peer has pressed a key; a trunk may tell it by two ways."""
        session = self._session
        session.touch()
        if self._digits.is_new(digit, way, session.now()):
            session.emit(events.Dtmf(digit=digit))
            session.transfers.forward_digit(digit, from_far=False)
