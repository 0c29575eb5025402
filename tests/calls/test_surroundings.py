"""What a call asks of its sound besides speech, and what it makes of the tones that it hears."""

from __future__ import annotations

from typing import Any

from calls_kit import a_call

from active_call.contract import commands, events
from active_call.contract.options import AgcOption, CallOption, RingbackDetectionOption
from active_call.legs.events import LegMedia
from active_call.media.enhance.gain import GainSettings
from active_call.media.link.messages import ToneReported

PLAYBOOK = "---\nllm: {provider: script}\ngreeting: Hello.\n---\n# Scene: main\n## *\nYes.\n"


def tone(kind: str, confidence: float = 0.9) -> LegMedia:
    return LegMedia(ToneReported(1, kind, confidence, 440.0, 250, 5.0))


def test_peer_with_telephone_events_is_not_listened_to_for_tones(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK) as call:
            await call.until(lambda: bool(call.of(events.TrackEnd)))
            assert call.leg.stream.hears_tones == (False, False)

    virtually(story())


def test_noise_and_gain_are_asked_for_as_the_options_say(virtually: Any) -> None:
    async def story() -> None:
        option = CallOption(denoise=True, agc=AgcOption(max_gain_db=20.0))
        async with a_call(PLAYBOOK, option=option) as call:
            await call.until(lambda: bool(call.of(events.TrackEnd)))
            assert call.leg.stream.improvement == (True, GainSettings(max_gain_db=20.0))

    virtually(story())


def test_tones_become_states_and_a_beep_is_an_answering_machine(virtually: Any) -> None:
    async def story() -> None:
        option = CallOption(ringback_detection=RingbackDetectionOption(enabled=True, confidence_threshold=0.6))
        async with a_call(PLAYBOOK, option=option) as call:
            await call.until(lambda: bool(call.of(events.TrackEnd)))
            assert call.leg.stream.hears_tones == (False, True)
            for report in (tone("ringback"), tone("ringback"), tone("dial", 0.3), tone("busy", 0.8), tone("beep")):
                call.leg.sink(report)
            await call.until(lambda: bool(call.of(events.AnswerMachineDetection)))
            states = call.of(events.RingbackState)
            assert [(state.state, state.state_index, state.prev_state, state.is_final) for state in states] == [
                ("ringback", 0, None, False),
                ("busy", 1, "ringback", True),
            ]
            (beep,) = call.of(events.AnswerMachineDetection)
            assert beep.end_time - beep.start_time == 250

    virtually(story())


def test_every_period_is_told_when_changes_are_not_all_that_is_wanted(virtually: Any) -> None:
    async def story() -> None:
        option = CallOption(ringback_detection=RingbackDetectionOption(enabled=True, on_state_change_only=False))
        async with a_call(PLAYBOOK, option=option) as call:
            await call.until(lambda: bool(call.of(events.TrackEnd)))
            for _ in range(3):
                call.leg.sink(tone("busy"))
            await call.until(lambda: len(call.of(events.RingbackState)) == 3)

    virtually(story())


def test_recording_is_paused_and_goes_on_by_command(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK) as call:
            await call.until(lambda: bool(call.of(events.TrackEnd)))
            call.session.post(commands.Record(action="pause"))
            await call.until(lambda: call.leg.stream.recording_is_paused)
            call.session.post(commands.Record(action="resume"))
            await call.until(lambda: not call.leg.stream.recording_is_paused)

    virtually(story())
