"""The media process: `python -m active_call.media.worker.main --fd N --ports LOW-HIGH --capacity N`.

It has its own loop on the 20 ms grid, without asyncio: sleep until the next moment, send, read the sockets, receive, write to the control
process. Datagrams wait for the tick: they carry the kernel's arrival time, and reading them together costs least. The link is a Unix stream
socket inherited as descriptor N. When it closes, the process sends RTCP BYE, finishes the recordings and exits. It ignores the signals that
a terminal or a service manager sends to a whole process group, because the control process decides when calls end.

| moment            | action                                                                                |
|-------------------|---------------------------------------------------------------------------------------|
| tick (every 20 ms)| take orders; send; write to control what is sent as messages; read datagrams; decode, |
|                   | detect, record; one write to control                                                  |
| between ticks     | take orders when they come, see `REST_S`                                              |
| slack of a tick   | collect garbage if due; the collector is off otherwise                                |
| no stream         | sleep until an order arrives                                                          |
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import logging
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Final

from active_call.base.child_log import log_as_child
from active_call.base.errors import ParseError
from active_call.base.world import World
from active_call.media.link.framing import OrderReader, Unreadable, frame
from active_call.media.link.messages import ALIVE_EVERY_S, IDLE_ALIVE_EVERY_S, Alive, Link, Ready
from active_call.media.receive.ports import PortPool
from active_call.media.worker.engine import Engine
from active_call.media.worker.load import LoadMeter
from active_call.media.worker.outbox import Outbox
from active_call.media.worker.shedding import Shedding
from active_call.media.worker.tick_clock import TICK_S, TickClock

REST_S: Final = 0.0025
"""How long orders wait at most after a tick and after other orders. At any other time they are taken at once, because a call that is being
answered waits for its stream. Waking up for every order would cost too much: many come together, most of them after the reports of a tick.
"""
PASS_S: Final = 0.00008
"""How long a tick rests for each message with sound that it has handed over: the time in which the control process passes it on. That
process shares the core if this one may use only one, and this one has priority. Without the rest the messages would leave when the second
half is done, which takes another time in every tick.
"""
MAX_SILENT_TICKS: Final = 5
"""Longer than the longest common packet (60 ms) with some jitter."""
READ_BYTES: Final = 256 * 1024
GARBAGE_EVERY_S: Final = 30.0
GARBAGE_SLACK_S: Final = 0.008
NICENESS: Final = -15
SWITCH_INTERVAL_S: Final = 0.0005
"""Maximum time that the recorder's thread may keep the tick waiting."""
LAST_WRITE_S: Final = 1.0

logger = logging.getLogger(__name__)


