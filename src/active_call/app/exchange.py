"""Commands out and events in: what the methods of one `Call` are made of.

A method sends a command and waits for the event that says it is done; the end of the call ends every wait with CallEnded. Events are taken
in the call's own loop, in their order.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import TypeVar

from active_call.app.digits import DigitQueue
from active_call.app.errors import CallEnded, CallRefused, CommandRefused
from active_call.app.looks import speech_of
from active_call.app.port import CallPort
from active_call.app.values import Speech
from active_call.app.waiting import EventWaits, Look
from active_call.base.errors import ActiveCallError
from active_call.contract import commands
from active_call.contract.events import Dtmf, Event, Hangup

T = TypeVar("T")

MAX_EVENTS = 1000
"""That are kept for a reader that is slow; then the oldest are dropped."""


class Exchange:
    """The conversation of a program with one live call."""

    def __init__(self, port: CallPort) -> None:
        self._port = port
        self.waits = EventWaits()
        self.digits = DigitQueue()
        self.speech: list[Speech] = []
        """What was said since the last play began, and not read."""
        self.over = asyncio.Event()
        self.has_agent = False
        """An agent holds the conversation, and writes it down."""
        self._readers: list[asyncio.Queue[Event | None]] = []
        port.watch(self._take)

    @property
    def ended(self) -> CallEnded | None:
        """Why the call is over; None while it lives."""
        return self.waits.ended

    async def send(self, command: commands.Command) -> None:
        """Have `command` carried out. Raises CommandRefused, or CallEnded."""
        try:
            await self.unless_over(self._request(command))
        except CallEnded:
            raise
        except ActiveCallError as error:
            raise CommandRefused(str(error)) from error

    def send_soon(self, command: commands.Command) -> None:
        """As `send`, without waiting and without a word when it cannot be done: for what is given up."""
        if self.ended is None:
            self._port.request(command).add_done_callback(_seen)

    def note_line(self, speaker: str, text: str) -> None:
        """Write down a line of the transcript; nothing while an agent does so itself."""
        if text and not self.has_agent:
            self.send_soon(commands.History(speaker=speaker, text=str(text)))

    async def do(self, command: commands.Command, look: Look[T]) -> T:
        """Have `command` carried out and wait for what `look` wants of the events."""
        wait = self.waits.expect(look)
        try:
            try:
                await self.send(command)
            except CommandRefused:
                if wait.has_failed:  # the event says more than the refusal
                    return await wait.result()
                raise
            return await wait.result()
        finally:
            wait.cancel()

    async def do_until(self, stop: Look[bool], command: commands.Command, look: Look[T]) -> T:
        """As `do`; what plays is cut short when `stop` finds its event."""
        stopping = self.waits.expect(stop)
        doing = asyncio.ensure_future(self.do(command, look))
        stopped = asyncio.ensure_future(stopping.result())
        try:
            await asyncio.wait({doing, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not doing.done() and self.ended is None:
                await self.send(commands.Interrupt())
            return await doing
        finally:
            for task in (doing, stopped):
                task.cancel()
            await asyncio.gather(doing, stopped, return_exceptions=True)

    async def unless_over(self, work: Awaitable[T]) -> T:
        """The result of `work`; CallEnded when the call ends before it."""
        task, over = asyncio.ensure_future(work), asyncio.ensure_future(self.over.wait())
        try:
            if self.ended is None:
                await asyncio.wait({task, over}, return_when=asyncio.FIRST_COMPLETED)
            if self.ended is not None and not task.done():
                raise self.ended
            return task.result()
        finally:
            over.cancel()
            if not task.done():
                task.cancel()
                await asyncio.wait({task})  # what it has begun, it ends

    async def events(self) -> AsyncIterator[Event]:
        """Every event from now on, to the hangup."""
        if self.ended is not None:
            return
        queue: asyncio.Queue[Event | None] = asyncio.Queue(MAX_EVENTS)
        self._readers.append(queue)
        try:
            while (event := await queue.get()) is not None:
                yield event
        finally:
            self._readers.remove(queue)

    async def _request(self, command: commands.Command) -> None:
        await self._port.request(command)

    def _take(self, event: Event) -> None:
        if isinstance(event, Dtmf) and not event.refer:
            self.digits.put(event.digit)
        speech = speech_of(event)
        if speech is not None:
            self.speech.append(speech)
            self.note_line("user", speech)
        self.waits.take(event)
        for queue in self._readers:
            _put(queue, event)
        if isinstance(event, Hangup) and not event.refer:
            self._end(event)

    def _end(self, event: Hangup) -> None:
        facts = self._port.facts
        kind = CallRefused if facts.direction == "outbound" and facts.answered_at is None else CallEnded
        ended = kind(event.initiator or "", event.reason or "", facts.sip_code)
        self.waits.end(ended)
        self.digits.end(ended)
        self.over.set()
        for queue in self._readers:
            _put(queue, None)


def _put(queue: asyncio.Queue[Event | None], event: Event | None) -> None:
    if queue.full():
        queue.get_nowait()
    queue.put_nowait(event)


def _seen(future: asyncio.Future[None]) -> None:
    if not future.cancelled():
        future.exception()
