"""Whatever happens in whatever order to a call that is being transferred, held, muted, paused and taken over: one last word, one record,
nobody left on a line, and the leg that the call has sounds as the state of the call says.
"""

from __future__ import annotations

import asyncio
from typing import Any

from calls_kit import Network, a_call, assert_sounds_as_said
from hypothesis import given
from hypothesis import strategies as st

from active_call.contract import commands, events
from active_call.contract.options import CallOption, ReferOption
from active_call.legs.events import LegHeld, LegTransferRequested
from active_call.testing.fakes.call import FakeLeg
from active_call.testing.virtual_time import run_virtually
from searches import searching

PLAYBOOK = """---
llm: {provider: script}
greeting: Welcome.
---
## hello
Hello again.
"""
STEPS = st.one_of(
    st.tuples(st.just("refer"), st.sampled_from(["auto", "refer", "bridge"]), st.booleans()),
    st.tuples(st.just("refused"), st.sampled_from([403, 486, 603]), st.none()),
    st.tuples(st.just("told"), st.sampled_from([100, 180, 200, 404, 486]), st.booleans()),
    st.tuples(st.just("asked"), st.none(), st.none()),
    st.tuples(st.just("far ends"), st.sampled_from([404, 486, None]), st.none()),
    st.tuples(st.just("caller ends"), st.none(), st.none()),
    st.tuples(st.just("hang up far"), st.none(), st.none()),
    st.tuples(st.just("hold"), st.booleans(), st.booleans()),
    st.tuples(st.just("far holds"), st.booleans(), st.booleans()),
    st.tuples(st.just("our hold"), st.booleans(), st.booleans()),
    st.tuples(st.just("mute"), st.booleans(), st.sampled_from([None, "caller", "agent"])),
    st.tuples(st.just("pause"), st.booleans(), st.none()),
    st.tuples(st.just("record"), st.sampled_from(["start", "stop", "pause", "resume"]), st.none()),
    st.tuples(st.just("take over"), st.booleans(), st.booleans()),
    st.tuples(st.just("bridge"), st.none(), st.none()),
    st.tuples(st.just("unbridge"), st.none(), st.none()),
    st.tuples(st.just("wait"), st.sampled_from([0.05, 0.5, 2.0, 12.0]), st.none()),
)
TARGETS = st.lists(st.tuples(st.booleans(), st.booleans(), st.sampled_from([0.1, 3.0, 60.0])), min_size=12, max_size=12)


class Story:
    """A caller, another call next to it, and targets that answer or not."""

    def __init__(self, call: Any, other: Any) -> None:
        self.call, self.other = call, other
        self.successors: list[FakeLeg] = []

    def far(self) -> FakeLeg | None:
        legs = self.call.network.legs[: len(self.call.network.wanted)]
        return next((leg for leg in reversed(legs) if leg.ended is None), None)

    async def step(self, kind: str, value: Any, flag: Any) -> None:
        post, leg = self.call.session.post, self.call.leg
        match kind:
            case "refer":
                post(commands.Refer(callee="sip:a@b", options=ReferOption(mode=value, timeout=5, auto_hangup=flag)))
            case "refused":
                leg.told(value, refused=True)
            case "told":
                leg.told(value, final=flag)
            case "asked":
                leg.sink(LegTransferRequested("sip:c@d", None))
            case "far ends" if (far := self.far()) is not None:
                far.end("callee", "rejected" if value else "remote_bye", value)
            case "caller ends":
                leg.end("caller", "remote_bye")
            case "hang up far":
                post(commands.Hangup(refer=True))
            case "hold":
                self.call.session.state.leg.sink(LegHeld(value, is_silent=flag))
            case "far holds" if (far := self.far()) is not None:
                far.put_on_hold(value, is_silent=flag)
            case "our hold":
                post(commands.Hold(mode="inactive" if flag else "sendonly") if value else commands.Unhold())
            case "mute":
                post(commands.Mute(track_id=flag) if value else commands.Unmute(track_id=flag))
            case "pause":
                post(commands.Pause() if value else commands.Resume())
            case "record":
                post(commands.Record(action=value))
            case "take over":
                leg = FakeLeg(call_id="new", caller="sip:successor@example.com", replaces=self.call.session.state.leg)
                leg.begins_on_hold, leg.is_cancelled = value, flag and value
                self.successors.append(leg)
                self.call.session.take_over(leg)
            case "bridge":
                post(commands.Bridge(target_session_id="s.other"))
            case "unbridge":
                self.other.session.post(commands.Unbridge())
            case "wait":
                await asyncio.sleep(value)
            case _:
                pass
        await asyncio.sleep(0)

    async def settled(self) -> None:
        """Everything is worked off: the leg sounds as the call says."""
        await asyncio.sleep(0.3)
        if not self.call.task.done() and self.call.session.parts.own_leg.ended is None:
            assert_sounds_as_said(self.call)


