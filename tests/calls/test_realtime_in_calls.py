"""Whole calls held by a speech-to-speech model: sound in, items out, truncation, tools, barge-in, the end, and the record."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from calls_kit import Call, Engines, Network, a_call, assert_sounds_as_said

from active_call.base.errors import ConfigError, ProviderError
from active_call.base.world import World
from active_call.contract import commands, events
from active_call.legs.events import LegDigit, LegMedia
from active_call.media.link.messages import CallerAudio
from active_call.providers.chat import Usage
from active_call.providers.guarding.guarded_realtime import GuardedRealtimeModel
from active_call.providers.realtime_model import RealtimeCapabilities, RealtimeFailed, ReplyDone, Transcript, UserTurn
from active_call.testing.fakes.call import FakeLeg
from active_call.testing.fakes.realtime import MS_PER_CHAR, RATE_HZ, FakeRealtimeModel

PLAYBOOK = """---
realtime: {provider: fake, voice: alloy}
llm: {functions: true}
greeting: Good day.
---
You sell flowers.
"""
GREETING = "Good day, this is the flower shop."
LONG = "We have roses and tulips and lilies and daisies, and all of them are fresh from this morning."


class RealtimeEngines(Engines):
    """Engines of a test with a realtime model, whose options are kept."""

    def __init__(self, model: FakeRealtimeModel) -> None:
        super().__init__()
        self.realtime, self.asked = model, []
        self.recognisers = 0

    def get_realtime(self, option: Any, trust: object = None) -> FakeRealtimeModel:
        self.asked.append(option)
        return self.realtime

    def get_recogniser(self, _: object, trust: object = None) -> Any:
        self.recognisers += 1
        return super().get_recogniser(_, trust)


@asynccontextmanager
async def realtime_call(*script: str, playbook: str = PLAYBOOK, turn_events: bool = True) -> AsyncIterator[tuple[Call, FakeRealtimeModel]]:
    model = FakeRealtimeModel(script)
    model.capabilities = RealtimeCapabilities(RATE_HZ, RATE_HZ, tools=True, turn_events=turn_events, transcripts=True, truncates=True)
    async with a_call(playbook, engines=RealtimeEngines(model)) as call:
        yield call, model


def stream_of(model: FakeRealtimeModel) -> Any:
    (stream,) = model.conversations
    return stream


async def heard(call: Call, n_items: int = 1) -> None:
    """Until the caller has heard so many items to their end."""
    await call.until(lambda: len(call.of(events.TrackEnd)) >= n_items)


async def says(model: FakeRealtimeModel, text: str) -> None:
    """The model notices that the caller says `text`, and answers with the next of its script."""
    stream = stream_of(model)
    stream._report(UserTurn(True, 0))
    await asyncio.sleep(1)
    stream._report(UserTurn(False, 1000))
    stream._report(Transcript("said", "user", text, True))
    stream.request_reply()


def turns_of(record: Any) -> list[tuple[str, str]]:
    return [(turn.speaker, turn.text) for turn in record.turns]


def test_call_is_greeted_heard_and_answered_by_the_model_and_its_record_has_the_turns(virtually: Any) -> None:
    async def story() -> None:
        async with realtime_call(GREETING, "We are open until six.") as (call, model):
            await heard(call)
            stream = stream_of(model)
            assert (stream.session.instructions.partition("\n")[0], stream.session.voice, stream.session.detects_turns) == (
                "You sell flowers.",
                "alloy",
                True,
            )
            assert "hangup_call" in [tool.name for tool in stream.session.tools]
            call.leg.sink(LegMedia(CallerAudio(1, 0, b"\1\0" * 1600)))
            await asyncio.sleep(0.01)
            assert stream.pushed_samples == pytest.approx(2400, abs=400)  # a tenth of a second, at the model's rate
            await says(model, "When do you close?")
            await heard(call, 2)
            call.leg.end("caller", "remote_bye")
            record = await call.over()
            assert turns_of(record) == [("agent", GREETING), ("caller", "When do you close?"), ("agent", "We are open until six.")]
            assert (record.status, record.error, record.media.get("utterances_lost")) == ("answered", None, None)
            assert record.engines == {"realtime": {"provider": "fake", "reason": "realtime.provider"}}
            (final,) = call.of(events.AsrFinal)
            assert final.text == "When do you close?"
            assert final.start_time is not None and final.end_time is not None and final.start_time <= final.end_time == final.timestamp
            assert stream.is_closed
            assert call.engines.recognisers == 0  # type: ignore[attr-defined]
            assert call.spoken == []

    virtually(story())


def test_sound_of_an_item_is_played_at_the_rate_of_the_call(virtually: Any) -> None:
    async def story() -> None:
        async with realtime_call(GREETING) as (call, _):
            await heard(call)
            (end,) = call.of(events.TrackEnd)
            assert end.duration == pytest.approx(len(GREETING) * MS_PER_CHAR, abs=60)

    virtually(story())


def test_barge_in_truncates_the_item_in_the_model_and_in_the_record(virtually: Any) -> None:
    async def story() -> None:
        async with realtime_call(GREETING, LONG, "Only roses.") as (call, model):
            await heard(call)
            await says(model, "What do you have?")
            await call.until(lambda: len(call.of(events.TrackStart)) == 2)
            await asyncio.sleep(1.0)
            await says(model, "Just the red ones.")
            await call.until(lambda: bool(call.of(events.Interruption)))
            (cut,) = call.of(events.Interruption)
            await heard(call, 2)
            stream = stream_of(model)
            assert stream.truncated == {cut.play_id: cut.current}
            assert 900 <= cut.current <= 1200
            call.leg.end("caller", "remote_bye")
            texts = [text for speaker, text in turns_of(await call.over()) if speaker == "agent"]
            assert len(call.of(events.Interrupt)) == 1  # the model has heard the caller over its own words
            assert texts[0] == GREETING and texts[-1] == "Only roses."
            assert LONG.startswith(texts[1]) and 0 < len(texts[1]) < 40

    virtually(story())


def test_reply_that_is_cancelled_before_its_sound_is_never_played(virtually: Any) -> None:
    async def story() -> None:
        async with realtime_call(GREETING, LONG, "Yes.") as (call, model):
            await heard(call)
            stream = stream_of(model)
            stream._report(UserTurn(True, 0))
            stream._report(UserTurn(False, 500))
            await asyncio.sleep(0.05)
            stream.request_reply()  # the model begins by itself
            stream._report(UserTurn(True, 600))  # and the caller goes on at once
            await asyncio.sleep(1)
            stream._report(UserTurn(False, 1600))
            stream.request_reply()
            await heard(call, 2)
            await asyncio.sleep(5)
            assert not call.of(events.Interruption) or call.of(events.Interruption)[0].current < 200
            call.leg.end("caller", "remote_bye")
            assert turns_of(await call.over())[-1] == ("agent", "Yes.")

    virtually(story())


def test_tool_runs_and_the_model_speaks_about_its_result(virtually: Any) -> None:
    async def story() -> None:
        async with realtime_call(GREETING, 'call set_variable {"name": "colour", "value": "red"}', "Red it is.") as (call, model):
            await heard(call)
            await says(model, "Red, please.")
            await call.until(lambda: bool(stream_of(model).answers))
            await heard(call, 2)
            (answer,) = stream_of(model).answers.values()
            assert answer
            call.leg.end("caller", "remote_bye")
            assert turns_of(await call.over())[-1] == ("agent", "Red it is.")

    virtually(story())


def test_model_hangs_up_after_its_goodbye_was_heard(virtually: Any) -> None:
    async def story() -> None:
        async with realtime_call(GREETING, "call hangup_call") as (call, model):
            await heard(call)
            await says(model, "Goodbye.")
            record = await call.over()
            assert (record.status, record.hangup_by) == ("answered", "agent")
            assert stream_of(model).is_closed

    virtually(story())


def test_without_turn_events_the_calls_own_voice_detector_asks_for_replies(virtually: Any) -> None:
    async def story() -> None:
        async with realtime_call(GREETING, LONG, "Yes.", turn_events=False) as (call, model):
            await heard(call)
            assert not stream_of(model).session.detects_turns
            await call.leg.speak(1.0)
            await call.until(lambda: len(call.of(events.TrackStart)) == 2)
            await asyncio.sleep(0.5)
            await call.leg.speak(1.0)  # over the agent
            await call.until(lambda: bool(call.of(events.Interruption)))
            await heard(call, 2)
            call.leg.end("caller", "remote_bye")
            assert turns_of(await call.over())[-1] == ("agent", "Yes.")

    virtually(story())


def test_key_is_told_to_the_model(virtually: Any) -> None:
    async def story() -> None:
        async with realtime_call(GREETING, "One it is.") as (call, model):
            await heard(call)
            call.leg.sink(LegDigit("1"))
            await heard(call, 2)
            assert ("user", "[pressed 1]") in stream_of(model).items.values()

    virtually(story())


def test_call_on_hold_is_silent_and_no_sound_reaches_the_model(virtually: Any) -> None:
    async def story() -> None:
        async with realtime_call(GREETING, "Back again.") as (call, model):
            await heard(call)
            call.session.post(commands.Hold())
            await call.until(lambda: bool(call.of(events.Hold)))
            before = stream_of(model).pushed_samples
            call.leg.sink(LegMedia(CallerAudio(1, 0, b"\1\0" * 1600)))
            await asyncio.sleep(0.1)
            assert stream_of(model).pushed_samples == before
            call.session.post(commands.Unhold())
            await call.until(lambda: len(call.of(events.Hold)) == 2)
            assert any("back" in text for _, text in stream_of(model).items.values())

    virtually(story())


@pytest.mark.parametrize("by_peer", [True, False])
@pytest.mark.parametrize("doing", ["silent", "speaking", "thinking"])
def test_held_call_hears_music_of_ours_only_and_goes_on_where_it_stood(virtually: Any, doing: str, by_peer: bool) -> None:
    async def story() -> None:
        async with realtime_call(GREETING, LONG, "Back again.") as (call, model):
            await heard(call)
            if doing != "silent":
                await says(model, "What do you have?")
                await call.until(lambda: len(call.of(events.TrackStart)) == 2)
                await asyncio.sleep(1.0 if doing == "speaking" else 0.0)
            if by_peer:
                call.leg.put_on_hold(True)
            else:
                call.session.post(commands.Hold())
            await call.until(lambda: bool(call.of(events.Hold)))
            stream: Any = call.leg.stream
            assert (bool(stream.music), stream.paused, stream.listens) == (not by_peer, True, False)
            pushed, n_started = stream_of(model).pushed_samples, len(call.of(events.TrackStart))
            await asyncio.sleep(90)
            call.leg.sink(LegMedia(CallerAudio(1, 0, b"\1\0" * 1600)))
            assert_sounds_as_said(call)
            assert (stream_of(model).pushed_samples, len(call.of(events.TrackStart))) == (pushed, n_started)
            if by_peer:
                call.leg.put_on_hold(False)
            else:
                call.session.post(commands.Unhold())
            await call.until(lambda: len(call.of(events.Hold)) == 2)
            assert (bool(stream.music), stream.paused, stream.listens) == (False, False, True)
            n_items = 1 if doing == "silent" else 2
            await heard(call, n_items)
            await says(model, "And now?")
            await heard(call, n_items + 1)
            call.leg.end("caller", "remote_bye")
            record = await call.over()
            said = [text for speaker, text in turns_of(record) if speaker == "agent"]
            assert said == [GREETING, *([LONG] if doing != "silent" else []), "Back again." if doing != "silent" else LONG]
            assert (record.status, record.error) == ("answered", None)

    virtually(story())


def test_call_that_begins_on_hold_is_greeted_by_the_model_when_the_hold_is_over(virtually: Any) -> None:
    async def story() -> None:
        model = FakeRealtimeModel([GREETING])
        async with a_call(PLAYBOOK, engines=RealtimeEngines(model), leg=FakeLeg(begins_on_hold=True)) as call:
            await asyncio.sleep(60)
            assert not call.of(events.TrackStart)
            call.leg.put_on_hold(False)
            await heard(call)
            call.leg.end("caller", "remote_bye")
            assert turns_of(await call.over()) == [("agent", GREETING)]

    virtually(story())


def test_sound_that_nobody_asked_for_reaches_no_model(virtually: Any) -> None:
    """The media process forwards the caller's sound only where it was told to: a realtime call asks for it, without a recogniser."""

    async def story() -> None:
        async with realtime_call(GREETING) as (call, _):
            await heard(call)
            order = call.leg.stream.listen_order  # type: ignore[union-attr]
            assert (order.detect, order.forward_audio) == (True, True)
            call.session.post(commands.Hold())
            await call.until(lambda: bool(call.of(events.Hold)))
            order = call.leg.stream.listen_order  # type: ignore[union-attr]
            assert (order.detect, order.forward_audio) == (False, False)

    virtually(story())


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("way", ["bridge", "replaces", "refer"])
def test_model_hears_and_is_heard_by_whoever_is_left_when_the_call_has_changed_hands(virtually: Any, way: str, held: bool) -> None:
    async def story() -> None:
        model = FakeRealtimeModel([GREETING, *["Hello, you are back."] * 4])
        desk = FakeLeg(call_id="far", callee="sip:desk@example.com")
        network = Network([desk])
        book = PLAYBOOK.replace("greeting:", "refer: {onRequest: bridge}\ngreeting:")
        async with (
            a_call(book, engines=RealtimeEngines(model), network=network) as call,
            a_call("---\nllm: {provider: script}\n---\n## hi\nHello.\n", network=network, session_id="s.other") as other,
        ):
            await heard(call)
            await other.until(lambda: bool(other.of(events.MediaReady)))
            if held:
                call.leg.put_on_hold(True)
                await call.until(lambda: bool(call.of(events.Hold)))
            leg = call.leg
            match way:
                case "bridge":
                    other.session.post(commands.Bridge(target_session_id="s.test"))
                    await call.until(lambda: bool(call.of(events.Bridge)))
                    call.leg.put_on_hold(False)
                    await asyncio.sleep(1.0)
                    assert_sounds_as_said(call)
                    other.session.post(commands.Unbridge())
                case "replaces":
                    leg = FakeLeg(caller="sip:+15557777@example.com", call_id="new", replaces=call.leg)
                    call.session.take_over(leg)
                case _:
                    leg = desk
                    call.leg.ask_for_transfer("sip:desk@example.com")
                    await call.until(lambda: any(event.state == "connected" for event in call.of(events.Transfer)))
                    call.leg.end("caller", "remote_bye")
            await call.until(lambda: call.session.state.leg is leg and call.session.parts.attention.state.hears)
            await heard(call, 2)
            assert call.session.state.leg is leg
            assert_sounds_as_said(call)
            stream: Any = leg.stream
            assert (stream.paused, stream.music, stream.listen_order.forward_audio) == (False, b"", True)
            pushed = stream_of(model).pushed_samples
            leg.sink(LegMedia(CallerAudio(1, 0, b"\1\0" * 1600)))
            assert stream_of(model).pushed_samples > pushed
            await says(model, "Are you still there?")
            await heard(call, 3)
            leg.end("caller", "remote_bye")
            record = await call.over()
            assert (record.status, record.error) == ("answered", None)

    virtually(story())


