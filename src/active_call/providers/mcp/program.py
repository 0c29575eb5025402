"""A local MCP server as a transport of the `mcp` SDK: its program, with messages as lines on its standard input and output.

Settings enter; the two streams of messages leave, and by `ended` why no more messages will come. The SDK's own transport has no limits: a
long message takes time with the square of its length, one byte that is no UTF-8 ends the reading without a word, and what the program
writes to standard error goes to ours. Here a message has at most `MAX_MESSAGE_BYTES`, a line that is no message is skipped, and standard
error becomes log lines, at most `MAX_LOG_LINES` a second.

Wire: https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#stdio; the end: …/basic/lifecycle#shutdown.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import anyio

from active_call.base.child_processes import how_ended
from active_call.providers.credentials import without_secrets
from active_call.providers.mcp.settings import McpSettings

if TYPE_CHECKING:
    from mcp.client._transport import TransportStreams

log = logging.getLogger(__name__)

MAX_MESSAGE_BYTES: Final = 4 * 1024 * 1024
"""Longer than every list of tools and every result that a model can use; it is read in some 50 ms."""
END_S: Final = 2.0
"""The time for a program to end after its input is closed, and again after SIGTERM."""
EXIT_S: Final = 0.5
"""The time to learn a program's exit code after its output has ended."""
MAX_LOG_LINES: Final = 20
MAX_LINE_CHARS: Final = 500
READ_BYTES: Final = 65_536
FLOOD_PAUSE_S: Final = 0.05
"""The pause between reads from a program that writes too much to standard error: it waits for us then, and not we for it."""

Ended = Callable[[str], object]


@asynccontextmanager
async def program_streams(settings: McpSettings, ended: Ended) -> AsyncIterator[TransportStreams]:
    """Start the program; end it, and what it has started, at the end. Raises OSError, ValueError."""
    from mcp.client.stdio import get_default_environment

    process = await asyncio.create_subprocess_exec(
        settings.command,
        *settings.args,
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        cwd=settings.cwd or None,
        env=get_default_environment() | dict(settings.env),
        start_new_session=True,
        limit=MAX_MESSAGE_BYTES,
    )
    received, incoming = anyio.create_memory_object_stream[Any](0)
    outgoing, to_send = anyio.create_memory_object_stream[Any](0)
    tasks = [
        asyncio.create_task(_read(process, received, settings, ended), name=f"mcp {settings.name} output"),
        asyncio.create_task(_write(process, to_send), name=f"mcp {settings.name} input"),
        asyncio.create_task(_log_errors(process, settings), name=f"mcp {settings.name} errors"),
    ]
    try:
        yield incoming, outgoing
    finally:
        for stream in (incoming, outgoing, received, to_send):
            stream.close()
        try:
            await _end(process)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _read(process: Process, received: Any, settings: McpSettings, ended: Ended) -> None:
    """Pass on the messages until there are no more, and say why."""
    reason = ""
    try:
        reason = await _read_messages(process, received, settings)
    except (anyio.ClosedResourceError, anyio.BrokenResourceError):
        pass  # the connection is being closed
    except OSError as error:
        reason = f"its output cannot be read: {error}"
    finally:
        if reason:
            ended(reason)
        received.close()


async def _read_messages(process: Process, received: Any, settings: McpSettings) -> str:
    from mcp.shared.message import SessionMessage
    from mcp_types import jsonrpc_message_adapter

    assert process.stdout is not None  # noqa: S101  it is a pipe
    has_warned = False
    while True:
        try:
            line = await process.stdout.readline()
        except ValueError:  # longer than the limit
            return f"a message is longer than {MAX_MESSAGE_BYTES} bytes"
        if not line:
            return await _end_in_words(process)
        try:
            message = jsonrpc_message_adapter.validate_json(line, by_name=False)
        except ValueError:
            if line.strip() and not has_warned:
                has_warned = True
                what = "a line on its standard output is no message and is skipped, as further ones are; programs log to standard error"
                log.warning("MCP server writes no messages", extra={"server": settings.name, "what": what, "line": _shown(line, settings)})
            continue
        await received.send(SessionMessage(message))


async def _end_in_words(process: Process) -> str:
    """What has happened to a program whose output has ended."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(EXIT_S):
            while process.returncode is None:
                await asyncio.sleep(0.01)
    return "the program has closed its output" if process.returncode is None else f"the program {how_ended(process.returncode)}"


async def _write(process: Process, to_send: Any) -> None:
    """Send the messages. After an error the output ends too, so the reader reports it."""
    assert process.stdin is not None  # noqa: S101  it is a pipe
    with contextlib.suppress(OSError, anyio.ClosedResourceError, anyio.BrokenResourceError):
        async for message in to_send:
            process.stdin.write(message.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n")
            await process.stdin.drain()


async def _log_errors(process: Process, settings: McpSettings) -> None:
    """Write what the program says on standard error into the log, within limits."""
    assert process.stderr is not None  # noqa: S101  it is a pipe
    limit, rest = _LineLimit(settings), b""
    try:
        while data := await process.stderr.read(READ_BYTES):
            *lines, rest = (rest + data).split(b"\n")
            if len(rest) > READ_BYTES:
                lines, rest = [*lines, rest], b""
            limit.log(lines)
            if limit.n_left_out:
                await asyncio.sleep(FLOOD_PAUSE_S)
    finally:
        limit.log([rest] if rest else [])
        limit.tell()


class _LineLimit:
    """Logs at most `MAX_LOG_LINES` a second, and then how many were left out."""

    def __init__(self, settings: McpSettings) -> None:
        self._settings = settings
        self._second = time.monotonic()
        self._n_lines = 0
        self.n_left_out = 0

    def log(self, lines: list[bytes]) -> None:
        """Log as many of `lines` as the limit allows."""
        if time.monotonic() - self._second >= 1.0:
            self.tell()
            self._second, self._n_lines = time.monotonic(), 0
        n_allowed = MAX_LOG_LINES - self._n_lines
        for line in lines[:n_allowed]:
            log.info("MCP server says", extra={"server": self._settings.name, "line": _shown(line, self._settings)})
        self.n_left_out += max(0, len(lines) - n_allowed)
        self._n_lines += min(len(lines), n_allowed)

    def tell(self) -> None:
        """Log how many were left out."""
        if self.n_left_out:
            log.warning("MCP server says too much", extra={"server": self._settings.name, "n_lines_left_out": self.n_left_out})
        self.n_left_out = 0


def _shown(line: bytes, settings: McpSettings) -> str:
    text = line[: 4 * MAX_LINE_CHARS].decode("utf-8", "backslashreplace").rstrip()
    return without_secrets(text, settings.secrets)[:MAX_LINE_CHARS]


async def _end(process: Process) -> None:
    """Close the program's input; end it by force if that is not enough, with all that it has started."""
    assert process.stdin is not None  # noqa: S101  it is a pipe
    process.stdin.close()
    try:
        for number in (signal.SIGTERM, signal.SIGKILL):
            if await _has_ended(process):
                return
            _signal(process, number)
        await _has_ended(process)
    finally:
        _signal(process, signal.SIGKILL)  # what it has started
        process._transport.close()  # type: ignore[attr-defined]  # a child of the program may hold the pipes open


async def _has_ended(process: Process) -> bool:
    """Whether the program ends in time. `Process.wait` would also wait for those who hold its pipes."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(END_S):
            while process.returncode is None:
                await asyncio.sleep(0.01)
    return process.returncode is not None


def _signal(process: Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
