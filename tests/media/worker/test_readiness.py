"""Which sockets a media process reads in a tick, and of which it asks epoll."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from loopback import wait_arrival

from active_call.media.worker.main import MAX_SILENT_TICKS, Readiness


class Sockets:
    """A `Readiness` whose RTP sockets are read here, one datagram per tick. `reads`: the descriptors that were read, by tick."""

    def __init__(self) -> None:
        self.readiness = Readiness()
        self.readiness.on_rtp = self._read
        self.opened: dict[int, socket.socket] = {}
        self.reads: list[list[int]] = []
        self.n_received = 0
        self.far_end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def open(self) -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.bind(("127.0.0.1", 0))
        made.setblocking(False)
        self.opened[made.fileno()] = made
        self.readiness.watch_rtp(made.fileno())
        return made

    def send(self, to: socket.socket) -> None:
        self.far_end.sendto(b"rtp", to.getsockname())
        wait_arrival(to.fileno())

    def tick(self) -> list[int]:
        """Run one tick. Returns the descriptors that were read."""
        self.reads.append([])
        self.readiness.take_in()
        return self.reads[-1]

    def _read(self, fds: list[int], now: float, unix_now: float) -> list[int]:
        self.reads[-1] += fds
        silent = []
        for fd in fds:
            try:
                self.opened[fd].recv(100)
                self.n_received += 1
            except BlockingIOError:
                silent.append(fd)
        return silent

    def close(self) -> None:
        self.far_end.close()
        for one in self.opened.values():
            one.close()


@pytest.fixture
def sockets() -> Iterator[Sockets]:
    made = Sockets()
    yield made
    made.close()


def test_socket_that_had_a_datagram_is_read_in_each_tick_until_it_is_silent(sockets: Sockets) -> None:
    talking, waiting = sockets.open(), sockets.open()
    assert sockets.tick() == []
    sockets.send(talking)
    assert sockets.tick() == [talking.fileno()]
    for _ in range(MAX_SILENT_TICKS):
        assert sockets.tick() == [talking.fileno()]
    sockets.send(talking)
    assert sockets.tick() == [talking.fileno()]  # the count of silent ticks begins anew
    for _ in range(MAX_SILENT_TICKS + 1):
        assert sockets.tick() == [talking.fileno()]
    assert sockets.tick() == []
    sockets.send(talking)
    sockets.send(waiting)
    assert set(sockets.tick()) == {talking.fileno(), waiting.fileno()}
    assert sockets.n_received == 4


def test_socket_is_unwatched_whether_it_is_read_or_epoll_is_asked(sockets: Sockets) -> None:
    talking, waiting = sockets.open(), sockets.open()
    sockets.send(talking)
    sockets.tick()
    for one in (talking, waiting):
        sockets.send(one)
        sockets.readiness.unwatch(one.fileno())
    assert sockets.tick() == []
    for one in (talking, waiting):  # the descriptors may belong to other sockets from now on
        sockets.readiness.watch_rtp(one.fileno())
    assert set(sockets.tick()) == {talking.fileno(), waiting.fileno()}
    assert sockets.n_received == 3


def test_sockets_of_one_datagram_are_called_back_each_time(sockets: Sockets) -> None:
    control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    control.bind(("127.0.0.1", 0))
    heard: list[float] = []
    sockets.opened[control.fileno()] = control

    def hear(now: float) -> None:
        control.recv(100)
        heard.append(now)

    sockets.readiness.watch(control.fileno(), hear)
    talking = sockets.open()
    for _ in range(3):
        sockets.send(talking)
        sockets.send(control)
        assert sockets.tick() == [talking.fileno()]
    assert len(heard) == 3
