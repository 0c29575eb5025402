"""DNS records, and the error for a missing answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

RecordType = Literal["A", "AAAA", "SRV", "NAPTR"]


class DnsUnanswered(Exception):
    """No usable answer: there is no server, it did not respond, or it returned an error."""


@dataclass(frozen=True, slots=True)
class AddressRecord:
    """A or AAAA."""

    address: str


@dataclass(frozen=True, slots=True)
class SrvRecord:
    """RFC 2782. `target` is without the final dot, so it is empty if the service explicitly does not exist."""

    priority: int
    weight: int
    port: int
    target: str


@dataclass(frozen=True, slots=True)
class NaptrRecord:
    """RFC 3403. `replacement` is without the final dot; `flags` and `service` are as sent."""

    order: int
    preference: int
    flags: str
    service: str
    replacement: str


Record = AddressRecord | SrvRecord | NaptrRecord
