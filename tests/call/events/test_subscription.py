"""Followers of a call: bounded, merged, replayed, and closed with a reason."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from active_call.call.events.subscription import CloseReason, EventLog, Subscription
from active_call.contract import events
from active_call.testing.virtual_time import run_virtually


def digits_of(subscription: Subscription) -> list[tuple[int, str]]:
    return [(item.seq, item.event.digit) for item in subscription.take() if isinstance(item.event, events.Dtmf)]


def press(log: EventLog, digits: str) -> None:
    for digit in digits:
        log.append(events.Dtmf(digit=digit))


def test_subscription_from_now_on_gives_what_follows_with_its_numbers() -> None:
    log = EventLog()
    press(log, "12")
    subscription = log.subscribe()
    press(log, "34")
    assert digits_of(subscription) == [(3, "3"), (4, "4")]
    assert subscription.last_seq == 4


def test_subscription_from_a_number_replays_and_goes_on() -> None:
    log = EventLog()
    press(log, "123")
    subscription = log.subscribe(from_seq=2)
    press(log, "4")
    assert digits_of(subscription) == [(2, "2"), (3, "3"), (4, "4")]
    assert subscription.n_missed == 0


def test_subscription_from_a_number_that_is_forgotten_says_how_many_are_missing() -> None:
    log = EventLog(size=3)
    press(log, "12345")
    subscription = log.subscribe(from_seq=1)
    assert subscription.n_missed == 2
    assert digits_of(subscription) == [(3, "3"), (4, "4"), (5, "5")]


def test_reader_that_is_too_slow_loses_what_waits_is_told_so_and_may_ask_again() -> None:
    async def story() -> None:
        log = EventLog()
        slow = log.subscribe(size=3)
        press(log, "1")
        first = await slow.next()
        assert first is not None
        press(log, "2345")
        assert slow.closed is CloseReason.OVERFLOW
        assert await slow.next() is None
        assert log.n_subscriptions == 0
        again = log.subscribe(from_seq=slow.last_seq + 1)
        assert [digit for _, digit in digits_of(again)] == list("2345")

    run_virtually(story())


def test_deltas_of_one_utterance_that_were_not_read_become_the_latest() -> None:
    async def story() -> None:
        log = EventLog()
        subscription = log.subscribe()
        log.append(events.AsrDelta(index=1, text="I"))
        read = await subscription.next()
        assert read is not None
        for text in ("I want", "I want a", "I want a loaf"):
            log.append(events.AsrDelta(index=1, text=text))
        log.append(events.AsrDelta(index=2, text="of"))
        log.append(events.AsrDelta(index=2, text="of", refer=True))
        log.append(events.AsrFinal(index=1, text="I want a loaf."))
        log.append(events.AsrDelta(index=1, text="more"))
        texts = [(item.seq, item.event.text) for item in subscription.take() if isinstance(item.event, events.AsrDelta | events.AsrFinal)]
        assert texts == [(4, "I want a loaf"), (5, "of"), (6, "of"), (7, "I want a loaf."), (8, "more")]

    run_virtually(story())


def test_hangup_of_the_call_ends_the_subscription_when_it_was_read() -> None:
    async def story() -> None:
        log = EventLog()
        subscription = log.subscribe()
        log.append(events.Hangup(reason="busy", refer=True))
        press(log, "1")
        log.append(events.Hangup(reason="bye"))
        assert [type(item.event).__name__ async for item in subscription] == ["Hangup", "Dtmf", "Hangup"]
        assert subscription.closed is CloseReason.OVER
        assert log.n_subscriptions == 0

    run_virtually(story())


def test_call_that_is_over_gives_its_hangup_and_the_end() -> None:
    async def story() -> None:
        log = EventLog()
        press(log, "1")
        log.append(events.Hangup(reason="bye"))
        assert [item.seq async for item in log.subscribe()] == [2]
        assert [item.seq async for item in log.subscribe(from_seq=1)] == [1, 2]
        assert [item.seq async for item in log.subscribe(from_seq=99)] == []

    run_virtually(story())


def test_reader_that_closes_is_forgotten_and_one_that_waits_is_woken() -> None:
    async def story() -> None:
        log = EventLog()
        subscription = log.subscribe()
        waiting = asyncio.ensure_future(subscription.next())
        await asyncio.sleep(0)
        subscription.close()
        subscription.close()
        assert await waiting is None
        assert subscription.closed is CloseReason.CLOSED
        press(log, "1")
        assert (subscription.take(), log.n_subscriptions) == ([], 0)

    run_virtually(story())


@given(st.lists(st.sampled_from("dab"), max_size=40), st.integers(1, 8), st.integers(1, 45))
def test_replay_and_what_is_missing_account_for_every_number(kinds: list[str], size: int, from_seq: int) -> None:
    log = EventLog(size=size)
    for kind in kinds:
        log.append(events.Dtmf(digit="1") if kind == "d" else events.AsrDelta(index=ord(kind)))
    subscription = log.subscribe(from_seq=from_seq)
    seqs = [item.seq for item in subscription.take()]
    assert seqs == sorted(set(seqs))
    assert all(seq >= from_seq + subscription.n_missed for seq in seqs)
    if from_seq <= len(kinds):
        assert seqs[-1:] == [len(kinds)]


def test_reader_that_wants_to_be_notified_takes_each_event_at_once_and_hears_of_the_end() -> None:
    log = EventLog()
    press(log, "1")
    subscription, seen = log.subscribe(from_seq=1), []  # type: ignore[var-annotated]
    subscription.notify(lambda: seen.extend([*digits_of(subscription), subscription.closed]))
    press(log, "2")
    subscription.close()
    assert seen == [(1, "1"), None, (2, "2"), None, CloseReason.CLOSED]


def test_reader_whose_callback_fails_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    log = EventLog()
    broken, other = log.subscribe(), log.subscribe()
    broken.notify(lambda: 1 / 0)  # type: ignore[arg-type, return-value]
    press(log, "12")
    assert len(other.take()) == 2
    assert "reader of a call's events failed" in caplog.text
