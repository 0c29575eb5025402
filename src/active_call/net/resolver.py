"""Resolve a SIP next hop to addresses: answer the queries of `locating` (RFC 3263) within a deadline.

In: a `LookUp`. Out: targets with addresses, in the order in which they are tried. Raises TransportError. A name is looked up

1. in the hosts file; for a name found there, no DNS query is sent at all;
2. only by the system's resolver (getaddrinfo): names without a dot, `.local`, and all names if there is no name server;
3. not at all if it ends in `.invalid` (RFC 6761), as in the Contacts of browsers (RFC 7118);
4. in DNS; if that has no address, by the system's resolver.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, Protocol, TypeVar

from active_call.base.errors import TransportError
from active_call.base.world import World
from active_call.net.addresses import is_ip
from active_call.net.dns_client import AddressRecord, DnsClient, DnsUnanswered, Record, RecordType
from active_call.net.hosts_file import HostsFile, SystemResolver
from active_call.net.locating import DEFAULT_PORTS, Answers, Place, Question, Steps, locate
from active_call.sip.events import LookUp, Target

__all__ = ["DEFAULT_PORTS", "Resolver"]

DEADLINE_S = 4.0
"""Total time for all steps."""
SECOND_FAMILY_S = 0.5
"""How long to wait for IPv6 addresses after the IPv4 ones: some servers never answer AAAA queries."""
KEEP_SYSTEM_S = 30.0
"""The system's resolver returns no TTL."""
MAX_KEPT = 1024

T = TypeVar("T")


class Dns(Protocol):
    """Answers one query; see `dns_client.DnsClient`."""

    @property
    def has_servers(self) -> bool: ...

    def known(self, name: str, kind: RecordType) -> Sequence[Record] | None: ...

    async def ask(self, name: str, kind: RecordType) -> Sequence[Record]: ...


class Hosts(Protocol):
    """Names that need no query."""

    def addresses(self, name: str) -> Sequence[str]: ...


class System(Protocol):
    """The system's own resolver. Raises OSError or UnicodeError."""

    async def addresses(self, name: str) -> Sequence[str]: ...


