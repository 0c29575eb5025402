"""One WebSocket that controls one call: commands come in as JSON texts, events go out as JSON texts, numbered by the call.

    no call ──invite──> placed            (the socket owns the call)
    no call ──id of a live call──> joined (it owns the call if that is inbound and has neither an answer nor an owner)

The socket that owns a call ends it when it closes, unless it has asked for `detach`. Other sockets may connect and disconnect. After the
call's own `hangup` the socket is closed. A client that does not read loses its socket, but never delays the call. An invalid command
becomes one `error` event, and the call continues.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Final, Protocol
from weakref import WeakValueDictionary

import msgspec
from msgspec import Struct, field
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from active_call.agent.playbook.scenes import Playbook
from active_call.api.own_track import OwnTrack
from active_call.api.renegotiation import ask_again
from active_call.api.sockets.connection import Connection, Outgoing
from active_call.api.sockets.playbook_runs import PlaybookRuns
from active_call.api.sockets.query import SocketQuery
from active_call.base.errors import ActiveCallError
from active_call.call.events.event_output import SERVER_SIDE_TRACK, WITHOUT_TRACK
from active_call.call.events.subscription import CloseReason, NumberedEvent, Subscription
from active_call.call.handle import CallHandle
from active_call.call.requests import BeginAgent
from active_call.call.state import Phase
from active_call.contract import commands, events, wire
from active_call.contract.errors import ContractError
from active_call.contract.options import NO_RECOGNISER, AsrOption, CallOption

log = logging.getLogger("active_call.api")

COMMANDS_PER_S: Final = 200
"""Commands beyond this are read more slowly; a call's mailbox is bounded."""
SOUND_MESSAGES: Final = 100
"""Two seconds of sound are queued for a client that reads too slowly; older sound is dropped."""
MAX_CANDIDATES: Final = 64
SOUND_GONE_S: Final = 60.0
"""How long a call waits for a socket with its sound."""
SILENT_PINGS: Final = 3
"""How many pings without any reply mark a client as gone."""
CLOSE_CODES: Final[Mapping[CloseReason, tuple[int, str]]] = {
    CloseReason.OVER: (1000, "the call is over"),
    CloseReason.OVERFLOW: (1008, "too slow: the client does not read its events"),
    CloseReason.CLOSED: (1000, ""),
}
"""WebSocket close codes (RFC 6455, section 7.4.1)."""


class Calls(Protocol):
    """See `call.opening.registry.CallRegistry`."""

    def find(self, session_id: str) -> CallHandle | None: ...


Hear = Callable[[bytes], None]
"""Accepts a binary message of the client. Raises ActiveCallError if it is not sound."""


class ClientSound(Protocol):
    """The sound of a call with a socket's client; `legs.websocket.leg.WebSocketLeg` implements it."""

    @property
    def is_connected(self) -> bool: ...

    def hear(self, data: bytes) -> None:
        """Accept a binary message. Raises ActiveCallError if it is not sound."""
        ...

    def connect(self, send_sound: Hear) -> None: ...

    def disconnect(self, wait_s: float) -> None: ...


class Begun(Struct, frozen=True):
    """A call begun by a socket. `sound`: None if the client's sound uses another transport."""

    call: CallHandle
    sound: ClientSound | None = None


class BeginsCalls(Protocol):
    """Begins the call of a socket that sends `invite`."""

    def __call__(self, option: CallOption, query: SocketQuery, playbook: Playbook | None, send_sound: Hear) -> Begun:
        """The new call, which may send its sound by `send_sound`. Raises ActiveCallError if it cannot be created."""
        ...


class Owners:
    """Which calls end with their socket."""

    def __init__(self) -> None:
        self._owned: set[str] = set()
        self._awaited: dict[str, asyncio.TimerHandle] = {}
        """Calls whose client may reconnect, and what ends them otherwise."""

    def claim(self, session_id: str) -> bool:
        """Make the call owned if it has no owner; returns whether that succeeded."""
        if session_id in self._owned:
            return False
        self._owned.add(session_id)
        awaited = self._awaited.pop(session_id, None)
        if awaited is not None:
            awaited.cancel()
        return True

    def release(self, session_id: str) -> None:
        """May be called again."""
        self._owned.discard(session_id)

    def is_awaited(self, session_id: str) -> bool:
        """Whether that call's client may reconnect."""
        return session_id in self._awaited

    def await_again(self, session_id: str, linger_s: float, end: Callable[[], None]) -> None:
        """Call `end` unless the call gets an owner again within `linger_s`."""

        def give_up() -> None:
            self._awaited.pop(session_id, None)
            end()

        self._awaited[session_id] = asyncio.get_running_loop().call_later(linger_s, give_up)


