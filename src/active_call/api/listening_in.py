"""Listening to a call: `GET /listen/{id}` as a growing WAV file, or as raw samples; over a WebSocket as binary messages.

The listener is not audible in the call, and the call does not know of it. Any number may listen. A listener that reads too slowly is
disconnected: an HTTP response ends, a WebSocket is closed with 1008 and the reason.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections import deque
from collections.abc import AsyncIterator
from typing import Final, Literal, Protocol

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import StreamingResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from active_call.api.access import AccessCheck
from active_call.api.refusals import refuse_socket
from active_call.call.handle import CallHandle
from active_call.call.sound.listening_in import StereoMix
from active_call.call.sound.taps import RATE_HZ

WAITING_PIECES: Final = 250
"""How much sound may wait for a listener: five seconds."""
SLOW: Final = "too slow: the listener does not read the sound"
CHANNELS: Final = 2


class Calls(Protocol):
    """See `call.opening.registry.CallRegistry`."""

    def find(self, session_id: str) -> CallHandle | None: ...


class ListeningIn:
    """One listener. Iterate over it for the sound; `is_too_slow` says why it ended."""

    def __init__(self, call: CallHandle) -> None:
        self._mix = StereoMix()
        self._waiting: deque[bytes] = deque()
        self._has_news = asyncio.Event()
        self.is_too_slow = False
        self._stop = call.listen(self._hear)
        self._subscription = call.subscribe()
        self._subscription.notify(self._note)

    def _hear(self, side: int, pcm: bytes) -> None:
        sound = self._mix.push(side, pcm)
        if not sound or self.is_too_slow:
            return
        if len(self._waiting) >= WAITING_PIECES:
            self.is_too_slow = True
            self._waiting.clear()
        else:
            self._waiting.append(sound)
        self._has_news.set()

    def _note(self) -> None:
        self._subscription.take()
        self._has_news.set()

    async def pieces(self) -> AsyncIterator[bytes]:
        """The sound, until the call ends or this listener is too slow."""
        try:
            while not self.is_too_slow:
                while self._waiting:
                    yield self._waiting.popleft()
                if self._subscription.closed is not None:
                    return
                self._has_news.clear()
                await self._has_news.wait()
        finally:
            self.close()

    def close(self) -> None:
        """Stop listening. May be called again."""
        self._stop()
        self._subscription.close()


def listening_routes(calls: Calls) -> APIRouter:
    """`GET /listen/{id}`."""
    router = APIRouter(tags=["calls"])

    @router.get("/listen/{session_id}", summary="Listen in: the sound of both sides until the call is over (left: the caller)")
    async def listen(session_id: str, request: Request, format: Literal["wav", "pcm"] = "wav") -> StreamingResponse:  # noqa: A002 (the query's name)
        del request
        call = calls.find(session_id)
        if call is None:
            raise HTTPException(404, f"no call {session_id!r}")
        media_type = "audio/wav" if format == "wav" else f"audio/L16;rate={RATE_HZ};channels={CHANNELS}"
        return StreamingResponse(_sound(ListeningIn(call), wav=format == "wav"), media_type=media_type)

    return router


def listening_sockets(calls: Calls, check: AccessCheck) -> APIRouter:
    """The same over a WebSocket."""
    router = APIRouter()

    @router.websocket("/listen/{session_id}")
    async def listen(client: WebSocket, session_id: str) -> None:
        try:
            check(client)
            call = calls.find(session_id)
            if call is None:
                raise HTTPException(404, f"no call {session_id!r}")
        except HTTPException as refusal:
            await refuse_socket(client, refusal.status_code, str(refusal.detail))
            return
        await client.accept()
        listening = ListeningIn(call)
        leaving = asyncio.create_task(_until_left(client), name="listener leaves")
        sending = asyncio.create_task(_send(client, listening), name="listener hears")
        try:
            await asyncio.wait((leaving, sending), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (leaving, sending):
                task.cancel()
            await asyncio.gather(leaving, sending, return_exceptions=True)
            listening.close()

    return router


async def _send(client: WebSocket, listening: ListeningIn) -> None:
    async for piece in listening.pieces():
        await client.send_bytes(piece)
    code, reason = (1008, SLOW) if listening.is_too_slow else (1000, "the call is over")
    with contextlib.suppress(RuntimeError):
        await client.close(code, reason)


async def _until_left(client: WebSocket) -> None:
    with contextlib.suppress(WebSocketDisconnect):
        while (await client.receive())["type"] != "websocket.disconnect":
            pass  # messages of a listener have no effect


async def _sound(listening: ListeningIn, *, wav: bool) -> AsyncIterator[bytes]:
    if wav:
        yield endless_wav_header()
    async for piece in listening.pieces():
        yield piece


def endless_wav_header() -> bytes:
    """The header of a file of unknown length: the maximum length, as players of streams expect."""
    frame = CHANNELS * 2
    layout = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, CHANNELS, RATE_HZ, RATE_HZ * frame, frame, 16)
    return struct.pack("<4sI4s", b"RIFF", 0xFFFFFFFF, b"WAVE") + layout + struct.pack("<4sI", b"data", 0xFFFFFFFF)
