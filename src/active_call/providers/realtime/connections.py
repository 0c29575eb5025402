"""The connections of one realtime conversation: one after another, so that the conversation may exceed the vendor's session limit.

A `Dialect` defines the messages; this class connects, sends in order, and replaces the connection: near the vendor's limit or after the
vendor announces the end, at a moment when neither side speaks; and when it breaks. The new connection receives the history. The caller's
sound meanwhile waits and goes to the new connection.

| the connection … | then |
|---|---|
| cannot be made at first | `RealtimeFailed`, over |
| is old (`Dialect.lives_s`), or announces its end | at the next silence a new one is opened and takes over |
| breaks | a current reply is reported as failed and cancelled; a new one is opened, in up to `ATTEMPTS` attempts |
| cannot resume the session (its handle has expired) | a new session is begun, with the history |
| is closed permanently (wrong key, no quota) | `RealtimeFailed`, over |
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from itertools import count
from typing import Any, Final, Protocol

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from active_call.base.ended_tasks import cancel_and_wait
from active_call.base.errors import ProviderError
from active_call.providers.json_values import read_object
from active_call.providers.realtime_model import RealtimeEvent, RealtimeFailed, ReplyDone
from active_call.providers.websocket import closed_error

logger = logging.getLogger(__name__)

ATTEMPTS: Final = 3
"""Consecutive failed connections before the conversation is given up."""
RETRY_S: Final = 0.3
OPEN_S: Final = 5.0
"""From the connection to the vendor's message that the session is set up."""
HELD_SOUND_S: Final = 15.0
"""The most caller sound that waits for a connection; older sound is dropped."""
QUIET_POLL_S: Final = 0.1
REPLACE_AGAIN_S: Final = 5.0
MAX_WAITING: Final = 10_000
"""Messages that may wait to be sent. A vendor that accepts none has failed."""

Json = Mapping[str, Any]


class Dialect(Protocol):
    """One vendor's protocol, for one conversation. A new connection starts with `begin`."""

    name: str
    lives_s: float
    """How long a connection is used."""
    input_bytes_per_s: int

    async def connect(self) -> ClientConnection:
        """A new connection. Raises ProviderError."""
        ...

    def begin(self) -> Iterable[Json]:
        """The first messages to send."""
        ...

    def forget_session(self) -> bool:
        """The vendor does not resume the session: `begin` begins a new one. False: there was none to resume."""
        ...

    def history_messages(self) -> Iterable[Json]:
        """The messages after session set-up: the history so far, if the vendor does not know it."""
        ...

    def read(self, message: Json) -> list[RealtimeEvent]:
        """The events in one message of the current connection. Raises ProviderError."""
        ...

    def is_ready(self, message: Json) -> bool:
        """Whether `message` says that the session is set up."""
        ...

    def announces_end(self, message: Json) -> bool:
        """Whether `message` announces that the vendor will close the connection soon."""
        ...

    def sound(self, pcm: bytes) -> Json:
        """The message with the caller's sound."""
        ...

    @property
    def is_replying(self) -> bool:
        """A reply is in progress."""
        ...

    @property
    def is_busy(self) -> bool:
        """A reply is in progress, or the caller speaks: not the moment to replace the connection."""
        ...

    def replaced(self) -> None:
        """Another connection is used from now on: whatever was in progress on the old one has ended."""
        ...


