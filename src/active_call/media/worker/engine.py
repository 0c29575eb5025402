"""The media process without its loop: orders go in, ticks are run, reports come out.

The engine opens and closes streams in slots, applies orders to them, and runs the parts of the tick: send, take in received datagrams,
receive, record, housekeeping. It knows streams and sockets, but no calls and no epoll (`Watch` gets the sockets to watch).

Error containment. Each order, each individually handled datagram and each stream's housekeeping is guarded separately. Work for all streams
together has one guard: if it fails, it is repeated stream by stream (`_isolate`), and the streams that fail are given up (`StreamFailed`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, Protocol

from active_call.base.errors import ActiveCallError, MediaError
from active_call.base.world import World
from active_call.media.link import messages as link
from active_call.media.link.messages import Link, Order
from active_call.media.link.order_check import check_order
from active_call.media.receive import sockets as udp
from active_call.media.receive.columns import DATAGRAM_BYTES, ReceiveColumns
from active_call.media.receive.fed_audio import FedAudio
from active_call.media.receive.leg import Leg
from active_call.media.receive.packet_batch import PacketBatchReader
from active_call.media.receive.pipeline import ReceivePipeline
from active_call.media.receive.ports import PortPool
from active_call.media.receive.rtcp import RtcpSession
from active_call.media.record.recorder import Recorder
from active_call.media.record.tap import RecordingTap
from active_call.media.ring.opening import open_reader, open_sender
from active_call.media.send.opus_batch import OpusBatch
from active_call.media.send.packet_batch import SendBatch
from active_call.media.send.pipeline import SendPipeline
from active_call.media.send.play_reports import PlayReport, PlayReports
from active_call.media.send.sent_audio import SentAudioTap
from active_call.media.send.sent_messages import SentMessages
from active_call.media.worker.housekeeping import Housekeeping
from active_call.media.worker.shedding import LEVEL_OPUS
from active_call.media.worker.slots import SlotTable, Stream
from active_call.media.worker.stream_orders import StreamOrders
from active_call.media.worker.voice_pause import VoicePause
from active_call.rtp.stream import new_send_stream

HOUSEKEEPING_TICKS: Final = 25
"""Each stream's watchdog and RTCP timer are checked twice a second; every tick checks a part of the streams."""

MAX_PASSES: Final = 8
"""Maximum number of datagrams read from one socket at a time, so that a flood on one port does not delay the tick."""
USUAL_PASSES: Final = 3
"""Datagrams read from each socket in any case: a peer that sends every 10 ms, after a late tick."""
FURTHER_S: Final = 0.004
"""After this time no further ones are read in a tick, so that a flood on many ports does not delay it either."""
MAX_UNEXPLAINED: Final = 50
"""Consecutive ticks that fail without a stream as the cause. Giving up a stream cannot help, so the process ends and is replaced."""
logger = logging.getLogger(__name__)


class Watch(Protocol):
    """The loop that watches the sockets."""

    def watch_rtp(self, fd: int) -> None:
        """Call `Engine.take_in` whenever `fd` may be readable, once for all of them."""
        ...

    def watch(self, fd: int, on_readable: Callable[[float], None]) -> None:
        """Call `on_readable(now)` whenever `fd` is readable. It takes one datagram."""
        ...

    def unwatch(self, fd: int) -> None:
        """Stop watching `fd`, which is about to be closed."""
        ...


class _OutOfPorts(MediaError):
    """Every port is in use or resting."""


