"""Options, variables, headers and commands as they reach a running call."""

from __future__ import annotations

from typing import Any

from calls_kit import a_call

from active_call.contract import commands, events
from active_call.contract.options import CallOption, VadOption
from active_call.legs.events import LegTransferProgress

PLAYBOOK = """---
llm: {provider: script}
greeting: Hello.
vad: {voiceThreshold: 0.3}
sip:
  hangupHeaders:
    X-Outcome: "{{ outcome | default('none', true) }}"
---
# Scene: main

## my town
You live in {{ town }}.

## an operator
I connect you. <refer to="sip:operator@example.com"/>

## goodbye
Bye. <hangup/>
"""


def test_call_wins_over_playbook_over_server(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK, defaults=CallOption(vad=VadOption(voice_threshold=0.7, silence_padding=200))) as call:
            await call.until(lambda: bool(call.of(events.TrackEnd)))
            assert call.session.state.option.vad == VadOption(voice_threshold=0.3, silence_padding=200)
        own = CallOption(vad=VadOption(voice_threshold=0.9))
        async with a_call(PLAYBOOK, option=own, defaults=CallOption(vad=VadOption(voice_threshold=0.7))) as call:
            await call.until(lambda: bool(call.of(events.TrackEnd)))
            assert call.session.state.option.vad is not None
            assert call.session.state.option.vad.voice_threshold == 0.9

    virtually(story())


def test_variable_set_from_outside_is_spoken_and_sent_in_the_bye(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK) as call:
            await call.until(lambda: bool(call.of(events.TrackEnd)))
            call.session.post(commands.SetVar(key="town", value="Whitby"))
            call.session.post(commands.SetVar(key="outcome", value="sold"))
            await call.says("my town")
            await call.until(lambda: len(call.of(events.TrackEnd)) == 2)
            assert call.spoken[-1] == "You live in Whitby."
            call.session.post(commands.Hangup(reason="done", initiator="operator", headers={"X-By": "operator"}))
            record = await call.over()
            assert call.leg.hangup_headers == {"X-Outcome": "sold", "X-By": "operator"}
            assert record.variables["town"] == "Whitby"

    virtually(story())


def test_transfer_that_fails_gives_the_caller_back_to_the_agent(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK) as call:
            await call.until(lambda: bool(call.of(events.TrackEnd)))
            await call.says("an operator")
            await call.until(lambda: bool(call.leg.referred_to))
            assert call.leg.referred_to == ["sip:operator@example.com"]
            call.leg.sink(LegTransferProgress(180, "Ringing", final=False))
            call.leg.sink(LegTransferProgress(486, "Busy Here", final=True))
            await call.until(lambda: len(call.of(events.Transfer)) == 3)
            assert [(event.state, event.code) for event in call.of(events.Transfer)] == [
                ("referring", None),
                ("progress", 180),
                ("failed", 486),
            ]
            await call.quiet()
            await call.says("goodbye")
            record = await call.over()
            assert record.hangup_by == "agent"
            assert call.spoken[-1] == "Bye."

    virtually(story())


def test_transfer_that_succeeds_ends_the_call_at_once(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK) as call:
            await call.until(lambda: bool(call.of(events.TrackEnd)))
            await call.says("an operator")
            await call.until(lambda: bool(call.leg.referred_to))
            call.leg.sink(LegTransferProgress(200, "OK", final=True))
            record = await call.over()
            assert (record.hangup_reason, record.hangup_by, record.status) == ("transferred", "agent", "answered")
            assert call.leg.hangup_headers == {"X-Outcome": "none"}

    virtually(story())


def test_record_says_which_engines_the_call_used_and_why(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK) as call:
            await call.until(lambda: bool(call.of(events.TrackEnd)))
            call.session.post(commands.Hangup())
            record = await call.over()
            assert record.engines == {"asr": {"provider": "fake", "reason": "a test"}, "tts": {"provider": "fake", "reason": "a test"}}

    virtually(story())
