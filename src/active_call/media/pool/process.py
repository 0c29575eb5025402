"""One media process: start it, send it orders over its socket, detect that it is dead or hung, kill it.

Orders go in and reports come out. This module knows no pool and no streams, and does not interpret reports.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable
from typing import Final, cast

from msgspec import Struct

from active_call.base.bulk_input import BulkInput, BulkSource
from active_call.base.child_processes import DESCRIPTOR, ChildProcess, Programs, StartsChildren
from active_call.base.errors import MediaError, ParseError
from active_call.base.numeric_threads import SINGLE_THREADED
from active_call.base.world import SystemClock
from active_call.media.link.framing import ReportReader, Unreadable, frame
from active_call.media.link.messages import ALIVE_EVERY_S, IDLE_ALIVE_EVERY_S, Link, Ready, Report, Shutdown

READY_TIMEOUT_S: Final = 10.0
EXIT_TIMEOUT_S: Final = 3.0
CHECK_S: Final = ALIVE_EVERY_S
REPORTS_AT_ONCE: Final = 16
"""As many reports are handled together; with sound for a vendor they take some 2 ms."""
QUIET_CHECKS: Final = 2
"""Consecutive checks without a report after which no new stream goes there if another process has room."""
HUNG_CHECKS: Final = 8
"""Consecutive checks without a report after which it counts as hung. Checks are counted instead of seconds: if the control process itself
was stopped, it must not kill media processes."""
IDLE_CHECK_S: Final = 1.5 * IDLE_ALIVE_EVERY_S
IDLE_HUNG_CHECKS: Final = 2
"""The same for a process without streams, which reports less often."""
PATIENCE: Final = HUNG_CHECKS * IDLE_HUNG_CHECKS
"""A check without a report uses up its part of this: a short check with streams counts less than a long one without."""
LINK_BUFFER_BYTES: Final = 4 * 1024 * 1024
"""Kernel buffer for the sound of a few hundred streams while either side is busy. The kernel may grant less."""

SOUND_EVERY_S: Final = 0.004
"""The callers' sound is written at most so often: with many calls, a write for each pass of the loop would cost more than the sound. The
media process reads about as often, and needs it by its next tick."""

WORKER_MODULE: Final = "active_call.media.worker.main"

log = logging.getLogger(__name__)


class WorkerOptions(Struct, frozen=True):
    """The command-line options of a media process. Ports are inclusive."""

    index: int
    first_port: int
    last_port: int
    capacity: int


class _LinkProtocol(asyncio.Protocol):
    """Decodes the socket's bytes to reports. `lost` is set when the socket is closed or sends undecodable data.

    Reports are handled in the time of `bulk`, since nearly all of them contain sound.
    """

    def __init__(self, on_report: Callable[[Report], None], bulk: BulkInput) -> None:
        self._reader = ReportReader()
        self._source: BulkSource[list[Report | Unreadable]] = BulkSource(bulk, self._handle, self._pause, self._resume)
        self.on_report = on_report
        self._transport: asyncio.Transport | None = None
        self.lost = asyncio.Event()
        self.n_reports = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            reports = self._reader.feed(data)
        except ParseError:
            if self._transport is not None:
                self._transport.abort()
            return
        self.n_reports += len(reports)
        if 0 < len(reports) <= REPORTS_AT_ONCE:
            self._source.take_one(reports)
        else:
            self._source.take(*(reports[at : at + REPORTS_AT_ONCE] for at in range(0, len(reports), REPORTS_AT_ONCE)))

    def _handle(self, reports: list[Report | Unreadable]) -> None:
        for report in reports:
            if isinstance(report, Unreadable):
                log.error(
                    "report of a media process unreadable", extra={"stream": report.stream, "tag": report.tag, "reason": report.reason}
                )
            else:
                self.on_report(report)

    @property
    def is_behind(self) -> bool:
        """Whether reports wait to be handled. Then the socket may not be read, and no further ones are seen."""
        return self._source.is_waiting

    def _pause(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._source.flush()
        self.lost.set()


class MediaProcess:
    """A running media process. Create it with `spawn`, wait in `wait_lost`, then call `end`."""

    def __init__(self, process: ChildProcess, transport: asyncio.WriteTransport, link: _LinkProtocol) -> None:
        self._process = process
        self._transport = transport
        self._link = link
        self.capacity = 0
        self._loop = asyncio.get_running_loop()
        self._unsent: list[bytes] = []
        """Framed orders, for the next write."""
        self._writes_next = False
        """The next pass of the loop writes."""
        self._writing_sound: asyncio.TimerHandle | None = None
        self._written_at = 0.0
        self._is_asked = asyncio.Event()
        """Set by orders: a process that was idle must answer now."""
        self.is_quiet = False
        """It has not reported in time and may be hung."""

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def return_code(self) -> int | None:
        """The exit code; None while it runs."""
        return self._process.returncode

    def send(self, *orders: Link) -> None:
        """Queue orders on the link. Orders to a dead process are dropped, because its end is reported anyway.

        One write takes all orders of a pass of the loop: with many calls, the sound of several arrives in each.
        """
        self._is_asked.set()
        self._unsent += [frame(order) for order in orders]
        self._write_next()

    def send_sound(self, order: Link) -> None:
        """As `send`, for sound of a stream that is open: it is written after `SOUND_EVERY_S` at the latest."""
        self._unsent.append(frame(order))
        if self._writes_next or self._writing_sound is not None:
            return
        rest_s = self._written_at + SOUND_EVERY_S - self._loop.time()
        if rest_s > 0:
            self._writing_sound = self._loop.call_later(rest_s, self._write_sound)
        else:
            self._write_next()

    def _write_next(self) -> None:
        if not self._writes_next:
            self._writes_next = True
            self._loop.call_soon(self._write)

    def _write_sound(self) -> None:
        self._writing_sound = None
        if self._unsent and not self._writes_next:
            self._write()

    def _write(self) -> None:
        self._writes_next = False
        orders, self._unsent = self._unsent, []
        self._written_at = self._loop.time()
        if not self._transport.is_closing():
            self._transport.write(b"".join(orders))

    def tell_reports_to(self, on_report: Callable[[Report], None]) -> None:
        """Call `on_report` with each report from now on."""
        self._link.on_report = on_report

    async def wait_lost(self) -> None:
        """Return when the process no longer answers: its socket is closed."""
        await self._link.lost.wait()

    async def _lost_or_asked(self) -> None:
        self._is_asked.clear()
        waits = [asyncio.ensure_future(event.wait()) for event in (self._link.lost, self._is_asked)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def wait_lost_or_hung(self, has_streams: Callable[[], bool]) -> bool:
        """Return when the process no longer answers. True: it hangs. False: its socket is closed."""
        n_quiet = used = 0
        while used < PATIENCE:
            n_reports = self._link.n_reports
            is_idle = not has_streams()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(IDLE_CHECK_S if is_idle else CHECK_S):
                    if is_idle:
                        await self._lost_or_asked()
                    else:
                        await self.wait_lost()
                if self._link.lost.is_set():
                    return False
                continue
            is_quiet = self._link.n_reports == n_reports and not self._link.is_behind
            n_quiet = n_quiet + 1 if is_quiet else 0
            used = used + PATIENCE // (IDLE_HUNG_CHECKS if is_idle else HUNG_CHECKS) if is_quiet else 0
            self.is_quiet = n_quiet >= QUIET_CHECKS
        return True

    async def end(self, *, graceful: bool) -> None:
        """Ask it to finish if `graceful`, wait a bounded time, then kill it. The process has ended when this returns or is cancelled."""
        if graceful:
            self.send(Shutdown())
        else:
            self._transport.abort()
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(EXIT_TIMEOUT_S):
                    await self._process.wait()
        finally:
            self.kill()
            self._transport.abort()
            await self._process.wait()

    def kill(self) -> None:
        """Kill it now, even if it is stopped (SIGSTOP), so that it cannot send again when it is continued."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGKILL)