class Engine:
    """All streams of one media process. Single-threaded: every method is called from the process's loop."""

    def __init__(
        self,
        *,
        capacity: int,
        ports: PortPool,
        world: World,
        watch: Watch,
        emit: Callable[[Link], None],
        emit_audio: Callable[[Link], None],
    ) -> None:
        self._world = world
        self._watch = watch
        self._emit = emit
        self._ports = ports
        self._intake = ReceiveColumns(capacity)
        self._arrivals = PacketBatchReader(self._intake, self._datagram_failed, open_reader(self._intake.memory.rows, DATAGRAM_BYTES))
        self._leg_of: dict[int, Leg] = {}
        """By the descriptor of the RTP socket."""
        self._fds: list[int] = []
        self._readable: list[Leg] = []
        """The sockets of the last `take_in`, and their legs."""
        self._slots = SlotTable(capacity)
        self._recorder = Recorder()
        self._batch = SendBatch(capacity)
        opus = OpusBatch(self._batch, open_sender)
        self._sending = SendPipeline(self._batch, PlayReports(self._report_play), world.clock, open_sender(self._batch.memory.rows), opus)
        self._hearing = ReceivePipeline(self._intake, capacity, emit, emit_audio)
        self._sending.on_failed = lambda stream, error: self._give_up(stream, "sending", error)
        self._hearing.on_failed = self._hearing_failed
        self._recording = RecordingTap(self._recorder, self._hearing, self._sending, capacity)
        self._sent_audio = SentAudioTap(self._sending, emit_audio)
        self._sent_messages = SentMessages(self._sending, emit_audio, self._sending.on_failed)
        self._voice_pause = VoicePause(emit, self._sending.before_change, self._hearing.watch_onset)
        self._hearing.on_onset, self._hearing.on_speech = self._voice_pause.onset, self._voice_pause.speech
        self._orders = StreamOrders(
            self._slots, self._batch, self._sending, self._hearing, self._recording, self._sent_audio, self._sent_messages,
            self._voice_pause, emit,
        )  # fmt: skip
        self._housekeeping = Housekeeping(self._batch, emit)
        self._order_of_slots: list[Stream] = []
        self._open_files = self._orders.open_files
        self._closed_but_for_files: dict[int, link.StreamClosed] = {}
        self._is_stale = False
        self._tick = 0
        self._n_unexplained = 0
        self.is_shut_down = False

    @property
    def n_streams(self) -> int:
        """Number of open streams."""
        return len(self._slots)

    def warm_up(self) -> None:
        """Do once what is slow the first time."""
        self._hearing.warm_up()

    def _report_play(self, report: PlayReport) -> None:
        self._emit(report)
        self._sent_messages.note_play(report.stream)

    @property
    def n_messages(self) -> int:
        """Number of messages with sound in the last tick."""
        return self._sent_messages.n_sent

    @property
    def is_writing(self) -> bool:
        """Whether recordings are still being finished."""
        return bool(self._open_files)

    # -- the tick ----------------------------------------------------------------------------------------------------------------------

    def run_send(self, tick: int) -> None:
        """First half: send the packets of this tick."""
        self._tick = tick
        try:
            if self._is_stale or self._sending.is_stale or self._hearing.is_stale:
                self._regroup()
            self._sending.run(tick)
        except Exception as error:  # noqa: BLE001 (contains errors)
            self._isolate("sending", error, self._sending.regroup, lambda: self._sending.run(tick))
        for slots, frames in self._sending.sent_narrow():
            self._hearing.echo.sent(tick, slots, frames)
        self._sent_messages.run()
        self._sent_audio.run()

    def set_shedding(self, level: int) -> None:
        """Skip the optional processing of that level (`shedding`), and resume the rest."""
        self._hearing.enhance.set_shedding(level > 0)
        self._sending.opus.set_shedding(level >= LEVEL_OPUS)
        self._sent_messages.set_shedding(level >= LEVEL_OPUS)

    def take_in(self, fds: list[int], now: float, unix_now: float) -> list[int]:
        """Take the datagrams of these RTP sockets. What arrives meanwhile waits for the next call. Returns the sockets that had none.

        The list must not change afterwards: the same object means the same sockets.
        """
        if fds is not self._fds:
            self._fds = fds
            self._readable = [leg for fd in fds if (leg := self._leg_of.get(fd)) is not None]
        legs = self._readable
        if not legs:
            return fds
        begun_at = self._world.clock.now()
        more = self._arrivals.take(legs, now, unix_now)
        silent = [legs[row].fd for row in self._arrivals.silent_rows()]
        for n_passes in range(1, MAX_PASSES):
            if not more or (n_passes >= USUAL_PASSES and self._world.clock.now() - begun_at > FURTHER_S):
                break
            more = self._arrivals.take(more, now, unix_now)
        return silent

    def run_receive(self, now: float) -> None:
        """Second half, after the sockets were read: decode and detect, then record, then housekeeping."""
        try:
            if self._is_stale:
                self._regroup()
            self._hear(now)
        except Exception as error:  # noqa: BLE001 (contains errors)
            self._isolate("hearing", error, self._hearing.regroup, lambda: self._hear(now))
        try:
            self._recording.run(self._tick)
        except Exception as error:  # noqa: BLE001 (contains errors)
            self._isolate_recording(error)
        self.report_recordings()
        for stream in self._order_of_slots[self._tick % HOUSEKEEPING_TICKS :: HOUSEKEEPING_TICKS]:
            try:
                self._housekeeping.run(stream, self._tick, now)
            except Exception as error:  # noqa: BLE001 (contains errors)
                self._give_up(stream, "housekeeping", error)

    def _hear(self, now: float) -> None:
        self._hearing.run(self._tick, now)
        self._sending.bridges.take(self._hearing)

    def _isolate(self, phase: str, error: Exception, regroup: Callable[[list[Stream]], None], run: Callable[[], None]) -> None:
        """A half of the tick has failed: repeat it stream by stream, and give up the streams that fail."""
        logger.error("tick failed, each stream is tried alone", exc_info=error, extra={"phase": phase})
        self._is_stale = True
        n_given_up = 0
        for stream in self._live_streams():
            try:
                regroup([stream])
                run()
            except Exception as its_error:  # noqa: BLE001 (contains errors)
                n_given_up += 1
                self._give_up(stream, phase, its_error)
        self._n_unexplained = 0 if n_given_up else self._n_unexplained + 1
        if self._n_unexplained > MAX_UNEXPLAINED:
            raise error

    def _isolate_recording(self, error: Exception) -> None:
        """The same for recording: the recording ends, its stream continues."""
        logger.error("tick failed, each recording is tried alone", exc_info=error)
        self._is_stale = True
        for stream in self._live_streams():
            try:
                self._recording.regroup([stream])
                self._recording.run(self._tick)
            except Exception as its_error:
                logger.exception("recording given up", extra={"stream": stream.number})
                self._recording.end(stream)
                self._emit(link.OrderRefused(stream.number, link.StartRecording.__name__, f"recording ended: {its_error!r}"))

    def _give_up(self, stream: Stream, phase: str, error: Exception) -> None:
        """An error concerns only this stream: it sends and receives nothing more, and must be closed."""
        if stream.is_failed:
            return
        logger.error("stream given up", exc_info=error, extra={"stream": stream.number, "phase": phase})
        stream.is_failed = self._is_stale = True
        self._unwatch(stream)
        self._emit(link.StreamFailed(stream.number, f"{phase}: {error!r}"))

    def _hearing_failed(self, number: int, error: Exception) -> None:
        stream = self._slots.get(number)
        if stream is not None:
            self._give_up(stream, "hearing", error)

    def _datagram_failed(self, leg: Leg, error: Exception) -> None:
        """Drop a datagram on which the code failed. Log the first one of a stream."""
        if not leg.refused.unjudged:
            logger.error("datagram dropped", exc_info=error, extra={"stream": leg.stream})
        leg.refused.unjudged += 1

    def _live_streams(self) -> list[Stream]:
        """The streams by slot, without those that were given up."""
        return [stream for stream in self._slots.in_order() if not stream.is_failed]

    def report_recordings(self) -> None:
        """Report the recordings that the writer has finished, and the closed streams that waited for them."""
        for ended in self._recorder.take_ended():
            self._emit(ended)
            left = self._open_files.get(ended.stream, 1) - 1
            if left:
                self._open_files[ended.stream] = left
                continue
            self._open_files.pop(ended.stream, None)
            closed = self._closed_but_for_files.pop(ended.stream, None)
            if closed is not None:
                self._emit(closed)

    def _regroup(self) -> None:
        self._order_of_slots = self._live_streams()
        self._sending.regroup(self._order_of_slots)
        self._hearing.regroup(self._order_of_slots)
        self._recording.regroup(self._order_of_slots)
        self._is_stale = False

    # -- orders ------------------------------------------------------------------------------------------------------------------------

    def handle(self, order: Order, now: float) -> None:
        """Apply one order. Orders for unknown or closed streams are ignored. An order that cannot be applied is refused."""
        try:
            if not isinstance(order, link.CloseStream | link.Shutdown):
                check_order(order)
            self._apply(order, now)
        except Exception as error:  # noqa: BLE001 (contains errors)
            self._refuse(order, error)

    def _apply(self, order: Order, now: float) -> None:
        match order:
            case link.OpenStream():
                self._open(order, now)
                return
            case link.Shutdown():
                self.shut_down(now)
                return
        stream = self._slots.get(order.stream)
        if stream is None:
            return
        if isinstance(order, link.CloseStream):
            self._close(stream, now)
        elif not stream.is_failed:
            self._is_stale = self._orders.apply(stream, order, now, self._tick) or self._is_stale

    def _refuse(self, order: Order, error: Exception) -> None:
        is_expected = isinstance(error, ValueError | ActiveCallError)
        name, stream = type(order).__name__, 0 if isinstance(order, link.Shutdown) else order.stream
        logger.error(
            "order refused", exc_info=None if is_expected else error, extra={"stream": stream, "order": name, "reason": str(error)}
        )
        reason = str(error) if is_expected else repr(error)
        self._emit(link.OpenFailed(stream, "bind") if isinstance(order, link.OpenStream) else link.OrderRefused(stream, name, reason))

    def refuse_unreadable(self, stream: int, tag: str, reason: str) -> None:
        """Report an undecodable message to its stream."""
        logger.error("order unreadable", extra={"stream": stream, "order": tag, "reason": reason})
        self._emit(link.OrderRefused(stream, tag, reason))

    def _sending_changed(self, stream: Stream) -> None:
        """The peer's packets have changed whether or where the stream may send."""
        self._batch.marker[stream.slot] = True
        self._is_stale = True

    # -- streams -----------------------------------------------------------------------------------------------------------------------

    def _open(self, order: link.OpenStream, now: float) -> None:
        slot = self._slots.take_slot()
        if slot is None:
            self._emit(link.OpenFailed(order.stream, "full"))
            return
        try:
            leg = self._open_leg(order, slot, now) if order.bind_ip else None
        except MediaError as error:
            self._slots.give_back(slot)
            self._emit(link.OpenFailed(order.stream, _reason_of(error)))
            return
        beginning = new_send_stream(self._world.randomness)
        self._batch.begin_stream(slot, ssrc=beginning.ssrc, sequence=beginning.sequence, timestamp=beginning.timestamp)
        self._hearing.begin_stream(slot)
        control = None
        if leg is not None:
            control = RtcpSession(leg, beginning.ssrc, self._world.clock, self._world.randomness)
            leg.on_control = control.take
            self._leg_of[leg.rtp_socket.fileno()] = leg
            self._watch.watch_rtp(leg.rtp_socket.fileno())
            self._watch.watch(leg.rtcp_socket.fileno(), self._guarded(leg, control.receive))
        fed = FedAudio(order.stream, order.rate_hz, self._emit_from_input) if leg is None else None
        stream = Stream(order.stream, slot, leg, control, order.rate_hz, fed)
        if leg is not None:
            leg.on_sending_changed = lambda: self._sending_changed(stream)
        self._slots.add(stream)
        self._is_stale = True
        self._emit(link.Opened(order.stream, leg.port if leg else 0))

    def _guarded(self, leg: Leg, receive: Callable[[float], None]) -> Callable[[float], None]:
        def take(now: float) -> None:
            try:
                receive(now)
            except Exception as error:  # noqa: BLE001 (contains errors)
                self._datagram_failed(leg, error)

        return take

    def _open_leg(self, order: link.OpenStream, slot: int, now: float) -> Leg:
        taken = self._ports.take(now, lambda port: udp.open_pair(order.bind_ip, port))
        if taken is None:
            raise _OutOfPorts("no free port")
        port, sockets = taken
        return Leg(order.stream, port, sockets, self._intake, slot, self._emit_from_input)

    def _emit_from_input(self, report: Link) -> None:
        if isinstance(report, link.MediaStarted | link.CodecChanged):
            self._is_stale = True
        self._emit(report)

    def _close(self, stream: Stream, now: float) -> None:
        """End all parts of the stream. An error in one part does not keep the others from ending."""
        self._slots.remove(stream)
        self._is_stale = True
        for part in (self._close_sound, self._close_wire):
            try:
                part(stream, now)
            except Exception:
                logger.exception("stream not closed in order", extra={"stream": stream.number})
        leg = stream.leg
        if leg is not None:
            self._unwatch(stream)
            leg.close()
            self._ports.release(leg.port, now)
        closed = self._housekeeping.closed(stream)
        if stream.number in self._open_files:
            self._closed_but_for_files[stream.number] = closed  # StreamClosed is the last report about a stream
        else:
            self._emit(closed)

    def _close_sound(self, stream: Stream, now: float) -> None:
        self._voice_pause.forget(stream)
        self._recording.end(stream)
        self._sent_audio.end(stream)
        self._sent_messages.end(stream)
        self._sending.end_ambience(stream)
        self._sending.bridges.forget(stream.number)
        self._sending.before_change(stream)
        stream.plays.stop(0)
        self._sending.report_stopped(stream, now)
        self._sending.forget(stream)

    def _close_wire(self, stream: Stream, now: float) -> None:
        leg, control = stream.leg, stream.control
        if leg is None or control is None or stream.is_failed:
            return
        self._arrivals.take_last(leg, now, self._world.clock.utc_now().timestamp())
        control.send_bye(self._housekeeping.sent(stream, self._tick), now)

    def _unwatch(self, stream: Stream) -> None:
        leg = stream.leg
        if leg is not None and self._leg_of.pop(leg.rtp_socket.fileno(), None) is not None:
            self._fds = []
            self._watch.unwatch(leg.rtp_socket.fileno())
            self._watch.unwatch(leg.rtcp_socket.fileno())

    def shut_down(self, now: float) -> None:
        """Send BYE on every stream, finish the recordings and close everything. Waits for the disk for a bounded time."""
        for stream in list(self._slots):
            self._close(stream, now)
        self._regroup()
        self._recorder.close()
        self.report_recordings()
        self.is_shut_down = True


def _reason_of(error: MediaError) -> str:
    """The reason for `link.OpenFailed`."""
    match error:
        case _OutOfPorts():
            return "ports"
        case udp.OutOfDescriptors():
            return "descriptors"
        case _:
            return "bind"
