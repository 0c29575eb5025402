"""Which ports this test process may use. Tests run in several processes at once (pytest-xdist); each has a block of its own.

All blocks lie below the ephemeral range (32768), so that a port that is free now stays free until the program under test binds it.
"""

from __future__ import annotations

import itertools
import os
import socket

_FIRST, _BLOCK_SIZE, _N_BLOCKS = 10_000, 3_250, 7
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_BEFORE = int(os.environ.get("TEST_PORT_BLOCK", "0"))
"""Blocks that other test processes have: those of tests that run beside these."""
_BEGIN = _FIRST + (_BEFORE + _WORKER) % _N_BLOCKS * _BLOCK_SIZE

RTP_OF_SERVERS = (_BEGIN + 1_600, _BEGIN + _BLOCK_SIZE - 1)
"""First and last port that a server under test uses for RTP and RTCP: 825 calls."""
RTP_OF_POOLS = (_BEGIN + 800, _BEGIN + 1_599)
"""First and last port of media processes that a test starts by itself."""

_candidates = itertools.cycle(range(_BEGIN, _BEGIN + 800, 2))


def free_port(*, ip: str = "127.0.0.1", span: int = 1) -> int:
    """An even port that is free for UDP and TCP, with the next `span - 1` ones; not one that was given out a moment ago."""
    for port in itertools.islice(_candidates, 400):
        if all(_is_free(ip, one) for one in range(port, port + span)):
            for _ in range((span - 1) // 2):
                next(_candidates)
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