class Resolver:
    """Resolves next hops, with a deadline and a cache. `families` (4, 6) are those of our sockets."""

    def __init__(
        self,
        world: World | None = None,
        *,
        dns: Dns | None = None,
        hosts: Hosts | None = None,
        system: System | None = None,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        world = world or World()
        self.families: tuple[int, ...] = (4, 6)
        self._clock = world.clock
        self._uniform = world.randomness.uniform
        self._dns: Dns = dns or DnsClient(world.clock)
        self._hosts: Hosts = hosts or HostsFile()
        self._system: System = system or SystemResolver()
        self._deadline_s = deadline_s
        self._kept_system: dict[str, tuple[float, tuple[str, ...]]] = {}

    def known(self, look_up: LookUp) -> tuple[Target, ...] | None:
        """The answer if it needs no query, else None. Raises TransportError if it is known that there is none."""
        steps = self._steps(look_up)
        questions = next(steps)
        while True:
            answers: dict[Question, Sequence[Record | str]] = {}
            for question in questions:
                found = self._known(question)
                if found is None:
                    steps.close()
                    return None
                answers[question] = found
            try:
                questions = steps.send(answers)
            except StopIteration as end:
                return _targets(look_up, end.value)

    async def resolve(self, look_up: LookUp) -> tuple[Target, ...]:
        """The targets of `look_up`, at least one. Raises TransportError."""
        try:
            async with asyncio.timeout(self._deadline_s):
                return _targets(look_up, await self._walk(self._steps(look_up)))
        except TimeoutError as error:
            raise TransportError(f"no answer from DNS within {self._deadline_s:g} s", where=look_up.host) from error

    # -- inside

    def _steps(self, look_up: LookUp) -> Steps:
        port = look_up.port
        if look_up.host.rstrip(".").lower().endswith(".invalid"):
            raise TransportError("names under .invalid are not looked up", where=look_up.host)
        if port is None and self._is_outside_dns(look_up.host):
            port = DEFAULT_PORTS[look_up.transports[0]]
        return locate(look_up.host, port, look_up.transports, self._uniform)

    async def _walk(self, steps: Steps) -> list[Place]:
        questions = next(steps)
        while True:
            found = await _together([self._ask(question) for question in questions])
            answers: Answers = dict(zip(questions, found, strict=True))
            try:
                questions = steps.send(answers)
            except StopIteration as end:
                places: list[Place] = end.value
                return places

    def _is_outside_dns(self, host: str) -> bool:
        return is_ip(host) or bool(self._hosts.addresses(host)) or self._is_the_systems(host)

    def _is_the_systems(self, host: str) -> bool:
        name = host.rstrip(".").lower()
        return "." not in name or name.endswith((".local", ".localhost")) or not self._dns.has_servers

    def _fitting(self, addresses: Sequence[str]) -> tuple[str, ...]:
        """The addresses of our sockets' families; all of them if none matches, so that the error names an address."""
        fitting = tuple(address for address in addresses if (6 if ":" in address else 4) in self.families)
        return fitting or tuple(addresses)

    def _known(self, question: Question) -> Sequence[Record | str] | None:
        name, kind = question
        if kind != "ADDRESS":
            return self._dns.known(name, kind)
        if is_ip(name):
            return (name.strip("[]"),)
        if listed := self._hosts.addresses(name):
            return self._fitting(listed)
        kept = self._kept_system.get(name.lower())
        if kept is not None and self._clock.now() < kept[0]:
            return self._fitting(kept[1])
        if self._is_the_systems(name):
            return None
        found = [self._dns.known(name, record_type) for record_type in self._address_types]
        if any(records is None for records in found) or not any(found):
            return None
        return _addresses(record for records in found if records for record in records)

    async def _ask(self, question: Question) -> Sequence[Record | str]:
        name, kind = question
        if kind == "ADDRESS":
            return self._known(question) or await self._ask_addresses(name)
        try:
            return await self._dns.ask(name, kind)
        except DnsUnanswered:
            return ()

    async def _ask_addresses(self, name: str) -> Sequence[str]:
        if self._is_the_systems(name):
            return await self._ask_system(name)
        found = await self._ask_dns(name)
        return found or await self._ask_system(name)

    async def _ask_system(self, name: str) -> Sequence[str]:
        try:
            found = tuple(await self._system.addresses(name))
        except (OSError, UnicodeError):
            found = ()
        if len(self._kept_system) >= MAX_KEPT:
            self._kept_system.clear()
        if found:
            self._kept_system[name.lower()] = (self._clock.now() + KEEP_SYSTEM_S, found)
        return self._fitting(found)

    @property
    def _address_types(self) -> tuple[RecordType, ...]:
        return tuple(kind for family, kind in ((4, "A"), (6, "AAAA")) if family in self.families)  # type: ignore[misc]

    async def _ask_dns(self, name: str) -> Sequence[str]:
        """Query IPv4 addresses first: every carrier has them, and a broken IPv6 route would cost callers seconds.

        Raises TransportError if no server responds, because the system's resolver would ask the same servers for much longer.
        """
        tasks = [asyncio.ensure_future(self._dns.ask(name, kind)) for kind in self._address_types]
        try:
            await asyncio.wait(tasks[:1])
            has_first = tasks[0].exception() is None and tasks[0].result()
            await asyncio.wait(tasks, timeout=SECOND_FAMILY_S if has_first else None)
        finally:
            for task in tasks:
                task.cancel()
        answered = [task for task in tasks if task.done() and not task.cancelled() and task.exception() is None]
        if not answered:
            raise TransportError(f"DNS does not answer: {_why(tasks)}", where=name)
        return _addresses(record for task in answered for record in task.result())


def _why(tasks: Sequence[asyncio.Future[Sequence[Record]]]) -> str:
    reasons = {str(task.exception()) for task in tasks if task.done() and not task.cancelled() and task.exception() is not None}
    return ", ".join(sorted(reasons)) or "no answer"


def _addresses(records: Any) -> tuple[str, ...]:
    return tuple(dict.fromkeys(record.address for record in records if isinstance(record, AddressRecord)))


def _targets(look_up: LookUp, places: Sequence[Place]) -> tuple[Target, ...]:
    return tuple(Target(place.transport, place.address, place.port, name=look_up.host) for place in places)


async def _together(work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """All results. If some fail with TransportError, the others are returned, unless all fail."""
    done = await asyncio.gather(*work, return_exceptions=True)
    errors = [entry for entry in done if isinstance(entry, BaseException)]
    for error in errors:
        if not isinstance(error, TransportError) or len(errors) == len(done):
            raise error
    return [() if isinstance(entry, BaseException) else entry for entry in done]  # type: ignore[misc]
