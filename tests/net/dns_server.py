"""A small DNS server on a loopback UDP port, whose zone a test writes down. Of dnspython it uses the messages alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

SOA = "ns.example. admin.example. 1 3600 600 86400 {minimum}"


@dataclass
class DnsServer:
    """`zone` holds records by (name, type); `silent` names and types are never answered, `broken` ones with SERVFAIL."""

    zone: dict[tuple[str, str], list[str]]
    ttl_s: int = 300
    negative_ttl_s: int = 30
    silent: set[tuple[str, str]] = field(default_factory=set)
    broken: set[tuple[str, str]] = field(default_factory=set)
    is_dead: bool = False
    asked: list[tuple[str, str]] = field(default_factory=list)
    port: int = 0

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.port

    def answer(self, data: bytes) -> bytes | None:
        query = dns.message.from_wire(data)
        (question,) = query.question
        name, kind = question.name.to_text(omit_final_dot=True).lower(), dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind))
        if self.is_dead or (name, kind) in self.silent:
            return None
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        if (name, kind) in self.broken:
            response.set_rcode(dns.rcode.SERVFAIL)
            return response.to_wire()
        self._fill(response, name, kind)
        return response.to_wire()

    def _fill(self, response: dns.message.Message, name: str, kind: str) -> None:
        alias = self.zone.get((name, "CNAME"))
        if alias and kind != "CNAME":
            response.answer.append(dns.rrset.from_text(f"{name}.", self.ttl_s, "IN", "CNAME", *alias))
            return
        records = self.zone.get((name, kind))
        if records:
            response.answer.append(dns.rrset.from_text(f"{name}.", self.ttl_s, "IN", kind, *records))
            return
        soa = SOA.format(minimum=self.negative_ttl_s)
        response.authority.append(dns.rrset.from_text("example.", self.negative_ttl_s, "IN", "SOA", soa))
        if not any(owner == name for owner, _ in self.zone):
            response.set_rcode(dns.rcode.NXDOMAIN)


class _Wire(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        answer = self._server.answer(data)
        if answer is not None:
            self._transport.sendto(answer, addr)  # type: ignore[attr-defined]


@asynccontextmanager
async def serving(server: DnsServer) -> AsyncIterator[DnsServer]:
    """Serve on a free port until the block ends."""
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: _Wire(server), local_addr=("127.0.0.1", 0))
    server.port = transport.get_extra_info("sockname")[1]
    try:
        yield server
    finally:
        transport.close()