@given(st.lists(STEPS, max_size=14), TARGETS)
@searching(12)
def test_any_story_ends_in_one_known_state(steps: list[Any], targets: list[Any]) -> None:
    async def story() -> None:
        legs = [
            FakeLeg(call_id=f"far-{n}", answers=answers, has_early_media=early, answers_after_s=after_s)
            for n, (answers, early, after_s) in enumerate(targets)
        ]
        network, option = Network(legs), CallOption(refer=ReferOption(on_request="bridge"))
        async with (
            a_call(PLAYBOOK, network=network, option=option) as call,
            a_call(PLAYBOOK, network=network, session_id="s.other") as other,
        ):
            await call.until(lambda: bool(call.of(events.TrackEnd)) and bool(other.of(events.TrackEnd)))
            play = Story(call, other)
            for step in steps:
                await play.step(*step)
                await play.settled()
            await asyncio.sleep(120)  # every patience has run out
            if not call.task.done():
                # Whoever is there is with the agent, or with one other party and nobody else.
                session, stream = call.session, call.session.state.leg.stream
                assert stream is not None
                far = play.far() if session.state.leg is not play.far() else None
                talking_with = {far.stream} if session.parts.transfers.is_under_way and far is not None else set()
                talking_with |= {other.leg.stream} if session.parts.bridging.current is not None else set()
                assert stream.hears == talking_with
                assert session.parts.attention.state.is_aside == bool(talking_with or session.parts.machine.now.is_on_hold)
                assert_sounds_as_said(call)
                session.post(commands.Hangup())
            record = await call.over()
            transfers = [event for event in call.events if isinstance(event, events.Transfer)]
            # Between two last words there is one transfer, and after the last one nothing.
            is_open = False
            for event in transfers:
                is_last = event.returned is not None
                is_first = event.state in ("referring", "calling") or event.target in [leg.caller for leg in play.successors]
                assert is_open or is_last or is_first
                is_open = not is_last
            assert not is_open
            assert len([event for event in transfers if event.returned is not None]) >= len(record.transfers)
            assert all(entry.get("state") in ("completed", "failed", "cancelled") for entry in record.transfers)
            # Every far leg has ended, is told as ended once unless it became the call's own, and holds nothing.
            dialled = legs[: len(network.wanted)]
            await asyncio.sleep(1)
            assert all(leg.ended is not None and leg.released for leg in dialled)
            adopted = [far for entry in record.transfers for far in entry.get("farLegs", []) if far.get("adopted")]
            hangups = [event for event in call.events if isinstance(event, events.Hangup)]
            assert len([event for event in hangups if event.refer]) == len(dialled) - len(adopted)
            assert [event.refer for event in hangups].count(False) == 1
            assert len(call.records.written) == 1
            # The other call is not harmed.
            assert other.leg.ended is None
            assert other.session.parts.bridging.current is None
            assert other.leg.stream is not None
            assert other.leg.stream.hears == set()

    run_virtually(story())


CHANGES_OF_SOUND = st.one_of(
    st.tuples(st.just("hold"), st.booleans(), st.booleans()),
    st.tuples(st.just("our hold"), st.booleans(), st.booleans()),
    st.tuples(st.just("mute"), st.booleans(), st.sampled_from([None, "caller", "agent"])),
    st.tuples(st.just("pause"), st.booleans(), st.none()),
)
CHANGES_OF_LEG = st.sampled_from(["take over", "take over on hold", "referred"])


@given(st.lists(st.tuples(st.lists(CHANGES_OF_SOUND, max_size=3), CHANGES_OF_LEG, st.lists(CHANGES_OF_SOUND, max_size=2)), max_size=4))
@searching(12)
def test_each_leg_of_a_call_sounds_as_the_call_says(rounds: list[Any]) -> None:
    async def story() -> None:
        network, option = Network([FakeLeg(call_id=f"far-{n}") for n in range(4)]), CallOption(refer=ReferOption(on_request="bridge"))
        async with a_call(PLAYBOOK, network=network, option=option) as call:
            await call.until(lambda: bool(call.of(events.MediaReady)))
            play = Story(call, call)
            for before, way, meanwhile in rounds:
                for step in before:
                    await play.step(*step)
                leg = call.session.state.leg
                if way == "referred":
                    leg.ask_for_transfer("sip:c@d")
                    await call.until(lambda: "connected" in [event.state for event in call.of(events.Transfer)[-1:]])
                else:
                    await play.step("take over", way == "take over on hold", False)
                for step in meanwhile:
                    await play.step(*step)
                if way == "referred":
                    leg.end("caller", "remote_bye")
                await play.settled()
                assert call.session.state.leg is not leg

    run_virtually(story())
