"""The leg of a call whose sound goes over a WebSocket: no signalling of its own, and a media stream without RTP.

Binary messages of the client enter by `hear`; what the call sends leaves by `send_sound`, a message for each 20 ms. Whoever opens the
socket is there at once: `dial` and `accept` answer immediately. The client is one party of the call, as a telephone is in a SIP call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from active_call.base.errors import LocalProtocolError, MediaError
from active_call.base.pcm import BYTES_PER_SAMPLE, FRAME_MS, samples_in
from active_call.contract.options import CallOption
from active_call.legs.events import LegAnswered, LegEnded, LegEvent, LegMedia, LegReady
from active_call.legs.websocket.formats import SoundFormat
from active_call.media.link.messages import Report, SentAudio
from active_call.media.pool.pool import MediaPool, MediaStream, StreamLost

MAX_AHEAD_S: Final = 5.0
"""A client may send so much sound faster than it lasts; what is more is dropped, or the conversation would lag behind for good."""
NO_HEADERS: Final[Mapping[str, str]] = {}


class WebSocketLeg:
    """See the module. Has no ability beyond those of every leg. `send_sound` must not block."""

    kind: Final = "websocket"
    trunk: Final = ""
    headers: Final = NO_HEADERS
    offer: Final = ""

    def __init__(
        self, pool: MediaPool, sound: SoundFormat, send_sound: Callable[[bytes], None], *, caller: str, callee: str, call_id: str, peer: str
    ) -> None:
        self._pool = pool
        self._sound = sound
        self._send_sound = send_sound
        self.caller = caller
        self.callee = callee
        self.call_id = call_id
        self.peer_address = peer
        self.stream: MediaStream | None = None
        self.n_dropped = 0
        """Bytes of PCM from the client that came too far ahead of time."""
        self._opening = asyncio.Lock()
        self._is_answered = False
        self._ended: LegEnded | None = None
        self._is_released = False
        self._fed_until = 0.0
        self._untold: list[LegEvent] = []
        self._sink: Callable[[LegEvent], None] = self._untold.append

    # -- the client

    def hear(self, data: bytes) -> None:
        """A binary message of the client's. Raises FormatError for one that is no sound; what comes before the media is open is lost."""
        if self.stream is None or self._ended is not None:
            return
        pcm = self._sound.decode(data)
        now = asyncio.get_running_loop().time()
        length_s = len(pcm) / BYTES_PER_SAMPLE / self._sound.rate_hz
        begins_at = max(self._fed_until, now)
        if begins_at + length_s > now + MAX_AHEAD_S:
            self.n_dropped += len(pcm)
            return
        self._fed_until = begins_at + length_s
        self.stream.feed_audio(pcm)

    # -- as `legs.leg.Leg`

    def attach(self, sink: Callable[[LegEvent], None]) -> None:
        """See `legs.leg.Leg`, as all that follows."""
        self._sink = sink
        untold, self._untold = self._untold, []
        for event in untold:
            sink(event)

    async def open_media(self, near: MediaStream | None = None) -> MediaStream:
        async with self._opening:
            if self.stream is None and not self._is_released:
                self._keep(await self._pool.open_stream(self._report, rtp=False, rate_hz=self._sound.rate_hz, near=near))
            if self.stream is None or self._is_released:
                raise MediaError("the leg has been released")
            return self.stream

    def _keep(self, stream: MediaStream) -> None:
        if self._is_released:
            stream.discard()
        else:
            self.stream = stream
            stream.forward_sent(True, piece_ms=FRAME_MS)

    def _report(self, report: Report | StreamLost) -> None:
        self._sink(LegMedia(report))
        if isinstance(report, SentAudio) and self._ended is None:
            frame = BYTES_PER_SAMPLE * samples_in(FRAME_MS, self._sound.rate_hz)
            for at in range(0, len(report.pcm), frame):
                self._send_sound(self._sound.encode(report.pcm[at : at + frame]))

    async def dial(self, option: CallOption, *, call_id: str = "") -> None:
        del option
        self.call_id = call_id or self.call_id
        await self._answer()

    async def ring(self, *, early_media: bool = False) -> None:
        del early_media  # the client hears from the beginning on what is played

    async def accept(self, option: CallOption) -> None:
        del option
        await self._answer()

    async def _answer(self) -> None:
        await self.open_media()
        if self._ended is not None or self._is_answered:
            raise LocalProtocolError("the call is over" if self._ended is not None else "the call is answered already")
        self._is_answered = True
        self._sink(LegAnswered(""))
        self._sink(LegReady())

    def reject(self, code: int, reason: str) -> bool:
        if not 300 <= code <= 699:
            raise LocalProtocolError(f"a {code} rejects nothing")
        if self._is_answered or self._ended is not None:
            return False
        self._end(LegEnded(by="system", cause="rejected", code=code, reason=reason))
        return True

    def hang_up(self, *, headers: Mapping[str, str], by: str, cause: str, reason: str) -> None:
        del headers
        self._end(LegEnded(by=by, cause=cause, reason=reason))

    async def release(self) -> dict[str, float]:
        self._is_released = True
        if self.stream is None:
            return {}
        await self.stream.close()
        return {"dropped_bytes": float(self.n_dropped)} if self.n_dropped else {}

    def _end(self, event: LegEnded) -> None:
        if self._ended is None:
            self._ended = event
            self._sink(event)
