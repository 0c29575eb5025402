"""The call's sound over WebSockets that this server opens: `mediaPass` (both ways) and `monitor` (one way).

`mediaPass`: the caller's sound leaves as raw s16le mono at `outputSampleRate` in pieces of `packetSize` bytes; returned sound, at
`inputSampleRate`, is played to the caller. `monitor`: first a JSON text about the call, then pieces of both sides at 16 kHz, each after a
byte for its side (0 ours, 1 the caller's). A far end that disconnects, or reads too slowly, loses sound and never delays the call; the
connection is retried a few times. Sound more than five seconds ahead is dropped.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from typing import Any, Final
from urllib.parse import urlencode

from active_call.base.errors import ActiveCallError
from active_call.base.pcm import BYTES_PER_SAMPLE
from active_call.call.ports import CallPorts
from active_call.call.shared_state import CallState
from active_call.call.sound.outgoing_sockets import OpenedSocket, OpensSockets
from active_call.call.sound.taps import CALLERS, RATE_HZ, SoundTaps
from active_call.codec.resample import StreamResampler
from active_call.contract import events
from active_call.contract.options import MediaPassOption, MonitorOption
from active_call.media.pool.pool import MediaStream

DEFAULT_PACKET_BYTES: Final = 2560
"""80 ms at 16 kHz."""
MIN_PACKET_BYTES: Final = 160
"""10 ms at 8 kHz."""
WAITING_S: Final = 2.0
"""How much sound waits for a slow far end; the oldest is dropped."""
MAX_AHEAD_S: Final = 5.0
PAUSE_S: Final = 0.3
"""After this long without sound from the far end its play ends, and the agent can be heard."""
RETRIES_S: Final = (0.5, 1.0, 2.0, 4.0)
PLAY: Final = "media-pass"


class MediaSockets:
    """The sockets of one call. They open with its answer and close with its end."""

    def __init__(self, state: CallState, ports: CallPorts, taps: SoundTaps, opens: OpensSockets | None) -> None:
        self._state = state
        self._ports = ports
        self._taps = taps
        self._opens = opens
        self._is_begun = False

    def observe(self, event: events.Event) -> None:
        """An event of the call: the answer opens the configured sockets."""
        if self._is_begun or not isinstance(event, events.Answer) or event.refer:
            return
        self._is_begun = True
        chosen, monitor = self._state.option.media_pass, self._state.option.monitor
        if chosen is not None and chosen.url:
            self._ports.spawn(self._keep("mediaPass", chosen.url, {}, lambda socket: self._pass(socket, chosen)), "mediaPass")
        if monitor is not None and monitor.url:
            url = _with_session(monitor.url, self._state.facts.session_id)
            self._ports.spawn(self._keep("monitor", url, monitor.headers, lambda socket: self._tap(socket, monitor)), "monitor")

    async def _keep(self, name: str, url: str, headers: Mapping[str, str], serve: Callable[[OpenedSocket], Awaitable[None]]) -> None:
        """Open the socket and serve it; retry after a pause when it closes. One `error` event reports giving up."""
        reason = "this server cannot open media sockets"
        for wait_s in (*RETRIES_S, None):
            opens = self._opens
            if opens is None:
                break
            try:
                socket = await opens(url, headers, self._state.trust.hosts)
                try:
                    await serve(socket)
                    reason = "the far end closed it"
                finally:
                    await socket.close()
            except ActiveCallError as error:
                reason = str(error)
            except Exception as error:  # noqa: BLE001 (the library's errors, and any error of a connection)
                reason = f"{type(error).__name__}: {error}"
            if wait_s is None:
                break
            self._ports.log.info("socket for sound is opened again", extra={"socket": name, "reason": reason, "wait_s": wait_s})
            await asyncio.sleep(wait_s)
        self._ports.later(lambda: self._ports.emit(events.Error(sender=name, error=reason)))

    async def _pass(self, socket: OpenedSocket, option: MediaPassOption) -> None:
        out = StreamResampler(RATE_HZ, option.output_sample_rate or RATE_HZ)
        rate_hz = option.output_sample_rate or RATE_HZ
        size = _packet_bytes(option.packet_size, option.ptime, rate_hz)
        waiting = _Waiting(rate_hz * BYTES_PER_SAMPLE, size)
        stop = self._taps.add(lambda side, pcm: waiting.put(out.push(pcm)) if side == CALLERS else None)
        try:
            await _first_of(_send_all(socket, waiting.pieces()), self._play(socket, option.input_sample_rate or RATE_HZ))
        finally:
            stop()

    async def _play(self, socket: OpenedSocket, rate_hz: int) -> None:
        """Play the far end's sound to the caller."""
        played = _Played(self._state, rate_hz)
        loop = asyncio.get_running_loop()
        ending: asyncio.TimerHandle | None = None
        try:
            async for message in socket:
                if isinstance(message, bytes):
                    until_s = played.put(message, loop.time())
                    if ending is not None:
                        ending.cancel()
                    ending = loop.call_later(until_s + PAUSE_S, played.end)
        finally:
            if ending is not None:
                ending.cancel()
            played.end()

    async def _tap(self, socket: OpenedSocket, option: MonitorOption) -> None:
        facts = self._state.facts
        about = {"event": "start", "sessionId": facts.session_id, "caller": facts.caller, "callee": facts.callee, "sampleRate": RATE_HZ}
        await socket.send(json.dumps(about))
        size = _packet_bytes(option.buffer_size, option.ptime, RATE_HZ)
        sides = [_Waiting(RATE_HZ * BYTES_PER_SAMPLE, size) for _ in range(2)]
        stop = self._taps.add(lambda side, pcm: sides[side].put(pcm))
        try:
            senders = (_send_all(socket, sides[side].pieces(), bytes((side,))) for side in range(2))
            await _first_of(*senders, _drain(socket))
        finally:
            stop()