class Connections:
    """The connections of one conversation. `send` and `send_sound` return at once; events come by `tell`, on the loop."""

    def __init__(self, dialect: Dialect, tell: Callable[[RealtimeEvent], None]) -> None:
        self._dialect = dialect
        self._report = tell
        self._waiting: deque[Json | bytes] = deque()
        self._sound_bytes = 0
        """The bytes of sound in `_waiting`."""
        self._something = asyncio.Event()
        self._must_renew = False
        self._is_closed = False
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"{dialect.name} conversation")

    def send(self, message: Json) -> None:
        """Send `message` after earlier ones."""
        if self._is_closed:
            return
        if len(self._waiting) >= MAX_WAITING:
            raise ProviderError(self._dialect.name, "accepts no messages", retryable=True)
        self._waiting.append(message)
        self._something.set()

    def send_sound(self, pcm: bytes) -> None:
        """Send the caller's sound; it is dropped if too much waits."""
        if self._is_closed:
            return
        self._waiting.append(pcm)
        self._sound_bytes += len(pcm)
        limit = HELD_SOUND_S * self._dialect.input_bytes_per_s
        if self._sound_bytes > limit:
            self._drop_oldest_sound(limit)
        self._something.set()

    def _drop_oldest_sound(self, limit: float) -> None:
        kept: deque[Json | bytes] = deque()
        for one in self._waiting:
            if isinstance(one, bytes) and self._sound_bytes > limit:
                self._sound_bytes -= len(one)
            else:
                kept.append(one)
        self._waiting = kept

    async def close(self) -> None:
        """Close everything. No event follows."""
        self._is_closed = True
        await cancel_and_wait(self._task)

    async def _run(self) -> None:
        socket: ClientConnection | None = None
        try:
            socket = await self._open(is_first=True)
            while True:
                socket = await self._use(socket)
        except ProviderError as error:
            self._is_closed = True
            self._report(RealtimeFailed(error))
        finally:
            if socket is not None:
                await _close(socket)

    async def _open(self, *, is_first: bool) -> ClientConnection:
        """A connection whose session is set up. Raises ProviderError."""
        for attempt in count(1):
            try:
                return await self._open_once()
            except ProviderError as error:
                may_pass = (error.retryable and attempt < ATTEMPTS) or self._dialect.forget_session()
                if not may_pass:
                    raise
                logger.warning("connection failed", extra={"provider": self._dialect.name, "reason": error.reason, "is_first": is_first})
            await asyncio.sleep(RETRY_S * attempt)
        raise AssertionError("unreachable")

    async def _open_once(self) -> ClientConnection:
        socket = await self._dialect.connect()
        try:
            async with asyncio.timeout(OPEN_S):
                for message in self._dialect.begin():
                    await socket.send(json.dumps(message))
                while not self._dialect.is_ready(message := read_object(self._dialect.name, await socket.recv())):
                    self._refuse(message)
                for message in self._dialect.history_messages():
                    await socket.send(json.dumps(message))
        except ConnectionClosed as error:
            raise closed_error(self._dialect.name, error) from error
        except TimeoutError:
            await _close(socket)
            raise ProviderError(self._dialect.name, f"the session was not set up within {OPEN_S:g} s", retryable=True) from None
        except BaseException:
            await _close(socket)
            raise
        return socket

    def _refuse(self, message: Json) -> None:
        """Raise the vendor's error about the session."""
        for event in self._dialect.read(message):
            if isinstance(event, RealtimeFailed):
                raise ProviderError(self._dialect.name, _reason_of(event), retryable=not event.is_over)

    async def _use(self, socket: ClientConnection) -> ClientConnection:
        """Use a connection until it must be replaced, and return the next one. Raises ProviderError if there is none."""
        self._must_renew = False
        loop = asyncio.get_running_loop()
        reader = loop.create_task(self._read_all(socket), name=f"{self._dialect.name} reader")
        sender = loop.create_task(self._send_all(socket), name=f"{self._dialect.name} sender")
        renewal = loop.create_task(self._renew(), name=f"{self._dialect.name} renewal")
        following: ClientConnection | None = None
        try:
            done, _ = await asyncio.wait((reader, sender, renewal), return_when=asyncio.FIRST_COMPLETED)
            following = renewal.result() if renewal in done else await self._after(_failure(self._dialect.name, reader, sender))
            self._dialect.replaced()
            return following
        finally:
            for task in (reader, sender, renewal):
                task.cancel()
            *_, renewed = await asyncio.gather(reader, sender, renewal, return_exceptions=True)
            await _close(socket)
            if isinstance(renewed, ClientConnection) and renewed is not following:
                await _close(renewed)

    async def _after(self, failure: ProviderError) -> ClientConnection:
        """A connection in place of one that ended with `failure`."""
        if not failure.retryable:
            raise failure
        logger.warning("connection lost", extra={"provider": self._dialect.name, "reason": failure.reason})
        if self._dialect.is_replying:
            self._report(RealtimeFailed(failure, is_over=False))
            self._report(ReplyDone(is_cancelled=True))
        return await self._open(is_first=False)

    async def _send_all(self, socket: ClientConnection) -> None:
        while True:
            if not self._waiting:
                self._something.clear()
                await self._something.wait()
                continue
            message = self._waiting[0]
            text = json.dumps(self._dialect.sound(message) if isinstance(message, bytes) else message)
            await socket.send(text)
            if self._waiting and self._waiting[0] is message:
                self._waiting.popleft()
                self._sound_bytes -= len(message) if isinstance(message, bytes) else 0

    async def _read_all(self, socket: ClientConnection) -> None:
        async for raw in socket:
            message = read_object(self._dialect.name, raw)
            self._must_renew = self._must_renew or self._dialect.announces_end(message)
            for event in self._dialect.read(message):
                if isinstance(event, RealtimeFailed) and event.is_over:
                    raise ProviderError(self._dialect.name, _reason_of(event))
                self._report(event)

    async def _renew(self) -> ClientConnection:
        """Wait until it is due, then for a new connection and a moment when neither side speaks."""
        now = asyncio.get_running_loop().time
        begin = now()
        while not self._must_renew and now() - begin < self._dialect.lives_s:
            await asyncio.sleep(QUIET_POLL_S)
        while True:
            await self._quiet()
            try:
                socket = await self._open(is_first=False)
            except ProviderError as error:
                logger.warning("connection cannot be replaced", extra={"provider": self._dialect.name, "reason": error.reason})
                await asyncio.sleep(REPLACE_AGAIN_S)
                continue
            if not self._dialect.is_busy:
                return socket
            await _close(socket)  # the new connection lacks what was said since

    async def _quiet(self) -> None:
        """Wait until neither side speaks."""
        while self._dialect.is_busy:
            await asyncio.sleep(QUIET_POLL_S)


def _failure(provider: str, *tasks: asyncio.Task[None]) -> ProviderError:
    """Why the first finished one of `tasks` ended."""
    error: BaseException | None = next((task.exception() for task in tasks if task.done()), None)
    match error:
        case ProviderError():
            return error
        case ConnectionClosed():
            return closed_error(provider, error)
        case _:
            return ProviderError(provider, f"unforeseen {type(error).__name__}: {error}")


def _reason_of(event: RealtimeFailed) -> str:
    return event.error.reason if isinstance(event.error, ProviderError) else str(event.error)


async def _close(socket: ClientConnection) -> None:
    with contextlib.suppress(Exception):
        await socket.close()
