"""Stories of whole calls with a scripted playbook."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from calls_kit import Always, Engines, Voice, a_call, fault_in

from active_call.call.opening.routing import Refused
from active_call.contract import commands, events
from active_call.contract.options import CallOption, RecorderOption
from active_call.testing.fakes.call import FakeLeg

PLAYBOOK = """---
llm:
  provider: script
  greeting: Welcome to Harbour Street Bakery.
---
# Scene: main

## opening hours | when are you open
We are open from nine to five. From Monday to Friday, and on Saturday until noon.

## goodbye
Thank you for calling. Goodbye. <hangup/>

## *
Sorry, I did not understand.

<dtmf digit="2" action="goto" scene="news"/>

# Scene: news
Here is the news of the week in full length, and it takes a while to read. There is bread. There are rolls.

## goodbye
Bye. <hangup/>
"""


class AskedEngines(Engines):
    """Notes whether a voice was asked for, as the preparation of a call does."""

    is_asked = False

    def get_synthesiser(self, option: object, trust: object = None) -> Voice:
        self.is_asked = True
        return super().get_synthesiser(option, trust)


@pytest.mark.parametrize("direction", ["inbound", "outbound"])
def test_engines_begin_to_load_before_the_call_is_answered(virtually: Any, direction: str) -> None:
    async def story() -> None:
        leg = FakeLeg()
        answered: list[bool] = []
        async with a_call(PLAYBOOK, leg=leg, direction=direction, load_engines=lambda: answered.append(leg.answered)) as call:
            await call.until(lambda: bool(call.of(events.Answer)))
        assert answered == [False]

    virtually(story())


def test_other_input_is_handled_between_ringing_preparing_and_answering(virtually: Any) -> None:
    """Nothing that a set-up waits for may lie between them, and each takes a millisecond: a refusal must not wait for all."""
    leg, engines, seen = FakeLeg(), AskedEngines(), set[str]()

    def note() -> None:
        if leg.rings and not leg.answered:
            seen.add("prepared" if engines.is_asked else "rung")

    async def story() -> None:
        async with a_call(PLAYBOOK, leg=leg, engines=engines, before_step=note) as call:
            await call.until(lambda: leg.answered)

    virtually(story())
    assert seen == {"rung", "prepared"}


def test_other_input_is_handled_before_an_ended_call_is_closed_and_before_its_record_is_written(virtually: Any) -> None:
    """Many calls may end in one pass of the loop, and closing one takes some milliseconds."""
    leg, seen = FakeLeg(), list[str]()

    async def story() -> None:
        async with a_call(PLAYBOOK, leg=leg, before_step=lambda: seen.append("released" if leg.released else "ended")) as call:
            await call.until(lambda: leg.answered)
            seen.clear()
            leg.end("remote_bye", "caller")
            await call.over()

    virtually(story())
    assert seen == ["ended", "ended", "released"]  # the event itself, the closing, the record


def test_call_that_is_refused_loads_no_engine(virtually: Any) -> None:
    async def story() -> None:
        loads: list[None] = []
        router = Always(lambda _: Refused(603, "no"))
        async with a_call(PLAYBOOK, router=router, load_engines=lambda: loads.append(None)) as call:
            await call.over()
        assert loads == []

    virtually(story())


def test_call_greets_answers_and_hangs_up(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK) as call:
            await call.until(lambda: bool(call.of(events.TrackEnd)))
            assert call.spoken == ["Welcome to Harbour Street Bakery."]
            assert call.recogniser.expected[:2] == ("opening hours", "when are you open")
            await call.says("opening hours")
            await call.until(lambda: len(call.of(events.TrackEnd)) == 2)
            assert " ".join(call.spoken[1:]) == "We are open from nine to five. From Monday to Friday, and on Saturday until noon."
            await call.says("goodbye")
            record = await call.over()
            assert call.spoken[-1].endswith("Goodbye.")
            assert (record.status, record.hangup_by, record.error) == ("answered", "agent", None)
            assert [(turn.speaker, turn.text) for turn in record.turns] == [
                ("agent", "Welcome to Harbour Street Bakery."),
                ("caller", "opening hours"),
                ("agent", "We are open from nine to five. From Monday to Friday, and on Saturday until noon."),
                ("caller", "goodbye"),
                ("agent", "Thank you for calling. Goodbye."),
            ]
            assert call.leg.released
            assert call.recogniser.closed == 1

    virtually(story())


def test_goodbye_is_heard_before_the_line_is_cut(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK) as call:
            await call.until(lambda: bool(call.of(events.TrackEnd)))
            await call.says("goodbye")
            record = await call.over()
            last = call.of(events.TrackEnd)[-1]
            expected_ms = len("Thank you for calling. Goodbye.") * 60
            assert abs(last.duration - expected_ms) <= 120
            assert (record.end_time - record.start_time).total_seconds() * 1000 > expected_ms

    virtually(story())


def test_interruption_stops_the_agent_and_only_the_heard_words_stay(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK) as call:
            await call.until(lambda: bool(call.of(events.TrackEnd)))
            call.leg.press("2")
            await call.until(lambda: len(call.of(events.TrackStart)) == 2)
            await asyncio.sleep(2.0)
            await call.says("goodbye")
            await call.until(lambda: bool(call.of(events.Interruption)))
            (cut,) = call.of(events.Interruption)
            assert 2.0 <= cut.current / 1000 <= 2.3
            assert cut.subtitle.startswith("Here is the news of the week")
            assert "length" not in cut.subtitle
            record = await call.over()
            heard = [turn for turn in record.turns if turn.interrupted]
            assert [turn.text for turn in heard] == [cut.subtitle]
            assert record.turns[-1].text == "Bye."

    virtually(story())


def test_unknown_words_reach_the_fallback(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK) as call:
            await call.until(lambda: bool(call.of(events.TrackEnd)))
            await call.says("purple elephants")
            await call.until(lambda: len(call.of(events.TrackEnd)) == 2)
            assert call.spoken[-1] == "Sorry, I did not understand."
            await call.says("")
            await call.until(lambda: len(call.of(events.TrackEnd)) == 3)
            assert call.spoken[-1] == "Sorry, I did not understand."

    virtually(story())


def test_caller_who_hangs_up_while_the_agent_speaks_leaves_nothing_behind(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK) as call:
            await call.until(lambda: bool(call.of(events.TrackStart)))
            call.leg.end("caller", "remote_bye")
            record = await call.over()
            assert (record.hangup_by, record.hangup_reason, record.status) == ("caller", "remote_bye", "answered")
            assert call.leg.stream is not None
            assert call.leg.stream.closed
            await asyncio.sleep(1)
            assert [task.get_name() for task in asyncio.all_tasks() if "s.test" in task.get_name()] == []

    virtually(story())


def test_every_turn_has_a_latency_trace_that_adds_up(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK) as call:
            await call.until(lambda: bool(call.of(events.TrackEnd)))
            await call.says("opening hours")
            await call.until(lambda: len(call.of(events.TrackEnd)) == 2)
            (turn,) = call.of(events.Turn)
            assert turn.end_of_turn_wait is not None
            assert abs(turn.end_of_turn_wait - 350) < 5, "a recogniser without partials is asked for its text after 350 ms"
            assert abs(turn.recognition - 50) < 5
            assert abs(turn.synthesis - 30) < 5
            assert turn.added < 60
            whole = turn.end_of_turn_wait + turn.recognition + turn.synthesis + turn.added
            assert abs(turn.latency - whole) < 1
            assert [wait.owner for wait in turn.waits] == ["turn", "recogniser", "synthesiser", "server"]
            assert abs(sum(wait.duration for wait in turn.waits) - turn.latency) < 1
            assert turn.marks["recogniserAsked"] < turn.marks["finalWords"] <= turn.marks["turnDecided"] <= turn.marks["firstPacket"]

    virtually(story())


def test_commands_from_outside_work_on_a_running_call(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK) as call:
            await call.until(lambda: bool(call.of(events.TrackEnd)))
            call.session.post(commands.Tts(text="A word from our sponsor.", play_id="ad"))
            await call.until(lambda: any(event.play_id == "ad" for event in call.of(events.TrackEnd)))
            call.session.post(commands.Dtmf(digits="12#"))
            call.session.post(commands.Bridge(target_session_id="other"))
            await asyncio.sleep(0.1)
            assert call.leg.stream is not None
            assert call.leg.stream.digits_sent == "12#"
            assert fault_in(call.of(events.Error)[-1]) == ("bridge", "there is no call 'other'")
            call.session.post(commands.Hangup(reason="enough", initiator="operator", headers={"X-Why": "test"}))
            record = await call.over()
            assert (record.hangup_by, record.hangup_reason) == ("operator", "enough")
            assert call.leg.hangup_headers == {"X-Why": "test"}

    virtually(story())


def test_recording_is_complete_before_the_record_is_written(virtually: Any) -> None:
    async def story() -> None:
        option = CallOption(recorder=RecorderOption(recorder_file="/tmp/{id}.wav"))
        async with a_call(PLAYBOOK, option=option) as call:
            await call.until(lambda: bool(call.of(events.TrackEnd)))
            await call.says("goodbye")
            record = await call.over()
            assert (record.recording, record.recording_ms) == ("/tmp/s.test.wav", 1000)

    virtually(story())


@pytest.mark.parametrize("name", ["/etc/cron.d/x.wav", "../x.wav"])
def test_recording_that_would_leave_its_folder_is_an_error_and_the_call_goes_on(virtually: Any, name: str) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK, option=CallOption(recorder=RecorderOption(recorder_file=name))) as call:
            await call.until(lambda: bool(call.of(events.TrackEnd)))
            assert "recordings folder" in call.of(events.Error)[0].error
            await call.says("goodbye")
            assert (await call.over()).recording is None

    virtually(story())


@pytest.mark.parametrize(
    "command",
    [commands.Dtmf(digits="1", duration=3_000_000), commands.Interrupt(fade_out_ms=10**13), commands.Hangup(headers={"X": "a\r\nb"})],
)
def test_command_out_of_bounds_from_inside_is_an_error_and_the_call_goes_on(virtually: Any, command: Any) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK) as call:
            call.session.post(command)
            await call.until(lambda: bool(call.of(events.Error)))
            await call.says("goodbye")
            assert (await call.over()).status == "answered"

    virtually(story())
