"""What the net room does not put up with: too many connections, too fast, too slow, too large. Refusals are silent and counted.

In: who connects, when. Out: the name of the rule that is broken, or nothing. `Refusals` counts by rule and writes to the log, a line a
rule every ten seconds at most: an attack must not fill the disk.

| rule | breaks it |
|---|---|
| `connections_total` | a connection beyond the limit for all, handshakes included |
| `connections_per_address` | one beyond the limit for its remote address |
| `accept_rate` | more new connections from one address than the limit in a second, once its burst is used up |
| `silent_connection` | 30 s without a byte; over WebSocket, without a handshake |
| `half_read_message` | a message that is not complete 10 s after its first byte |
| `message_size` | headers over 64 KiB, a body over 256 KiB; over WebSocket a message over 65,535 bytes |
| `handshake` | a TLS handshake that fails or takes 5 s |
| `unread_responses` | 4 MiB wait for a peer that does not read |
"""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass

from active_call.base.world import Clock

LOG_EVERY_S = 10.0
HALF_READ_S = 10.0
"""A message of 64 KiB takes a second over a bad line; 64*T1 would leave no time to answer."""
MAX_KNOWN = 4096
"""Addresses whose rate is known."""


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """How many connections are accepted; the figures are far beyond what a carrier or a hundred browsers behind one address need."""

    total: int = 2000
    per_address: int = 500
    accepts_per_s: float = 100.0
    accept_burst: int = 200


class Refusals:
    """Counts refusals by rule."""

    def __init__(self, clock: Clock, logger: logging.Logger) -> None:
        self._clock = clock
        self._log = logger
        self._logged_at: dict[str, float] = {}
        self._unlogged: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()

    def note(self, rule: str, remote: str) -> None:
        """One more."""
        self.counts[rule] += 1
        self._unlogged[rule] += 1
        now = self._clock.now()
        if now - self._logged_at.get(rule, float("-inf")) >= LOG_EVERY_S:
            self._logged_at[rule] = now
            self._log.warning("connection dropped", extra={"why": rule, "remote": remote, "times": self._unlogged.pop(rule)})


class Admission:
    """Who may connect now."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self._limits = limits
        self._open: Counter[str] = Counter()
        self._buckets: dict[str, tuple[float, float]] = {}

    def broken_rule(self, remote: str, n_open: int, now: float) -> str | None:
        """The rule that one more connection from `remote` would break; `n_open` are open in all. Each call counts against the rate."""
        if not self._take_token(remote, now):
            return "accept_rate"
        if n_open >= self._limits.total:
            return "connections_total"
        if self._open[remote] >= self._limits.per_address:
            return "connections_per_address"
        return None

    def opened(self, remote: str) -> None:
        """A connection from there is open."""
        self._open[remote] += 1

    def closed(self, remote: str) -> None:
        """It is no more."""
        self._open[remote] -= 1
        if self._open[remote] <= 0:
            del self._open[remote]

    def _take_token(self, remote: str, now: float) -> bool:
        tokens, at = self._buckets.pop(remote, (float(self._limits.accept_burst), now))
        tokens = min(float(self._limits.accept_burst), tokens + (now - at) * self._limits.accepts_per_s)
        while len(self._buckets) >= MAX_KNOWN:
            del self._buckets[next(iter(self._buckets))]
        self._buckets[remote] = (tokens - 1.0 if tokens >= 1.0 else tokens, now)
        return tokens >= 1.0
