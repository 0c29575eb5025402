"""Which RTP port a stream gets: even, in turn, not in use, and not one that a call had a moment ago.

A port that is given back rests, because packets of its last call are still on their way and must not enter the next one. Pure: it is told
`now`, and the caller binds (`sockets.open_pair`). RFC 3550 section 11: RTP on an even port, RTCP on the next.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, TypeVar

REST_S: Final = 30.0
"""As LiveKit SIP does: stale media of an ended call has stopped by then."""
LEAST_REST_S: Final = 4.0
"""Where no other port is left: a caller who is refused is worse off than one whose stream has to tell a stranger's packets from its own."""

Pair = TypeVar("Pair")


class PortPool:
    """The even ports of an inclusive range, handed out in turn so that the one that has rested longest comes next."""

    def __init__(self, first_port: int, last_port: int, *, rest_s: float = REST_S, least_rest_s: float = LEAST_REST_S) -> None:
        even = range(first_port + first_port % 2, last_port, 2)
        self._rest_s = rest_s
        self._least_rest_s = min(least_rest_s, rest_s)
        self._free: deque[int] = deque(even)
        self._resting: deque[tuple[float, int]] = deque()

    def take(self, now: float, bind: Callable[[int], Pair | None]) -> tuple[int, Pair] | None:
        """A port and what `bind` made of it. `bind` answers None for a port that another program holds; that one is tried again much later.

        None when no port is left.
        """
        self._wake(now)
        return self._try(len(self._free), bind) or self._try(self._wake_early(now), bind)

    def _try(self, n_ports: int, bind: Callable[[int], Pair | None]) -> tuple[int, Pair] | None:
        for _ in range(n_ports):
            port = self._free.popleft()
            pair = bind(port)
            if pair is not None:
                return port, pair
            self._free.append(port)
        return None

    def release(self, port: int, now: float) -> None:
        """The port is closed; let it rest."""
        self._resting.append((now + self._rest_s, port))

    def _wake(self, now: float) -> None:
        while self._resting and self._resting[0][0] <= now:
            self._free.append(self._resting.popleft()[1])

    def _wake_early(self, now: float) -> int:
        """Let the port that has rested longest be tried next, if it has rested enough. How many are to be tried: one or none."""
        if not self._resting or self._resting[0][0] - self._rest_s + self._least_rest_s > now:
            return 0
        self._free.appendleft(self._resting.popleft()[1])
        return 1
