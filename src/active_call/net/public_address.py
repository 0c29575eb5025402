"""Find the public address of our SIP socket by STUN, and keep it up to date.

In: names of STUN servers, the driver's UDP socket. The binding request is sent through the socket of SIP itself, so that the port is
correct too. Out: `on_learnt` whenever the address has changed. All servers are asked at once, and the first answer counts. If none answers,
that is logged once and retried.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from active_call.base.errors import ParseError, TransportError
from active_call.base.world import Randomness
from active_call.net.resolver import Resolver
from active_call.net.stun import TRANSACTION_ID_BYTES, build_binding_request, parse_binding_response
from active_call.sip.events import Address, LookUp
from active_call.sip.routing import parse_place

STUN_PORT = 3478
"""RFC 5389 §18.4."""
REPEAT_S = (0.0, 0.5, 1.5)
"""RFC 5389 §7.2.1: RTO of 500 ms, doubled. Fewer retransmissions, because several servers are asked."""
DEADLINE_S = 3.0
REFRESH_S = 300.0
RETRY_S = 30.0
"""Retry interval while no server responds."""

log = logging.getLogger("active_call.stun")


class StunSocket(Protocol):
    """The UDP socket on which SIP listens."""

    def send_stun(self, data: bytes, server: Address) -> None:
        """Send one datagram. Raises OSError or TransportError."""

    def set_stun_receiver(self, receive: Callable[[bytes], None]) -> None:
        """Set the receiver of incoming STUN datagrams."""


class PublicAddress:
    """See the module. `servers` are `host` or `host:port`."""

    def __init__(
        self,
        sock: StunSocket,
        resolver: Resolver,
        randomness: Randomness,
        servers: Sequence[str],
        on_learnt: Callable[[Address], None],
        *,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self._socket = sock
        self._resolver = resolver
        self._randomness = randomness
        self._servers = tuple(servers)
        self._places = [parse_place(server) for server in servers]
        self._on_learnt = on_learnt
        self._deadline_s = deadline_s
        self._asked: dict[bytes, asyncio.Future[Address]] = {}
        self._is_silent = False
        self.current: Address | None = None
        sock.set_stun_receiver(self._receive)

    async def learn(self) -> Address | None:
        """Ask now. None if no server answers; the beginning of that state is logged."""
        found = await self._first_answer()
        if found is None:
            if not self._is_silent:
                fields = {"servers": ", ".join(self._servers), "known": self.current.host if self.current else "nothing"}
                log.error("no STUN server answers; peers are told this machine's own address until one does", extra=fields)
            self._is_silent = True
            return None
        self._is_silent = False
        if found != self.current:
            before = self.current.host if self.current else ""
            log.info("public address learnt by STUN", extra={"address": found.host, "port": found.port, "before": before})
            self.current = found
            self._on_learnt(found)
        return found

    async def keep(self) -> None:
        """Keep asking until cancelled."""
        while True:
            await asyncio.sleep(RETRY_S if self._is_silent else REFRESH_S)
            await self.learn()

    # -- inside

    async def _first_answer(self) -> Address | None:
        tasks = [asyncio.ensure_future(self._ask(server)) for server in self._places]
        try:
            for done in asyncio.as_completed(tasks, timeout=self._deadline_s):
                with suppress(TransportError, OSError):
                    return await done
        except TimeoutError:
            return None
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return None

    async def _ask(self, server: tuple[str, int | None]) -> Address:
        host, port = server
        hops = await self._resolver.resolve(LookUp(0, host, port or STUN_PORT, ("udp",)))
        transaction_id = self._randomness.random_bytes(TRANSACTION_ID_BYTES)
        answer = self._asked[transaction_id] = asyncio.get_running_loop().create_future()
        request = build_binding_request(transaction_id)
        try:
            for before, after in zip(REPEAT_S, (*REPEAT_S[1:], self._deadline_s), strict=True):
                self._socket.send_stun(request, Address(hops[0].host, hops[0].port or STUN_PORT))
                with suppress(TimeoutError):
                    async with asyncio.timeout(after - before):
                        return await asyncio.shield(answer)
        finally:
            del self._asked[transaction_id]
            answer.cancel()
        raise TransportError("no answer", where=host)

    def _receive(self, data: bytes) -> None:
        """Handle a STUN datagram. One that does not answer our request is ignored."""
        answer = self._asked.get(data[8:20])
        if answer is None or answer.done():
            return
        try:
            answer.set_result(parse_binding_response(data, data[8:20]))
        except ParseError as error:
            answer.set_exception(TransportError(f"the STUN server refused: {error}"))