async def spawn(
    options: WorkerOptions,
    on_report: Callable[[Report], None],
    logger: logging.Logger,
    children: StartsChildren | None = None,
    bulk: BulkInput | None = None,
) -> MediaProcess:
    """Start a media process, through `children` or as a separate program, and wait until it is Ready.

    Raises MediaError if it is not ready within `READY_TIMEOUT_S`; the process is then gone. `on_report` gets every report but Ready,
    in the time of `bulk`.
    """
    ready: asyncio.Future[Ready] = asyncio.get_running_loop().create_future()

    def receive(report: Report) -> None:
        if not isinstance(report, Ready):
            on_report(report)
        elif not ready.done():
            ready.set_result(report)

    process = await _start(options, receive, children or Programs(), bulk or BulkInput(SystemClock()))
    try:
        async with asyncio.timeout(READY_TIMEOUT_S):
            process.capacity = (await _ready_or_lost(process, ready)).capacity
        process.tell_reports_to(on_report)
    except TimeoutError:
        await process.end(graceful=False)
        raise MediaError(f"media process {options.index} was not ready within {READY_TIMEOUT_S:g} s") from None
    except BaseException:
        await process.end(graceful=False)
        raise
    logger.info("media process ready", extra={"worker": options.index, "pid": process.pid, "capacity": process.capacity})
    return process


async def _ready_or_lost(process: MediaProcess, ready: asyncio.Future[Ready]) -> Ready:
    lost = asyncio.ensure_future(process.wait_lost())
    try:
        await asyncio.wait((ready, lost), return_when=asyncio.FIRST_COMPLETED)
    finally:
        lost.cancel()
    if not ready.done():
        raise MediaError("media process ended before it was ready")
    return ready.result()


async def _start(options: WorkerOptions, on_report: Callable[[Report], None], children: StartsChildren, bulk: BulkInput) -> MediaProcess:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with theirs:
        for end in (ours, theirs):
            end.setblocking(False)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LINK_BUFFER_BYTES)
        link = _LinkProtocol(on_report, bulk)
        try:
            process = await children.start(WORKER_MODULE, _arguments(options), theirs.fileno(), SINGLE_THREADED)
        except BaseException:
            ours.close()
            raise
    try:
        transport, _ = await asyncio.get_running_loop().create_unix_connection(lambda: link, sock=ours)
    except BaseException:  # the server stops while a process is being replaced
        ours.close()
        process.kill()
        await process.wait()
        raise
    return MediaProcess(process, transport, link)


def _arguments(options: WorkerOptions) -> list[str]:
    return [f"--fd={DESCRIPTOR}", f"--ports={options.first_port}-{options.last_port}", f"--capacity={options.capacity}"]
