"""The leg of a call whose media uses a WebSocket: no signalling of its own, and a media stream without RTP.

Binary messages of the client enter by `hear`. The sound of the call leaves by `send_sound`, one message per 20 ms. The client that opened
the socket is already connected, so `dial` and `accept` answer immediately. It is one party of the call, like a telephone in a SIP call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from active_call.base.pcm import BYTES_PER_SAMPLE, FRAME_MS, samples_in
from active_call.contract.options import CallOption
from active_call.legs.client_leg import ClientLeg
from active_call.legs.events import LegAnswered, LegReady
from active_call.legs.websocket.formats import SoundFormat
from active_call.media.link.messages import Report, SentAudio
from active_call.media.pool.pool import MediaPool, MediaStream, StreamLost

MAX_AHEAD_S: Final = 5.0
"""How far ahead of real time a client may send sound. More is dropped; otherwise the conversation would lag permanently."""


class WebSocketLeg(ClientLeg):
    """See the module. It has no optional abilities. `send_sound` must not block."""

    kind: Final = "websocket"
    offer: Final = ""

    def __init__(
        self, pool: MediaPool, sound: SoundFormat, send_sound: Callable[[bytes], None], *, caller: str, callee: str, call_id: str, peer: str
    ) -> None:
        super().__init__(pool, caller=caller, callee=callee, call_id=call_id, peer=peer)
        self._sound = sound
        self._send_sound = send_sound
        self.n_dropped = 0
        """Bytes of PCM from the client that were dropped because they were too far ahead."""
        self._fed_until = 0.0

    def hear(self, data: bytes) -> None:
        """Take a binary message of the client. Raises FormatError if it is not sound. Sound before the media is open is lost."""
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

    async def _open(self, near: MediaStream | None) -> MediaStream:
        return await self._pool.open_stream(self._report, rtp=False, rate_hz=self._sound.rate_hz, near=near)

    def _opened(self, stream: MediaStream) -> None:
        stream.forward_sent(True, piece_ms=FRAME_MS)

    def _report(self, report: Report | StreamLost) -> None:
        super()._report(report)
        if isinstance(report, SentAudio) and self._ended is None:
            frame = BYTES_PER_SAMPLE * samples_in(FRAME_MS, self._sound.rate_hz)
            for at in range(0, len(report.pcm), frame):
                self._send_frame(report.pcm[at : at + frame])

    def _send_frame(self, pcm: bytes) -> None:
        """Send 20 ms of the call's sound."""
        self._send_sound(self._sound.encode(pcm))

    async def _answer(self, option: CallOption) -> None:
        del option
        await self.open_media()
        self._require_unanswered(self._is_answered)
        self._is_answered = True
        self._sink(LegAnswered(""))
        self._sink(LegReady())

    async def release(self) -> dict[str, float]:
        """See `legs.leg.Leg`."""
        self._is_released = True
        if self.stream is None:
            return {}
        await self.stream.close()
        return {"dropped_bytes": float(self.n_dropped)} if self.n_dropped else {}
