"""A watcher's stream ends with the call, and with nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from active_call.api.event_stream import KEEPALIVE_S, WATCH_QUEUE_SIZE, event_stream, number_after
from active_call.call.events.command_watch import CommandWatch, CommandWatcher
from active_call.call.events.subscription import EventLog, Subscription
from active_call.contract import commands, events, wire
from active_call.contract.options import CallOption, SipOption
from active_call.testing.virtual_time import run_virtually


class Watched:
    """A call that tells what the test says; one that is over tells its hangup to each new subscriber."""

    id = "s.1"

    def __init__(self, ended: events.Hangup | None = None) -> None:
        self.log, self.commands = EventLog(), CommandWatch()
        if ended is not None:
            self.log.append(ended)

    def subscribe(self, *, from_seq: int | None = None) -> Subscription:
        return self.log.subscribe(from_seq=from_seq)

    def describe(self) -> Any:
        return SimpleNamespace(answered_at=None)

    def watch_commands(self, watcher: CommandWatcher) -> Callable[[], None]:
        return self.commands.add(watcher)

    def tell(self, event: events.Event) -> None:
        self.log.append(event)


def test_stream_goes_on_after_the_hangup_of_a_transfers_far_leg_and_ends_with_the_calls_own() -> None:
    async def run() -> None:
        call = Watched()
        stream = event_stream(call)
        first = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        for event in (events.Hangup(reason="busy", refer=True), events.Dtmf(digit="1"), events.Hangup(reason="bye")):
            call.tell(event)
        told = [await first] + [chunk async for chunk in stream]
        assert [chunk.split(b'"event":"')[1].split(b'"')[0] for chunk in told] == [b"hangup", b"dtmf", b"hangup"]
        assert call.log.n_subscriptions == 0

    run_virtually(run())


def test_playback_that_was_cut_has_its_end() -> None:
    async def run() -> None:
        call = Watched()
        stream = event_stream(call)
        first = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        call.tell(events.Interruption(timestamp=7, track_id="server-side-track", play_id="a", total_duration=900, current=400))
        call.tell(events.Hangup(reason="bye"))
        told = [wire.decode_event(chunk.split(b"data: ")[1].split(b"\n")[0]) for chunk in [await first] + [chunk async for chunk in stream]]
        assert [type(event).__name__ for event in told] == ["Interruption", "TrackEnd", "Hangup"]
        assert told[1] == events.TrackEnd(timestamp=7, track_id="server-side-track", play_id="a", duration=400)

    run_virtually(run())


def test_stream_of_a_call_that_is_over_ends_at_once_with_its_hangup() -> None:
    async def run() -> None:
        (chunk,) = [chunk async for chunk in event_stream(Watched(events.Hangup(reason="bye")))]
        assert b'"bye"' in chunk

    run_virtually(run())


def test_stream_in_which_nothing_happens_says_so_and_one_that_is_not_read_is_given_up() -> None:
    async def run() -> None:
        call = Watched()
        stream = event_stream(call)
        loop = asyncio.get_running_loop()
        assert await anext(stream) == b": keep-alive\n\n"
        assert loop.time() == pytest.approx(KEEPALIVE_S)
        for _ in range(WATCH_QUEUE_SIZE + 1):
            call.tell(events.Dtmf(digit="1"))
        assert [chunk async for chunk in stream] == [b": too slow: the client does not read its events\n\n"]
        assert call.log.n_subscriptions == 0

    run_virtually(run())


def test_commands_are_told_before_what_they_do_and_without_credentials() -> None:
    async def run() -> None:
        call = Watched()
        stream = event_stream(call)
        first = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        call.commands.tell(commands.Accept(option=CallOption(caller="bot", sip=SipOption(username="u", password="s3cret"))))
        call.tell(events.Answer())
        call.tell(events.Hangup(reason="bye"))
        told = [await first] + [chunk async for chunk in stream]
        assert [chunk.split(b"\n")[0] for chunk in told] == [b"event: command", *[b"event: event"] * 4]
        names = [chunk.split(b'"event":"')[1].split(b'"')[0] for chunk in told[1:]]
        assert names == [b"trackStart", b"answer", b"trackEnd", b"hangup"]
        assert b'"command":"accept"' in told[0] and b"bot" in told[0]
        assert b"s3cret" not in told[0] and b"id:" not in told[0]
        call.commands.tell(commands.Pause())  # nobody watches any more

    run_virtually(run())


def test_stream_from_a_number_replays_what_the_client_has_missed() -> None:
    async def run() -> None:
        call = Watched()
        for digit in "123":
            call.tell(events.Dtmf(digit=digit))
        call.tell(events.Hangup(reason="bye"))
        told = [chunk async for chunk in event_stream(call, from_seq=number_after("1"))]
        assert [chunk.split(b"\nid: ")[1] for chunk in told] == [b"2\n\n", b"3\n\n", b"4\n\n"]

    run_virtually(run())


@pytest.mark.parametrize(
    ("header", "number"), [(None, None), ("", None), ("x", None), ("-1", None), ("7", 8), ("9" * 5000, None), ("\u0667", None)]
)
def test_last_event_id_that_is_no_number_is_ignored(header: str | None, number: int | None) -> None:
    assert number_after(header) == number
