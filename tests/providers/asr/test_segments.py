"""A vendor that listens all the time answers the utterances of the call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from active_call.base.errors import ProviderError
from active_call.providers.asr.segments import ANSWER_S, Segment, SegmentedRecognition
from active_call.providers.base import Failed, Final, Partial, TurnChange, TurnEvent, Word
from active_call.testing.virtual_time import run_virtually
from searches import searching


class Vendor(SegmentedRecognition):
    """Counts what it is sent."""

    def __init__(self, *, acknowledges: bool = True) -> None:
        self.events: list[Any] = []
        super().__init__(self.events.append)
        self.acknowledges = acknowledges
        self.sent = 0
        self.n_asked = 0
        self.is_closed = False

    def send_audio(self, pcm: bytes) -> None:
        self.sent += len(pcm) // 2

    def ask_final(self) -> None:
        self.n_asked += 1

    async def disconnect(self) -> None:
        self.is_closed = True

    def hears(self, text: str, start_s: float, end_s: float, **more: Any) -> Segment:
        return Segment(text, self.to_sample(start_s * 16_000), self.to_sample(end_s * 16_000), **more)


def in_virtual_time(story: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """A test that runs `story` in virtual time."""

    def test() -> None:
        run_virtually(story())

    return test


def push(vendor: Vendor, start_s: float, end_s: float) -> None:
    for piece in range(round(start_s * 50), round(end_s * 50)):
        vendor.push_audio(bytes(640), piece * 320)


@in_virtual_time
async def test_segments_of_an_utterance_are_joined_when_the_vendor_has_finished() -> None:
    vendor = Vendor()
    push(vendor, 0, 5)
    vendor.start_utterance(1, 16_000)
    vendor.note_interim(vendor.hears("could you", 1.0, 1.4))
    vendor.note_final(vendor.hears("Could you tell me", 1.0, 2.0, confidence=0.8, words=(Word("Could", 16_000, 20_000),)))
    vendor.note_interim(vendor.hears("your opening", 2.1, 2.6))
    vendor.end_utterance(1, 56_000)
    vendor.note_final(vendor.hears("your opening hours?", 2.1, 3.4, confidence=1.0))
    assert vendor.n_asked == 1
    vendor.note_finished()
    vendor.note_finished()
    texts = [(type(event), event.text) for event in vendor.events]
    assert texts == [
        (Partial, "could you"),
        (Partial, "Could you tell me"),
        (Partial, "Could you tell me your opening"),
        (Partial, "Could you tell me your opening hours?"),
        (Final, "Could you tell me your opening hours?"),
    ]
    final = vendor.events[-1]
    assert (final.index, final.start_sample, final.end_sample) == (1, 16_000, 56_000)
    assert final.confidence == pytest.approx((17 * 0.8 + 19 * 1.0) / 36) and final.words == (Word("Could", 16_000, 20_000),)
    await vendor.close()
    assert vendor.is_closed


@in_virtual_time
async def test_vendor_that_does_not_finish_in_time_is_taken_at_its_last_word() -> None:
    vendor = Vendor()
    vendor.start_utterance(1, 0)
    vendor.note_interim(vendor.hears("yes plea", 0.1, 0.8))
    vendor.end_utterance(1, 16_000)
    await asyncio.sleep(ANSWER_S - 0.01)
    assert not any(isinstance(event, Final) for event in vendor.events)
    await asyncio.sleep(0.02)
    assert vendor.events[-1].text == "yes plea" and isinstance(vendor.events[-1], Final)
    await vendor.close()


@in_virtual_time
async def test_late_acknowledgement_of_one_utterance_does_not_end_the_next_one() -> None:
    vendor = Vendor()
    vendor.start_utterance(1, 0)
    vendor.end_utterance(1, 16_000)
    await asyncio.sleep(ANSWER_S + 0.1)
    vendor.start_utterance(2, 32_000)
    vendor.end_utterance(2, 48_000)
    vendor.note_finished()
    assert [event.index for event in vendor.events] == [1], "that was the first one's"
    vendor.note_final(Segment("two", 33_000, 47_000))
    vendor.note_finished()
    assert vendor.events[-1] == Final("two", 2, 32_000, 48_000)
    vendor.start_utterance(3, 64_000)
    vendor.end_utterance(3, 80_000)
    await asyncio.sleep(2 * ANSWER_S + 0.1)
    vendor.start_utterance(4, 96_000)
    vendor.end_utterance(4, 112_000)
    vendor.note_finished()
    assert vendor.events[-1] == Final("", 4, 96_000, 112_000), "an acknowledgement that never came is not waited for"
    await vendor.close()


@in_virtual_time
async def test_silence_is_an_empty_final() -> None:
    vendor = Vendor()
    vendor.start_utterance(1, 0)
    vendor.end_utterance(1, 16_000)
    vendor.note_final(Segment(" "))
    vendor.note_finished()
    assert vendor.events == [Final("", 1, 0, 16_000)]
    await vendor.close()


@in_virtual_time
async def test_vendor_without_acknowledgement_has_finished_with_its_next_final_segment() -> None:
    vendor = Vendor(acknowledges=False)
    vendor.start_utterance(1, 0)
    vendor.note_final(Segment("one"))
    assert isinstance(vendor.events[-1], Partial)
    vendor.end_utterance(1, 16_000)
    vendor.note_final(Segment("two"))
    assert vendor.events[-1] == Final("one two", 1, 0, 16_000)
    await vendor.close()


@in_virtual_time
async def test_segments_go_to_the_utterance_in_which_they_lie_and_what_lies_between_is_dropped() -> None:
    vendor = Vendor()
    push(vendor, 0, 12)
    vendor.note_final(vendor.hears("noise", 0.1, 0.4))
    vendor.start_utterance(1, 32_000)
    vendor.note_final(vendor.hears("first", 2.0, 2.9))
    vendor.end_utterance(1, 48_000)
    vendor.start_utterance(2, 80_000)
    vendor.note_final(vendor.hears("noise", 3.8, 4.2))
    vendor.note_final(vendor.hears("second", 5.0, 6.0))
    vendor.note_finished()
    vendor.end_utterance(2, 96_000)
    vendor.note_finished()
    assert [(event.index, event.text) for event in vendor.events if isinstance(event, Final)] == [(1, "first"), (2, "second")]
    await vendor.close()


@in_virtual_time
async def test_cancelled_utterance_has_no_final_and_leaves_nothing_to_the_next_one() -> None:
    vendor = Vendor()
    vendor.start_utterance(1, 0)
    vendor.note_final(Segment("cancelled"))
    vendor.cancel_utterance(1)
    vendor.cancel_utterance(1)
    vendor.start_utterance(2, 32_000)
    vendor.end_utterance(2, 48_000)
    vendor.note_finished()
    assert vendor.events[-1] == Final("", 2, 32_000, 48_000)
    await vendor.close()


@in_virtual_time
async def test_vendors_clock_is_translated_across_gaps_of_the_sound() -> None:
    vendor = Vendor()
    push(vendor, 10, 12)
    push(vendor, 60, 61)
    assert vendor.sent == 48_000
    assert vendor.to_sample(0) == 160_000 and vendor.to_sample(31_999) == 191_999
    assert vendor.to_sample(32_000) == 960_000 and vendor.to_sample(40_000) == 968_000
    await vendor.close()


@in_virtual_time
async def test_lost_connection_is_told_once_and_nothing_comes_after() -> None:
    vendor = Vendor()
    vendor.start_utterance(1, 0)
    vendor.end_utterance(1, 16_000)
    error = ProviderError("vendor", "gone", retryable=True)
    vendor.fail(error)
    vendor.fail(error)
    vendor.note_finished()
    vendor.note_final(Segment("late"))
    vendor.push_audio(bytes(640), 0)
    vendor.end_utterance(2, 20_000)
    await asyncio.sleep(10)
    assert vendor.events == [Failed(error)] and vendor.sent == 0
    await vendor.close()


@in_virtual_time
async def test_turn_events_of_the_vendor_go_through() -> None:
    vendor = Vendor()
    vendor.note_turn(TurnChange.EAGER_END, 16_000, text="yes", confidence=0.6)
    assert vendor.events == [TurnEvent(TurnChange.EAGER_END, 16_000, "yes", 0.6)]
    await vendor.close()


STEPS = st.lists(st.sampled_from(["start", "end", "cancel", "interim", "final", "finished", "wait", "timeless"]), max_size=40)


@searching(70)
@given(STEPS, st.booleans())
def test_every_end_has_one_final_in_any_order_of_events(steps: list[str], acknowledges: bool) -> None:
    async def story() -> None:
        vendor = Vendor(acknowledges=acknowledges)
        index, at, open_index, ended, cancelled = 0, 0, None, set(), set()
        for step in steps:
            at += 4_000
            if step == "start" and open_index is None:
                index += 1
                open_index = index
                vendor.start_utterance(index, at)
            elif step == "end" and open_index is not None:
                vendor.end_utterance(open_index, at)
                ended.add(open_index)
                open_index = None
            elif step == "cancel" and open_index is not None:
                vendor.cancel_utterance(open_index)
                open_index = None
            elif step == "interim":
                vendor.note_interim(Segment("i", at - 4_000, at))
            elif step == "final":
                vendor.note_final(Segment("f", at - 4_000, at))
            elif step == "timeless":
                vendor.note_final(Segment("t"))
            elif step == "finished":
                vendor.note_finished()
            elif step == "wait":
                await asyncio.sleep(0.5)
        await asyncio.sleep(5)
        finals = [event.index for event in vendor.events if isinstance(event, Final)]
        assert sorted(finals) == sorted(ended - cancelled) and finals == sorted(finals)
        await vendor.close()

    run_virtually(story())
