"""The media processes as the control process sees them: a pool of media processes, and the streams opened in them.

Method calls enter, orders go out on the link; reports come back to the callback of the stream they are about. A process that dies costs
its own streams (each is told by StreamLost) and is replaced; the others go on. Knows no SIP, no call and no playbook.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable
from typing import Final

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
"""Processes whose expected load differs by less are alike, and the one with fewer streams is taken."""

SHORTAGES: Final = ("ports", "descriptors")
"""Reasons of a refusal that the operator can do something about."""


class MediaPool:
    """The media processes of this node. `start` it, open streams, `close` it.

    The port range (inclusive) is split evenly between the workers; `capacity` is in streams per worker. `children` starts
    the processes; without it each is a program of its own.
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
    ) -> None:
        self.on_shortage: Callable[[str], None] = lambda _: None
        """Called with `ports` or `descriptors` when no process could open a stream for the want of these."""
        self._bind_ip = bind_ip
        self._next_stream = 1
        self._opened = OnePerPass()
        """A process answers for many streams at once, and what a call does with its own is costly: it describes its media."""
        self._supervisors: list[asyncio.Task[None]] = []
        log = logger or logging.getLogger(__name__)
        self._workers = [
            SupervisedWorker(WorkerOptions(index, first, last, capacity), clock, log, children)
            for index, (first, last) in enumerate(split_ports(port_range, n_workers))
        ]

    @property
    def workers(self) -> list[WorkerStatus]:
        """The processes' states, live objects, in the order of their index."""
        return [worker.status for worker in self._workers]

    async def start(self) -> None:
        """Start every process and wait until each is ready. Raises MediaError (and leaves nothing running) when one does not come up."""
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
        """End every process: asked first, killed after a bounded wait. Streams still open are told StreamLost."""
        supervisors, self._supervisors = self._supervisors, []
        for supervisor in supervisors:
            supervisor.cancel()
        await asyncio.gather(*supervisors, return_exceptions=True)

    def has_room(self) -> bool:
        """Whether some live process has a free slot."""
        return any(worker.has_room() for worker in self._workers)

    async def open_stream(
        self,
        on_report: ReportCallback,
        *,
        bind_ip: str | None = None,
        rtp: bool = True,
        rate_hz: int = 8000,
        near: MediaStream | None = None,
    ) -> MediaStream:
        """Open a stream in the least loaded live process; in the next one when that does not answer at once, or refuses.

        `on_report` is called on the event loop and must not block or raise.

        `near`: in the process of that stream, as long as it has room, because the two are to hear each other. `rtp` false: a stream without
        sockets, whose caller's sound comes by `feed_audio`, and which plays at `rate_hz` (8000, 16000 or 48000). Raises MediaRefused (a
        MediaError) with its `reason`.
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
        """The stream, in a pass of the loop in which no other one is given out."""
        try:
            await self._opened.turn()
        except BaseException:
            opened.discard()
            raise
        return opened

    def _candidates(self, near: MediaStream | None) -> list[SupervisedWorker]:
        """The processes with room, best first: those that answer, then the process of `near`, then the least loaded. Raises
        MediaRefused."""
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
        """Let two streams hear each other, or `stream` only hear `partner`, wherever they lie. Raises MediaRefused."""
        return await join_streams(self.open_stream, stream, partner, one_way=one_way)


def _has_stream(stream: MediaStream | None, worker: SupervisedWorker) -> bool:
    return stream is not None and stream.pid == worker.status.pid


def split_ports(port_range: tuple[int, int], n_parts: int) -> list[tuple[int, int]]:
    """Cut an inclusive port range into `n_parts` that each begin with an even port and hold whole RTP/RTCP pairs.

    Raises ValueError when there are fewer pairs than parts.
    """
    first = port_range[0] + port_range[0] % 2
    pairs = (port_range[1] - first + 1) // 2
    if n_parts < 1 or pairs < n_parts:
        raise ValueError(f"the port range {port_range} is too small for {n_parts} media processes")
    bounds = [first + 2 * (pairs * part // n_parts) for part in range(n_parts + 1)]
    return [(low, high - 1) for low, high in itertools.pairwise(bounds)]
