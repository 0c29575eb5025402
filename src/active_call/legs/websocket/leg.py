"""The leg of a call whose media uses a WebSocket: no signalling of its own, and a media stream without RTP.

Binary messages of the client enter by `hear`. The sound of the call leaves by `send_sound`, one message per 20 ms. The media process
decodes and encodes them; they pass through here unchanged. The client that opened the socket is already connected, so `dial` and `accept`
answer immediately. It is one party of the call, like a telephone in a SIP call. If its socket closes while the call goes on, another socket
may take its place; otherwise the call ends after a while.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from active_call.contract.options import CallOption
from active_call.legs.client_leg import ClientLeg
from active_call.legs.events import LegAnswered, LegEnded, LegReady
from active_call.legs.websocket.formats import SoundFormat
from active_call.media.link.messages import MessageSent, Report
from active_call.media.pool.pool import MediaPool, MediaStream, StreamLost

MAX_AHEAD_S: Final = 5.0
"""How far ahead of real time a client may send sound. More is dropped; otherwise the conversation would lag permanently."""


def _nowhere(data: bytes) -> None:
    del data


class WebSocketLeg(ClientLeg):
    """See the module. It has no optional abilities. Create it inside the event loop. `send_sound` must not block."""

    kind: Final = "websocket"
    offer: Final = ""

    def __init__(
        self, pool: MediaPool, sound: SoundFormat, send_sound: Callable[[bytes], None], *, caller: str, callee: str, call_id: str, peer: str
    ) -> None:
        super().__init__(pool, caller=caller, callee=callee, call_id=call_id, peer=peer)
        self._loop = asyncio.get_running_loop()
        self._sound = sound
        self._bytes_per_s = sound.bytes_per_s
        self._send_sound = send_sound
        self.n_dropped = 0
        """Bytes of sound from the client that were dropped because they were too far ahead."""
        self._fed_until = 0.0
        self._gone: asyncio.TimerHandle | None = None
        """While no socket is connected: the end of the call."""

    @property
    def is_connected(self) -> bool:
        """Whether a socket carries its sound."""
        return self._gone is None

    def connect(self, send_sound: Callable[[bytes], None]) -> None:
        """Another socket carries its sound from now on. `send_sound` must not block."""
        self._forget_gone()
        self._send_sound = send_sound

    def disconnect(self, wait_s: float) -> None:
        """Its socket has closed. The call ends unless another one is connected within `wait_s`."""
        self._send_sound = _nowhere
        self._forget_gone()
        if self._ended is None and not self._is_released:
            ended = LegEnded(
                by="system", cause="no_media", reason=f"the socket with the call's sound did not come back within {wait_s:g} s"
            )
            self._gone = self._loop.call_later(wait_s, self._end, ended)

    def _forget_gone(self) -> None:
        if self._gone is not None:
            self._gone.cancel()
            self._gone = None

    def hear(self, data: bytes) -> None:
        """Take a binary message of the client. Raises FormatError if it is not sound. Sound before the media is open is lost."""
        if self.stream is None or self._ended is not None:
            return
        length_s = len(data) / self._bytes_per_s if self._bytes_per_s else self._sound.length_s(data)
        now = self._loop.time()
        until = max(self._fed_until, now) + length_s
        if until <= now + MAX_AHEAD_S:
            self._fed_until = until
        else:
            n_bytes, data = len(data), self._sound.split_sample(data)
            self.n_dropped += n_bytes - len(data)
        if data:
            self.stream.feed_audio(data)

    async def _open(self, near: MediaStream | None) -> MediaStream:
        return await self._pool.open_stream(self._report, rtp=False, rate_hz=self._sound.rate_hz, near=near)

    def _opened(self, stream: MediaStream) -> None:
        stream.use_messages(self._sound.codec, self._sound.message_rate_hz)

    def _report(self, report: Report | StreamLost) -> None:
        if not isinstance(report, MessageSent):
            super()._report(report)
        elif self._ended is None:
            self._send_sound(report.data)

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
        self._forget_gone()
        if self.stream is None:
            return {}
        await self.stream.close()
        return {"dropped_bytes": float(self.n_dropped)} if self.n_dropped else {}