class Readiness:
    """Readable sockets: an epoll and the callbacks. `on_rtp` is called once for all sockets of `watch_rtp` that may be readable. It returns
    those that had nothing.

    A socket that had a datagram is read again in every tick without asking epoll, because its peer sends one in every tick. After
    `MAX_SILENT_TICKS` without one epoll is asked again.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._on_readable: dict[int, Callable[[float], None]] = {}
        self._n_watched = 0
        self._flowing: list[int] = []
        """The sockets that are read without epoll. Replaced by another list at each change."""
        self._silent_ticks: dict[int, int] = {}
        """Of those that had nothing in the last tick."""
        self.on_rtp: Callable[[list[int], float, float], list[int]] = _ignore

    def watch_rtp(self, fd: int) -> None:
        """Call `on_rtp(fds, now, unix_now)` whenever `fd` may be readable."""
        self._epoll.register(fd, select.EPOLLIN)
        self._n_watched += 1

    def watch(self, fd: int, on_readable: Callable[[float], None]) -> None:
        """Call `on_readable(now)` whenever `fd` is readable."""
        self._on_readable[fd] = on_readable
        self._epoll.register(fd, select.EPOLLIN)
        self._n_watched += 1

    def unwatch(self, fd: int) -> None:
        """Stop watching `fd`, which is about to be closed."""
        self._on_readable.pop(fd, None)
        self._silent_ticks.pop(fd, None)
        if fd in self._flowing:
            self._flowing = [each for each in self._flowing if each != fd]
        else:
            self._epoll.unregister(fd)
        self._n_watched -= 1

    def take_in(self, timeout_s: float = 0.0) -> None:
        """Read what has arrived: all datagrams of the RTP sockets, and one of each other socket. Wait at most `timeout_s` for the first."""
        events = self._epoll.poll(timeout_s, max(self._n_watched, 1))
        on_readable = self._on_readable
        now, unix_now = time.monotonic(), time.time()
        fds = [fd for fd, _ in events]
        self._begin_flow([fd for fd in fds if fd not in on_readable])
        if self._flowing:
            self._note_silent(self.on_rtp(self._flowing, now, unix_now))
        for fd in on_readable.keys() & fds:
            receive = on_readable.get(fd)
            if receive is not None:  # closed by an order earlier in this call
                receive(now)

    def _begin_flow(self, fds: list[int]) -> None:
        if fds:
            self._flowing = self._flowing + fds
            for fd in fds:
                self._epoll.unregister(fd)

    def _note_silent(self, fds: list[int]) -> None:
        before = self._silent_ticks
        if not fds and not before:
            return
        self._silent_ticks = {fd: before.get(fd, 0) + 1 for fd in fds}
        ended = {fd for fd, n_ticks in self._silent_ticks.items() if n_ticks > MAX_SILENT_TICKS}
        if ended:
            self._flowing = [fd for fd in self._flowing if fd not in ended]
            for fd in ended:
                del self._silent_ticks[fd]
                self._epoll.register(fd, select.EPOLLIN)


def _ignore(fds: list[int], now: float, unix_now: float) -> list[int]:
    """Default of `on_rtp`."""
    del now, unix_now
    return fds


class ControlLink:
    """Our end of the link: orders in, reports out, non-blocking."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._reader = OrderReader()
        self.outbox = Outbox()
        self.is_lost = False

    def emit(self, report: Link) -> None:
        """Queue a report."""
        self.outbox.put(frame(report))

    def emit_audio(self, report: Link) -> None:
        """Queue a report with sound. It is dropped first if the control process does not read."""
        self.outbox.put_audio(frame(report))

    def wait(self, timeout_s: float) -> bool:
        """Wait for something to read, at most `timeout_s` (exact to the microsecond, unlike poll and epoll). Returns whether there is."""
        return bool(select.select((self._socket,), (), (), timeout_s)[0])

    def read(self, engine: Engine, now: float) -> None:
        """Read available orders once and apply them."""
        try:
            data = self._socket.recv(READ_BYTES)
            orders = self._reader.feed(data)
        except BlockingIOError:
            return
        except (OSError, ParseError) as error:
            logger.error("link broken", extra={"reason": str(error)})
            self.is_lost = True
            return
        if not data:
            self.is_lost = True
        for order in orders:
            if isinstance(order, Unreadable):
                engine.refuse_unreadable(order.stream, order.tag, order.reason)
            else:
                engine.handle(order, now)

    def flush(self) -> None:
        """Write what is queued, as far as the socket takes it now."""
        outbox = self.outbox
        try:
            while data := outbox.peek():
                n_written = self._socket.send(data)
                outbox.advance(n_written)
                if n_written < len(data):
                    return
        except BlockingIOError:
            return
        except OSError:
            self.is_lost = True

    def flush_last(self) -> None:
        """Write the rest. Waits at most `LAST_WRITE_S` for the other side."""
        deadline = time.monotonic() + LAST_WRITE_S
        while not (self.outbox.is_empty or self.is_lost) and time.monotonic() < deadline:
            select.select([], [self._socket], [], LAST_WRITE_S)
            self.flush()


