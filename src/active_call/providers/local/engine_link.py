"""A running engine process and its socket, as the loop uses them. The other side is `engine_process`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import pickle
import socket
from collections.abc import Callable
from typing import Any

from active_call.base.child_processes import DESCRIPTOR, ChildProcess, StartsChildren, how_ended
from active_call.providers.local import engine_process

logger = logging.getLogger(__name__)

CLOSE_S = 2.0
END_S = 0.5
"""The time to learn how a process whose socket has closed ends."""


class EngineLink:
    """A running process and its socket."""

    def __init__(self, process: ChildProcess, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer

    @classmethod
    async def start(cls, name: str, children: StartsChildren) -> EngineLink:
        """Start the process by `children`. It ends by itself when our end of the socket closes, also if this call is cancelled."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process = await children.start(engine_process.__name__, (name, DESCRIPTOR), theirs.fileno(), {})
            reader, writer = await asyncio.open_connection(sock=ours)
        except BaseException:
            ours.close()
            raise
        logger.info("engine process started", extra={"engine": name, "pid": process.pid})
        return cls(process, reader, writer)

    async def ask(self, function: Callable[..., Any], args: tuple[Any, ...]) -> tuple[bool, Any, float]:
        """Send one request and wait for its answer: whether it succeeded, the result or the reason, the CPU seconds that it took.

        Raises OSError or EOFError if the process dies, and pickling errors.
        """
        self._writer.write(engine_process.frame((function, args)))
        await self._writer.drain()
        head = await self._reader.readexactly(engine_process.LENGTH.size)
        body = await self._reader.readexactly(engine_process.LENGTH.unpack(head)[0])
        answer: tuple[bool, Any, float] = pickle.loads(body)  # noqa: S301 - our own child process, over a socket nobody else has
        return answer

    async def how_ended(self) -> str:
        """How the process, whose socket has closed, has ended."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_S):
                return how_ended(await self._process.wait())
        return "closed its connection"

    def kill(self) -> None:
        """Kill the process at once."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def close(self) -> None:
        """End the process: it exits when its socket closes, and is killed if it does not."""
        self._writer.close()
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()
