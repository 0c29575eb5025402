"""Speech for text that is still being written: its clauses go to the vendor one after the other, on one connection and with one prosody.

All inputs (clauses, the end, the vendor's messages) go through one queue in order. A flushed clause is spoken at once; the last chunk of
its sound is marked (`SpeechChunk.ends_flush`). A vendor with context ids forgets a context after a silence (`context_idle_s`): the next
clause then begins a new one. A vendor without a flush speaks a text at once if it ends a sentence (`speaks_sentences`): after any other
clause its context is ended, and the next clause waits for the vendor's confirmation. A vendor
may close the connection after the last sound (`closes_at_end`). Knows no vendor.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final, Protocol

from msgspec import Struct
from msgspec.structs import replace
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from active_call.base.errors import ProviderError
from active_call.base.pcm import BYTES_PER_SAMPLE
from active_call.providers.text_to_speech import SpeechChunk, WordTime
from active_call.providers.tts.vendors.spoken_text import Message, SpokenText, VoiceAddress
from active_call.providers.websocket import closed_error, closed_normally

SENTENCE_ENDS: Final = (".", "!", "?", "。", "！", "？")


class Voice(Protocol):
    """What a synthesis engine over a WebSocket provides; see `socket_speech.SocketTextToSpeech`."""

    @property
    def name(self) -> str: ...

    @property
    def rate_hz(self) -> int: ...

    @property
    def has_contexts(self) -> bool: ...

    @property
    def context_idle_s(self) -> float: ...

    @property
    def times_of_clause(self) -> bool: ...

    @property
    def speaks_sentences(self) -> bool: ...

    @property
    def closes_at_end(self) -> bool: ...

    def new_spoken_text(self, text: str, speaker: str | None, speed: float | None) -> SpokenText: ...

    def address(self, spoken: SpokenText) -> VoiceAddress: ...

    async def prepare(self, socket: ClientConnection, spoken: SpokenText) -> None: ...

    def begin(self, spoken: SpokenText) -> Sequence[Message]: ...

    def say(self, spoken: SpokenText, clause: str) -> Sequence[Message]: ...

    def finish(self, spoken: SpokenText) -> Sequence[Message]: ...

    def read(self, message: Message, spoken: SpokenText) -> SpeechChunk | None: ...

    def speak(self, spoken: SpokenText) -> AsyncGenerator[SpeechChunk, None]: ...

    async def take(self, address: VoiceAddress) -> tuple[ClientConnection, bool]: ...

    async def connect(self, address: VoiceAddress) -> ClientConnection: ...

    def keep(self, address: VoiceAddress, socket: ClientConnection) -> None: ...

    async def give_up(self, address: VoiceAddress, socket: ClientConnection, spoken: SpokenText) -> None: ...

    async def drop(self, socket: ClientConnection) -> None: ...


class _Clause(Struct, frozen=True):
    text: str


class _Heard(Struct, frozen=True):
    message: Message


class _End(Struct, frozen=True):
    """No more text follows."""


class _Broken(Struct, frozen=True):
    error: ConnectionClosed


class WrittenTextStream:
    """`SynthesisStream` that speaks its text while it is being written. A text that is complete at once is one request."""

    def __init__(self, voice: Voice, speaker: str | None, speed: float | None) -> None:
        self._voice = voice
        self._speaker = speaker
        self._speed = speed
        self._pending = ""
        self._inbox: asyncio.Queue[_Clause | _Heard | _End | _Broken] = asyncio.Queue()
        self._n_flushed = 0
        self._is_ended = False
        self._chunks = self._make()

    def push_text(self, text: str) -> None:
        self._pending += text

    def flush(self) -> None:
        text, self._pending = self._pending, ""
        if text.strip() and not self._is_ended:
            self._n_flushed += 1
            self._inbox.put_nowait(_Clause(text))

    def end_text(self) -> None:
        self.flush()
        self._is_ended = True
        self._inbox.put_nowait(_End())

    def __aiter__(self) -> WrittenTextStream:
        return self

    async def __anext__(self) -> SpeechChunk:
        return await anext(self._chunks)

    async def cancel(self) -> None:
        self._inbox.put_nowait(_End())
        with contextlib.suppress(RuntimeError):  # another task waits for this generator, and ends with it
            await self._chunks.aclose()

    async def _make(self) -> AsyncGenerator[SpeechChunk, None]:
        first = await self._inbox.get()
        if not isinstance(first, _Clause):
            return
        if self._is_ended and self._n_flushed == 1:
            async with aclosing(self._voice.speak(self._voice.new_spoken_text(first.text, self._speaker, self._speed))) as chunks:
                async for chunk in chunks:
                    yield replace(chunk, ends_flush=False) if chunk.ends_flush else chunk
            yield SpeechChunk(b"", ends_flush=True)
            return
        dictation = _Dictation(self._voice, self._inbox, self._speaker, self._speed)
        async with aclosing(dictation.chunks(first)) as chunks:
            async for chunk in chunks:
                yield chunk


class _Dictation:
    """One text on one connection."""

    def __init__(
        self, voice: Voice, inbox: asyncio.Queue[_Clause | _Heard | _End | _Broken], speaker: str | None, speed: float | None
    ) -> None:
        self._voice = voice
        self._inbox = inbox
        self._speaker = speaker
        self._speed = speed
        self._spoken = voice.new_spoken_text("", speaker, speed)
        self._is_begun = False
        self._n_owed = 0
        """Clauses whose sound is not complete."""
        self._n_bytes = 0
        self._began_ms = 0.0
        """The origin of word times in the sound of the stream: the start of this context or of the clause."""
        self._sounded_at = 0.0
        self._is_ended = False
        self._is_ending = False
        """The context was ended, and the vendor has not confirmed it."""
        self._is_finished = False
        """The vendor was told that no text follows."""
        self._held: deque[_Clause] = deque()
        """Clauses that wait for that."""
        self._listening: asyncio.Task[None] | None = None

    async def chunks(self, first: _Clause) -> AsyncGenerator[SpeechChunk, None]:
        voice = self._voice
        address = voice.address(self._spoken)
        socket, is_kept = await voice.take(address)
        try:
            try:
                await self._say(socket, first)
            except ConnectionClosed:
                if not is_kept:
                    raise
                await voice.drop(socket)  # it was closed meanwhile: nothing of this text was sent
                self._is_begun, self._n_owed, self._is_ending = False, 0, False
                socket = await voice.connect(address)
                await self._say(socket, first)
            self._begin_to_listen(socket)
            async with aclosing(self._work(socket)) as made:
                async for chunk in made:
                    yield chunk
            await self._stop_listening()
            voice.keep(address, socket)
        except ConnectionClosed as error:
            raise closed_error(voice.name, error, address.secrets) from error
        except (GeneratorExit, asyncio.CancelledError):
            await self._stop_listening()
            await voice.give_up(address, socket, self._spoken)
            raise
        except BaseException:
            await self._stop_listening()
            await voice.drop(socket)  # its further messages cannot be trusted
            raise

    def _begin_to_listen(self, socket: ClientConnection) -> None:
        self._listening = asyncio.get_running_loop().create_task(self._listen(socket), name=f"{self._voice.name} sound")

    async def _stop_listening(self) -> bool:
        """Returns whether messages were being read."""
        task, self._listening = self._listening, None
        if task is None:
            return False
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return True

    async def _listen(self, socket: ClientConnection) -> None:
        try:
            while True:
                self._inbox.put_nowait(_Heard(await socket.recv()))
        except ConnectionClosed as error:
            self._inbox.put_nowait(_Broken(error))

    async def _work(self, socket: ClientConnection) -> AsyncGenerator[SpeechChunk, None]:
        while True:
            match await self._next(socket):
                case _Clause() as clause:
                    await self._say(socket, clause)
                case _Heard(message):
                    try:
                        chunk = self._read(message)
                    except ProviderError:
                        if self._is_ended and not self._n_owed:
                            return  # all sound came; the vendor had forgotten the context before it was ended
                        raise
                    if chunk is not None:
                        yield chunk
                    await self._say_held(socket)
                    if self._is_ended and not self._n_owed and not (self._is_begun and self._voice.has_contexts):
                        return
                case _End():
                    self._is_ended = True
                    if self._is_ending:
                        continue
                    if self._is_idle() or not (self._voice.has_contexts or self._n_owed):
                        return
                    if self._is_begun:
                        await self._finish(socket)
                case _Broken(error):
                    if self._voice.closes_at_end and self._is_finished and closed_normally(error):
                        return
                    raise error

    async def _next(self, socket: ClientConnection) -> _Clause | _Heard | _End | _Broken:
        """The next input. A vendor without a flush ends a text that gets none for long, so it is ended here, before."""
        if self._voice.speaks_sentences and self._is_begun and not (self._is_ending or self._is_ended or self._n_owed):
            try:
                async with asyncio.timeout(self._voice.context_idle_s):
                    return await self._inbox.get()
            except TimeoutError:
                self._is_ending = True
                await self._finish(socket)
        return await self._inbox.get()

    @property
    def _sounded_ms(self) -> float:
        """The duration of the sound received so far."""
        return self._n_bytes / BYTES_PER_SAMPLE * 1000 / self._voice.rate_hz

    def _is_idle(self) -> bool:
        """No sound is due, and the vendor may have forgotten the context."""
        if self._n_owed or not self._is_begun:
            return not self._n_owed
        is_old = asyncio.get_running_loop().time() - self._sounded_at > self._voice.context_idle_s
        return is_old and not self._voice.speaks_sentences

    async def _finish(self, socket: ClientConnection) -> None:
        self._is_finished = True
        for order in self._voice.finish(self._spoken):
            await socket.send(order)

    async def _say_held(self, socket: ClientConnection) -> None:
        """Say the clauses that waited for the end of a context, if it has ended."""
        if self._is_ending or not self._held:
            return
        while self._held and not self._is_ending:
            await self._say(socket, self._held.popleft())
        if self._is_ended and not self._is_ending:
            await self._finish(socket)

    async def _say(self, socket: ClientConnection, clause: _Clause) -> None:
        if self._is_ending:
            self._held.append(clause)
            return
        if self._is_begun and self._is_idle():
            self._is_begun = False
            self._spoken = self._voice.new_spoken_text("", self._speaker, self._speed)
        if not self._is_begun:
            self._began_ms = self._sounded_ms
            was_listening = await self._stop_listening()  # the preparation reads the vendor's answer
            await self._voice.prepare(socket, self._spoken)
            if was_listening:
                self._begin_to_listen(socket)
            for order in self._voice.begin(self._spoken):
                await socket.send(order)
            self._is_begun = True
        self._n_owed += 1
        for order in self._voice.say(self._spoken, clause.text):
            await socket.send(order)
        if self._voice.speaks_sentences and not clause.text.rstrip().endswith(SENTENCE_ENDS):
            self._is_ending = True
            await self._finish(socket)

    def _read(self, message: Message) -> SpeechChunk | None:
        """The content of `message`. Raises ProviderError."""
        chunk = self._voice.read(message, self._spoken) if self._is_begun else SpeechChunk(b"")
        if chunk is None:
            return self._end_of_sound()
        if chunk.ends_flush and not self._n_owed:
            chunk = replace(chunk, ends_flush=False)
        self._n_owed -= chunk.ends_flush
        self._n_bytes += len(chunk.pcm)
        began_ms = self._began_ms
        if chunk.ends_flush and self._voice.times_of_clause:
            self._began_ms = self._sounded_ms
        if chunk.pcm or chunk.ends_flush:
            self._sounded_at = asyncio.get_running_loop().time()
        if began_ms and chunk.words:
            words = tuple(WordTime(word.text, word.start_ms + began_ms, word.end_ms + began_ms) for word in chunk.words)
            chunk = replace(chunk, words=words)
        return chunk if chunk.pcm or chunk.words or chunk.ends_flush else None

    def _end_of_sound(self) -> SpeechChunk | None:
        """The sound of a clause has ended, or, for a vendor with contexts, that of the context."""
        if not self._voice.has_contexts:
            self._n_owed -= 1
            self._sounded_at = asyncio.get_running_loop().time()
            if self._voice.times_of_clause:
                self._began_ms = self._sounded_ms
            return SpeechChunk(b"", ends_flush=True)
        self._is_begun = False
        if self._is_ending:
            self._is_ending = False
            self._spoken = self._voice.new_spoken_text("", self._speaker, self._speed)
            owed, self._n_owed = self._n_owed, 0
            return SpeechChunk(b"", ends_flush=True) if owed else None
        if self._n_owed and not self._is_ended:
            raise ProviderError(self._voice.name, "ended a text that was not all written", retryable=True)
        self._n_owed = 0  # a vendor that does not separate clauses reports only the end of all
        return None
