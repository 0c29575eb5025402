"""Bridges by messages: two calls that know each other's handle only."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from fake_call_ports import FakeCall, FakeMachine
from hypothesis import given
from hypothesis import strategies as st

from active_call.base.errors import LocalProtocolError, MediaError
from active_call.call.events.subscription import EventLog
from active_call.call.handle import CallDescription, CallHandle, describe
from active_call.call.parties.bridging import ANSWER_DEADLINE_S, Bridging
from active_call.call.parties.machine_types import Input, TalkingWith
from active_call.call.parties.messages import CallMessage
from active_call.call.parties.parties import WITH_AGENT
from active_call.call.state import Phase
from active_call.contract import events
from active_call.testing.fakes.call import FakeStream, join_fakes
from active_call.testing.virtual_time import run_virtually
from searches import searching


def no_request(_: object) -> Any:
    raise AssertionError("calls send each other messages and no requests")


class Side:
    """One call of a pair. `is_deaf`: it is over, and its mailbox is not worked off any more."""

    def __init__(self, name: str, others: dict[str, Side], join: Any) -> None:
        self.call, self.machine, self.others = FakeCall(name), FakeMachine(), others
        self.call.state.facts.reach(Phase.ANSWERED, self.call.state.facts.started_at)
        self.call.leg.stream = FakeStream(lambda _: None)
        self.inbox: list[CallMessage] = []
        self.is_deaf = False
        self.bridging = Bridging(self.call.state, self.call.ports, self, self.machine, join)
        others[name] = self

    def find(self, session_id: str) -> CallHandle | None:
        side = self.others.get(session_id)
        return CallHandle(session_id, side.inbox.append, no_request, EventLog().subscribe, side.describe) if side else None  # type: ignore[arg-type]

    def describe(self) -> CallDescription:
        return describe(self.call.state.facts, self.call.leg, WITH_AGENT, self.bridging.busy_because())

    def new_leg(self, *_: object) -> Any: ...
    def check_outbound(self, *_: object) -> object: ...
    def way_out(self, trunk: str) -> str:
        return trunk

    def told(self) -> list[tuple[str, str, str | None]]:
        bridges = [event for event in self.call.emitted if isinstance(event, events.Bridge)]
        return [(event.state, event.target_session_id, event.reason) for event in bridges]

    def errors(self) -> list[str]:
        return [event.error for event in self.call.emitted if isinstance(event, events.Error)]

    def work_off(self) -> None:
        if not self.is_deaf:
            messages, self.inbox[:] = list(self.inbox), []
            for message in messages:
                self.bridging.handle(message)
            self.call.work_off()

    @property
    def hears(self) -> set[FakeStream]:
        assert isinstance(self.call.leg.stream, FakeStream)
        return self.call.leg.stream.hears


async def settle(*sides: Side) -> None:
    for _ in range(8):
        await asyncio.sleep(0)
        for side in sides:
            side.work_off()


def with_two(story: Callable[[Side, Side], Any], join: Any = join_fakes) -> None:
    async def run() -> None:
        others: dict[str, Side] = {}
        one, two = Side("one", others, join), Side("two", others, join)
        try:
            await story(one, two)
        finally:
            for side in (one, two):
                side.call.close()

    run_virtually(run())


@pytest.mark.parametrize("leaver", ["one", "two"])
def test_bridge_is_told_by_both_and_parted_by_either(leaver: str) -> None:
    async def story(one: Side, two: Side) -> None:
        one.bridging.bridge("two")
        await settle(one, two)
        assert (one.told(), two.told()) == ([("joined", "two", None)], [("joined", "one", None)])
        assert (one.hears, two.hears) == ({two.call.leg.stream}, {one.call.leg.stream})
        assert {one.machine.now.talking_with, two.machine.now.talking_with} == {TalkingWith.BRIDGED}
        (one if leaver == "one" else two).bridging.unbridge(None)
        await settle(one, two)
        assert (one.told()[1:], two.told()[1:]) == ([("parted", "two", "unbridged")], [("parted", "one", "unbridged")])
        assert (one.hears, two.hears) == (set(), set())
        assert {one.machine.now.talking_with, two.machine.now.talking_with} == {TalkingWith.AGENT}

    with_two(story)


def test_call_that_ends_tells_only_the_other_one() -> None:
    async def story(one: Side, two: Side) -> None:
        one.bridging.bridge("two")
        await settle(one, two)
        two.bridging.end()
        two.is_deaf = True
        await settle(one, two)
        assert one.told()[-1] == ("parted", "two", "the other call ended")
        assert two.told() == [("joined", "one", None)]
        assert one.hears == two.hears == set()

    with_two(story)


def test_invitation_that_nobody_answers_is_given_up() -> None:
    async def story(one: Side, two: Side) -> None:
        two.is_deaf = True
        one.bridging.bridge("two")
        await settle(one, two)
        with pytest.raises(LocalProtocolError, match="already bridged"):
            one.bridging.bridge("two")
        await asyncio.sleep(ANSWER_DEADLINE_S)
        await settle(one, two)
        assert one.errors() == ["bridge: the call 'two' does not answer"]
        assert (one.told(), one.machine.now.talking_with, one.bridging.current) == ([], TalkingWith.AGENT, None)

    with_two(story)


def test_call_that_is_taken_meanwhile_refuses() -> None:
    async def story(one: Side, two: Side) -> None:
        one.bridging.bridge("two")
        two.machine.feed(Input.TAKEOVER_BEGINS)
        await settle(one, two)
        assert one.errors() == ["bridge: the call 'two' is being transferred"]
        assert (one.machine.now.talking_with, two.told()) == (TalkingWith.AGENT, [])

    with_two(story)


def test_streams_that_cannot_be_joined_part_both() -> None:
    async def no_join(*_: object, **__: object) -> Any:
        raise MediaError("no relay")

    async def story(one: Side, two: Side) -> None:
        one.bridging.bridge("two")
        await settle(one, two)
        assert (one.told(), two.told()) == ([("parted", "two", "no relay")], [("parted", "one", "no relay")])
        assert {one.machine.now.talking_with, two.machine.now.talking_with} == {TalkingWith.AGENT}

    with_two(story, no_join)


def test_bridges_that_make_no_sense_raise() -> None:
    async def story(one: Side, two: Side) -> None:
        for target, reason in (("one", "with itself"), ("nobody", "no call 'nobody'")):
            with pytest.raises(LocalProtocolError, match=reason):
                one.bridging.bridge(target)
        two.call.leg.stream = None
        with pytest.raises(LocalProtocolError, match="'two' is not answered"):
            one.bridging.bridge("two")
        with pytest.raises(LocalProtocolError, match="no such bridge"):
            one.bridging.unbridge(None)

    with_two(story)


STEPS = st.lists(st.tuples(st.sampled_from(["bridge", "unbridge", "settle", "step", "end"]), st.booleans()), max_size=12)


@given(STEPS)
@searching(50)
def test_whatever_happens_nobody_stays_on_a_bridge_alone(steps: list[tuple[str, bool]]) -> None:
    async def story(one: Side, two: Side) -> None:
        for step, is_one in steps:
            side = one if is_one else two
            with contextlib.suppress(LocalProtocolError):
                match step:
                    case "bridge" if not side.is_deaf:
                        side.bridging.bridge("two" if is_one else "one")
                    case "unbridge" if not side.is_deaf:
                        side.bridging.unbridge(None)
                    case "settle":
                        await settle(one, two)
                    case "step":
                        await asyncio.sleep(0)
                        side.work_off()
                    case "end" if not side.is_deaf:
                        side.bridging.end()
                        side.is_deaf = True
        await settle(one, two)
        await asyncio.sleep(ANSWER_DEADLINE_S + 1)
        await settle(one, two)
        is_joined = bool(one.hears or two.hears)
        for side in (one, two):
            if not side.is_deaf:
                assert (side.machine.now.talking_with is TalkingWith.BRIDGED) == is_joined
                assert (side.bridging.current is not None) == is_joined
        assert not (is_joined and (one.is_deaf or two.is_deaf))

    with_two(story)
