"""DNS records, and the error for a missing answer."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

RecordType = Literal["A", "AAAA", "SRV", "NAPTR"]


class DnsUnanswered(Exception):
    """No usable answer: there is no server, it did not respond, or it returned an error."""


class AddressRecord(Struct, frozen=True):
    """A or AAAA."""

    address: str


class SrvRecord(Struct, frozen=True):
    """RFC 2782. `target` is without the final dot, so it is empty if the service explicitly does not exist."""

    priority: int
    weight: int
    port: int
    target: str


class NaptrRecord(Struct, frozen=True):
    """RFC 3403. `replacement` is without the final dot; `flags` and `service` are as sent."""

    order: int
    preference: int
    flags: str
    service: str
    replacement: str


Record = AddressRecord | SrvRecord | NaptrRecord
