"""The leg of a call whose media a carrier streams over a WebSocket that it has opened.

Messages of the carrier enter by `receive`, ours leave by `send`. The call is inbound and already connected: `accept` answers it at once,
and the end of the stream is the end of the call here. At the carrier the call continues with the next step of its call flow.

Silence is not sent, so that the carrier's buffer drains in every pause after a network delay has filled it. The end of a play is reported
when the carrier has played it (`playout`), so that a call that hangs up after its last word is heard to the end. For an interrupted play,
sound that the carrier drops counts as not heard.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from active_call.base.errors import ActiveCallError
from active_call.base.pcm import FRAME_MS
from active_call.legs.events import LegDigit, LegEnded, LegEvent
from active_call.legs.websocket.carriers.media_messages import read_sound
from active_call.legs.websocket.carriers.messages import (
    MAX_MESSAGE_CHARACTERS,
    Digit,
    FrameError,
    MessageWriter,
    Other,
    Played,
    Sound,
    Started,
    Stopped,
    read_message,
)
from active_call.legs.websocket.carriers.order import ChunkOrder
from active_call.legs.websocket.carriers.playout import Playout
from active_call.legs.websocket.carriers.profile import StreamProfile
from active_call.legs.websocket.formats import sound_format
from active_call.legs.websocket.leg import WebSocketLeg
from active_call.media.link.messages import CallerAudio, FeedAudio, MessageSent, OrderRefused, PlayEnded, PlayStarted, Report
from active_call.media.pool.pool import MediaPool, MediaStream, StreamLost

log = logging.getLogger("active_call.media_streams")

SILENT_FRAMES: Final = 10
"""Number of silent frames that are still sent: the end of a word, and pauses inside one."""
MARK_WAIT_S: Final = 2.0
"""Maximum delay of a mark beyond the sound before it."""
SILENCE_BYTES: Final[Mapping[str, bytes]] = {"pcmu": b"\xff", "pcma": b"\xd5", "pcm": b"\x00"}
"""Padding for a piece with a minimum length."""


@dataclass(slots=True)
class _Held:
    """A report that waits until its sound has been played. `mark`: the mark to wait for; empty: it only waits for earlier reports."""

    report: Report
    mark: str = ""


class CarrierStreamLeg(WebSocketLeg):
    """See the module. Create it inside the event loop. `discard` drops unsent output of `send`. `on_over` is called at the end.

    None of them may block.
    """

    def __init__(
        self,
        pool: MediaPool,
        profile: StreamProfile,
        started: Started,
        send: Callable[[str | bytes], None],
        discard: Callable[[], None],
        on_over: Callable[[], None],
        *,
        caller: str,
        callee: str,
        peer: str,
    ) -> None:
        sound = sound_format(started.codec, started.rate_hz if started.codec == "pcm" else None)
        super().__init__(pool, sound, send, caller=caller, callee=callee, call_id=started.call_id, peer=peer)
        self._profile = profile
        self._codec = started.codec
        self._writer = MessageWriter(profile, started)
        self._send_message = send
        self._discard = discard
        self._on_over = on_over
        self._order = ChunkOrder(is_ordered=profile.is_ordered)
        self._playout = Playout()
        self._piece = bytearray()
        """Encoded sound that does not fill a message yet."""
        self._ending: list[Report] = []
        """Ends of plays whose last frame leaves with the next piece of sound."""
        self._held: deque[_Held] = deque()
        self._deadline: asyncio.TimerHandle | None = None
        self.n_bad = 0
        """Number of undecodable messages."""

    # -- from the carrier

    def receive(self, message: str | bytes) -> bool:
        """Take any message after the start. An undecodable one is counted, and the call continues. Always True: it is taken."""
        try:
            sound = read_sound(self._profile, message) if isinstance(message, str) and len(message) <= MAX_MESSAGE_CHARACTERS else None
            if sound is None:
                self._handle(message)
            else:  # nearly always
                for piece in self._order.take(sound[1], sound[0]):
                    self.hear(piece)
        except ActiveCallError as error:  # FrameError, FormatError
            self._note_bad(str(error))
        return True

    def _note_bad(self, reason: str) -> None:
        self.n_bad += 1
        if self.n_bad in (1, 10, 100, 1000):
            log.warning("stream message ignored", extra={"reason": reason, "n_bad": self.n_bad, "call_id": self.call_id})

    def _handle(self, message: str | bytes) -> None:
        match read_message(self._profile, message):
            case Sound(data, chunk):
                for piece in self._order.take(chunk, data):
                    self.hear(piece)
            case Digit(digit):
                self._emit(LegDigit(digit))
            case Played(mark):
                if self._playout.returned(mark, self._loop.time()):
                    self._release_held(mark)
            case Stopped():
                self.leave("the stream has stopped")
            case Started():
                raise FrameError("a second start")
            case Other(event):
                log.debug("stream message ignored", extra={"event": event, "call_id": self.call_id})

    def leave(self, reason: str) -> None:
        """The carrier has ended the stream, or its connection was closed."""
        self._end(LegEnded(by="caller", cause="remote_bye", reason=reason))

    def lose(self, reason: str) -> None:
        """Nothing arrives from the carrier any more: end the call with the cause `no_media`."""
        self._end(LegEnded(by="system", cause="no_media", reason=reason))

    # -- to the carrier

    def _opened(self, stream: MediaStream) -> None:
        stream.use_messages(self._sound.codec, self._sound.message_rate_hz, silent_frames=SILENT_FRAMES)

    def _report(self, report: Report | StreamLost) -> None:
        if isinstance(report, MessageSent):
            if self._ended is None:
                self._send_frame(report.data)
                if self._ending:
                    self._play_out()
        elif isinstance(report, CallerAudio):
            super()._report(report)
        elif isinstance(report, OrderRefused) and report.order == FeedAudio.__name__:
            self._note_bad(report.reason)
        elif isinstance(report, PlayEnded) and not report.completed and report.heard_ms < report.queued_ms:
            self._cut(report)
        elif isinstance(report, PlayEnded | PlayStarted) and self._waits(report):
            self._ending.append(report)
        elif isinstance(report, PlayStarted) and self._held:
            self._held.append(_Held(report))
        else:
            super()._report(report)

    def _waits(self, report: PlayEnded | PlayStarted) -> bool:
        """Whether the report must wait for the sound that is being sent."""
        return self._ended is None and (isinstance(report, PlayEnded) or bool(self._ending))

    def _send_frame(self, data: bytes) -> None:
        """Send 20 ms of sound. `data` is empty for silence that is not sent."""
        if not data:
            self._flush()
            return
        self._playout.sent(FRAME_MS, self._loop.time())
        if self._profile.min_piece_bytes <= len(data) and not self._piece:
            self._send_message(self._writer.sound(data))
        else:
            self._piece += data
            if len(self._piece) >= self._profile.min_piece_bytes:
                self._send_piece()
        if self._playout.wants_mark:
            self._flush()
            self._send_message(self._writer.mark(self._playout.mark()))

    def _flush(self) -> None:
        """Send the rest of a piece, padded with silence."""
        missing = self._profile.min_piece_bytes - len(self._piece)
        if self._piece:
            if missing > 0:
                self._piece += SILENCE_BYTES.get(self._codec, b"\x00") * missing
            self._send_piece()

    def _send_piece(self) -> None:
        self._send_message(self._writer.sound(bytes(self._piece)))
        self._piece.clear()

    # -- playout

    def _play_out(self) -> None:
        """The last sound of ended plays has been sent: their reports wait for the mark after it."""
        self._flush()
        ending, self._ending = self._ending, []
        mark = self._playout.mark()
        self._send_message(self._writer.mark(mark))
        self._held.extend(_Held(one, mark if isinstance(one, PlayEnded) else "") for one in ending)
        if not self._playout.has_answered and self._playout.n_missed:
            self._release_held()
            return
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self._loop.call_later(MARK_WAIT_S + self._playout.ahead_ms(self._loop.time()) / 1000, self._give_up)

    def _release_held(self, mark: str = "") -> None:
        """Emit the reports that waited for `mark` and all earlier ones; without a mark, all reports."""
        last = max((at for at, held in enumerate(self._held) if not mark or held.mark == mark), default=-1)
        for _ in range(last + 1):
            super()._report(self._held.popleft().report)
        while self._held and not self._held[0].mark:
            super()._report(self._held.popleft().report)
        if not self._held and self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self._deadline = None
        self._playout.forget_answers()
        self._release_held()

    def _cut(self, report: PlayEnded) -> None:
        """The carrier drops its unplayed sound: subtract it from what was heard, starting with the last play."""
        self._held.extend(_Held(one) for one in self._ending)
        self._ending.clear()
        left_ms = self._playout.ahead_ms(self._loop.time())
        if self._ended is None and (report.heard_ms > 0 or left_ms > 0 or self._held):
            self._piece.clear()
            self._discard()
            self._send_message(self._writer.clear())
            self._playout.clear(self._loop.time())
        self._held.append(_Held(report))
        for held in reversed(self._held):
            if isinstance(held.report, PlayEnded) and left_ms > 0:
                dropped_ms = min(left_ms, held.report.heard_ms)
                left_ms -= dropped_ms
                held.report = msgspec.structs.replace(held.report, heard_ms=held.report.heard_ms - dropped_ms, completed=False)
        self._release_held()

    # -- as `legs.leg.Leg`

    def _emit(self, event: LegEvent) -> None:
        if self._ended is None:
            self._sink(event)

    def _end(self, event: LegEnded) -> None:
        is_first = self._ended is None
        if is_first:
            self._held.extend(_Held(one) for one in self._ending)
            self._ending.clear()
            self._release_held()
        super()._end(event)
        if is_first:
            self._on_over()

    async def release(self) -> dict[str, float]:
        """See `legs.leg.Leg`."""
        if self._deadline is not None:
            self._deadline.cancel()
        figures = {"bad_messages": self.n_bad, "chunks_late": self._order.n_late, "chunks_missing": self._order.n_missing}
        return {**await super().release(), **{name: float(value) for name, value in figures.items() if value}}
