"""What streams without RTP send, as messages of their formats, for clients that are connected by a WebSocket.

The frames of a tick go in after the sending half; one `MessageSent` per stream and tick comes out. While silence is not
encoded, messages are empty, and only the first one and the next one after a report about a play come out.
"""

from __future__ import annotations

from collections.abc import Callable

from active_call.codec.messages import MessageCodec
from active_call.media.link.messages import Link, MessageSent
from active_call.media.send.sent_audio import SentFrames
from active_call.media.worker.slots import Stream


class _Sending:
    """One stream. `silent_frames`: see `UseMessages`."""

    __slots__ = ("codec", "is_awaited", "n_silent", "silent_frames", "stream")

    def __init__(self, stream: Stream, codec: MessageCodec, silent_frames: int) -> None:
        self.stream = stream
        self.codec = codec
        self.silent_frames = silent_frames
        self.n_silent = silent_frames
        self.is_awaited = True
        """The next message is sent even if it is empty."""


class SentMessages:
    """All streams whose sound leaves in messages. Owned by the tick. `on_failed` is called for a stream whose sound cannot be encoded."""

    def __init__(self, sending: SentFrames, emit_audio: Callable[[Link], None], on_failed: Callable[[Stream, Exception], None]) -> None:
        self._sending = sending
        self._emit_audio = emit_audio
        self._on_failed = on_failed
        self._is_shedding = False
        self._streams: dict[int, _Sending] = {}
        self.n_sent = 0
        """Number of messages in this tick; 0 if all of them are empty."""

    def use(self, stream: Stream, codec: MessageCodec, silent_frames: int) -> None:
        """Send messages of `codec` from the next tick on. `silent_frames`: see `UseMessages`."""
        codec.set_shedding(self._is_shedding)
        self._streams[stream.number] = _Sending(stream, codec, silent_frames)

    def note_play(self, number: int) -> None:
        """A report about a play of the stream was made: its receiver waits for the next message, also if that is empty."""
        sending = self._streams.get(number)
        if sending is not None:
            sending.is_awaited = True

    def end(self, stream: Stream) -> None:
        """The stream is closed or has failed."""
        self._streams.pop(stream.number, None)

    def set_shedding(self, is_shedding: bool) -> None:
        """Encode with less effort, or as usual again."""
        if is_shedding is not self._is_shedding:
            self._is_shedding = is_shedding
            for sending in self._streams.values():
                sending.codec.set_shedding(is_shedding)

    def run(self) -> None:
        """Encode the frames of this tick. Call once per tick after the sending half."""
        failed: list[tuple[Stream, Exception]] = []
        has_sound = False
        for number, sending in self._streams.items():
            try:
                data = self._encoded(number, sending)
            except Exception as error:  # noqa: BLE001 (contains errors)
                failed.append((sending.stream, error))
                continue
            if data is not None:
                self._emit_audio(MessageSent(number, data))
                has_sound = has_sound or bool(data)
        self.n_sent = len(self._streams) if has_sound else 0
        for stream, why in failed:
            self.end(stream)
            self._on_failed(stream, why)

    def _encoded(self, number: int, sending: _Sending) -> bytes | None:
        """The message of this tick, empty if silence is left out; None if the stream does not send, or silence goes on."""
        frame = self._sending.sent(number)
        if frame is None:
            return None
        if sending.silent_frames:
            sending.n_silent = 0 if frame.any() else sending.n_silent + 1
            if sending.n_silent > sending.silent_frames:
                is_awaited, sending.is_awaited = sending.is_awaited, False
                return b"" if is_awaited else None
            sending.is_awaited = True
        return sending.codec.encode(frame)
