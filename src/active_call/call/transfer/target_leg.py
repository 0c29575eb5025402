"""The far leg of a transfer: our own call to the target. Its events carry `refer: true`.

Leg events enter; contract events leave, and inputs for the transfer (`transfer.machine`). The target's speech is recognised if the
transfer's options ask for it. In any case one `hangup` is reported and the leg's stream is released.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Any

import msgspec

from active_call.base.errors import ActiveCallError, MediaError
from active_call.call.cost.telephone import leg_use
from active_call.call.events.signalling import sip_messages_of
from active_call.call.items import FromLeg
from active_call.call.opening.options import DEFAULT_SILENCE_MS, DEFAULT_VOICE_THRESHOLD, choose_speech, given
from active_call.call.parties.parties import CONNECTED, EARLY_MEDIA, PEER, TARGET, Join, Mix
from active_call.call.sound.call_progress import gain_of
from active_call.call.speech.latency import TurnClock
from active_call.call.speech.speech_input import SpeechInput, VadSettings, open_recognition
from active_call.call.transfer.briefing import Briefing
from active_call.call.transfer.machine import FarAnswered, FarEnded, FarHeard, FarRinging, Joined, JoinFailed
from active_call.call.transfer.ports import TargetListener, TransferPorts
from active_call.contract import commands, events
from active_call.contract.options import AsrOption, BriefingOption, CallOption, ReferOption, VadOption
from active_call.legs import events as leg_events
from active_call.legs.abilities import has_telephone_events, texting, transferable
from active_call.legs.leg import Leg
from active_call.media.link import messages as link
from active_call.media.pool.pool import MediaStream, Relay, StreamLost
from active_call.providers.base import Recognised
from active_call.providers.usage.metering import current_meter

RELEASE_DEADLINE_S = 3.0
_CODES = {"timeout": 408, "transport": 503, "no_media": 488, "no_ack": 408}
"""The status used for an end without a status of the target."""
_TAKEN_BACK = leg_events.LegEnded(by="system", cause="cancelled")


class TargetLeg:
    """One far leg. `listener` may be called at any time after `call`."""

    def __init__(self, ports: TransferPorts, leg: Leg, option: ReferOption, listener: TargetListener) -> None:
        self.leg = leg
        self.media: dict[str, Any] = {}
        self._ports = ports
        self._call = ports.call
        self._option = option
        self._listener = listener
        self._feed = listener.feed
        self._hearing: SpeechInput | None = None
        self._has_early_media = False
        self._answered_at: datetime | None = None
        self._is_use_noted = False
        self._ringing_at: datetime | None = None
        self._started_at: datetime = ports.time.utc_now()
        self._ended: leg_events.LegEnded | None = None
        self._is_told = False
        self._is_released = False
        self._is_adopted = False
        self.is_held = False
        """The target has put us on hold."""
        self._relay: Relay | None = None
        self._made: Relay | None = None
        """A relay that the call was not told about yet; its mailbox may never get that far."""
        self._briefing: Briefing | None = None
        self._is_joining = False
        self._wants_both_ways = False
        self.music = ports.make_music(lambda: leg.stream)
        """What the target hears while the caller has put us on hold."""
        leg.attach(self._receive)

    def call(self, option: CallOption, call_id: str) -> None:
        """Call the target; its stream is opened in the caller's media process if there is room."""
        self._call.spawn(self._dial(option, call_id), "far leg")

    async def _dial(self, option: CallOption, call_id: str) -> None:
        try:
            stream = await self.leg.open_media(self._ports.state.leg.stream)
            if stream is not None:
                self._listen(stream)
            await self.leg.dial(option, call_id=call_id)
        except ActiveCallError as error:
            self._call.later(partial(self._cannot_be_placed, str(error)))

    def _cannot_be_placed(self, reason: str) -> None:
        if self._ended is None:
            self._ports.tell(events.Error(sender="refer", error=reason, refer=True))
            self._over(leg_events.LegEnded(by="system", cause="failed", code=503, reason=reason))

    def _listen(self, stream: MediaStream) -> None:
        """Recognise the target's speech and enhance its sound, if the options ask for it."""
        if self._option.denoise or self._option.agc is not None:
            stream.improve(denoise=bool(self._option.denoise), gain=None if self._option.agc is None else gain_of(self._option.agc))
        asr = self._asr()
        if asr is None and self._option.vad is None:
            return
        ports, vad = self._ports, self._option.vad or VadOption()
        hearing = self._hearing = SpeechInput(
            emit=self._report, to_epoch_ms=ports.time.to_epoch_ms, turn=TurnClock(), end_of_turn_ms=ports.state.end_of_turn_ms
        )
        if asr is not None:
            try:
                recogniser = ports.engines.get_recogniser(asr, ports.state.trust)
                hearing.use(open_recognition(recogniser, self._recognised, self._recogniser_failed, language=asr.language))
            except ActiveCallError as error:  # the caller is connected, whether or not the target's words are transcribed
                self._call.later(partial(self._report, events.Error(sender="asr", error=str(error))))
        threshold, silence_ms = given(vad.voice_threshold, DEFAULT_VOICE_THRESHOLD), given(vad.silence_padding, DEFAULT_SILENCE_MS)
        hearing.listen_to(stream, VadSettings(threshold, silence_ms=silence_ms))

    def _asr(self) -> AsrOption | None:
        """How the target is recognised: as requested, or like the caller if the briefing accepts a spoken answer."""
        briefing = self._option.briefing
        if self._option.asr is None and briefing is not None and briefing.speech:
            return choose_speech(self._ports.state.option, self._ports.state.playbook).asr
        return self._option.asr

    # -- the caller and the target

    def brief(self, option: BriefingOption) -> None:
        """Tell the target who is waiting, and ask whether it accepts the call; Briefed follows."""
        is_inband = not has_telephone_events(self.leg)
        self._briefing = Briefing(self._ports, option, self.leg.stream, self._report, self._feed, has_inband_digits=is_inband)
        self._briefing.begin()

    def listen(self) -> None:
        """Let the caller hear the target before its answer."""
        self._make_relay(EARLY_MEDIA)

    def join(self) -> None:
        """Let the two hear each other; Joined or JoinFailed follows."""
        self._wants_both_ways = True
        if self._relay is not None:
            self._relay.open_both_ways()
            self._feed(Joined())
        else:
            self._make_relay(CONNECTED)

    def _make_relay(self, mix: Mix) -> None:
        if not self._is_joining and self._relay is None:
            self._is_joining = True
            self._call.spawn(self._join(mix), "join")

    async def _join(self, mix: Mix) -> None:
        caller, target = self._ports.state.leg.stream, self.leg.stream
        try:
            if caller is None or target is None:
                raise MediaError("one of the two has no media stream")
            relay = await self._ports.join(caller, target, one_way=mix.join(PEER, TARGET) is Join.FIRST_HEARS)
        except ActiveCallError as error:
            reason = str(error)
            self._call.later(lambda: self._cannot_join(reason))
        else:
            self._made = relay
            self._call.later(lambda: self._joined(relay))

    def _joined(self, relay: Relay) -> None:
        self._is_joining = False
        self._relay, self._made = relay, None
        if self._ended is not None or self._is_told:
            relay.close()
        elif self._wants_both_ways:
            relay.open_both_ways()
            self._feed(Joined())

    def _cannot_join(self, reason: str) -> None:
        self._is_joining = False
        if self._wants_both_ways:
            self._feed(JoinFailed(reason))

    # -- events

    def _receive(self, event: leg_events.LegEvent) -> None:
        """From the leg, at any time: sound goes to the recogniser at once, the rest through the call's mailbox."""
        if isinstance(event, leg_events.LegEnded):
            self._ended = self._ended or event
        elif isinstance(event, leg_events.LegHeld):
            self.is_held = event.on_hold
        if isinstance(event, leg_events.LegMedia) and isinstance(event.report, link.CallerAudio):
            if self._hearing is not None:
                self._hearing.audio(event.report)
            return
        self._call.later(lambda: self._handle(event))

    def _recognised(self, result: Recognised) -> None:
        if self._hearing is not None:
            self._call.later(partial(self._hearing.recognised, result, self._call.now()))

    def _recogniser_failed(self, error: Exception) -> None:
        if self._hearing is not None:
            self._call.later(partial(self._hearing.failed, error, self._call.now()))

    def _report(self, event: events.Event) -> None:
        """An event of this leg."""
        self._call.emit(msgspec.structs.replace(event, refer=True))
        if self._briefing is not None and isinstance(event, events.AsrFinal):
            self._briefing.heard(event.text)

    def _handle(self, event: leg_events.LegEvent) -> None:
        if self._is_adopted:
            self._call.post(FromLeg(self.leg, event))  # it happened before the leg became the call's own, and now belongs to the call
            return
        now = self._ports.time.utc_now()
        match event:
            case leg_events.LegRinging(early_media=early_media, code=code):
                self._ringing_at = self._ringing_at or now
                self._has_early_media = self._has_early_media or early_media
                self._report(events.Ringing(early_media=early_media))
                self._feed(FarRinging(code))
            case leg_events.LegAnswered(sdp):
                self._answered_at = now
                if self.leg.stream is not None and not has_telephone_events(self.leg):
                    self.leg.stream.hear_tones(digits=True, tones=False)
                self._report(events.Answer(sdp=sdp))
                self._feed(FarAnswered())
            case leg_events.LegHeld(on_hold):
                self._report(events.Hold(on_hold=on_hold, initiator="callee"))
                self._listener.held(on_hold, event.is_silent)
            case leg_events.LegMessage(body, content_type):
                self._report(events.Message(body=body, content_type=content_type))
            case leg_events.LegDigit(digit):
                self._digit(digit)
            case leg_events.LegRequestRefused(method, code, reason):
                self._report(events.Error(sender=method.lower(), error=f"{code} {reason}", code=code))
            case leg_events.LegTransferRequested():
                transferable(self.leg).answer_transfer(False)
            case leg_events.LegMedia(report):
                self._handle_media(report)
            case leg_events.LegEnded():
                self._over(event)
            case _:
                pass

    def _handle_media(self, report: link.Report | StreamLost) -> None:
        if self._briefing is not None and not isinstance(report, StreamLost):
            self._briefing.handle_media(report)
        match report:
            case link.MediaStarted():
                if self._has_early_media and self._answered_at is None:
                    self._feed(FarHeard())
            case link.DigitReceived(digit=digit):
                self._digit(digit)
            case link.SpeechStarted() if self._hearing is not None:
                self._hearing.speech_started(report)
            case link.SpeechEnded() if self._hearing is not None:
                self._hearing.speech_ended(report)
            case link.MediaProblem():
                self._report(events.MediaProblem(problem=report.name, detail=report.detail, over=report.over))
            case link.StreamDead() | StreamLost():
                self.hang_up(cause="rtp_timeout" if isinstance(report, link.StreamDead) else "media_lost")
            case _:
                pass

    def _digit(self, digit: str) -> None:
        self._report(events.Dtmf(digit=digit))
        if self._briefing is not None and not self._briefing.is_over:
            self._briefing.digit(digit)
        else:
            self._listener.digit(digit)

    def next_timeout(self) -> float | None:
        """The next deadline, in monotonic seconds."""
        times = [part.next_timeout() for part in (self._hearing, self._briefing) if part is not None]
        return min((at for at in times if at is not None), default=None)

    def handle_timeout(self, now: float) -> None:
        """Handle due timers; does nothing at any other time."""
        if self._hearing is not None:
            self._hearing.handle_timeout(now)
        if self._briefing is not None:
            self._briefing.handle_timeout(now)

    # -- the end

    def hang_up(self, *, cause: str = "hangup", headers: Mapping[str, str] | None = None) -> None:
        """Cancel the call, or hang up; its end is reported as usual."""
        if self._briefing is not None:
            self._briefing.close()
        if self._relay is not None:
            self._relay.close()
        if self._ended is None:
            self.leg.hang_up(headers=headers or {}, by="system", cause=cause, reason="")

    def send_message(self, command: commands.Message) -> None:
        """Send a text to the target."""
        texting(self.leg).send_message(command.body, command.content_type or "text/plain", command.headers)

    def _over(self, ended: leg_events.LegEnded) -> None:
        """The leg has ended: report it, free its stream, and inform the transfer."""
        if self._report_end(ended):
            self._call.spawn(self.release(), "far leg's end")
            code = ended.code or _CODES.get(ended.cause, 0)
            self._feed(FarEnded(code, ended.reason))

    def _report_end(self, ended: leg_events.LegEnded) -> bool:
        """Report the hangup, once."""
        self._ended = self._ended or ended
        if self._is_told:
            return False
        self._is_told = True
        self._note_use()
        if self._briefing is not None:
            self._briefing.close()
        if self._relay is not None:
            self._relay.close()
        self._report(
            events.Hangup(
                reason=ended.cause,
                initiator=ended.by,
                start_time=self._started_at.isoformat(),
                hangup_time=self._ports.time.utc_now().isoformat(),
                answer_time=self._answered_at.isoformat() if self._answered_at else None,
                ringing_time=self._ringing_at.isoformat() if self._ringing_at else None,
                extra={key: value for key, value in (("code", ended.code), ("reasonText", ended.reason)) if value} or None,
            )
        )
        return True

    def hand_over(self) -> Leg:
        """The leg becomes the call's own; from here on its events are not reported as those of a far leg."""
        self._is_told = self._is_released = self._is_adopted = True
        if self._relay is not None:
            self._relay.close()
        self.music.stop("held")
        if self._hearing is not None:
            self._call.spawn(self._hearing.close(), "far recogniser's end")
        if self._ended is not None:
            self._call.post(FromLeg(self.leg, self._ended))  # it has ended already, and the call with it
        return self.leg

    def close(self) -> None:
        """The caller's own call has ended: report this leg's end now, and do not wait for it."""
        if self._made is not None:
            self._made.close()
        if self._is_adopted:
            return
        self.hang_up()
        self._report_end(self._ended or _TAKEN_BACK)

    def _note_use(self) -> None:
        """Report to the call's meter how long this leg was connected; once, and not if it is the call's own now."""
        is_noted, self._is_use_noted = self._is_use_noted, True
        used = leg_use(self.leg, self.leg.trunk, "outbound", self._answered_at, self._ports.time.utc_now())
        if used is not None and not is_noted and not self._is_adopted:
            current_meter()(used)

    async def release(self) -> None:
        """Free its resources; bounded in time, may be called again."""
        self._note_use()
        if self._is_released:
            return
        try:
            async with asyncio.timeout(RELEASE_DEADLINE_S):
                self.media = await self.leg.release()
                if self._hearing is not None:
                    await self._hearing.close()
        except TimeoutError:
            self._call.log.warning("far leg was slow to close")
        self._is_released = True

    def facts(self) -> dict[str, Any]:
        """Its part of the record."""
        if self._is_adopted:
            return {"callId": self.leg.call_id, "callee": self.leg.callee, "adopted": True}
        ended = self._ended or _TAKEN_BACK
        return {
            "callId": self.leg.call_id,
            "caller": self.leg.caller,
            "callee": self.leg.callee,
            "startTime": self._started_at.isoformat(),
            "answerTime": self._answered_at.isoformat() if self._answered_at else None,
            "hangupReason": ended.cause,
            "hangupBy": ended.by,
            "sipCode": ended.code,
            "media": self.media,
            "sipMessages": msgspec.to_builtins(sip_messages_of(self.leg, self._ports.state.option)),
        }
