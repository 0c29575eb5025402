"""One WebSocket of a carrier: waits for the start, creates the call, passes messages both ways, and closes when either side ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from typing import Any, Final, Protocol

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from active_call.api.carrier_streams.access import StreamAccess
from active_call.api.sockets.connection import Connection, Outgoing, connection_of
from active_call.base.errors import ActiveCallError
from active_call.call.opening.routing import ChosenPlaybook, Playbooks, Router
from active_call.legs.leg import Leg
from active_call.legs.websocket.carriers.leg import CarrierStreamLeg
from active_call.legs.websocket.carriers.messages import Started, read_message
from active_call.legs.websocket.carriers.profile import StreamProfile
from active_call.media.pool.pool import MediaPool

log = logging.getLogger("active_call.media_streams")

START_S: Final = 10.0
"""From the handshake to the start message, which carriers send at once."""
SILENT_S: Final = 60.0
"""The longest time without a message: carriers also stream silence, so the connection is lost."""
FLUSH_S: Final = 2.0
"""For the remaining messages at the end."""
WAITING: Final = 250
"""How many messages may wait for a carrier: five seconds of sound. Beyond that the oldest is dropped."""
MAX_EARLY: Final = 50
"""How many messages before the start are ignored."""
OWN: Final = frozenset({"token", "playbook", "caller", "callee"})
"""Values with a meaning for us; all others become variables of the call."""


class TakesCalls(Protocol):
    """See `call.opening.registry.CallRegistry`."""

    def handle_incoming(self, leg: Leg, *, router: Router | None = None, variables: Mapping[str, Any] | None = None) -> None: ...


class CarrierSocket:
    """Serves one stream. `is_proven`: the handshake has authenticated the carrier; otherwise the start must bring the token."""

    def __init__(
        self,
        client: WebSocket,
        profile: StreamProfile,
        access: StreamAccess,
        calls: TakesCalls,
        pool: MediaPool,
        playbooks: Playbooks,
        *,
        is_proven: bool,
    ) -> None:
        self._client = client
        self._profile = profile
        self._access = access
        self._calls = calls
        self._pool = pool
        self._playbooks = playbooks
        self._is_proven = is_proven
        self._connection = connection_of(client)
        self._outgoing = Outgoing(self._connection, WAITING)

    async def run(self) -> None:
        """Serve the carrier. Returns when the socket is closed."""
        await self._client.accept()
        try:
            async with asyncio.timeout(START_S):
                started = await self._start()
            leg = self._begin(started)
        except TimeoutError:
            await self._refuse(f"no start within {START_S:g} s")
        except WebSocketDisconnect:
            return
        except ActiveCallError as error:
            await self._refuse(str(error))
        else:
            await self._serve(leg)

    async def _start(self) -> Started:
        """The start message of the stream. Raises ActiveCallError if it does not come or is invalid."""
        for _ in range(MAX_EARLY):
            message = read_message(self._profile, await self._next())
            if isinstance(message, Started):
                return message
        raise ActiveCallError(f"received {MAX_EARLY} messages before the start message")

    async def _next(self) -> str | bytes:
        message = await self._client.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1005))
        text = message.get("text")
        return text if text is not None else message.get("bytes") or b""

    def _begin(self, started: Started) -> CarrierStreamLeg:
        """Create the call. Raises ActiveCallError for a wrong token, a missing playbook, an unsupported format."""
        values = {**self._client.query_params, **started.parameters}
        if not self._is_proven and not self._access.is_token(self._profile, values.get("token", "")):
            raise ActiveCallError("the stream has no token; expected the value of media_streams.token")
        playbook = values.get("playbook")
        router = ChosenPlaybook(self._playbooks.load(playbook)) if playbook else None
        leg = CarrierStreamLeg(
            self._pool,
            self._profile,
            started,
            self._outgoing.put,
            self._outgoing.discard,
            self._outgoing.close,
            caller=started.caller or values.get("caller", ""),
            callee=started.callee or values.get("callee", ""),
            peer=self._client.client.host if self._client.client else "",
        )
        self._calls.handle_incoming(leg, router=router, variables={name: value for name, value in values.items() if name not in OWN})
        return leg

    async def _serve(self, leg: CarrierStreamLeg) -> None:
        if self._connection is not None:
            self.pass_directly(self._connection, leg)
        reading = asyncio.create_task(self._read(leg), name="carrier's stream reads")
        writing = asyncio.create_task(self._write(), name="carrier's stream writes")
        try:
            await asyncio.wait((reading, writing), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (reading, writing):
                task.cancel()
            results = await asyncio.gather(reading, writing, return_exceptions=True)
            leg.leave("the carrier closed the connection")
            if self._outgoing.n_dropped:
                log.warning("carrier read too slowly", extra={"messages_dropped": self._outgoing.n_dropped, "call_id": leg.call_id})
            await self._close(1000, "the call is over")
        for result in results:
            if isinstance(result, Exception) and not isinstance(result, WebSocketDisconnect):
                raise result

    @staticmethod
    def pass_directly(connection: Connection, leg: CarrierStreamLeg) -> None:
        """Messages of the carrier pass by the application."""
        connection.take_bytes = connection.take_text = leg.receive

    async def _read(self, leg: CarrierStreamLeg) -> None:
        """Deliver to the leg the messages that did not bypass ASGI, until the carrier disconnects."""
        loop = asyncio.get_running_loop()
        quiet_at = loop.time() + SILENT_S
        while loop.time() < quiet_at:
            try:
                async with asyncio.timeout_at(quiet_at):
                    leg.receive(await self._next())
                quiet_at = loop.time() + SILENT_S
            except WebSocketDisconnect:
                leg.leave("the carrier closed the connection")
                return
            except TimeoutError:
                quiet_at = SILENT_S + (self._connection.heard_at if self._connection is not None else quiet_at - SILENT_S)
        leg.lose(f"nothing was received for {SILENT_S:g} s")

    async def _write(self) -> None:
        """Send until the call has ended and everything is sent; then close the socket."""
        while (message := await self._outgoing.get()) is not None:
            if isinstance(message, bytes):
                await self._client.send_bytes(message)
            else:
                await self._client.send_text(message)
        await self._close(1000, "the call is over")

    async def _refuse(self, reason: str) -> None:
        log.warning("stream refused", extra={"profile": self._profile.name, "reason": reason})
        await self._close(1008, reason)

    async def _close(self, code: int, reason: str) -> None:
        with contextlib.suppress(RuntimeError, TimeoutError):
            async with asyncio.timeout(FLUSH_S):
                if self._client.application_state is WebSocketState.CONNECTED:
                    await self._client.close(code, reason.encode()[:120].decode("utf-8", "ignore"))