class _Waiting:
    """Sound for the far end, cut into pieces of `size` bytes; at most two seconds of it."""

    def __init__(self, bytes_per_s: int, size: int) -> None:
        self._size = size
        self._rest = bytearray()
        self._pieces: deque[bytes] = deque(maxlen=max(1, int(bytes_per_s * WAITING_S) // size))
        self._has_some = asyncio.Event()

    def put(self, pcm: bytes) -> None:
        """Never blocks."""
        self._rest += pcm
        while len(self._rest) >= self._size:
            self._pieces.append(bytes(self._rest[: self._size]))
            del self._rest[: self._size]
            self._has_some.set()

    async def pieces(self) -> AsyncIterator[bytes]:
        """The pieces, as they come."""
        while True:
            while self._pieces:
                yield self._pieces.popleft()
            self._has_some.clear()
            await self._has_some.wait()


class _Played:
    """The far end's sound as plays of the call's stream. A pause ends the play; later sound begins another one."""

    def __init__(self, state: CallState, rate_hz: int) -> None:
        self._state = state
        self._rate_hz = rate_hz
        self._resampler: StreamResampler | None = None
        self._stream: MediaStream | None = None
        self._until = 0.0
        self._is_open = False

    def put(self, pcm: bytes, now: float) -> float:
        """Play more; returns the seconds until all of it has been heard. Sound too far ahead is dropped."""
        stream = self._state.leg.stream
        length_s = len(pcm) / BYTES_PER_SAMPLE / self._rate_hz
        begins_at = max(self._until, now)
        if stream is None or begins_at + length_s > now + MAX_AHEAD_S:
            return max(0.0, self._until - now)
        if self._resampler is None or stream is not self._stream:
            self._stream, self._resampler = stream, StreamResampler(self._rate_hz, stream.rate_hz)
        self._until = begins_at + length_s
        self._is_open = True
        stream.queue_audio(PLAY, self._resampler.push(pcm))
        return self._until - now

    def end(self) -> None:
        """No more sound for now."""
        if self._is_open and self._stream is not None and self._resampler is not None:
            self._is_open = False
            self._stream.queue_audio(PLAY, self._resampler.flush(), end=True)


async def _send_all(socket: OpenedSocket, pieces: AsyncIterator[bytes], before: bytes = b"") -> None:
    async for piece in pieces:
        await socket.send(before + piece)


async def _drain(socket: OpenedSocket) -> None:
    """Returns when the far end has closed; its messages are ignored."""
    async for _ in socket:
        pass


async def _first_of(*works: Coroutine[Any, Any, None]) -> None:
    """Run `works` until the first of them ends; raises its error."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


def _packet_bytes(size: int | None, ptime_ms: int | None, rate_hz: int) -> int:
    """Bytes of one message: from `ptime`, else `packetSize`, in whole samples."""
    wanted = rate_hz * ptime_ms // 1000 * BYTES_PER_SAMPLE if ptime_ms else size or DEFAULT_PACKET_BYTES
    return max(MIN_PACKET_BYTES, wanted - wanted % BYTES_PER_SAMPLE)


def _with_session(url: str, session_id: str) -> str:
    sign = "&" if "?" in url else "?"
    return f"{url}{sign}{urlencode({'session_id': session_id})}"
