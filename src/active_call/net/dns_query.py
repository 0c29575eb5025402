"""One DNS query by dnspython, which takes 50 ms to import. `dns_client` imports this module for its first query."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import dns.asyncresolver
import dns.exception
import dns.nameserver
import dns.rdataclass
import dns.rdatatype
import dns.resolver

from active_call.net.dns_records import AddressRecord, NaptrRecord, Record, RecordType, SrvRecord

FAILURES: Final = (dns.exception.DNSException, OSError, UnicodeError, ValueError, EOFError)
"""Errors of a query, or of the file that names the servers."""
MAX_CNAMES: Final = 8
NEGATIVE_TTL_S: Final = 60.0
"""TTL of a negative answer without its own TTL."""


def resolver_of(servers: Sequence[tuple[str, int]]) -> dns.asyncresolver.Resolver:
    """A resolver for these servers (address, port)."""
    resolver = dns.asyncresolver.Resolver(configure=False)
    resolver.nameservers = [dns.nameserver.Do53Nameserver(host, port) for host, port in servers]
    return resolver


def resolver_of_file(path: Path) -> dns.asyncresolver.Resolver:
    """A resolver for the servers of a `resolv.conf`. Raises one of `FAILURES`."""
    return dns.asyncresolver.Resolver(str(path))


async def resolve(resolver: dns.asyncresolver.Resolver, name: str, kind: RecordType, lifetime_s: float) -> tuple[tuple[Record, ...], float]:
    """Records and their TTL in seconds. A CNAME that the server has not followed is followed here."""
    ttl_s = float("inf")
    for _ in range(MAX_CNAMES):
        try:
            answer = await resolver.resolve(f"{name}.", kind, lifetime=lifetime_s, search=False, raise_on_no_answer=False)
        except dns.resolver.NXDOMAIN as error:
            return (), min(ttl_s, _negative_ttl(error))
        ttl_s = min(ttl_s, float(answer.chaining_result.minimum_ttl))
        if answer.rrset is not None:
            return tuple(_record(entry) for entry in answer.rrset), ttl_s
        canonical = answer.canonical_name.to_text(omit_final_dot=True)
        if canonical.lower() == name.lower():
            return (), ttl_s
        name = canonical
    return (), ttl_s


def _negative_ttl(error: dns.resolver.NXDOMAIN) -> float:
    responses = list(error.responses().values())  # type: ignore[no-untyped-call]
    return float(responses[0].resolve_chaining().minimum_ttl) if responses else NEGATIVE_TTL_S


def _record(entry: Any) -> Record:
    match entry.rdtype:
        case dns.rdatatype.SRV:
            return SrvRecord(entry.priority, entry.weight, entry.port, _name(entry.target))
        case dns.rdatatype.NAPTR:
            return NaptrRecord(
                entry.order,
                entry.preference,
                entry.flags.decode("ascii", "replace"),
                entry.service.decode("ascii", "replace"),
                _name(entry.replacement),
            )
        case _:
            return AddressRecord(str(entry.address))


def _name(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True) if name != dns.name.root else ""
