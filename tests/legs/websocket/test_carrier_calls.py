"""Conversations over the media streams of carriers, from the start to the end, in virtual time."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from stream_call import StreamCall, stream_call

from active_call.contract import commands, events
from active_call.media.link import messages as link
from active_call.testing.media_streams import STREAMS, TwilioStream


@pytest.mark.parametrize("name", STREAMS)
def test_conversation_over_a_carriers_stream_to_the_last_word(name: str, tmp_path: Path) -> None:
    async def story(call: StreamCall) -> None:
        await call.caller.hears("Welcome to the bakery.")
        await call.says("a loaf please")
        await call.caller.hears("rye and wheat")
        call.carrier.press("5")
        await call.says("bye")
        await call.caller.hears("Goodbye then.")

    result, call = stream_call(name, story, tmp_path, buffer_s=0.3)
    assert result.ended_by == "agent" and call.is_closed
    assert [event.digit for event in result.events if isinstance(event, events.Dtmf)] == ["5"]
    assert len(call.pool.stream.fed) == 2 * call.carrier.bytes_per_s  # two seconds were said, as the carrier encodes them
    spoken_s = sum(event.duration or 0 for event in result.events if isinstance(event, events.TrackEnd)) / 1000
    heard_s = len(call.carrier.heard) / call.carrier.bytes_per_s
    assert spoken_s <= heard_s <= spoken_s + 2.0  # all of it was played before the stream was closed
    assert call.carrier.dropped == 0 and call.carrier.n_clears == 0
    assert (result.record.direction, result.record.call_id) == ("inbound", call.leg.call_id)


def test_caller_who_speaks_over_the_agent_is_let_in_and_the_buffer_is_cleared(tmp_path: Path) -> None:
    async def story(call: StreamCall) -> None:
        await call.caller.hears("Welcome")
        await call.says("a loaf please")
        await asyncio.sleep(2.5)
        await call.says("bye", 1.5)
        await call.caller.hears("Goodbye")

    result, call = stream_call("twilio", story, tmp_path, buffer_s=0.4)
    cut = [event for event in result.events if isinstance(event, events.Interruption)]
    assert len(cut) == 1
    assert call.carrier.n_clears == 1
    assert cut[0].current < cut[0].total_duration


def test_less_was_heard_by_what_the_carrier_had_still_to_play(tmp_path: Path) -> None:
    """Cut at once, after so much sound that a mark has come back."""
    heard_ms = {}
    for buffer_s in (0.0, 0.4):

        async def story(call: StreamCall, buffer_s: float = buffer_s) -> None:
            await call.caller.hears("Welcome")
            await call.says("a loaf please")
            while not any(isinstance(event, events.TrackStart) and event.play_id == "r2" for event in call.caller.events):
                await asyncio.sleep(0.01)
            await asyncio.sleep(2.0)
            call.handle.send(commands.Interrupt())
            await asyncio.sleep(0.2)
            heard_ms[buffer_s] = next(event.current for event in call.caller.events if isinstance(event, events.Interruption))
            call.leg.leave("done")

        _, call = stream_call("twilio", story, tmp_path, buffer_s=buffer_s)
        assert call.carrier.dropped == pytest.approx(8000 * buffer_s, abs=320)
    assert heard_ms[0.0] - heard_ms[0.4] == pytest.approx(400, abs=60)


def test_end_of_a_play_is_told_when_the_carrier_has_played_it(tmp_path: Path) -> None:
    ends: dict[float, float] = {}
    for buffer_s in (0.0, 1.0):

        async def story(call: StreamCall, buffer_s: float = buffer_s) -> None:
            while not any(isinstance(event, events.TrackEnd) for event in call.caller.events):
                await asyncio.sleep(0.01)
            ends[buffer_s] = asyncio.get_running_loop().time()
            call.leg.leave("done")

        stream_call("twilio", story, tmp_path, buffer_s=buffer_s)
    assert ends[1.0] - ends[0.0] == pytest.approx(1.0, abs=0.1)


def test_carrier_that_returns_no_marks_holds_up_only_the_first_end(tmp_path: Path) -> None:
    async def story(call: StreamCall) -> None:
        call.carrier._queue_mark = lambda name: None  # type: ignore[method-assign]
        await call.caller.hears("Welcome")
        before = asyncio.get_running_loop().time()
        await call.says("bye")
        await call.caller.hears("Goodbye")
        await call.caller.is_over()
        assert asyncio.get_running_loop().time() - before < 5.0

    result, _ = stream_call("twilio", story, tmp_path)
    assert result.ended_by == "agent"


def test_silence_is_not_sent(tmp_path: Path) -> None:
    async def story(call: StreamCall) -> None:
        await call.caller.hears("Welcome")
        await asyncio.sleep(0.5)
        n_bytes = len(call.carrier.heard)
        await asyncio.sleep(3)
        assert len(call.carrier.heard) == n_bytes
        call.leg.leave("done")

    stream_call("twilio", story, tmp_path)


def test_sound_that_the_media_process_cannot_decode_is_counted_and_the_call_goes_on(tmp_path: Path) -> None:
    async def story(call: StreamCall) -> None:
        await call.caller.hears("Welcome")
        for _ in range(3):
            call.leg._report(link.OrderRefused(1, "FeedAudio", "not a packet"))
        await call.says("bye")
        await call.caller.hears("Goodbye")

    result, call = stream_call("telnyx", story, tmp_path)
    assert (result.ended_by, call.leg.n_bad) == ("agent", 3)
    assert not [event for event in result.events if isinstance(event, events.Error)]


def test_values_of_the_call_flow_become_variables_and_the_stop_ends_the_call(tmp_path: Path) -> None:
    book = "---\nllm: {provider: script, greeting: 'Hello {{ name }}.'}\n---\n# Scene: main\n## x\nX.\n"

    async def story(call: StreamCall) -> None:
        await call.caller.hears("Hello Ada.")
        assert isinstance(call.carrier, TwilioStream)
        call.carrier.stop()

    result, call = stream_call("twilio", story, tmp_path, parameters={"name": "Ada"}, book=book)
    assert (result.ended_by, call.is_closed) == ("caller", True)
