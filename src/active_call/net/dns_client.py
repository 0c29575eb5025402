"""A caching DNS client: a name and a record type go in, records come out.

dnspython (`dns_query`, loaded for the first query) implements the protocol. The cache keeps answers (RFC 1035 §3.2.1) and negative answers
(RFC 2308) for their TTL, on the given clock. Expired answers are kept for another day in case no server responds (RFC 8767), so that a
trunk survives an outage of its provider's DNS. Concurrent identical queries are sent once. This module knows no SIP and raises only
DnsUnanswered.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from active_call.base.world import Clock
from active_call.net.dns_records import AddressRecord, DnsUnanswered, NaptrRecord, Record, RecordType, SrvRecord

if TYPE_CHECKING:
    import dns.asyncresolver

__all__ = ["AddressRecord", "DnsClient", "DnsUnanswered", "NaptrRecord", "Record", "RecordType", "SrvRecord"]

QUESTION_DEADLINE_S = 2.0
"""Total time for one query, including all servers and retries."""
SERVER_DEADLINE_S = 0.9
"""Timeout per server before the next one is asked, so that a dead first server leaves time for the second."""
MAX_KEEP_S = 3600.0
"""Maximum TTL: a new address of a trunk takes effect within an hour."""
MAX_KEEP_NOTHING_S = 60.0
"""Maximum negative TTL: a new name is found within a minute (RFC 2308 §5 suggests hours)."""
UNANSWERED_PAUSE_S = 5.0
"""A query without an answer is not repeated in this time, so that calls do not wait for a dead server one after another."""
UNANSWERED_SERVICE_PAUSE_S = 60.0
"""The same for SRV and NAPTR: a server that ignores these types keeps ignoring them, and addresses are found without them."""
STALE_S = 86_400.0
"""RFC 8767 §5 recommends one to three days."""
MAX_KEPT = 2048

RESOLV_CONF = Path("/etc/resolv.conf")

log = logging.getLogger("active_call.dns")


Question = tuple[str, RecordType]


class _CacheEntry(Struct, frozen=True):
    """A cache entry; `records` is None if no server responded."""

    records: tuple[Record, ...] | None
    fresh_until: float
    usable_until: float


class DnsClient:
    """Queries the system's name servers, or the given ones (address, port)."""

    def __init__(
        self, clock: Clock, *, servers: Sequence[tuple[str, int]] | None = None, question_deadline_s: float = QUESTION_DEADLINE_S
    ) -> None:
        self._clock = clock
        self._servers = None if servers is None else tuple(servers)
        self._deadline_s = question_deadline_s
        self._kept: dict[Question, _CacheEntry] = {}
        self._asking: dict[Question, asyncio.Task[tuple[Record, ...]]] = {}
        self._resolver: dns.asyncresolver.Resolver | None = None
        self._configured_at: tuple[int, int] | None = None

    @property
    def has_servers(self) -> bool:
        """Whether any name server is configured."""
        self._configure()
        return self._resolver is not None and bool(self._resolver.nameservers)

    def known(self, name: str, kind: RecordType) -> tuple[Record, ...] | None:
        """The cached answer if it is fresh; None if a query is needed. Empty: the record does not exist."""
        kept = self._kept.get((_plain(name), kind))
        return kept.records if kept is not None and self._clock.now() < kept.fresh_until else None

    async def ask(self, name: str, kind: RecordType) -> tuple[Record, ...]:
        """The records with CNAMEs followed; empty if the name or the record does not exist. Raises DnsUnanswered."""
        question = _plain(name), kind
        kept = self._kept.get(question)
        if kept is not None and self._clock.now() < kept.fresh_until:
            if kept.records is None:
                raise DnsUnanswered("it did not answer a moment ago")
            return kept.records
        task = self._asking.get(question)
        if task is None:
            task = self._asking[question] = asyncio.get_running_loop().create_task(self._ask(question), name=f"dns {kind} {name}")
            task.add_done_callback(lambda done: self._asked(question, done))
        # The first asker may be cancelled; the others still need the answer.
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Cancel the queries in progress."""
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- inside

    def _asked(self, question: Question, done: asyncio.Task[tuple[Record, ...]]) -> None:
        self._asking.pop(question, None)
        if not done.cancelled():
            done.exception()  # retrieved, so that asyncio does not log it if the asker is gone

    async def _ask(self, question: Question) -> tuple[Record, ...]:
        try:
            records, ttl_s = await self._query(question)
        except DnsUnanswered as error:
            return self._stale(question, error)
        limit_s = MAX_KEEP_S if records else MAX_KEEP_NOTHING_S
        now = self._clock.now()
        self._keep(question, _CacheEntry(records, now + min(ttl_s, limit_s), now + STALE_S))
        return records

    def _stale(self, question: Question, error: DnsUnanswered) -> tuple[Record, ...]:
        """The expired answer if no server responds. Raises `error` if there is none."""
        now = self._clock.now()
        kept = self._kept.get(question)
        records = kept.records if kept is not None and now < kept.usable_until else None
        until = kept.usable_until if kept is not None and records is not None else now
        pause_s = UNANSWERED_PAUSE_S if question[1] in ("A", "AAAA") else UNANSWERED_SERVICE_PAUSE_S
        self._keep(question, _CacheEntry(records, now + pause_s, until))
        if records is None:
            raise error
        log.warning("DNS does not answer; old records are used", extra={"host": question[0], "type": question[1], "reason": str(error)})
        return records

    def _keep(self, question: Question, answer: _CacheEntry) -> None:
        self._kept.pop(question, None)
        while len(self._kept) >= MAX_KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept[question] = answer

    async def _query(self, question: Question) -> tuple[tuple[Record, ...], float]:
        from active_call.net import dns_query

        self._configure()
        resolver = self._resolver
        if resolver is None or not resolver.nameservers:
            raise DnsUnanswered("this machine has no name server")
        name, kind = question
        try:
            async with asyncio.timeout(self._deadline_s):
                return await dns_query.resolve(resolver, name, kind, self._deadline_s)
        except TimeoutError as error:
            raise DnsUnanswered(f"no answer within {self._deadline_s:g} s") from error
        except dns_query.FAILURES as error:
            raise DnsUnanswered(str(error) or type(error).__name__) from error

    def _configure(self) -> None:
        """Set the given servers, or those of the system's file, and reload the file when it has changed."""
        if self._servers is not None:
            if self._resolver is None:
                from active_call.net import dns_query

                self._resolver = dns_query.resolver_of(self._servers)
                self._resolver.timeout = SERVER_DEADLINE_S
            return
        try:
            stat = RESOLV_CONF.stat()
            state = (stat.st_mtime_ns, stat.st_ino)
        except OSError:
            state = (0, 0)
        if state == self._configured_at:
            return
        self._configured_at = state
        from active_call.net import dns_query

        try:
            self._resolver = dns_query.resolver_of_file(RESOLV_CONF)
            self._resolver.timeout = SERVER_DEADLINE_S
        except dns_query.FAILURES as error:
            self._resolver = None
            log.warning("this machine has no name server; names come from the hosts file alone", extra={"reason": str(error)})


def _plain(name: str) -> str:
    return name.lower().rstrip(".")
