"""Limits for connections: number, rate, slow or oversized messages. A refused connection gets no answer and is counted.

In: the remote address and the time. Out: the name of the violated rule, or None. `Refusals` counts by rule and logs at most one line per
rule in ten seconds, so that an attack does not fill the disk.

| rule | violated by |
|---|---|
| `connections_total` | a connection above the total limit, handshakes included; strangers leave a reserve for trunks and registrars |
| `connections_per_address` | a connection above the limit of its remote address (IPv6: its /64); lower for strangers |
| `handshakes` | a stranger's connection while too many of strangers are in their handshake |
| `handshake_rate` | more TLS handshakes per second than the limit of a stranger's address, or of all strangers; this machine is free |
| `silenced` | a connection from an address that was refused too often |
| `accept_rate` | more new connections per second from one address than the limit, after its burst is used up |
| `silent_connection` | 30 s without a byte; over WebSocket, without a handshake |
| `idle_connection` | a stranger's connection without a call and without a message for a long time; keep-alives do not count |
| `half_read_message` | a message that is incomplete 10 s after its first byte |
| `message_size` | headers over 64 KiB or a body over 256 KiB, for strangers 16 and 32; over WebSocket a message over 65,535 bytes |
| `keepalive_flood` | over 100 keep-alives within 10 s |
| `handshake` | a TLS handshake that fails or takes 5 s |
| `unread_responses` | 4 MiB queued for a peer that does not read |
| `foreign_page` | a WebSocket of a web page of another site (`web_pages`) |
"""

from __future__ import annotations

import logging
from collections import Counter

from msgspec import Struct

from active_call.base.addresses import address_key, parse_address
from active_call.base.world import Clock

LOG_EVERY_S = 10.0
HALF_READ_S = 10.0
"""A message of 64 KiB takes a second over a bad line. 64*T1 would leave no time to answer."""
MAX_KNOWN = 4096
"""Number of addresses with a rate counter."""


class ConnectionLimits(Struct, frozen=True):
    """Connection limits. The defaults are far above what a carrier, or a hundred browsers behind one address, need."""

    total: int = 2000
    reserved: int = 500
    """Of `total`: reserved for trunks and registrars."""
    per_address: int = 500
    per_stranger: int = 100
    """Per address that no trunk lists."""
    handshakes_of_strangers: int = 200
    """Concurrent. A TLS handshake costs about 2 ms; an incomplete one occupies a place for 5 s."""
    tls_per_stranger_s: float = 25.0
    """TLS handshakes per second of one address that no trunk lists, after a burst of twice as many."""
    tls_of_strangers_s: float = 100.0
    """The same for all strangers together: at 2 ms each, a fifth of a core."""
    stranger_idle_s: float = 300.0
    """A stranger's connection without a call is closed after this time without a SIP message. 0: never."""
    accepts_per_s: float = 100.0
    accept_burst: int = 200
    web_hosts: tuple[str, ...] = ()
    """Hosts whose web pages may open WebSockets (`web_pages`)."""


class Refusals:
    """Counts refusals by rule."""

    def __init__(self, clock: Clock, logger: logging.Logger) -> None:
        self._clock = clock
        self._log = logger
        self._logged_at: dict[str, float] = {}
        self._unlogged: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()

    def note(self, rule: str, remote: str) -> None:
        """Count one refusal."""
        self.counts[rule] += 1
        self._unlogged[rule] += 1
        now = self._clock.now()
        if now - self._logged_at.get(rule, float("-inf")) >= LOG_EVERY_S:
            self._logged_at[rule] = now
            self._log.warning("connection dropped", extra={"why": rule, "remote": remote, "times": self._unlogged.pop(rule)})


class TokenBuckets:
    """At most `per_s` events per second of each key, after a burst. Keeps the `MAX_KNOWN` most recent keys."""

    def __init__(self, per_s: float, burst: float) -> None:
        self._per_s = per_s
        self._burst = float(burst)
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, key: str, now: float) -> bool:
        """Whether one more event of `key` is within the limit. It counts either way."""
        tokens, at = self._buckets.pop(key, (self._burst, now))
        tokens = min(self._burst, tokens + (now - at) * self._per_s)
        while len(self._buckets) >= MAX_KNOWN:
            del self._buckets[next(iter(self._buckets))]
        self._buckets[key] = (tokens - 1.0 if tokens >= 1.0 else tokens, now)
        return tokens >= 1.0


class HandshakeRate:
    """TLS handshakes per second, of one address (IPv6: its /64) and of all; the addresses of this machine are free."""

    def __init__(self, per_address_s: float, total_s: float) -> None:
        self._one = TokenBuckets(per_address_s, 2 * per_address_s)
        self._all = TokenBuckets(total_s, 2 * total_s)

    def take(self, remote: str, now: float) -> bool:
        """Whether one more handshake with `remote` is within the limits."""
        address = parse_address(remote)
        if address is not None and address.is_loopback:
            return True
        return self._one.take(address_key(remote), now) and self._all.take("", now)


class Admission:
    """Decides which connections are accepted."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self._limits = limits
        self._open: Counter[str] = Counter()
        self._accepts = TokenBuckets(limits.accepts_per_s, limits.accept_burst)
        self._handshakes = HandshakeRate(limits.tls_per_stranger_s, limits.tls_of_strangers_s)

    def broken_rule(
        self, remote: str, n_open: int, now: float, *, is_known: bool = False, n_handshakes: int = 0, is_tls: bool = False
    ) -> str | None:
        """The rule that one more connection from `remote` would violate, if any. Each call counts against the rate.

        `n_open`: all open connections; `n_handshakes`: strangers' connections in their handshake. `is_known`: one of our trunks or
        registrars.
        """
        limits, source = self._limits, address_key(remote)
        if not self._accepts.take(source, now):
            return "accept_rate"
        if n_open >= limits.total - (0 if is_known else min(limits.reserved, limits.total // 4)):
            return "connections_total"
        if self._open[source] >= (limits.per_address if is_known else min(limits.per_stranger, limits.per_address)):
            return "connections_per_address"
        if not is_known and n_handshakes >= limits.handshakes_of_strangers:
            return "handshakes"
        if is_tls and not is_known and not self._handshakes.take(remote, now):
            return "handshake_rate"
        return None

    def opened(self, remote: str) -> None:
        """A connection from that address was opened."""
        self._open[address_key(remote)] += 1

    def closed(self, remote: str) -> None:
        """A connection from that address was closed."""
        source = address_key(remote)
        self._open[source] -= 1
        if self._open[source] <= 0:
            del self._open[source]
