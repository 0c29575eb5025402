"""The pool of media processes in the control process, and the streams opened in them.

Method calls go in and orders go out on the link. Reports go to the callback of their stream. If a process dies, its own streams are lost
(StreamLost for each), it is replaced, and the other processes are not affected. The pool knows no SIP, no call and no playbook.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable
from typing import Final

from active_call.base.bulk_input import BulkInput
from active_call.base.child_processes import StartsChildren
from active_call.base.one_per_pass import OnePerPass
from active_call.base.world import Clock
from active_call.media.pool.process import WorkerOptions
from active_call.media.pool.relay import Relay, join_streams
from active_call.media.pool.stream import MediaStream, StreamLost
from active_call.media.pool.supervision import OPEN_TIMEOUT_S, TRY_TIMEOUT_S, MediaRefused, ReportCallback, SupervisedWorker, WorkerStatus

__all__ = ["Relay", "MediaPool", "MediaRefused", "MediaStream", "ReportCallback", "StreamLost", "WorkerStatus", "split_ports"]

START_TIMEOUT_S: Final = 15.0
LOAD_STEP: Final = 0.1
"""Processes whose expected load differs by less count as equal. Of these the one with fewer streams is chosen."""

SHORTAGES: Final = ("ports", "descriptors")
"""Refusal reasons that the operator can fix."""


class MediaPool:
    """The media processes of this node. Call `start`, open streams, call `close`.

    The inclusive port range is split evenly between the workers; `capacity` is the number of streams per worker. `children` starts the
    processes; without it each is started as a separate program. `before_step` is called before a call continues with its opened stream.
    Reports are handled in the time of `bulk`.
    """

    def __init__(
        self,
        *,
        n_workers: int,
        bind_ip: str,
        port_range: tuple[int, int],
        clock: Clock,
        capacity: int = 1024,
        logger: logging.Logger | None = None,
        children: StartsChildren | None = None,
        before_step: Callable[[], None] = lambda: None,
        bulk: BulkInput | None = None,
    ) -> None:
        self.on_shortage: Callable[[str], None] = lambda _: None
        """Called with `ports` or `descriptors` if no process could open a stream because these are exhausted."""
        self._bind_ip = bind_ip
        self._next_stream = 1
        self._opened = OnePerPass(before_step)
        """A process answers for many streams at once, and each call's next step, its session description, is costly."""
        self._supervisors: list[asyncio.Task[None]] = []
        log = logger or logging.getLogger(__name__)
        bulk = bulk or BulkInput(clock)
        self._workers = [
            SupervisedWorker(WorkerOptions(index, first, last, capacity), clock, log, children, bulk)
            for index, (first, last) in enumerate(split_ports(port_range, n_workers))
        ]

    @property
    def workers(self) -> list[WorkerStatus]:
        """The states of the processes (live objects), ordered by index."""
        return [worker.status for worker in self._workers]

    async def start(self) -> None:
        """Start all processes and wait until they are ready. Raises MediaError, with nothing left running, if one fails to start."""
        self._supervisors = [
            asyncio.create_task(worker.supervise(), name=f"media-worker-{worker.status.index}") for worker in self._workers
        ]
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                for worker in self._workers:
                    await worker.first_ready.wait()
        except TimeoutError:
            await self.close()
            raise MediaRefused("unavailable", "a media process did not start") from None
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """End all processes: request it first, kill after a bounded wait. Open streams get StreamLost."""
        supervisors, self._supervisors = self._supervisors, []
        for supervisor in supervisors:
            supervisor.cancel()
        await asyncio.gather(*supervisors, return_exceptions=True)

    def has_room(self) -> bool:
        """Whether any running process has a free slot."""
        return any(worker.has_room() for worker in self._workers)

    @property
    def n_free(self) -> int:
        """The number of free slots of the running processes."""
        return sum(worker.n_free for worker in self._workers)

    async def open_stream(
        self,
        on_report: ReportCallback,
        *,
        bind_ip: str | None = None,
        rtp: bool = True,
        rate_hz: int | None = None,
        near: MediaStream | None = None,
    ) -> MediaStream:
        """Open a stream in the least loaded running process, or in the next one if that does not answer at once or refuses.

        `on_report` is called on the event loop and must not block or raise.

        `near`: prefer the process of that stream if it has room, because the two will be bridged. `rtp` false: a stream without sockets,
        whose caller's sound comes from `feed_audio`. `rate_hz`: the rate of its plays (8000, 16000 or 48000); None: that of its first
        codec. Raises MediaRefused (a MediaError) with its `reason`.
        """
        stream = self._next_stream
        self._next_stream += 1
        ip = (self._bind_ip if bind_ip is None else bind_ip) if rtp else ""
        candidates = self._candidates(near)
        for place, worker in enumerate(candidates):
            is_last = place == len(candidates) - 1
            try:
                timeout_s = OPEN_TIMEOUT_S if is_last else TRY_TIMEOUT_S
                return await self._in_turn(await worker.open_stream(stream, ip, on_report, timeout_s=timeout_s, rate_hz=rate_hz))
            except MediaRefused as error:
                if is_last:
                    if error.reason in SHORTAGES:
                        self.on_shortage(error.reason)
                    raise
        raise AssertionError("there is a last one")

    async def _in_turn(self, opened: MediaStream) -> MediaStream:
        """Return the stream when `OnePerPass` allows it, so that few calls continue in one iteration of the loop."""
        try:
            await self._opened.turn()
        except BaseException:
            opened.discard()
            raise
        return opened

    def _candidates(self, near: MediaStream | None) -> list[SupervisedWorker]:
        """The processes with room, best first: responsive ones, then the process of `near`, then by load.

        Raises MediaRefused if there is none.
        """
        alive = [worker for worker in self._workers if worker.status.alive]
        if not alive:
            raise MediaRefused("unavailable", "no media process is running")
        free = [worker for worker in alive if worker.has_room()]
        if not free:
            raise MediaRefused("full")
        return sorted(
            free,
            key=lambda candidate: (
                candidate.is_quiet,
                not _has_stream(near, candidate),
                int(candidate.expected_share() / LOAD_STEP),
                candidate.status.n_streams,
            ),
        )

    async def join(self, stream: MediaStream, partner: MediaStream, *, one_way: bool = False) -> Relay:
        """Bridge two streams in any processes; `one_way`: only `stream` hears `partner`. Raises MediaRefused."""
        return await join_streams(self.open_stream, stream, partner, one_way=one_way)


def _has_stream(stream: MediaStream | None, worker: SupervisedWorker) -> bool:
    return stream is not None and stream.pid == worker.status.pid


def split_ports(port_range: tuple[int, int], n_parts: int) -> list[tuple[int, int]]:
    """Split an inclusive port range into `n_parts`, each starting at an even port and containing whole RTP/RTCP pairs.

    Raises ValueError if there are fewer pairs than parts.
    """
    first = port_range[0] + port_range[0] % 2
    pairs = (port_range[1] - first + 1) // 2
    if n_parts < 1 or pairs < n_parts:
        raise ValueError(f"the port range {port_range} is too small for {n_parts} media processes")
    bounds = [first + 2 * (pairs * part // n_parts) for part in range(n_parts + 1)]
    return [(low, high - 1) for low, high in itertools.pairwise(bounds)]
