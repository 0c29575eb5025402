"""Many sockets in one system call, on loopback: what it gives is what the sockets themselves would give."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import numpy as np
import pytest
from loopback import wait_arrival

from active_call.media.receive.sockets import MAX_WAIT_S, open_pair
from active_call.media.ring import opening
from active_call.media.ring.io_ring import IoRing
from active_call.media.ring.messages import pack_address, unpack_address
from active_call.media.ring.reading import RingReader
from active_call.media.ring.sending import RingSender
from active_call.rtp.srtp import PacketMemory
from ports import rtp_of_servers

N_SOCKETS = 5
ROW_BYTES = 256


class Wire:
    """Sockets of ours, as streams have them, and one peer."""

    def __init__(self, stack: ExitStack, ip: str) -> None:
        self.sockets: list[socket.socket] = []
        ports = iter(range(rtp_of_servers()[0], rtp_of_servers()[1], 2))
        while len(self.sockets) < N_SOCKETS:
            pair = open_pair(ip, next(ports))
            if pair is not None:
                self.sockets.append(stack.enter_context(pair[0]))
                pair[1].close()
        self.peer = stack.enter_context(socket.socket(self.sockets[0].family, socket.SOCK_DGRAM))
        self.peer.bind((ip, 0))
        self.peer.settimeout(5.0)
        self.memory = PacketMemory(N_SOCKETS, ROW_BYTES)
        self.reader = RingReader(self.memory.rows, 200)
        self.sender = RingSender(self.memory.rows)
        stack.callback(self.reader.close)
        stack.callback(self.sender.close)

    @property
    def fds(self) -> list[int]:
        return [each.fileno() for each in self.sockets]

    def read(self) -> tuple[list[int], list[float]]:
        lengths, arrived = self.reader.read(np.array(self.fds, np.intc), 50.0, time.time())
        return lengths.tolist(), arrived.tolist()


@pytest.fixture(params=["127.0.0.1", "::1"])
def wire(request: pytest.FixtureRequest) -> Iterator[Wire]:
    with ExitStack() as stack:
        try:
            made = Wire(stack, request.param)
        except OSError as error:
            pytest.skip(f"no io_uring here: {error}")
        yield made


def test_one_datagram_of_each_socket_is_read_with_its_time_and_source(wire: Wire) -> None:
    sent_at = time.time()
    for number in (0, 2, 2, 4):
        wire.peer.sendto(bytes([number]) * (10 + number), wire.sockets[number].getsockname())
    wait_arrival(wire.fds[4])
    lengths, arrived = wire.read()
    assert lengths == [10, -1, 12, -1, 14]
    lasted_s = time.time() - sent_at
    assert all(50.0 - lasted_s - 0.001 < arrived[row] < 50.0 + (lasted_s > MAX_WAIT_S) for row in (0, 2, 4))
    assert arrived[1] == arrived[3] == 50.0
    assert [bytes(wire.memory.rows[row, : lengths[row]]) for row in (0, 2, 4)] == [bytes([row]) * (10 + row) for row in (0, 2, 4)]
    source = wire.peer.getsockname()
    assert [wire.reader.address_of(row) for row in range(N_SOCKETS)] == [source, None, source, None, source]
    assert (wire.reader.addresses[0] == np.frombuffer(pack_address(source)[0], np.uint64)).all()
    assert wire.reader.rows_with_more() == [2]
    assert wire.read()[0] == [-1, -1, 12, -1, -1]
    assert wire.reader.rows_with_more() == []
    assert wire.read()[0] == [-1] * N_SOCKETS
    assert wire.reader.rows_with_more() == []


def test_long_datagrams_are_cut_and_empty_ones_have_a_source(wire: Wire) -> None:
    wire.peer.sendto(b"x" * 250, wire.sockets[0].getsockname())
    wire.peer.sendto(b"", wire.sockets[1].getsockname())
    wait_arrival(wire.fds[1])
    assert wire.read()[0] == [200, 0, -1, -1, -1]
    assert wire.reader.address_of(1) == wire.peer.getsockname()
    assert wire.reader.address_of(2) is None


def test_rows_leave_in_their_order_and_those_that_cannot_are_told(wire: Wire) -> None:
    sizes = [20, 30, 40, 50, 60]
    wire.memory.rows[:] = np.arange(N_SOCKETS, dtype=np.uint8)[:, None]
    wire.sender.regroup(wire.fds)
    wire.sender.set_sizes(np.array(sizes, np.intc))
    to = wire.peer.getsockname()[:2]
    for _ in range(40):  # the ring goes around many times
        assert wire.sender.send([to] * N_SOCKETS).tolist() == sizes
        for row, size in enumerate(sizes):
            assert wire.peer.recvfrom(512) == (bytes([row]) * size, wire.sockets[row].getsockname())
    results = wire.sender.send([to, (to[0], 0), ("somewhere", 5000), to, ("", 0)]).tolist()
    assert (results[0], results[3]) == (20, 50)
    assert [result < 0 for result in results] == [False, True, True, False, True]
    assert [wire.peer.recvfrom(512)[0] for _ in range(2)] == [bytes(20), b"\x03" * 50]
    assert wire.sender.send([to] * N_SOCKETS).tolist() == sizes


def test_closed_socket_is_an_error_of_its_row_alone(wire: Wire) -> None:
    wire.sender.regroup([*wire.fds[:2], 1_000_000, *wire.fds[3:]])
    wire.sender.set_sizes(np.full(N_SOCKETS, 20, np.intc))
    results = wire.sender.send([wire.peer.getsockname()[:2]] * N_SOCKETS).tolist()
    assert results[2] < 0
    assert [result for row, result in enumerate(results) if row != 2] == [20] * (N_SOCKETS - 1)


@pytest.mark.parametrize("address", [("127.0.0.1", 5060), ("::1", 5060, 0, 0), ("fe80::1", 65_535, 7, 3)])
def test_addresses_come_back_as_they_were(address: tuple[str, int]) -> None:
    packed, n_bytes = pack_address(address)
    assert unpack_address(packed) == address
    assert packed[n_bytes:] == bytes(32 - n_bytes)


def test_kernel_that_forbids_rings_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(ring: IoRing, n_rows: int, opcode: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(IoRing, "__init__", refuse)
    rows = PacketMemory(1, ROW_BYTES).rows
    assert opening.open_reader(rows, 200) is None
    assert opening.open_sender(rows) is None
