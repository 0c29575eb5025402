"""One call of a remote server: commands out, events in, over a WebSocket that is opened again when it breaks.

    call = client.call("sip:bob@example.com")      placed by `async with`
    events: one iterator for the program, and one for each command that waits for its result

The server numbers the events. After a break the socket is opened again with the id and the number of the last event, so that none is
missed; commands that were given meanwhile wait. Leaving the `async with` hangs up, unless the call is `detached`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Mapping
from http import HTTPStatus
from typing import Any, Final, Self

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from active_call.client.connection import Connection, fetch
from active_call.client.errors import CallOver, ClientError, CommandFailed
from active_call.contract import commands, wire
from active_call.contract import events as told
from active_call.contract.options import CallOption

RECONNECT_S: Final = (0.1, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Pauses before each attempt to open the socket again; after the last one the call counts as lost for this program."""
LINGER_S: Final = 20
"""How long the server keeps the call after its socket broke."""
RING_S: Final = 60
"""How long the server lets a call ring unless its option says otherwise."""
MARGIN_S: Final = 30.0
"""How much longer than the server this client waits for an answer, and how long for the end of a call."""
MAX_WAITING: Final = 10_000
"""Most events that wait for a program that does not read them."""


class ClientCall:
    """One call of a server. `Client.call`, `Client.join` and `Client.answer` create it; use it in an `async with`."""

    def __init__(
        self, connection: Connection, *, session_id: str | None, begin: commands.Command | None, is_detached: bool = False
    ) -> None:
        self._connection = connection
        self._id = session_id
        self._begin = begin
        self._is_detached = is_detached
        self._socket: ClientConnection | None = None
        self._is_open = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None
        self._last_seq = 0
        self._n_plays = itertools.count(1)
        self._inboxes: list[asyncio.Queue[told.Event | None]] = []
        self._own: asyncio.Queue[told.Event | None] = self._inbox()
        self._speech: asyncio.Queue[told.Event | None] = asyncio.Queue(MAX_WAITING)
        self.ended: told.Hangup | None = None
        """How the call ended; None while it goes on."""
        self.lost: ClientError | None = None
        """Why the server can no longer be reached."""

    # -- life

    async def __aenter__(self) -> Self:
        if self._begin is None:
            await self._require_known()
        await self._open()
        self._reading = asyncio.create_task(self._read(), name="client call")
        if self._begin is not None:
            answered = self._inbox()
            try:
                await self.send(self._begin)
                await self._await_answer(answered, self._begin)
            except BaseException:
                await self.close()
                raise
        return self

    async def __aexit__(self, *_: object) -> None:
        if not self._is_detached and self._begin is not None and self.ended is None and self.lost is None:
            with contextlib.suppress(ClientError):
                await self.hangup()
        await self.close()

    async def close(self) -> None:
        """Close the socket. A second call does nothing."""
        reading, self._reading = self._reading, None
        if reading is not None:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        if self._socket is not None:
            await self._socket.close()

    @property
    def id(self) -> str:
        """The session id. Raises ClientError before the call has begun."""
        if self._id is None:
            raise ClientError("the call has no id yet")
        return self._id

    # -- commands

    async def send(self, command: commands.Command | Mapping[str, Any]) -> None:
        """Send a command, as a contract type or as JSON. Returns when the server has it, even if the socket breaks meanwhile.

        Raises CallOver, or ContractError for a mapping that is not a command.
        """
        value = wire.decode_command(dict(command)).value if isinstance(command, Mapping) else command
        data = wire.encode_command(value).decode()
        while True:
            self._require_alive()
            await self._is_open.wait()
            self._require_alive()
            try:
                assert self._socket is not None  # noqa: S101 (it is open)
                await self._socket.send(data)
                await (await self._socket.ping())  # frames are taken in order: the server has the command when it answers this
            except ConnectionClosed:
                self._is_open.clear()
                await asyncio.sleep(0)  # the reading task opens it again
                continue
            return

    async def say(self, text: str, *, wait: bool = True, speaker: str | None = None, play_id: str | None = None) -> str:
        """Speak; with `wait`, return when it was heard. Returns the words heard, even if they were cut. Raises CallOver, CommandFailed."""
        name = play_id or f"say-{next(self._n_plays)}"
        return await self._play(commands.Tts(text=text, speaker=speaker, play_id=name), name, text, wait=wait)

    async def play(self, url: str, *, wait: bool = True) -> None:
        """Play a file or URL; with `wait`, return when it was heard. Raises CallOver, CommandFailed."""
        name = f"play-{next(self._n_plays)}"
        await self._play(commands.Play(url=url, play_id=name), name, "", wait=wait)

    async def _play(self, command: commands.Tts | commands.Play, name: str, text: str, *, wait: bool) -> str:
        inbox = self._inbox()
        try:
            await self.send(command)
            while wait:
                match await self._next(inbox):
                    case told.TrackEnd(play_id=ended, subtitle=subtitle) if ended == name:
                        return text if subtitle is None else subtitle
                    case told.Interruption(play_id=cut, subtitle=heard) if cut == name:
                        return heard or ""
                    case told.Error(sender=sender, error=error) if sender in ("tts", "play", "command"):
                        raise CommandFailed(error)
            return text
        finally:
            self._inboxes.remove(inbox)

    async def whisper(self, text: str, *, speaker: str = "supervisor") -> None:
        """Tell the agent something; the caller does not hear it."""
        await self.send(commands.History(speaker=speaker, text=text))

    async def interrupt(self, *, graceful: bool = False) -> None:
        """Cut short what is being said."""
        await self.send(commands.Interrupt(graceful=graceful))

    async def dtmf(self, digits: str) -> None:
        """Send DTMF."""
        await self.send(commands.Dtmf(digits=digits))

    async def transfer(self, target: str, **options: Any) -> told.Transfer:
        """Transfer the caller; returns the result (`completed`, `failed`, `cancelled`). `options`: those of `refer`."""
        inbox = self._inbox()
        try:
            await self.send({"command": "refer", "callee": target, "options": options})
            while True:
                match await self._next(inbox):
                    case told.Transfer(state="completed" | "failed" | "cancelled") as ended:
                        return ended
                    case told.Error(sender="command", error=error):
                        raise CommandFailed(error)
        finally:
            self._inboxes.remove(inbox)

    async def hangup(self, reason: str = "") -> None:
        """End the call, and return when it is over. Raises CallOver if it is over already."""
        inbox = self._inbox()
        try:
            await self.send(commands.Hangup(reason=reason or None))
            async with asyncio.timeout(MARGIN_S):
                while not isinstance(await self._next(inbox), told.Hangup):
                    pass
        except TimeoutError:
            raise ClientError(f"the server has not reported the end of the call within {MARGIN_S:g} s") from None
        finally:
            self._inboxes.remove(inbox)

    async def heard(self, timeout_s: float | None = None) -> str | None:
        """The next words of the caller, beginning with those not read yet; None after `timeout_s` seconds. Raises CallOver."""
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    match await self._next(self._speech):
                        case told.AsrFinal(text=text):
                            return text
        except TimeoutError:
            return None

    # -- events

    async def events(self) -> AsyncIterator[told.Event]:
        """Every event from the beginning of the call, or from joining it, to its hangup. One reader at a time."""
        while (event := await self._own.get()) is not None:
            yield event
        if self.lost is not None:
            raise self.lost

    def _inbox(self) -> asyncio.Queue[told.Event | None]:
        inbox: asyncio.Queue[told.Event | None] = asyncio.Queue(MAX_WAITING)
        self._inboxes.append(inbox)
        return inbox

    async def _next(self, inbox: asyncio.Queue[told.Event | None]) -> told.Event:
        event = await inbox.get() if not (inbox.empty() and self.ended is not None) else None
        if event is None:
            self._require_alive()
            raise CallOver("the call is over")
        return event

    async def _require_known(self) -> None:
        """Raise CallOver if the server has no call with this id; a socket with an unknown id would wait for an `invite`."""
        async with self._connection.http() as http:
            found = await fetch(http, "GET", "/list")
        if self._id not in [row.get("id") for row in found["active_calls"]]:
            raise CallOver("there is no such call", status=404, code="not_found")

    def _require_alive(self) -> None:
        if self.lost is not None:
            raise self.lost
        if self.ended is not None:
            raise CallOver(f"the call is over: {self.ended.reason}")

    async def _await_answer(self, inbox: asyncio.Queue[told.Event | None], begin: commands.Command) -> None:
        rings_s = begin.option.handshake_timeout if isinstance(begin, commands.Invite) else None
        wait_s = (rings_s or RING_S) + MARGIN_S
        try:
            async with asyncio.timeout(wait_s):
                while True:
                    match await self._next(inbox):
                        case told.Answer(refer=False):
                            return
                        case told.Reject(reason=reason, code=code, refer=False):
                            raise CallOver(f"refused: {code or ''} {reason}".strip(), status=code or 0)
                        case told.Error(sender="command", error=error):
                            raise CommandFailed(error)
        except TimeoutError:
            raise ClientError(f"the server has reported no answer within {wait_s:g} s") from None
        finally:
            self._inboxes.remove(inbox)

    # -- the socket

    async def _open(self) -> None:
        keeps = {"detach": True} if self._is_detached else {"linger": LINGER_S}
        query = {"id": self._id, "since": self._last_seq or None, **keeps}
        self._socket = await self._connection.socket("/call/sip", query)
        self._is_open.set()

    async def _read(self) -> None:
        try:
            while self.ended is None:
                assert self._socket is not None  # noqa: S101 (opened before)
                with contextlib.suppress(ConnectionClosed):
                    async for message in self._socket:
                        if isinstance(message, str):
                            self._take(message)
                self._is_open.clear()
                if self.ended is None:
                    await self._open_again()
        except ClientError as error:
            self.lost = error
        finally:
            self._is_open.set()  # tasks that wait to send learn that the call is over
            for inbox in (*self._inboxes, self._speech):
                _put(inbox, None)

    async def _open_again(self) -> None:
        if self._id is None:
            raise ClientError("the server closed the socket before the call began")
        for n, wait_s in enumerate(RECONNECT_S):
            await asyncio.sleep(wait_s)
            try:
                await self._open()
            except ClientError as error:
                if error.status == HTTPStatus.NOT_FOUND:
                    raise CallOver("the call has ended meanwhile", status=error.status, code="not_found") from error
                if error.status in (400, 401, 403) or n == len(RECONNECT_S) - 1:
                    raise
            else:
                return

    def _take(self, message: str) -> None:
        fields = json.loads(message)
        self._last_seq = max(self._last_seq, int(fields.pop("seq", 0)))
        try:
            event = wire.decode_event(json.dumps(fields))
        except wire.ContractError:
            return  # an event of a newer server
        if isinstance(event, told.TrackStart | told.TrackEnd):
            if event.play_id is None:
                return  # the track of the other party's sound is not a playback
        elif self._id is None and event.track_id:
            self._id = event.track_id
        if isinstance(event, told.Hangup) and not event.refer:
            self.ended = event
        if isinstance(event, told.AsrFinal) and event.text and not event.refer:
            _put(self._speech, event)
        for inbox in self._inboxes:
            _put(inbox, event)


def _put(inbox: asyncio.Queue[told.Event | None], event: told.Event | None) -> None:
    """Drop the oldest event if nobody reads."""
    if inbox.full():
        inbox.get_nowait()
    inbox.put_nowait(event)


def invitation(target: str, option: CallOption) -> commands.Invite:
    """The command that places a call to `target`."""
    return commands.Invite(option=wire.convert({**wire.to_builtins(option), "callee": target}, CallOption).value)