class Worker:
    """The loop of the media process."""

    def __init__(self, sock: socket.socket, ports: tuple[int, int], capacity: int) -> None:
        self._readiness = Readiness()
        self._link = ControlLink(sock)
        self._engine = Engine(
            capacity=capacity,
            ports=PortPool(*ports),
            world=World(),
            watch=self._readiness,
            emit=self._link.emit,
            emit_audio=self._link.emit_audio,
        )
        self._readiness.on_rtp = self._engine.take_in
        self._readiness.watch(sock.fileno(), lambda now: self._link.read(self._engine, now))
        self._grid = TickClock(time.monotonic())
        self._load = self._new_meter()
        self._shedding = Shedding()
        self._collected_at = time.monotonic()
        self._capacity = capacity
        self._told_alive_at = 0.0
        self._rests_until = 0.0
        """Until then orders wait."""
        self._receive_s = 0.0
        """Duration of the last second half of a tick."""

    @staticmethod
    def _new_meter() -> LoadMeter:
        return LoadMeter(time.monotonic(), time.process_time())

    def run(self) -> None:
        """Run until the control process orders shutdown or is gone."""
        self._engine.warm_up()
        _quieten_collector()
        self._load = self._new_meter()  # the cost of the start is not that of the ticks
        self._link.emit(Ready(os.getpid(), self._capacity))
        self._link.flush()
        while not (self._link.is_lost or self._engine.is_shut_down):
            if self._engine.n_streams:
                self._run_until_tick()
            else:
                self._idle()
        if not self._engine.is_shut_down:
            self._engine.shut_down(time.monotonic())
        self._link.flush_last()

    def _idle(self) -> None:
        self._link.flush()
        self._readiness.take_in(TICK_S if self._engine.is_writing else IDLE_ALIVE_EVERY_S)
        self._grid.resume(time.monotonic())
        self._engine.report_recordings()
        self._report_load()
        self._link.flush()

    def _run_until_tick(self) -> None:
        """Run the next tick if it is due, else wait for it and take the orders that come first."""
        due_at, now = self._grid.due_at, time.monotonic()
        rest_s = min(self._rests_until, due_at) - now
        if rest_s > 0:
            time.sleep(rest_s)
            now = time.monotonic()
        if now >= due_at or not self._link.wait(due_at - now):
            self._run_tick()
            return
        now = time.monotonic()
        self._link.read(self._engine, now)
        self._link.flush()
        self._rests_until = now + REST_S

    def _run_tick(self) -> None:
        index, late_s, skipped = self._grid.begin(time.monotonic())
        self._load.note_tick(late_s, skipped)
        if self._shedding.note_tick(late_s):
            self._engine.set_shedding(self._shedding.level)
            message = "ticks are late" if self._shedding.is_shedding else "ticks are in time again"
            logger.warning(message, extra={"shedding": self._shedding.level})
        now = time.monotonic()
        self._link.read(self._engine, now)
        self._engine.run_send(index)
        self._link.flush()
        self._let_messages_pass()
        begun_at = time.monotonic()
        self._readiness.take_in()
        self._engine.run_receive(time.monotonic())
        self._receive_s = time.monotonic() - begun_at
        self._report_load()
        self._link.flush()
        self._collect_garbage()
        self._rests_until = time.monotonic() + REST_S

    def _let_messages_pass(self) -> None:
        """Rest between the halves of a tick if messages were handed over, as long as the second half ends before the next tick."""
        n_messages = self._engine.n_messages
        if n_messages:
            spare_s = self._grid.due_at - time.monotonic() - self._receive_s
            rest_s = pass_s(n_messages, spare_s, n_cores())
            if rest_s:
                time.sleep(rest_s)

    def _report_load(self) -> None:
        now = time.monotonic()
        if now - self._told_alive_at >= (ALIVE_EVERY_S if self._engine.n_streams else IDLE_ALIVE_EVERY_S):
            self._told_alive_at = now
            self._link.emit(Alive())
        if self._load.is_due(now):
            dropped = self._link.outbox.dropped_audio
            self._link.emit(self._load.take(now, time.process_time(), n_streams=self._engine.n_streams, dropped_audio=dropped))

    def _collect_garbage(self) -> None:
        now = time.monotonic()
        if now - self._collected_at > GARBAGE_EVERY_S and self._grid.due_at - now > GARBAGE_SLACK_S:
            gc.collect()
            self._collected_at = now


def pass_s(n_messages: int, spare_s: float, n_cores: int) -> float:
    """How long a tick rests after so many messages if it has `spare_s` to spare. With several cores the control process does not wait."""
    return max(0.0, min(PASS_S * n_messages, spare_s - REST_S)) if n_cores == 1 else 0.0


def n_cores() -> int:
    """The number of cores that this process may use now. The operator may change it at any time."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _quieten_collector() -> None:
    gc.collect()
    gc.freeze()
    gc.disable()


def _prepare_process() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    log_as_child()  # before the priority rises, so that the logging thread keeps the normal one
    _raise_priority()
    sys.setswitchinterval(SWITCH_INTERVAL_S)


def _raise_priority() -> None:
    """Lowest real-time priority if permitted (the kernel's throttle leaves 5 % to others), else a lower nice value."""
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(os.sched_get_priority_min(os.SCHED_RR)))
    except (OSError, AttributeError):
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, NICENESS)


def _parse_ports(text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    return int(first), int(last)


def main(arguments: list[str] | None = None) -> int:
    """Run a media process on an inherited link. Only `pool.process` starts it."""
    parser = argparse.ArgumentParser(prog="active_call.media.worker.main")
    parser.add_argument("--fd", type=int, required=True, help="the link, an inherited Unix stream socket")
    parser.add_argument("--ports", type=_parse_ports, required=True, help="RTP port range LOW-HIGH, inclusive")
    parser.add_argument("--capacity", type=int, default=1024, help="streams at most")
    options = parser.parse_args(arguments)
    _prepare_process()
    with socket.socket(fileno=options.fd) as sock:
        sock.setblocking(False)
        Worker(sock, options.ports, options.capacity).run()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
