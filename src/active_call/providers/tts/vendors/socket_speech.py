"""Synthesis over a vendor's WebSocket: connections reused from one sentence to the next, and the reading that such vendors share.

A text enters, its sound leaves as it comes. A vendor's adapter defines the address (`address`), the messages for a text (`ask`), the
reading of a message (`read`), and how to cancel a text (`abandon`); it knows no connection. A connection that delivered its whole text is
kept for the next one; one that failed, or whose text cannot be cancelled, is closed. This file does not retry: the provider wall does.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import ClassVar, Final

from msgspec.structs import replace
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from active_call.base.errors import ProviderError
from active_call.contract.options import TtsOption
from active_call.providers.guarding.guard import Limits
from active_call.providers.services import Services
from active_call.providers.text_to_speech import SpeechChunk, SynthesisStream, TextToSpeechCapabilities
from active_call.providers.tts.vendors.spoken_text import Message, SpokenText, VoiceAddress
from active_call.providers.tts.vendors.vendor_voice import rate_in
from active_call.providers.tts.vendors.written_text import WrittenTextStream
from active_call.providers.tts.whole_text import WholeTextStream
from active_call.providers.websocket import closed_error, closed_normally, open_socket

MAX_KEPT: Final = 8
"""Idle connections kept for one voice."""


@dataclass(slots=True)
class _CacheEntry:
    """Connections of one address, the newest last, each with the time since when it is idle."""

    waiting: list[tuple[float, ClientConnection]] = field(default_factory=list)


class SocketTextToSpeech:
    """The base of a `TextToSpeech` over a WebSocket. An adapter sets the class variables and implements `address`, `ask` and `read`."""

    name: ClassVar[str]
    can: ClassVar[TextToSpeechCapabilities] = TextToSpeechCapabilities(16_000)
    """The vendor's capabilities, with the default sample rate."""
    rates: ClassVar[tuple[int, ...]] = ()
    """The sample rates that the vendor supports; empty: not checked."""
    limits = Limits(next_result_s=5.0)
    keeps_s: ClassVar[float] = 15.0
    """How long an unused connection is kept: less than the vendor's own limit. 0: each text has its own connection."""
    takes_written_text: ClassVar[bool] = False
    """Clauses of one text may be sent while it is being written: the adapter also implements `begin`, `say` and `finish`."""
    has_contexts: bool = True
    """For streamed text: `read` returns None at the end of the whole text. False: at the end of each clause."""
    context_idle_s: float = 15.0
    """For streamed text: for this long after its last sound, the text can be continued with the same prosody."""
    speaks_sentences: bool = False
    """For streamed text: there is no flush; a text is spoken once it ends a sentence, or at the end of the whole text."""
    closes_at_end: bool = False
    """For streamed text: the vendor closes the connection after the sound of the whole text."""
    times_of_clause: bool = False
    """For streamed text: word times are relative to the start of the clause. False: to the start of the text."""

    def __init__(self, option: TtsOption, services: Services, url: str, key: str = "") -> None:
        """Raises ConfigError for a sample rate that the vendor does not support."""
        self.rate_hz = rate_in(option, self.rates, self.can.rate_hz)
        self.endpoint = url
        self._option = option
        self._key = key
        self._services = services
        self._kept: dict[VoiceAddress, _CacheEntry] = {}
        self._numbers = count(1)
        self._is_closed = False
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def capabilities(self) -> TextToSpeechCapabilities:
        return replace(self.can, rate_hz=self.rate_hz)

    # -- what an adapter gives

    def new_id(self) -> str:
        """A new text id, unique on this server."""
        return f"text-{next(self._numbers)}"

    def address(self, spoken: SpokenText) -> VoiceAddress:
        """The address for `spoken`. Raises ConfigError, ProviderError."""
        raise NotImplementedError

    def ask(self, spoken: SpokenText) -> Sequence[Message]:
        """The messages for `spoken`."""
        raise NotImplementedError

    async def prepare(self, socket: ClientConnection, spoken: SpokenText) -> None:
        """Messages to exchange before a text is sent; called for each text."""

    def begin(self, spoken: SpokenText) -> Sequence[Message]:
        """For streamed text: the messages before its first clause."""
        return ()

    def say(self, spoken: SpokenText, clause: str) -> Sequence[Message]:
        """For streamed text: the messages for the next clause, whose sound must come at once."""
        raise NotImplementedError

    def finish(self, spoken: SpokenText) -> Sequence[Message]:
        """For streamed text: the messages after its last clause."""
        return ()

    def read(self, message: Message, spoken: SpokenText) -> SpeechChunk | None:
        """The sound in `message`; None at its end. An empty chunk for a message without sound. Raises ProviderError."""
        raise NotImplementedError

    def abandon(self, spoken: SpokenText) -> Sequence[Message] | None:
        """The messages that cancel `spoken`, so that the connection can be reused; None: it must be closed."""
        return None

    # -- what the wall uses

    def new_spoken_text(self, text: str, speaker: str | None, speed: float | None) -> SpokenText:
        """A text with its own id."""
        return SpokenText(text, self.new_id(), speaker, speed)

    def open(self, *, speaker: str | None = None, speed: float | None = None) -> SynthesisStream:
        if self.takes_written_text:
            return WrittenTextStream(self, speaker, speed)
        return WholeTextStream(lambda text: self.speak(self.new_spoken_text(text, speaker, speed)), self.rate_hz)

    async def warm(self) -> None:
        """Open a connection for the first text. A failure is not reported: the first text reports it."""
        if not self.keeps_s:
            return
        with contextlib.suppress(ProviderError):
            address = self.address(SpokenText("", "warm"))
            self.keep(address, await self.connect(address))

    async def connect_ahead(self) -> None:
        """Open a connection that lasts at least some seconds. A failure is not reported."""
        with contextlib.suppress(ProviderError):
            kept = self._kept.get(self.address(SpokenText("", "warm")))
            young = asyncio.get_running_loop().time() - self.keeps_s / 2
            if kept is None or not any(since > young and socket.state is State.OPEN for since, socket in kept.waiting):
                await self.warm()

    async def close(self) -> None:
        """Close the kept connections."""
        self._is_closed = True
        sockets = [socket for kept in self._kept.values() for _, socket in kept.waiting]
        self._kept.clear()
        await asyncio.gather(*(_close(socket) for socket in sockets), *self._closing)

    async def speak(self, spoken: SpokenText) -> AsyncGenerator[SpeechChunk, None]:
        """The sound of one complete text."""
        if not spoken.text.strip():
            return
        address = self.address(spoken)
        socket, is_kept = await self.take(address)
        try:
            try:
                first = await self._begin(socket, spoken)
            except ConnectionClosed:
                if not is_kept:
                    raise
                await _close(socket)  # it was closed meanwhile: nothing of this text was sent
                socket = await self.connect(address)
                first = await self._begin(socket, spoken)
            async for chunk in self._chunks(socket, spoken, first):
                yield chunk
            self.keep(address, socket)
        except ConnectionClosed as error:
            raise closed_error(self.name, error, address.secrets) from error
        except (GeneratorExit, asyncio.CancelledError):
            await self.give_up(address, socket, spoken)
            raise
        except BaseException:
            self.close_later(socket)  # its further messages may be wrong
            raise

    async def _begin(self, socket: ClientConnection, spoken: SpokenText) -> Message:
        await self.prepare(socket, spoken)
        for message in self.ask(spoken):
            await socket.send(message)
        return await socket.recv()

    async def _chunks(self, socket: ClientConnection, spoken: SpokenText, first: Message) -> AsyncIterator[SpeechChunk]:
        message = first
        while (chunk := self.read(message, spoken)) is not None:
            if chunk.pcm or chunk.words:
                yield chunk
            try:
                message = await socket.recv()
            except ConnectionClosed as error:
                if self.closes_at_end and closed_normally(error):
                    return
                raise

    async def take(self, address: VoiceAddress) -> tuple[ClientConnection, bool]:
        """A connection, and whether it was a kept one."""
        kept = self._kept.pop(address, None)
        now = asyncio.get_running_loop().time()
        while kept is not None and kept.waiting:
            since, socket = kept.waiting.pop()
            if socket.state is State.OPEN and now - since < self.keeps_s:
                if kept.waiting:
                    self._kept[address] = kept
                return socket, True
            await _close(socket)
        return await self.connect(address), False

    async def connect(self, address: VoiceAddress) -> ClientConnection:
        """A new connection. Raises ProviderError."""
        return await open_socket(self._services, self.name, address.url, headers=dict(address.headers), secrets=address.secrets)

    def keep(self, address: VoiceAddress, socket: ClientConnection) -> None:
        """The connection is free for another text."""
        kept = self._kept.get(address) or _CacheEntry()
        if self.keeps_s and not self._is_closed and len(kept.waiting) < MAX_KEPT and socket.state is State.OPEN:
            kept.waiting.append((asyncio.get_running_loop().time(), socket))
            self._kept[address] = kept
        else:
            self.close_later(socket)

    def close_later(self, socket: ClientConnection) -> None:
        """Close a connection without waiting: a vendor that is still sending answers the close late."""
        task = asyncio.get_running_loop().create_task(_close(socket), name=f"{self.name} closing")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def drop(self, socket: ClientConnection) -> None:
        """Close a connection that cannot be reused."""
        self.close_later(socket)

    async def give_up(self, address: VoiceAddress, socket: ClientConnection, spoken: SpokenText) -> None:
        """Cancel `spoken`, and keep the connection if possible."""
        messages = self.abandon(spoken)
        try:
            if messages is None:
                raise ConnectionAbortedError
            for message in messages:
                await socket.send(message)
            self.keep(address, socket)
        except (ConnectionError, ConnectionClosed):
            self.close_later(socket)


async def _close(socket: ClientConnection) -> None:
    with contextlib.suppress(Exception):
        await socket.close()


def parameters_in(extra: Mapping[str, object], *ours: str) -> dict[str, object]:
    """The keys of an option's `extra` that are for the vendor, without `ours`."""
    return {name: value for name, value in extra.items() if name not in ours}
