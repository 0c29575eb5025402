"""Reading a model's stream in larger pieces: when the reader needs nothing soon, and never otherwise."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from active_call.providers.llm.server_sent_events import PacedBody
from active_call.testing.virtual_time import run_virtually

TOKENS = 60
EVERY_S = 0.02
REST_S = 0.1


class Socket:
    """A body of one piece every `EVERY_S`, as a transport gives it: a read brings all that has come, without a wait between its pieces."""

    def __init__(self) -> None:
        self.n_reads = 0
        self._n_given = 0

    def _n_come(self) -> int:
        return min(TOKENS, int(asyncio.get_running_loop().time() / EVERY_S + 1e-6))

    async def pieces(self) -> AsyncIterator[bytes]:
        while self._n_given < TOKENS:
            if self._n_come() == self._n_given:
                await asyncio.sleep((self._n_given + 1) * EVERY_S - asyncio.get_running_loop().time())
            else:
                await asyncio.sleep(0)
            self.n_reads += 1
            n_come = self._n_come()
            for number in range(self._n_given, n_come):
                yield b"%d" % number
            self._n_given = n_come


def read(rest_s: Callable[[], float]) -> tuple[Socket, list[bytes], list[float]]:
    """The socket, the pieces, and how late each was read."""
    socket, found, late_s = Socket(), list[bytes](), list[float]()

    async def go() -> None:
        body = PacedBody(socket.pieces(), rest_s)
        while (piece := await body.next_piece()) is not None:
            found.append(piece)
            late_s.append(asyncio.get_running_loop().time() - len(found) * EVERY_S)

    run_virtually(go())
    return socket, found, late_s


def test_body_is_read_at_once_while_the_reader_waits_for_it():
    socket, found, late_s = read(lambda: 0.0)
    assert found == [b"%d" % number for number in range(TOKENS)]
    assert socket.n_reads == TOKENS
    assert max(late_s) == pytest.approx(0, abs=1e-6)


def test_body_collects_while_the_reader_needs_nothing_and_no_piece_waits_longer_than_a_rest():
    socket, found, late_s = read(lambda: REST_S)
    assert found == [b"%d" % number for number in range(TOKENS)]
    assert socket.n_reads <= TOKENS / 2.5
    assert max(late_s) <= REST_S + 1e-6


def test_need_of_the_reader_is_asked_before_each_read():
    _, found, late_s = read(lambda: REST_S if asyncio.get_running_loop().time() > 0.5 else 0.0)
    assert len(found) == TOKENS
    assert max(late_s[:24]) == pytest.approx(0, abs=1e-6)
    assert max(late_s) > EVERY_S
