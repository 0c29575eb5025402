"""What goes wrong in a call ends in a known state, with a record that says why."""

from __future__ import annotations

from typing import Any

from calls_kit import Always, a_call
from test_scripted_calls import PLAYBOOK

from active_call.agent.wording import ENGLISH
from active_call.base.errors import ActiveCallError, ProviderError
from active_call.call.opening.routing import LeftOpen, Refused
from active_call.contract import commands, events
from active_call.contract.options import CallOption, RecorderOption
from active_call.legs.events import LegMedia
from active_call.media.link import messages as link
from active_call.media.pool.pool import StreamLost
from active_call.testing.fakes.call import FakeLeg

MODEL = """---
llm: {provider: openai, model: test, greeting: Hello.}
---
You are a polite test.
"""


def test_refusal_reaches_the_caller_with_its_code(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(None, router=Always(lambda _: Refused(404, "No playbook for this call"))) as call:
            record = await call.over()
            assert call.leg.rejected == (404, "No playbook for this call")
            assert (record.status, record.sip_code, record.answer_time) == ("rejected", 404, None)

    virtually(story())


def test_handler_that_raises_is_a_500_and_an_error_in_the_record(virtually: Any) -> None:
    def broken(_: object) -> Any:
        raise KeyError("oops")

    async def story() -> None:
        async with a_call(None, router=Always(broken)) as call:
            record = await call.over()
            assert call.leg.rejected is not None
            assert call.leg.rejected[0] == 500
            assert record.status == "failed"
            assert "oops" in (record.error or "")

    virtually(story())


def test_handler_that_cannot_decide_is_a_480(virtually: Any) -> None:
    def unwilling(_: object) -> Any:
        raise ActiveCallError("the playbook is gone")

    async def story() -> None:
        async with a_call(None, router=Always(unwilling)) as call:
            record = await call.over()
            assert call.leg.rejected is not None
            assert call.leg.rejected[0] == 480
            assert record.error == "the playbook is gone"

    virtually(story())


def test_nobody_accepts_within_the_time_is_a_408(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(None, router=Always(lambda _: LeftOpen())) as call:
            record = await call.over()
            assert call.leg.rejected == (408, "Request Timeout")
            assert "60 s" in (record.error or "")

    virtually(story())


def test_call_left_open_is_taken_by_a_command(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(None, router=Always(lambda _: LeftOpen())) as call:
            await call.until(lambda: bool(call.of(events.Ringing)))
            call.session.post(commands.Accept())
            await call.until(lambda: bool(call.of(events.MediaReady)))
            call.session.post(commands.Tts(text="Hello.", play_id="a", auto_hangup=True))
            record = await call.over()
            assert record.status == "answered"
            assert record.hangup_reason == "autohangup"

    virtually(story())


def test_media_process_that_dies_ends_the_call_with_a_reason(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK) as call:
            await call.until(lambda: bool(call.of(events.TrackStart)))
            call.leg.sink(LegMedia(StreamLost(1, "killed")))
            record = await call.over()
            assert (record.status, record.hangup_reason, record.hangup_by) == ("failed", "media_lost", "system")
            assert record.error == "media process lost: killed"

    virtually(story())


def test_caller_who_vanishes_is_noticed(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK) as call:
            await call.until(lambda: bool(call.of(events.TrackStart)))
            call.leg.sink(LegMedia(link.StreamDead(1, 20.0)))
            record = await call.over()
            assert [event.timeout for event in call.of(events.RtpTimeout)] == [20]
            assert (record.hangup_reason, record.error) == ("rtp_timeout", "no media from the peer for 20 s")

    virtually(story())


def test_voice_that_fails_leaves_the_call_alive(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK) as call:
            call.engines.voice.fails = True
            await call.until(lambda: bool(call.of(events.Error)))
            call.engines.voice.fails = False
            await call.quiet()
            await call.says("opening hours")
            await call.until(lambda: "We are open from nine to five." in " ".join(call.spoken))

    virtually(story())


def test_ear_that_fails_has_lost_words_that_are_asked_for_again(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK) as call:
            await call.until(lambda: bool(call.of(events.TrackEnd)))
            call.recogniser.will_hear.append(ProviderError("recogniser", "out of order"))
            await call.leg.speak()
            await call.until(lambda: ENGLISH.not_heard in call.spoken)

    virtually(story())


def test_model_that_fails_is_apologised_for(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(MODEL) as call:
            await call.until(lambda: bool(call.of(events.TrackEnd)))
            call.engines.model.will_say = [ProviderError("model", "brown-out"), "All is well again."]
            await call.says("are you there?")
            await call.until(lambda: len(call.of(events.TrackEnd)) == 2)
            assert "sorry" in " ".join(call.spoken[1:])
            await call.says("are you there?")
            await call.until(lambda: "All is well again." in call.spoken)

    virtually(story())


def test_outbound_call_that_is_busy_has_its_code_in_the_record(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK, leg=FakeLeg(answers=False), direction="outbound") as call:
            record = await call.over()
            assert (record.status, record.sip_code, record.hangup_by, record.direction) == ("rejected", 486, "callee", "outbound")
            assert call.spoken == []

    virtually(story())


def test_outbound_call_speaks_only_when_answered(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK, direction="outbound") as call:
            await call.until(lambda: bool(call.of(events.TrackStart)))
            kinds = [type(event).__name__ for event in call.events]
            assert kinds.index("Ringing") < kinds.index("Answer") < kinds.index("MediaReady") < kinds.index("TrackStart")

    virtually(story())


def test_inactivity_ends_the_call(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK, option=CallOption(inactivity_timeout=30)) as call:
            record = await call.over()
            assert record.hangup_reason == "inactivity"
            assert len(call.of(events.Inactivity)) == 1

    virtually(story())


def test_recording_that_a_full_disk_cuts_short_is_told_in_event_record_and_health(virtually: Any) -> None:
    async def story() -> None:
        option = CallOption(recorder=RecorderOption(recorder_file="/tmp/{id}.wav"))
        async with a_call(PLAYBOOK, option=option) as call:
            await call.quiet()
            full = "/tmp/s.test.wav: No space left on device"
            call.leg.sink(LegMedia(link.RecordingEnded(1, "/tmp/s.test.wav", 1500, full)))
            await call.until(lambda: any(error.sender == "recorder" for error in call.of(events.Error)))
            (trouble,) = call.dependencies.troubles.current()
            assert (trouble["part"], trouble["reason"]) == ("recordings", full)
            call.session.post(commands.Hangup())
            record = await call.over()
            assert (record.recording_ms, record.recording_error) == (1500, full)
            assert record.status == "answered"
            assert [known.session_id for known in call.records.updated]  # the answer was written down when it came

    virtually(story())
