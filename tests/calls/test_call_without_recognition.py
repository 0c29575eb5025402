"""A call in which nothing is recognised: voices are told, words are not, and no recogniser is opened."""

from __future__ import annotations

import asyncio

from calls_kit import a_call

from active_call.contract import commands, events
from active_call.contract.options import NO_RECOGNISER, AsrOption, CallOption
from active_call.testing.virtual_time import run_virtually


def test_call_that_wants_no_recogniser_has_none_and_tells_voices_all_the_same() -> None:
    async def story() -> None:
        async with a_call(None) as call:
            await call.until(lambda: bool(call.of(events.Incoming)))
            call.session.perform(commands.Accept(option=CallOption(asr=AsrOption(provider=NO_RECOGNISER))))
            await call.until(lambda: bool(call.of(events.MediaReady)))
            call.session.perform(commands.Tts(text="Hello.", play_id="1"))
            await call.until(lambda: bool(call.of(events.TrackEnd)))
            await call.says("opening hours")
            await asyncio.sleep(2)
            assert [len(call.of(kind)) for kind in (events.Speaking, events.Silence, events.Eou)] == [1, 1, 1]
            assert not call.of(events.AsrFinal) and not call.of(events.Error)
            assert call.recogniser.will_hear == ["opening hours"]  # it was never asked
            call.session.perform(commands.Hangup(reason="done"))
            await call.over()
        assert call.recogniser.closed == 0

    run_virtually(story())


def test_call_that_names_no_recogniser_has_the_servers() -> None:
    async def story() -> None:
        async with a_call(None) as call:
            await call.until(lambda: bool(call.of(events.Incoming)))
            call.session.perform(commands.Accept())
            await call.until(lambda: bool(call.of(events.MediaReady)))
            await call.says("opening hours")
            await call.until(lambda: bool(call.of(events.AsrFinal)))
            assert call.of(events.AsrFinal)[0].text == "opening hours"

    run_virtually(story())
