"""Choose the RTP port of a stream: even, in turn, not in use, and not used by a recent call.

A released port rests, because packets of its last call are still arriving and must not enter the next one. Pure: the caller passes `now`
and binds the sockets (`sockets.open_pair`). RFC 3550 §11: RTP on an even port, RTCP on the next.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

REST_S: Final = 30.0
"""The same as in LiveKit SIP: stale media of an ended call has stopped by then."""
LEAST_REST_S: Final = 4.0
"""If no other port is left. Refusing the caller would be worse than a stream that must tell stray packets from its own."""

Pair = TypeVar("Pair")


class PortPool:
    """The even ports of an inclusive range, handed out in turn, so that the one that has rested longest is next."""

    def __init__(self, first_port: int, last_port: int, *, rest_s: float = REST_S, least_rest_s: float = LEAST_REST_S) -> None:
        self._rest_s = rest_s
        self._least_rest_s = min(least_rest_s, rest_s)
        self._unused = iter(range(first_port + first_port % 2, last_port, 2))
        """Ports before their first use; a list of them all would take half a megabyte."""
        self._free: deque[int] = deque()
        self._resting: deque[tuple[float, int]] = deque()

    def take(self, now: float, bind: Callable[[int], Pair | None]) -> tuple[int, Pair] | None:
        """A port and the result of `bind`. `bind` returns None for a port that another program holds; that port is retried much later.

        None if no port is left.
        """
        self._wake(now)
        n_free = len(self._free)
        unused = self._try(self._unused, bind)
        return unused or self._try(self._first(n_free), bind) or self._try(self._first(self._wake_early(now)), bind)

    def _first(self, n_ports: int) -> Iterator[int]:
        return (self._free.popleft() for _ in range(n_ports))

    def _try(self, ports: Iterator[int], bind: Callable[[int], Pair | None]) -> tuple[int, Pair] | None:
        for port in ports:
            pair = bind(port)
            if pair is not None:
                return port, pair
            self._free.append(port)
        return None

    def release(self, port: int, now: float) -> None:
        """The port was closed: let it rest."""
        self._resting.append((now + self._rest_s, port))

    def _wake(self, now: float) -> None:
        while self._resting and self._resting[0][0] <= now:
            self._free.append(self._resting.popleft()[1])

    def _wake_early(self, now: float) -> int:
        """Move the port that has rested longest to the front, if it has rested enough. Returns how many ports to try: one or none."""
        if not self._resting or self._resting[0][0] - self._rest_s + self._least_rest_s > now:
            return 0
        self._free.appendleft(self._resting.popleft()[1])
        return 1
