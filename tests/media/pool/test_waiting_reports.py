"""Reports of a media process that the control process has no time for: in order, later, and no sign that the process hangs."""

from __future__ import annotations

import asyncio
from typing import Any

from active_call.base.bulk_input import BulkInput
from active_call.base.world import SystemClock
from active_call.media.link.framing import frame
from active_call.media.link.messages import CallerAudio, Report
from active_call.media.pool.process import CHECK_S, HUNG_CHECKS, IDLE_CHECK_S, REPORTS_AT_ONCE, MediaProcess, _LinkProtocol
from active_call.testing.virtual_time import VirtualClock, run_virtually


class Pipe:
    """A transport that can be read or not."""

    def __init__(self) -> None:
        self.is_read = True

    def pause_reading(self) -> None:
        self.is_read = False

    def resume_reading(self) -> None:
        self.is_read = True


class Clock(SystemClock):
    """Goes on with each report."""

    at = 1.0

    def now(self) -> float:
        return self.at


def reports(first: int, n: int) -> list[Report]:
    return [CallerAudio(stream, 0, b"\0" * 320) for stream in range(first, first + n)]


def test_reports_beyond_the_time_of_a_pass_wait_in_order_and_the_socket_is_not_read() -> None:
    async def story() -> None:
        clock, told, pipe = Clock(), list[int](), Pipe()

        def on_report(report: Any) -> None:
            clock.at += 1 / 1024
            told.append(report.stream)

        link = _LinkProtocol(on_report, BulkInput(clock, cpu_s=clock.now))
        link.connection_made(pipe)  # type: ignore[arg-type]
        link.data_received(b"".join(map(frame, reports(0, 100))))
        assert len(told) == 2 * REPORTS_AT_ONCE
        assert link.is_behind
        assert pipe.is_read
        link.data_received(b"".join(map(frame, reports(100, 10))))
        assert not pipe.is_read
        while link.is_behind:
            await asyncio.sleep(0)
        assert told == list(range(110))
        assert pipe.is_read

    asyncio.run(story())


def test_reports_that_wait_are_handled_before_the_loss_of_their_process() -> None:
    async def story() -> None:
        clock, told = Clock(), list[tuple[int, bool]]()

        def on_report(report: Any) -> None:
            clock.at += 1 / 64
            told.append((report.stream, link.lost.is_set()))

        link = _LinkProtocol(on_report, BulkInput(clock, cpu_s=clock.now))
        link.connection_made(Pipe())  # type: ignore[arg-type]
        link.data_received(b"".join(map(frame, reports(0, 100))))
        link.connection_lost(None)
        assert told == [(stream, False) for stream in range(100)]
        assert link.lost.is_set()

    asyncio.run(story())


def test_process_whose_reports_wait_does_not_count_as_hung() -> None:
    class Link:
        n_reports = 7
        is_behind = True

        def __init__(self) -> None:
            self.lost = asyncio.Event()

    async def story() -> None:
        nothing: Any = None
        link: Any = Link()
        process = MediaProcess(nothing, nothing, link)
        waiting = asyncio.create_task(process.wait_lost_or_hung(lambda: True))
        await asyncio.sleep(CHECK_S * HUNG_CHECKS * 3)
        assert not waiting.done()
        assert not process.is_quiet
        link.is_behind = False
        clock = VirtualClock(asyncio.get_running_loop())
        began = clock.now()
        assert await waiting
        assert clock.now() - began <= CHECK_S * (HUNG_CHECKS + 1)

    run_virtually(story())


def test_process_whose_last_stream_ends_after_quiet_checks_has_the_patience_of_an_idle_one() -> None:
    """Two short checks without a report count as two long ones otherwise, and a server that ends all its calls kills the process."""

    class Link:
        n_reports = 7
        is_behind = False

        def __init__(self) -> None:
            self.lost = asyncio.Event()

    async def story() -> None:
        nothing: Any = None
        link: Any = Link()
        process = MediaProcess(nothing, nothing, link)
        has_streams = True
        waiting = asyncio.create_task(process.wait_lost_or_hung(lambda: has_streams))
        await asyncio.sleep(CHECK_S * 2.5)
        has_streams = False
        await asyncio.sleep(CHECK_S + IDLE_CHECK_S * 0.9)
        assert not waiting.done()
        assert await waiting

    run_virtually(story())
