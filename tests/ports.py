"""Which ports this test process may use. Tests run in several processes at once (pytest-xdist); each has a block of its own.

All blocks lie below the ephemeral range (32768), so that a port that is free now stays free until the program under test binds it.
"""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import Iterator
from functools import cache

_FIRST, _BLOCK_SIZE, _N_BLOCKS = 10_000, 2_840, 8
_BEFORE = int(os.environ.get("TEST_PORT_BLOCK", "0"))
"""Blocks that other test processes have: those of tests that run beside these."""


def _begin() -> int:
    """First port of this process. It may be forked when all tests are imported (`forked_processes`): then no constant may hold a port."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    return _FIRST + (_BEFORE + worker) % _N_BLOCKS * _BLOCK_SIZE


def rtp_of_servers() -> tuple[int, int]:
    """First and last port that a server under test uses for RTP and RTCP: 620 calls."""
    return _begin() + 1_600, _begin() + _BLOCK_SIZE - 1


def rtp_of_pools() -> tuple[int, int]:
    """First and last port of media processes that a test starts by itself."""
    return _begin() + 800, _begin() + 1_599


@cache
def _candidates(begin: int) -> Iterator[int]:
    return itertools.cycle(range(begin, begin + 800, 2))


def free_port(*, ip: str = "127.0.0.1", span: int = 1) -> int:
    """An even port that is free for UDP and TCP, with the next `span - 1` ones; not one that was given out a moment ago."""
    candidates = _candidates(_begin())
    for port in itertools.islice(candidates, 400):
        if all(_is_free(ip, one) for one in range(port, port + span)):
            for _ in range((span - 1) // 2):
                next(candidates)
            return port
    raise OSError("no free port")


def _is_free(ip: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(family, kind) as sock:
            try:
                sock.bind((ip, port))
            except OSError:
                return False
    return True
