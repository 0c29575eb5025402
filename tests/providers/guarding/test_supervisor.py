"""Recognition goes on when its streams die: scripted engines in virtual time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_engines import Caller, ScriptedEngine, lost, refused, samples

from active_call.base.errors import ConfigError, ProviderError
from active_call.providers.base import Failed, Final, Partial, SpeechToTextCapabilities, TurnChange, TurnEvent
from active_call.providers.guarding.supervisor import FAILOVER_S, LEAD_SAMPLES
from active_call.testing.virtual_time import run_virtually
from searches import searching

WHOLE_UTTERANCES = SpeechToTextCapabilities(partials=False)


def in_virtual_time(story: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """A test that runs `story` in virtual time."""

    def test() -> None:
        run_virtually(story())

    test.__name__, test.__doc__ = story.__name__, story.__doc__
    return test


@in_virtual_time
async def test_stream_that_works_is_left_alone() -> None:
    engine = ScriptedEngine()
    caller = Caller(engine)
    caller.stream.expect_phrases(["yes", "no"])
    await caller.sound(0.5)
    await caller.says(1)
    await caller.sound(0.5)
    await caller.says(2)
    await caller.sound(0.5)
    caller.stream.start_utterance(3, caller.sample)
    caller.stream.cancel_utterance(3)
    engine.streams[0].tell(TurnEvent(TurnChange.ENDED, caller.sample))
    assert len(engine.streams) == 1 and engine.streams[0].phrases == ("yes", "no")
    assert caller.finals == [("vendor 1", 1), ("vendor 2", 2)]
    assert caller.events[-1] == TurnEvent(TurnChange.ENDED, caller.sample)
    assert engine.streams[0].asked == [("start", 1), ("end", 1), ("start", 2), ("end", 2), ("start", 3), ("cancel", 3)]
    await caller.stream.close()
    assert engine.streams[0].is_closed


@in_virtual_time
async def test_stream_that_dies_within_an_utterance_is_opened_again_and_hears_all_of_it() -> None:
    engine = ScriptedEngine()
    caller = Caller(engine)
    caller.stream.expect_phrases(["yes"])
    await caller.sound(2.0)
    start = caller.sample
    caller.stream.start_utterance(1, start)
    await caller.sound(0.6)
    engine.streams[0].die()
    await caller.sound(0.6)
    end = caller.sample
    caller.stream.end_utterance(1, end)
    await caller.sound(0.5)
    first, second = engine.streams
    assert first.is_closed and not second.is_closed
    assert second.audio[0][0] == start - LEAD_SAMPLES
    assert second.heard[1] == samples(start, end - start)
    assert second.phrases == ("yes",)
    assert caller.finals == [("vendor 1", 1)] and caller.failures == []
    await caller.stream.close()


@in_virtual_time
async def test_utterance_that_ended_before_the_stream_died_is_answered_by_the_next_one() -> None:
    engine = ScriptedEngine(answer_s=0.3)
    caller = Caller(engine)
    await caller.sound(1.0)
    start, end = await caller.says(1)
    engine.streams[0].die()
    await caller.sound(1.0)
    second = engine.streams[1]
    assert second.heard[1] == samples(start, end - start)
    assert second.asked == [("start", 1), ("end", 1)]
    assert caller.finals == [("vendor 1", 1)], "and the answer of the dead stream is ignored"
    await caller.stream.close()


@in_virtual_time
async def test_what_was_final_is_not_sent_again() -> None:
    engine = ScriptedEngine()
    caller = Caller(engine)
    _, end_of_first = await caller.says(1)
    await caller.sound(2.0)
    start, _ = await caller.says(2)
    engine.streams[0].die()
    await caller.sound(1.0)
    second = engine.streams[1]
    assert second.asked == [("start", 2), ("end", 2)]
    assert second.audio[0][0] == start - LEAD_SAMPLES > end_of_first
    assert caller.finals == [("vendor 1", 1), ("vendor 2", 2)]
    await caller.stream.close()


@in_virtual_time
async def test_two_unanswered_utterances_come_in_order_and_do_not_overlap() -> None:
    engine = ScriptedEngine(is_deaf=True, capabilities=WHOLE_UTTERANCES)
    caller = Caller(engine)
    first_start, first_end = await caller.says(1)
    second_start, second_end = await caller.says(2)
    engine.is_deaf = False
    engine.streams[0].die()
    await caller.sound(0.5)
    second = engine.streams[1]
    assert second.asked == [("start", 1), ("end", 1), ("start", 2), ("end", 2)]
    assert second.heard == {1: samples(first_start, first_end - first_start), 2: samples(second_start, second_end - second_start)}
    assert [index for _, index in caller.finals] == [1, 2]
    await caller.stream.close()


@in_virtual_time
async def test_stream_that_dies_in_silence_gets_the_sound_just_before_the_next_utterance() -> None:
    engine = ScriptedEngine()
    caller = Caller(engine)
    await caller.sound(20.0)
    engine.streams[0].die()
    at = caller.sample
    await asyncio.sleep(0.001)
    assert engine.streams[1].audio[0][0] == at - LEAD_SAMPLES
    caller.stream.start_utterance(1, at - 1_600)
    await caller.sound(0.5)
    caller.stream.end_utterance(1, caller.sample)
    await caller.sound(0.5)
    assert caller.finals == [("vendor 1", 1)]
    await caller.stream.close()


@in_virtual_time
async def test_connection_that_cannot_be_made_is_tried_again_ever_more_slowly() -> None:
    engine = ScriptedEngine()
    caller = Caller(engine)
    engine.failures = [lost() for _ in range(7)]
    await caller.sound(0.5)
    died_at = asyncio.get_running_loop().time()
    engine.streams[0].die()
    await caller.sound(30.0)
    waits = [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]
    assert engine.streams[1].opened_at == pytest.approx(died_at + sum(waits))
    await caller.says(1)
    await caller.sound(0.5)
    assert caller.finals == [("vendor 1", 1)]
    await caller.stream.close()


@in_virtual_time
async def test_utterance_is_told_as_failed_once_when_its_engine_dies_again_and_again() -> None:
    engine = ScriptedEngine(is_deaf=True, capabilities=WHOLE_UTTERANCES)
    caller = Caller(engine)
    await caller.says(1)
    for _ in range(3):
        engine.streams[-1].die()
        await caller.sound(3.0)
    assert caller.failures == [1] and caller.finals == []
    engine.is_deaf = False
    await caller.says(2)
    await caller.sound(1.0)
    assert caller.finals == [("vendor 2", 2)], "the next utterance is another chance"
    await caller.stream.close()


@in_virtual_time
async def test_next_engine_takes_over_after_two_streams_in_a_row_have_died() -> None:
    first, second = ScriptedEngine("first"), ScriptedEngine("second")
    caller = Caller(first, second)
    start = caller.sample
    caller.stream.start_utterance(1, start)
    await caller.sound(0.2)
    first.streams[0].die()
    await caller.sound(0.3)
    assert len(first.streams) == 2 and not second.streams
    first.streams[1].die()
    await caller.sound(0.3)
    caller.stream.end_utterance(1, caller.sample)
    await caller.sound(0.3)
    assert caller.finals == [("second 1", 1)]
    assert second.streams[0].heard[1][:2] == samples(start, 1)
    await caller.says(2)
    await caller.sound(0.3)
    assert caller.finals[-1] == ("second 2", 2), "the call stays with the engine that works"
    await caller.stream.close()


@in_virtual_time
async def test_engine_that_refuses_for_good_is_left_at_once_and_not_asked_again() -> None:
    first, second = ScriptedEngine("first"), ScriptedEngine("second")
    caller = Caller(first, second)
    first.streams[0].die(refused("first"))
    await caller.says(1)
    await caller.sound(0.3)
    assert caller.finals == [("second 1", 1)]
    for _ in range(6):
        second.streams[-1].die(lost("second"))
        await caller.sound(6.0)
    assert len(first.streams) == 1
    await caller.stream.close()


@in_virtual_time
async def test_with_no_usable_engine_each_end_is_answered_with_a_failure() -> None:
    engine = ScriptedEngine()
    caller = Caller(engine)
    caller.stream.start_utterance(1, 0)
    await caller.sound(0.2)
    engine.streams[0].die(refused())
    assert caller.failures == []
    caller.stream.end_utterance(1, caller.sample)
    assert caller.failures == [], "events come from the loop, not from within a call"
    await caller.sound(0.2)
    await caller.says(2)
    await caller.sound(20.0)
    assert caller.failures == [1, 2] and len(engine.streams) == 1
    assert all(isinstance(event.error, ProviderError) for event in caller.events)
    await caller.stream.close()


@in_virtual_time
async def test_utterance_that_its_engine_cannot_answer_is_given_to_the_next_one() -> None:
    first = ScriptedEngine("first", fails_utterances=True, capabilities=WHOLE_UTTERANCES)
    second = ScriptedEngine("second", capabilities=WHOLE_UTTERANCES)
    caller = Caller(first, second)
    start, end = await caller.says(1)
    await caller.sound(0.5)
    assert caller.finals == [("second 1", 1)] and second.streams[0].heard[1] == samples(start, end - start)
    second.fails_utterances = True
    await caller.says(2)
    await caller.sound(0.5)
    assert caller.failures == [2], "both have failed"
    await caller.stream.close()


@in_virtual_time
async def test_failure_of_one_utterance_without_a_fallback_is_told_and_the_stream_goes_on() -> None:
    engine = ScriptedEngine(fails_utterances=True, capabilities=WHOLE_UTTERANCES)
    caller = Caller(engine)
    await caller.says(1)
    await caller.sound(0.5)
    engine.fails_utterances = False
    await caller.says(2)
    await caller.sound(0.5)
    assert caller.failures == [1] and caller.finals == [("vendor 2", 2)] and len(engine.streams) == 1
    await caller.stream.close()


@in_virtual_time
async def test_engine_that_does_not_answer_is_left_for_the_next_one_in_time() -> None:
    first, second = ScriptedEngine("first", is_deaf=True), ScriptedEngine("second")
    caller = Caller(first, second)
    await caller.says(1)
    ended_at = asyncio.get_running_loop().time()
    await caller.sound(FAILOVER_S + 1.0)
    assert caller.finals == [("second 1", 1)]
    assert caller.times[-1] == pytest.approx(ended_at + FAILOVER_S + 0.05)
    await caller.stream.close()


@in_virtual_time
async def test_streaming_engine_that_does_not_answer_is_opened_again() -> None:
    engine = ScriptedEngine(is_deaf=True)
    caller = Caller(engine)
    await caller.says(1)
    await caller.sound(4.0)
    engine.is_deaf = False
    await caller.sound(2.0)
    assert len(engine.streams) == 2 and caller.finals == [("vendor 1", 1)]
    await caller.stream.close()


@in_virtual_time
async def test_idle_stream_that_its_vendor_closes_again_and_again_is_opened_at_once_each_time() -> None:
    first, second = ScriptedEngine("first"), ScriptedEngine("second")
    caller = Caller(first, second)
    for n in range(1, 6):
        await asyncio.sleep(60.0)
        first.streams[-1].die(lost("first", "idle for a minute"))
        await asyncio.sleep(0.01)
        assert len(first.streams) == n + 1
    assert not second.streams
    await caller.stream.close()


@in_virtual_time
async def test_cancelled_utterance_is_not_sent_again() -> None:
    engine = ScriptedEngine(is_deaf=True)
    caller = Caller(engine)
    await caller.says(1)
    caller.stream.cancel_utterance(1)
    engine.streams[0].die()
    await caller.sound(1.0)
    assert engine.streams[1].asked == [] and caller.events == []
    await caller.stream.close()


@in_virtual_time
async def test_final_of_an_utterance_that_still_goes_on_is_a_partial() -> None:
    engine = ScriptedEngine()
    caller = Caller(engine)
    caller.stream.start_utterance(1, 0)
    await caller.sound(0.2)
    engine.streams[0].tell(Final("I would", 1, 0, 3_200))
    await caller.sound(0.2)
    caller.stream.end_utterance(1, caller.sample)
    await caller.sound(0.2)
    assert caller.events[0] == Partial("I would", 1, 0, 3_200) and caller.finals == [("vendor 1", 1)]
    engine.streams[0].tell(Final("again", 1, 0, 1))
    engine.streams[0].tell(Final("unknown", 9, 0, 1))
    assert len(caller.finals) == 1
    await caller.stream.close()


@in_virtual_time
async def test_nothing_comes_after_close_and_a_reopening_is_called_off() -> None:
    engine = ScriptedEngine()
    caller = Caller(engine)
    await caller.says(1)
    engine.failures = [lost()]
    engine.streams[0].die()
    await caller.stream.close()
    await asyncio.sleep(10.0)
    assert caller.events == [] and len(engine.streams) == 1 and engine.streams[0].is_closed


@in_virtual_time
async def test_language_that_only_the_fallback_knows_opens_the_fallback() -> None:
    first, second = ScriptedEngine("first", failures=[ConfigError("asr.language", "no")]), ScriptedEngine("second")
    caller = Caller(first, second)
    await caller.says(1)
    await caller.sound(0.5)
    assert caller.finals == [("second 1", 1)]
    await caller.stream.close()
    with pytest.raises(ConfigError, match="no"):
        Caller(ScriptedEngine(failures=[ConfigError("asr.language", "no")]), ScriptedEngine(failures=[lost()]))


@in_virtual_time
async def test_engine_that_is_out_of_order_is_not_the_first_choice_of_a_new_call() -> None:
    first, second = ScriptedEngine("first"), ScriptedEngine("second")
    caller = Caller(first, second)
    for _ in range(5):
        caller.owner.inner.guard.note_outage()
    again: list[Any] = []
    stream = caller.owner.open(again.append)
    assert (len(first.streams), len(second.streams)) == (1, 1)
    await stream.close()
    await caller.stream.close()


def test_each_loss_is_logged_with_its_reason_and_what_comes_next(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        first, second = ScriptedEngine("first"), ScriptedEngine("second")
        caller = Caller(first, second)
        first.streams[0].die(refused("first"))
        await caller.stream.close()

    with caplog.at_level(logging.WARNING):
        run_virtually(story())
    (record,) = caplog.records
    assert (record.message, record.__dict__["provider"], record.__dict__["next"]) == ("recognition stream lost", "first", "second")


DEATHS = st.lists(st.tuples(st.integers(0, 120), st.sampled_from(["lost", "refused", "deaf", "awake", "fails", "works"])), max_size=12)


@searching(20)
@given(DEATHS, st.integers(1, 3), st.booleans())
def test_every_end_is_answered_exactly_once_whatever_dies(deaths: list[tuple[int, str]], n_engines: int, streams: bool) -> None:
    async def story() -> None:
        capabilities = SpeechToTextCapabilities(partials=streams)
        engines = [ScriptedEngine(f"e{n}", capabilities=capabilities) for n in range(n_engines)]
        caller = Caller(*engines)
        due = sorted(deaths)
        for tick in range(121):
            while due and due[0][0] == tick:
                _happen(engines, due.pop(0)[1])
            if tick % 20 == 5:
                caller.stream.start_utterance(tick, caller.sample)
            if tick % 20 == 15:
                caller.stream.end_utterance(tick - 10, caller.sample)
            await caller.sound(0.1)
        for engine in engines:
            engine.is_deaf = engine.fails_utterances = False
        await asyncio.sleep(60.0)
        answers = [event.index for event in caller.events if isinstance(event, Final | Failed)]
        expected = [5, 25, 45, 65, 85, 105]
        assert len(set(answers)) == len(answers)
        assert sorted(answers) == expected or (not streams and set(answers) < set(expected)), "one that takes whole utterances may be deaf"
        await caller.stream.close()

    run_virtually(story())


def _happen(engines: list[ScriptedEngine], what: str) -> None:
    live = [stream for engine in engines for stream in engine.streams if not stream.is_closed]
    match what:
        case "lost" | "refused" if live:
            live[-1].die(lost() if what == "lost" else refused())
        case "deaf" | "awake":
            for engine in engines:
                engine.is_deaf = what == "deaf"
        case "fails" | "works":
            for engine in engines:
                engine.fails_utterances = what == "fails"
