"""Commands out and events in: the base of the methods of one `Call`.

A method sends a command and waits for the event that says it is done; the end of the call ends every wait with CallEnded. Events are taken
in the call's own loop, in their order.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import TypeVar

from active_call.app.digits import DigitQueue
from active_call.app.errors import CallEnded, CallRefused, CommandRefused
from active_call.app.event_matchers import reply_began, reply_over, speech_of
from active_call.app.values import Speech
from active_call.app.waiting import EventWaits, Matcher, Wait
from active_call.base.errors import ActiveCallError
from active_call.call.events.journal import AGENT_SPEAKERS
from active_call.call.events.subscription import Subscription
from active_call.call.handle import CallHandle
from active_call.call.requests import BeginAgent, EndAgent, Request
from active_call.contract import commands
from active_call.contract.events import AddHistory, Dtmf, Event, Hangup

T = TypeVar("T")

LAST_WORDS_S = 60.0
"""What an agent that is finished may take for the end of its last reply; a lost event must not keep the call."""
NEXT_WORDS_S = 4.0
"""What an agent that is finished outside of a reply may take to begin its last one."""


class Exchange:
    """The exchange of a program with one live call."""

    def __init__(self, handle: CallHandle) -> None:
        self._handle = handle
        self.waits = EventWaits()
        self.digits = DigitQueue()
        self.speech: list[Speech] = []
        """What the caller said since the last play began, and nobody has read."""
        self.over = asyncio.Event()
        self.has_agent = False
        """An agent holds the conversation, and writes it down."""
        self._subscription = handle.subscribe()
        self._subscription.notify(self._read)

    @property
    def ended(self) -> CallEnded | None:
        """Why the call is over; None while it is alive."""
        return self.waits.ended

    async def send(self, command: Request) -> None:
        """Carry out `command`. Raises CommandRefused, or CallEnded."""
        try:
            await self.unless_over(self._request(command))
        except CallEnded:
            raise
        except ActiveCallError as error:
            raise CommandRefused(str(error)) from error

    def send_soon(self, command: Request) -> None:
        """As `send`, without waiting and without a word when it cannot be done: for what is given up."""
        if self.ended is None:
            self._handle.request(command).add_done_callback(_seen)

    def note_line(self, speaker: str, text: str) -> None:
        """Write down a line of the transcript; nothing while an agent does so itself."""
        if text and not self.has_agent:
            self.send_soon(commands.History(speaker=speaker, text=str(text)))

    async def do(self, command: Request, matcher: Matcher[T]) -> T:
        """Carry out `command` and wait until `matcher` finds its event."""
        wait = self.waits.expect(matcher)
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

    async def do_until(self, stop: Matcher[bool], command: Request, matcher: Matcher[T]) -> T:
        """As `do`; stops the playback when `stop` finds its event."""
        stopping = self.waits.expect(stop)
        doing = asyncio.ensure_future(self.do(command, matcher))
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

    async def begin_agent(self, begin: BeginAgent) -> AgentConversation:
        """Let an agent take over the conversation. Raises CommandRefused, or CallEnded."""
        try:
            await self.send(begin)
        except asyncio.CancelledError:
            self.send_soon(EndAgent())
            raise
        return AgentConversation(self)

    async def unless_over(self, work: Awaitable[T]) -> T:
        """The result of `work`; CallEnded when the call ends before it."""
        task, over = asyncio.ensure_future(work), asyncio.ensure_future(self.over.wait())
        try:
            if self.ended is None:
                await asyncio.wait({task, over}, return_when=asyncio.FIRST_COMPLETED)
            if self.ended is not None and not task.done():
                raise self.ended.again()
            return task.result()
        finally:
            over.cancel()
            if not task.done():
                task.cancel()
                await asyncio.wait({task})  # what it has begun, it ends

    def events(self) -> AsyncIterator[Event]:
        """Every event from this call of the method on, to the hangup."""
        return _events_of(None if self.ended is not None else self._handle.subscribe())

    async def _request(self, command: Request) -> None:
        await self._handle.request(command)

    def _read(self) -> None:
        for item in self._subscription.take():
            self._take(item.event)

    def _take(self, event: Event) -> None:
        if isinstance(event, Dtmf) and not event.refer:
            self.digits.put(event.digit)
        speech = speech_of(event)
        if speech is not None:
            self.speech.append(speech)
            self.note_line("user", speech)
        self.waits.take(event)
        if isinstance(event, Hangup) and not event.refer:
            self._end(event)

    def _end(self, event: Hangup) -> None:
        facts = self._handle.describe()
        kind = CallRefused if facts.direction == "outbound" and facts.answered_at is None else CallEnded
        ended = kind(facts.ended_by, facts.end_reason, facts.sip_code)
        self.waits.end(ended)
        self.digits.end(ended)
        self.over.set()


async def _events_of(subscription: Subscription | None) -> AsyncIterator[Event]:
    if subscription is None:
        return
    try:
        async for item in subscription:
            yield item.event
    finally:
        subscription.close()


class AgentConversation:
    """An agent's part in a call, from its beginning to `end`."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._lines: list[tuple[str, str]] = []
        self._is_replying = False
        exchange.has_agent = True
        self._listening: Wait[None] = exchange.waits.expect(self._note)

    @property
    def transcript(self) -> tuple[tuple[str, str], ...]:
        """Who (`caller` or `agent`) said what, so far; of the agent only what was heard."""
        return tuple(self._lines)

    async def last_words(self) -> None:
        """Wait until what the agent says now has been heard, and the reply that follows the tool in which it has finished.

        Raises CallEnded.
        """
        if self._is_replying or await self._until(reply_began, NEXT_WORDS_S):
            await self._until(reply_over, LAST_WORDS_S)

    async def _until(self, matcher: Matcher[bool], timeout_s: float) -> bool:
        try:
            return await self._exchange.waits.expect(matcher).result(timeout_s)
        except TimeoutError:
            return False

    def end(self) -> None:
        """End the agent's part. A second call does nothing, and neither does one after the end of the call."""
        self._listening.cancel()
        self._exchange.has_agent = False
        self._exchange.speech.clear()
        self._exchange.send_soon(EndAgent())

    def _note(self, event: Event) -> None:
        if isinstance(event, AddHistory) and not event.refer:
            self._lines.append(("agent" if event.speaker in AGENT_SPEAKERS else "caller", event.text))
        elif reply_began(event):
            self._is_replying = True
        elif reply_over(event):
            self._is_replying = False


def _seen(future: asyncio.Future[None]) -> None:
    if not future.cancelled():
        future.exception()
