"""Execute the orders for one stream: plays, detection, recording, and the result of offer/answer.

Orders go in after `order_check`; the stream and the parts of the tick are changed. The engine opens and closes streams. Limits that depend
on the stream's state are checked here: queued sound, queued digits, number of plays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, assert_never

from active_call.base.errors import ParseError
from active_call.base.pcm import samples_in
from active_call.codec.messages import new_message_codec
from active_call.codec.table import PCMA
from active_call.media.link import messages as link
from active_call.media.link.messages import Link, Order
from active_call.media.link.order_check import MAX_DIGITS
from active_call.media.receive.pipeline import ReceivePipeline
from active_call.media.record.tap import RecordingTap
from active_call.media.send.packet_batch import SendBatch
from active_call.media.send.pipeline import SendPipeline
from active_call.media.send.play_queue import PlayQueue
from active_call.media.send.sent_audio import SentAudioTap
from active_call.media.send.sent_messages import SentMessages
from active_call.media.worker.slots import SlotTable, Stream
from active_call.media.worker.voice_pause import VoicePause

MAX_QUEUED_S: Final = 600
"""Maximum sound queued in the plays of a stream or looped as its music: about 10 MB at 8 kHz."""
MAX_PLAYS: Final = 256


class StreamOrders:
    """See the module. Owned by the engine."""

    def __init__(
        self,
        slots: SlotTable,
        batch: SendBatch,
        sending: SendPipeline,
        hearing: ReceivePipeline,
        recording: RecordingTap,
        sent_audio: SentAudioTap,
        sent_messages: SentMessages,
        voice_pause: VoicePause,
        emit: Callable[[Link], None],
    ) -> None:
        self._slots = slots
        self._batch = batch
        self._sending = sending
        self._hearing = hearing
        self._recording = recording
        self._sent_audio = sent_audio
        self._sent_messages = sent_messages
        self._voice_pause = voice_pause
        self._emit = emit
        self.open_files: dict[int, int] = {}
        """By stream: number of recordings that have started and whose end was not reported."""

    def apply(self, stream: Stream, order: Order, now: float, tick: int) -> bool:
        """Apply `order`. True if the tick must regroup its streams. Raises ValueError, OpusError or MediaError if it cannot be applied."""
        match order:
            case link.FeedAudio():
                return self._feed(stream, order, now)
            case link.UseMessages():
                self._use_messages(stream, order)
            case link.ForwardSent():
                self._sent_audio.use(stream, order)
            case link.QueueAudio() | link.StopPlay() | link.FinishPlay() | link.PausePlay():
                self._change_plays(stream, order, now)
                self._voice_pause.plays_changed(stream, order)
                return False
            case link.PauseOnVoice():
                self._sending.before_change(stream)
                self._voice_pause.arm(stream, order)
                return False
            case link.MuteStream(track=track) if track:
                self._sending.bridges.mute(stream.number, track, muted=order.muted)
            case link.MuteStream():
                self._batch.muted[stream.slot] = order.muted
            case link.BridgeStreams():
                self._bridge(stream, order)
            case link.UnbridgeStreams():
                self._sending.bridges.part(stream.number, order.partner)
            case link.QueueMusic():
                limit = 2 * MAX_QUEUED_S * stream.rate_hz
                self._sending.bridges.queue_music(stream.number, order.pcm, end=order.end, max_bytes=limit)
            case link.StopMusic():
                self._sending.bridges.stop_music(stream.number, samples_in(order.fade_ms, stream.rate_hz))
            case link.SendDigits():
                self._send_digits(stream, order)
            case link.Listen():
                self._hearing.listen(stream, order)
            case link.HearTones():
                self._hearing.inband.use(stream.slot, order)
            case link.ImproveSound():
                self._hearing.enhance.use(stream.slot, denoise=order.denoise, gain=order.gain)
            case link.StartAmbience():
                self._sending.set_ambience(stream, order)
            case link.ConfigureRtp():
                self._configure(stream, order, now, tick)
            case link.StartSending():
                if stream.leg is not None:
                    stream.leg.prove()
            case link.StartRecording():
                self._start_recording(stream, order)
            case link.StopRecording():
                self._recording.end(stream)
            case link.PauseRecording():
                self._recording.pause(stream, order.paused)
            case link.OpenStream() | link.CloseStream() | link.Shutdown():
                return False
            case _:
                assert_never(order)
        return not isinstance(order, link.UseMessages | link.ForwardSent | link.MuteStream)

    def _change_plays(self, stream: Stream, order: link.QueueAudio | link.StopPlay | link.FinishPlay | link.PausePlay, now: float) -> None:
        if isinstance(order, link.QueueAudio):
            self._require_room(stream, order)
            stream.plays.append(order.play, order.pcm, end=order.end)
            self._sending.wake(stream)
            return
        self._sending.before_change(stream)
        match order:
            case link.StopPlay():
                stream.plays.stop(samples_in(order.fade_ms, stream.rate_hz), name=order.play)
                self._sending.report_stopped(stream, now)
                self._sending.wake(stream)
            case link.FinishPlay():
                stream.plays.finish(order.play, order.boundaries)
            case link.PausePlay():
                if order.paused:
                    stream.plays.pause(samples_in(order.fade_ms, stream.rate_hz))
                else:
                    stream.plays.resume(samples_in(order.back_ms, stream.rate_hz))

    def _configure(self, stream: Stream, order: link.ConfigureRtp, now: float, tick: int) -> None:
        leg = stream.leg
        if leg is None:
            return
        was_sending, is_first = stream.is_sending, leg.config is None
        leg.configure(order, now)
        slot, batch = stream.slot, self._batch
        if is_first and stream.plays.is_idle and stream.rate_hz != leg.send_codec.sample_rate_hz:
            stream.rate_hz = leg.send_codec.sample_rate_hz
            stream.plays = PlayQueue(stream.rate_hz)
        batch.set_clock(slot, leg.send_codec.rtp_clock_hz, tick)
        batch.is_alaw[slot] = leg.send_codec is PCMA
        batch.payload_type[slot] = order.send_payload_type
        if order.ssrc and not batch.n_packets[slot]:
            batch.ssrc[slot] = order.ssrc
        if not was_sending:
            batch.marker[slot] = True

    def _use_messages(self, stream: Stream, order: link.UseMessages) -> None:
        if stream.fed is None:
            raise ValueError("the sound of this stream is in RTP packets")
        codec = new_message_codec(order.codec, order.rate_hz)
        stream.fed.use(codec)
        self._sent_messages.use(stream, codec, order.silent_frames)

    def _feed(self, stream: Stream, order: link.FeedAudio, now: float) -> bool:
        """Take a piece of the caller's sound. True if it is the first one."""
        if stream.fed is None:
            raise ValueError("this stream gets the caller's sound over RTP")
        was_started = stream.fed.started
        try:
            stream.fed.feed(order.data, now)
        except ParseError as error:  # the client's mistake, not ours: no line in the log for each message
            self._emit(link.OrderRefused(stream.number, link.FeedAudio.__name__, str(error)))
        return stream.fed.started != was_started

    def _require_room(self, stream: Stream, order: link.QueueAudio) -> None:
        """Refuse sound beyond the queue limits. A play whose closing sound is refused ends with what it has."""
        plays = stream.plays
        n_bytes = len(order.pcm) + 2 * plays.n_waiting
        has_place = plays.n_plays < MAX_PLAYS or plays.holds(order.play)
        if n_bytes <= 2 * MAX_QUEUED_S * stream.rate_hz and has_place:
            return
        if order.end and has_place:
            plays.append(order.play, b"", end=True)
            self._sending.wake(stream)
        raise ValueError(f"more than {MAX_QUEUED_S} s of sound, or {MAX_PLAYS} plays, would be waiting")

    def _bridge(self, stream: Stream, order: link.BridgeStreams) -> None:
        partner = self._slots.get(order.partner)
        if partner is None:
            raise ValueError(f"there is no stream {order.partner}")
        self._sending.bridges.join(stream, partner)
        if not order.one_way:
            self._sending.bridges.join(partner, stream)

    def _send_digits(self, stream: Stream, order: link.SendDigits) -> None:
        leg = stream.leg
        if leg is None or leg.config is None or leg.config.send_event_type < 0:
            raise ValueError("telephone events were not negotiated")
        if leg.digits_out.n_waiting + len(order.digits) > MAX_DIGITS:
            raise ValueError(f"more than {MAX_DIGITS} digits would be waiting")
        leg.digits_out.queue(order.digits, order.duration_ms)

    def _start_recording(self, stream: Stream, order: link.StartRecording) -> None:
        try:
            self._recording.begin(stream, order.path, order.rate_hz, order.flush_ms)
            self.open_files[stream.number] = self.open_files.get(stream.number, 0) + 1
        except ValueError as error:
            self._emit(link.RecordingEnded(stream.number, order.path, 0, str(error)))