def test_session_that_fails_ends_the_call_with_words_of_our_own_voice(virtually: Any) -> None:
    async def story() -> None:
        async with realtime_call(GREETING) as (call, model):
            await heard(call)
            stream_of(model)._report(RealtimeFailed(ProviderError("fake", "the connection is lost", retryable=False)))
            record = await call.over()
            assert call.spoken
            assert record.hangup_by == "agent"
            assert ("realtime", "fake: the connection is lost") in [(event.sender, event.error) for event in call.of(events.Error)]

    virtually(story())


def test_settings_that_the_model_does_not_take_end_the_call_in_words(virtually: Any) -> None:
    class Refusing(FakeRealtimeModel):
        def open(self, session: Any, on_event: Any) -> Any:
            raise ConfigError("realtime.voice", "no such voice")

    async def story() -> None:
        async with a_call(PLAYBOOK, engines=RealtimeEngines(Refusing())) as call:
            record = await call.over()
            assert call.spoken
            assert any("no such voice" in event.error for event in call.of(events.Error))
            assert record.status == "answered"

    virtually(story())


def test_model_that_is_not_installed_is_told_and_the_call_goes_on_without_it(virtually: Any) -> None:
    class NotInstalled(RealtimeEngines):
        def get_realtime(self, option: Any, trust: object = None) -> Any:
            raise ConfigError("realtime.provider", "unknown; known here: none")

    async def story() -> None:
        async with a_call(PLAYBOOK, engines=NotInstalled(FakeRealtimeModel())) as call:
            await heard(call)
            assert call.spoken == ["Good day."]
            (error,) = call.of(events.Error)
            assert (error.sender, "known here: none" in error.error) == ("realtime", True)

    virtually(story())


