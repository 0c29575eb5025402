"""Supervise one worker of the pool: a media process, its replacement when it dies, and its streams.

Reports of the process go to the callbacks of their streams. Answers to opening and closing go to the waiting `open_stream` or
`close_stream`.

| the process           | its streams                                          | then                                                |
|-----------------------|------------------------------------------------------|-----------------------------------------------------|
| is ready              | may be opened                                        |                                                     |
| dies                  | StreamLost for each; pending opens and closes settle | replaced at once, with back-off if it dies again    |
| no report for 0.5 s   | none is opened while another process has room        | back to normal with the next report                 |
| no report for 2 s     | as if it had died                                    | killed and replaced (after 4.5 s without streams)   |
| must end              | StreamLost for each                                  | ended gracefully, killed after a bounded wait       |
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from active_call.base.bulk_input import BulkInput
from active_call.base.child_processes import StartsChildren, how_ended
from active_call.base.errors import MediaError
from active_call.base.world import Clock
from active_call.media.link import messages as link
from active_call.media.link.messages import Load, Opened, OpenFailed, OpenStream, Report, StreamClosed
from active_call.media.link.orders import DEFAULT_RATE_HZ
from active_call.media.pool.admission import Admission
from active_call.media.pool.process import MediaProcess, WorkerOptions, spawn
from active_call.media.pool.stream import MediaStream, StreamLost

OPEN_TIMEOUT_S: Final = 2.0
"""Timeout if no other process can be asked."""
TRY_TIMEOUT_S: Final = 0.25
"""Timeout if there is another process: a tick is 20 ms, so a process without an answer by then is overloaded or hung."""
CLOSE_TIMEOUT_S: Final = 2.0
FIRST_BACK_OFF_S: Final = 0.25
LAST_BACK_OFF_S: Final = 10.0
STEADY_AFTER_S: Final = 30.0
"""A process that has lived this long is replaced at once when it dies, and its back-off is reset."""

_SOUND: Final = (link.MessageSent, link.CallerAudio)
"""A tuple: a union would be made again for every report."""
ReportCallback = Callable[[Report | StreamLost], None]


class MediaRefused(MediaError):
    """No stream could be opened.

    `reason`: `full` (no slot), `ports` or `descriptors` (none is left), `unavailable` (no media process answers) or `bind` (bad address).
    """

    code = "media_refused"

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason = reason
        super().__init__(f"{reason}: {detail}" if detail else reason)


@dataclass(slots=True)
class WorkerStatus:
    """The status of a media process for the operator. `pid` is 0 while none runs."""

    index: int
    pid: int = 0
    alive: bool = False
    n_streams: int = 0
    last_load: Load | None = None
    restarts: int = 0


class SupervisedWorker:
    """One worker of the pool: a media process, its replacement when it dies, and its streams."""

    def __init__(
        self,
        options: WorkerOptions,
        clock: Clock,
        logger: logging.Logger,
        children: StartsChildren | None = None,
        bulk: BulkInput | None = None,
    ) -> None:
        self.status = WorkerStatus(options.index)
        self.first_ready = asyncio.Event()
        self.capacity = options.capacity
        self._options = options
        self._clock = clock
        self._logger = logger
        self._children = children
        self._bulk = bulk
        self._process: MediaProcess | None = None
        self._callbacks: dict[int, ReportCallback] = {}
        self._opening: dict[int, asyncio.Future[Opened]] = {}
        self._closing: dict[int, asyncio.Future[StreamClosed | None]] = {}
        self._discarded: set[int] = set()
        """Streams that are being closed without a waiting `close_stream`."""
        self._stopping = False
        self._admission = Admission()
        self._is_unanswered = False

    def has_room(self) -> bool:
        """Whether one more stream can be opened: a slot is free, and the ticks have time for it."""
        status = self.status
        return status.alive and status.n_streams < self.capacity and self._admission.has_room(status.n_streams)

    @property
    def n_free(self) -> int:
        """The number of free slots; 0 while the process does not run."""
        return max(self.capacity - self.status.n_streams, 0) if self.status.alive else 0

    @property
    def is_quiet(self) -> bool:
        """Whether the process has not reported in time or has left the last open request unanswered."""
        return self._is_unanswered or (self._process is not None and self._process.is_quiet)

    def expected_share(self) -> float:
        """The share of the tick's time that the process is expected to need for its current streams."""
        return self._admission.expected_share(self.status.n_streams)

    async def supervise(self) -> None:
        """Keep a process running until cancelled, then end it gracefully."""
        back_off_s = 0.0
        while True:
            if back_off_s:
                await asyncio.sleep(back_off_s)
            started = self._clock.now()
            await self._run_once()
            lived_s = self._clock.now() - started
            if lived_s > STEADY_AFTER_S:
                back_off_s = 0.0
            else:
                back_off_s = min(max(back_off_s * 2, FIRST_BACK_OFF_S), LAST_BACK_OFF_S) if self.status.restarts else 0.0
            self.status.restarts += 1

    async def _run_once(self) -> None:
        try:
            process = await spawn(self._options, self._receive, self._logger, self._children, self._bulk)
        except (MediaError, OSError) as error:
            self._logger.error("media process did not start", extra={"worker": self._options.index, "reason": str(error)})
            return
        self._process = process
        self.capacity = process.capacity
        self.status.pid, self.status.alive = process.pid, True
        self._is_unanswered = False
        self.first_ready.set()
        graceful = True
        try:
            is_hung = await process.wait_lost_or_hung(lambda: self.status.n_streams > 0)
            graceful = False
            if is_hung:
                self.status.alive, self._process = False, None
                process.kill()
                self._lose_streams(process, f"media process {process.pid} does not answer", expected=False)
        finally:
            self.status.alive = False
            await process.end(graceful=graceful)
            self._process = None
            if self._callbacks:
                self._lose_streams(process, f"media process {process.pid} {how_ended(process.return_code)}", expected=graceful)
            self.status.pid, self.status.last_load = 0, None
            self._admission = Admission()

    def _lose_streams(self, process: MediaProcess, reason: str, *, expected: bool) -> None:
        callbacks, self._callbacks = self._callbacks, {}
        self._discarded.clear()
        self.status.n_streams = 0
        for opening in self._opening.values():
            if not opening.done():
                opening.set_exception(MediaRefused("unavailable", reason))
        for closing in self._closing.values():
            if not closing.done():
                closing.set_result(None)
        if not expected:
            fields = {"worker": self._options.index, "pid": process.pid, "streams": len(callbacks), "reason": reason}
            self._logger.error("media process died", extra=fields)
        for stream, on_report in callbacks.items():
            if stream not in self._opening and stream not in self._closing:
                self._report(on_report, StreamLost(stream, reason))

    async def open_stream(
        self, stream: int, bind_ip: str, on_report: ReportCallback, *, timeout_s: float = OPEN_TIMEOUT_S, rate_hz: int | None = None
    ) -> MediaStream:
        """Open a stream here, without RTP if `bind_ip` is empty. Raises MediaRefused, also without an answer within `timeout_s`."""
        process = self._process
        if process is None:
            raise MediaRefused("unavailable")
        opening: asyncio.Future[Opened] = asyncio.get_running_loop().create_future()
        self._opening[stream] = opening
        self._callbacks[stream] = on_report
        self.status.n_streams += 1
        process.send(OpenStream(stream, bind_ip, rate_hz or DEFAULT_RATE_HZ))
        opened = False
        try:
            async with asyncio.timeout(timeout_s):
                port = (await opening).port
            opened = True
        except TimeoutError:
            self._is_unanswered = process is self._process
            raise MediaRefused("unavailable", f"no answer within {timeout_s:g} s") from None
        finally:
            del self._opening[stream]
            if not opened:
                process.send(link.CloseStream(stream))
                self._forget(stream)
        return MediaStream(stream, self._options.index, process, bind_ip, port, self, rate_hz)

    async def close_stream(self, stream: int, process: MediaProcess) -> StreamClosed | None:
        """Close `stream` in `process`. None if the process is gone or does not answer in time."""
        if stream not in self._callbacks or process is not self._process:
            return None
        closing = self._closing.get(stream)
        if closing is None:
            closing = self._closing[stream] = asyncio.get_running_loop().create_future()
            process.send(link.CloseStream(stream))
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                return await asyncio.shield(closing)
        except TimeoutError:
            return None
        finally:
            self._closing.pop(stream, None)
            self._forget(stream)

    def discard_stream(self, stream: int, process: MediaProcess) -> None:
        """Close `stream` in `process` without waiting for the answer."""
        if stream in self._callbacks and process is self._process:
            self._discarded.add(stream)
            process.send(link.CloseStream(stream))

    def _forget(self, stream: int) -> None:
        if self._callbacks.pop(stream, None) is not None:
            self.status.n_streams -= 1

    def _receive(self, report: Report) -> None:
        if isinstance(report, _SOUND):  # nearly all reports
            on_report = self._callbacks.get(report.stream)
            if on_report is not None:
                self._report(on_report, report)
            return
        match report:
            case link.Alive():
                self._is_unanswered = False
                return
            case Load():
                self._take_load(report)
                return
            case link.StreamFailed(stream=stream, reason=reason):
                self._logger.error("stream failed", extra={"worker": self._options.index, "stream": stream, "reason": reason})
                on_report = self._callbacks.get(stream)
                if on_report is not None:
                    self._report(on_report, StreamLost(stream, reason))
                return
            case Opened():
                self._settle_open(report.stream, report)
                return
            case OpenFailed():
                self._settle_open(report.stream, MediaRefused(report.reason))
                return
            case link.Ready():
                return
        if isinstance(report, StreamClosed):
            closing = self._closing.get(report.stream)
            if closing is not None and not closing.done():
                closing.set_result(report)
            if report.stream in self._discarded:
                self._discarded.discard(report.stream)
                self._forget(report.stream)
        on_report = self._callbacks.get(report.stream)
        if on_report is not None:
            self._report(on_report, report)

    def _report(self, on_report: ReportCallback, report: Report | StreamLost) -> None:
        """Call one callback. An error in it is logged and does not affect other streams."""
        try:
            on_report(report)
        except Exception:
            stream = 0 if isinstance(report, Load | link.Ready | link.Alive) else report.stream
            self._logger.exception("report callback failed", extra={"stream": stream, "report": type(report).__name__})

    def _take_load(self, load: Load) -> None:
        self.status.last_load = load
        if self._admission.take(load):
            fields = {
                "worker": self._options.index,
                "streams": load.streams,
                "tick_cpu_ms": round(load.tick_cpu_ms_mean, 1),
                "tick_late_ms_p90": round(load.tick_late_ms_p90, 1),
            }
            if self._admission.is_open:
                self._logger.info("media process takes calls again", extra=fields)
            else:
                self._logger.warning("media process takes no more calls", extra=fields)

    def _settle_open(self, stream: int, outcome: Opened | MediaRefused) -> None:
        opening = self._opening.get(stream)
        if opening is None or opening.done():
            return
        if isinstance(outcome, Opened):
            opening.set_result(outcome)
        else:
            opening.set_exception(outcome)
