"""A simulated network that delays, loses, doubles and reorders datagrams; the same seed gives the same result.

Pure: it is told `now` and never waits. Delay is `delay_ms` plus a part drawn evenly from 0 to `jitter_ms`; packets overtake each other by
that, unless `keeps_order`. Loss comes singly (`loss`), or in runs (`burst_packets` on average) with the same share over time, after
Gilbert's model of two states. The network has no drift: each sender has its own clock.
"""

from __future__ import annotations

import heapq
import itertools
import random
from dataclasses import dataclass
from typing import Final

SECOND_COPY_S: Final = 0.005
"""A doubled packet arrives twice within this time."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a network does to packets. `loss`, `duplicates`: shares from 0 to 1."""

    loss: float = 0.0
    burst_packets: float = 1.0
    delay_ms: float = 20.0
    jitter_ms: float = 0.0
    duplicates: float = 0.0
    keeps_order: bool = False


class FakeNetwork:
    """One direction of a path. `lost` holds the numbers (from 0) of the packets that did not pass."""

    def __init__(self, conditions: Conditions, seed: int) -> None:
        self.conditions = conditions
        self.lost: set[int] = set()
        self.n_sent = self.n_doubled = 0
        self._chance = random.Random(seed)
        self._under_way: list[tuple[float, int, bytes]] = []
        self._order = itertools.count()
        self._is_losing = False
        self._last_arrival = 0.0

    def send(self, packet: bytes, now: float) -> None:
        """Take a packet that leaves its sender at `now`."""
        number = self.n_sent
        self.n_sent += 1
        if self._is_lost():
            self.lost.add(number)
            return
        at = self._arrival(now)
        self._put(packet, at)
        if self._chance.random() < self.conditions.duplicates:
            self.n_doubled += 1
            self._put(packet, at + self._chance.uniform(0, SECOND_COPY_S))

    def take_arrived(self, now: float) -> list[tuple[float, bytes]]:
        """The packets that have arrived by `now` and were not taken yet, each with its time, in the order of their arrival."""
        arrived = []
        while self._under_way and self._under_way[0][0] <= now:
            at, _, packet = heapq.heappop(self._under_way)
            arrived.append((at, packet))
        return arrived

    def _arrival(self, now: float) -> float:
        conditions = self.conditions
        at = now + (conditions.delay_ms + self._chance.uniform(0, conditions.jitter_ms)) / 1000
        if conditions.keeps_order:
            at = self._last_arrival = max(at, self._last_arrival)
        return at

    def _put(self, packet: bytes, at: float) -> None:
        heapq.heappush(self._under_way, (at, next(self._order), packet))

    def _is_lost(self) -> bool:
        """The state changes before each packet; in the losing one everything is lost, and it lasts `burst_packets` on average."""
        loss, burst = self.conditions.loss, self.conditions.burst_packets
        if not loss:
            return False
        if burst <= 1:
            return self._chance.random() < loss
        leaves = 1 / burst
        if self._is_losing:
            self._is_losing = self._chance.random() >= leaves
        else:
            self._is_losing = self._chance.random() < leaves * loss / (1 - loss)
        return self._is_losing