def test_playbook_without_a_realtime_model_is_a_cascade(virtually: Any) -> None:
    async def story() -> None:
        script = "---\nllm: {provider: script}\ngreeting: Welcome.\n---\n## hi\nHello.\n"
        model = FakeRealtimeModel()
        async with a_call(script, engines=RealtimeEngines(model)) as call:
            await heard(call)
            assert call.spoken == ["Welcome."]
            assert model.conversations == []

    virtually(story())


class MeteredEngines(RealtimeEngines):
    """The model behind its wall, which counts."""

    def get_realtime(self, option: Any, trust: object = None) -> Any:
        return GuardedRealtimeModel(super().get_realtime(option), World())


def test_budget_of_tokens_ends_the_session_and_the_last_sentence_is_spoken_by_the_synthesiser(virtually: Any) -> None:
    async def story() -> None:
        model = FakeRealtimeModel((GREETING, "We are open until six."))
        model.capabilities = RealtimeCapabilities(RATE_HZ, RATE_HZ, tools=True, turn_events=True, transcripts=True, truncates=True)
        book = PLAYBOOK.replace("greeting:", 'budget: {tokens: 100, say: "Time is up."}\ngreeting:')
        async with a_call(book, engines=MeteredEngines(model)) as call:
            await heard(call)
            stream = stream_of(model)
            stream._report(ReplyDone(usage=Usage(80, 40, audio_input_tokens=60, audio_output_tokens=40)))
            record = await call.over()
            assert call.spoken == ["Time is up."] and stream.is_closed and record.hangup_reason == "budget"
            (row,) = [row for row in record.usage if row["kind"] == "realtime"]
            assert row["units"]["audioOutputTokens"] >= 40 and row["units"]["audioInputTokens"] >= 60

    virtually(story())