class EncodedOnce:
    """Encodes events as JSON. An event that several sockets send in succession is encoded once."""

    def __init__(self) -> None:
        self._event: events.Event | None = None
        self._data = b""

    def __call__(self, event: events.Event) -> bytes:
        """See `wire.encode_event`."""
        if event is not self._event:
            self._event, self._data = event, wire.encode_event(event)
        return self._data


class SocketServices(Struct, frozen=True):
    """The services shared by all sockets of a server."""

    calls: Calls
    runs: PlaybookRuns
    owners: Owners = field(default_factory=Owners)
    encoded: EncodedOnce = field(default_factory=EncodedOnce)
    sounds: WeakValueDictionary[str, ClientSound] = field(default_factory=WeakValueDictionary)
    """The sound of the calls with clients, by the id of the call."""


class CallSocket:
    """Runs one socket until its call ends or its client is gone."""

    def __init__(
        self,
        client: WebSocket,
        connection: Connection | None,
        query: SocketQuery,
        shared: SocketServices,
        begin: BeginsCalls,
        *,
        carries_sound: bool = False,
    ) -> None:
        """`carries_sound`: a call that has lost the socket with its sound may use this one."""
        self._client = client
        self._connection = connection
        self._query = query
        self._shared = shared
        self._begin = begin
        self._carries_sound = carries_sound
        self._call: CallHandle | None = None
        self._is_owner = False
        self._begun: asyncio.Future[CallHandle] = asyncio.get_running_loop().create_future()
        """The call, once there is one."""
        self._client_sound: ClientSound | None = None
        """What gets the client's sound, if this socket carries it."""
        self._early_candidates: tuple[commands.AddIceCandidate, ...] = ()
        """Candidates that came from a browser before its offer."""
        self._stop_listening: Callable[[], None] = lambda: None
        self._sound = Outgoing(connection, SOUND_MESSAGES)
        run = shared.runs.take(query.id) if query.id is not None else None
        self._playbook = run.playbook if run is not None else None
        self._callee = run.to if run is not None else None

    async def run(self) -> None:
        """Serve the client. Returns when the socket is closed."""
        await self._client.accept()
        found = self._shared.calls.find(self._query.id) if self._query.id is not None else None
        if found is not None:
            self._join(found)
        reading = asyncio.create_task(self._read(), name="socket reads")
        telling = asyncio.create_task(self._report(), name="socket tells")
        pinging = asyncio.create_task(self._ping(), name="socket pings")
        sounding = asyncio.create_task(self._send_sound(), name="socket sounds")
        tasks = (reading, telling, pinging, sounding)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            self._leave()
        for result in results:
            if isinstance(result, Exception) and not isinstance(result, WebSocketDisconnect):
                raise result

    # -- the call

    def _join(self, call: CallHandle) -> None:
        now = call.describe()
        is_free = (now.direction == "inbound" and now.phase < Phase.ANSWERED) or self._shared.owners.is_awaited(call.id)
        self._take(call, is_owner=is_free and not self._query.is_detached)
        sound = self._shared.sounds.get(call.id) if self._carries_sound else None
        if sound is not None and not sound.is_connected:
            sound.connect(self._sound.put)
            self._carry(sound)

    def _carry(self, sound: ClientSound) -> None:
        self._client_sound = sound
        if self._connection is not None:
            self._connection.take_bytes = self._hear_now

    def _take(self, call: CallHandle, *, is_owner: bool) -> None:
        self._call = call
        self._is_owner = is_owner and self._shared.owners.claim(call.id)
        self._begun.set_result(call)

    def _leave(self) -> None:
        self._stop_listening()
        if self._connection is not None:
            self._connection.take_bytes = None
        if self._sound.n_dropped:
            log.warning("client read its sound too slowly", extra={"messages_dropped": self._sound.n_dropped, "session_id": self._query.id})
        if self._client_sound is not None:
            self._client_sound.disconnect(max(SOUND_GONE_S, self._query.linger_s))
        call = self._call
        if call is None or not self._is_owner:
            return
        self._shared.owners.release(call.id)
        if call.describe().is_over:
            return
        if self._query.linger_s:
            self._shared.owners.await_again(call.id, self._query.linger_s, lambda: _end_with_socket(call))
        else:
            _end_with_socket(call)

    # -- commands

    async def _read(self) -> None:
        """Read commands until the client is gone."""
        loop = asyncio.get_running_loop()
        begun, n_commands = loop.time(), 0
        while True:
            message = await self._client.receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            if text is None:
                await self._take_sound(message.get("bytes") or b"")
                continue
            await self._command(text)
            n_commands += 1
            if n_commands >= COMMANDS_PER_S:
                await asyncio.sleep(max(0.0, begun + 1.0 - loop.time()))
                begun, n_commands = loop.time(), 0

    async def _take_sound(self, data: bytes) -> None:
        try:
            if self._client_sound is not None:
                self._client_sound.hear(data)
            elif self._call is not None:
                raise ActiveCallError("this socket does not accept sound; expected commands as JSON text messages")
        except ActiveCallError as error:
            await self._refuse(str(error))

    def _hear_now(self, data: bytes) -> bool:
        """Deliver sound to the call without a task switch. False: `_read` gets the message and reports the error."""
        try:
            if self._client_sound is not None:
                self._client_sound.hear(data)
        except ActiveCallError:
            return False
        return True

    async def _command(self, text: str) -> None:
        try:
            decoded = wire.decode_command(text)
            if decoded.unknown:
                log.debug("unknown keys ignored", extra={"keys": decoded.unknown[:20], "session_id": self._query.id})
            command = self._with_known_track(decoded.value)
            if isinstance(command, commands.Invite) and self._call is not None and command.option.offer:
                sdp, _ = await ask_again(self._call, command.option.offer)
                await self._send(events.Answer(sdp=sdp))
            elif isinstance(command, commands.Invite):
                self._invite(command)
            elif self._call is None:
                await self._without_call(command)
            else:
                self._pass_on(self._call, command)
        except ContractError as error:
            await self._refuse(str(error))
        except ActiveCallError as error:
            await self._refuse(str(error), getattr(error, "sip_code", None))

    def _with_known_track(self, command: commands.Command) -> commands.Command:
        """The command with the internal track name in place of the client's own name for the server's track."""
        if not isinstance(command, commands.Mute | commands.Unmute) or not command.track_id:
            return command
        is_ours = command.track_id == self._query.server_side_track
        return msgspec.structs.replace(command, track_id=SERVER_SIDE_TRACK) if is_ours else command

    def _invite(self, command: commands.Invite) -> None:
        if self._call is not None:
            raise ActiveCallError("invite: this socket already has a call")
        option = self._chosen(command.option)
        if not option.callee and self._callee:
            option = msgspec.structs.replace(option, callee=self._callee)
        begun = self._begin(option, self._query, self._playbook, self._sound.put)
        self._playbook = None
        if begun.sound is not None:
            self._shared.sounds[begun.call.id] = begun.sound
            self._carry(begun.sound)
        self._take(begun.call, is_owner=not self._query.is_detached)
        for candidate in self._early_candidates:
            begun.call.send(candidate)
        if command.option.subscribe and begun.sound is None:
            self._listen(begun.call)

    def _listen(self, call: CallHandle) -> None:
        """Send both sides of the call's sound as binary messages: a byte for the side, then s16le mono at 16 kHz."""
        self._stop_listening()
        self._stop_listening = call.listen(lambda side, pcm: self._sound.put(bytes((side,)) + pcm))

    def _pass_on(self, call: CallHandle, command: commands.Command) -> None:
        option = self._chosen(command.option) if isinstance(command, commands.Accept) else CallOption()
        if isinstance(command, commands.Accept) and self._playbook is not None:
            playbook, self._playbook = self._playbook, None
            watching = call.subscribe()
            watching.notify(lambda: _begin_when_answered(call, watching, playbook))
        if isinstance(command, commands.Accept):
            if command.option.subscribe:
                self._listen(call)
            command = msgspec.structs.replace(command, option=option)
        call.send(command)

    def _chosen(self, option: CallOption) -> CallOption:
        """The client's options from its command and its query.

        For a client that controls a call itself, a missing `asr` turns recognition off; `asr: {}` means the server's default.
        """
        if self._query.keeps_messages and option.sip_messages is None:
            option = msgspec.structs.replace(option, sip_messages="full")
        if self._playbook is not None or option.asr is not None:
            return option
        return msgspec.structs.replace(option, asr=AsrOption(provider=NO_RECOGNISER))

    async def _without_call(self, command: commands.Command) -> None:
        if isinstance(command, commands.Accept | commands.Reject | commands.Ringing):
            await self._send(events.Reject(reason="no pending call", code=486))
        elif isinstance(command, commands.Hangup):
            await self._client.close(1000)
        elif isinstance(command, commands.AddIceCandidate):
            self._early_candidates = (*self._early_candidates, command)[:MAX_CANDIDATES]
        else:
            raise ActiveCallError(f"{command.__struct_config__.tag}: there is no call yet; expected 'invite' first")

    async def _refuse(self, why: str, code: int | None = None) -> None:
        await self._send(events.Error(sender="command", error=why, code=code))

    # -- events

    async def _report(self) -> None:
        """Send the call's events until it ends, then close."""
        call = await self._begun
        # A call placed by this socket has no events yet; for a joined one, events start now, or after the client's last one.
        from_seq = self._query.since + 1 if self._query.since is not None else 1 if self._is_owner else None
        subscription = call.subscribe(from_seq=from_seq)
        own_track = OwnTrack(call.id, call.describe().answered_at)
        try:
            async for item in subscription:
                before = own_track.before(item.event)
                if before is not None:
                    await self._send(before)
                await self._send_numbered(item)
                after = own_track.after(item.event)
                if after is not None:
                    await self._send(after)
            code, reason = CLOSE_CODES[subscription.closed or CloseReason.OVER]
            if subscription.closed is CloseReason.OVERFLOW:
                log.warning("socket closed: its client does not read", extra={"session_id": call.id})
            with contextlib.suppress(RuntimeError):
                await self._client.close(code, reason)
        finally:
            subscription.close()

    async def _send_numbered(self, item: NumberedEvent) -> None:
        if isinstance(item.event, events.Binary):
            await self._client.send_bytes(item.event.data)
            return
        await self._send(item.event, item.seq)

    async def _send_sound(self) -> None:
        """Send the queued messages."""
        while (data := await self._sound.get()) is not None:
            if isinstance(data, bytes):
                await self._client.send_bytes(data)

    async def _send(self, event: events.Event, seq: int | None = None) -> None:
        name = self._query.server_side_track
        if name and event.track_id == SERVER_SIDE_TRACK:
            event = msgspec.structs.replace(event, track_id=name)
        if event.track_id is None and not isinstance(event, WITHOUT_TRACK):
            event = msgspec.structs.replace(event, track_id=self._call.id if self._call is not None else self._query.id)
        if not event.timestamp:
            event = msgspec.structs.replace(event, timestamp=int(datetime.now(UTC).timestamp() * 1000))
        data = self._shared.encoded(event)
        if seq is not None and (self._query.is_detached or self._query.linger_s or self._query.since is not None):
            data = b'{"seq":%d,' % seq + data[1:]
        text = data.decode()
        if self._client.application_state is not WebSocketState.CONNECTED:
            return
        if self._connection is not None and self._connection.send_now(text):
            return
        await self._client.send_text(text)

    # -- is the client alive

    async def _ping(self) -> None:
        """Ping at once and then at the requested interval; a client that does not respond is dropped."""
        if self._connection is None or self._query.ping_s <= 0:
            await asyncio.Event().wait()
            return
        loop = asyncio.get_running_loop()
        while True:
            if loop.time() - self._connection.heard_at > SILENT_PINGS * self._query.ping_s + 10.0:
                self._connection.abort()
                return
            self._connection.ping(datetime.now(UTC).isoformat().encode())
            await asyncio.sleep(self._query.ping_s)


def _end_with_socket(call: CallHandle) -> None:
    if not call.describe().is_over:
        call.send(commands.Hangup(reason="socket closed", initiator="client"))


def _begin_when_answered(call: CallHandle, watching: Subscription, playbook: Playbook) -> None:
    """The agent of `playbook` begins when the call is answered."""
    if any(isinstance(item.event, events.Answer) and not item.event.refer for item in watching.take()):
        watching.close()
        call.request(BeginAgent(playbook)).add_done_callback(_note_failure)


def _note_failure(done: asyncio.Future[None]) -> None:
    if not done.cancelled() and done.exception() is not None:
        log.warning("playbook of a socket's call did not begin", extra={"reason": str(done.exception())})
