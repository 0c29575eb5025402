"""Hold inside a SIP call: one offer at a time, wishes kept, and nothing told that the peer has not agreed to."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from active_call.base.errors import LocalProtocolError
from active_call.legs.events import LegHeld, LegHoldAnswered
from active_call.legs.sip.hold import MAX_TRIES, RETRY_S, Holding
from active_call.testing.virtual_time import run_virtually


@dataclass
class Agreement:
    on_hold: bool = False
    receive: bool = True


@dataclass
class Sound:
    direction: str = "sendrecv"
    agreement: Agreement | None = field(default_factory=Agreement)
    n_taken_back: int = 0

    def take_back_offer(self) -> None:
        self.n_taken_back += 1


class Bench:
    def __init__(self) -> None:
        self.sound = Sound()
        self.sent: list[str] = []
        self.told: list[Any] = []
        self.is_busy = False
        self.holding = Holding(self.sound, self._send, self.told.append)  # type: ignore[arg-type]

    def _send(self, direction: str) -> None:
        if self.is_busy:
            raise LocalProtocolError("another offer is open")
        self.sent.append(direction)


def test_wish_that_the_peer_agrees_to_becomes_true_then() -> None:
    bench = Bench()
    bench.holding.want("sendonly")
    assert (bench.sent, bench.told, bench.sound.direction) == (["sendonly"], [], "sendrecv")
    bench.holding.on_answer(200)
    assert (bench.told, bench.sound.direction) == ([LegHoldAnswered(True, 200)], "sendonly")
    bench.holding.want("sendrecv")
    bench.holding.on_answer(200)
    assert (bench.told[1:], bench.sound.direction) == ([LegHoldAnswered(False, 200)], "sendrecv")


def test_wish_that_is_refused_leaves_everything_as_it_was() -> None:
    bench = Bench()
    bench.holding.want("sendonly")
    bench.holding.on_answer(488)
    assert (bench.told, bench.sound.direction, bench.sound.n_taken_back) == ([LegHoldAnswered(False, 488)], "sendrecv", 1)
    bench.holding.want("inactive")
    bench.holding.on_answer(200)
    bench.holding.want("sendrecv")
    bench.holding.on_answer(500)
    assert bench.told[-1] == LegHoldAnswered(True, 500)


def test_wish_that_changes_while_an_offer_is_out_is_carried_out_after_it() -> None:
    bench = Bench()
    bench.holding.want("sendonly")
    bench.holding.want("sendrecv")
    assert bench.sent == ["sendonly"]
    bench.holding.on_answer(200)
    assert bench.sent == ["sendonly", "sendrecv"]
    assert bench.told == []
    bench.holding.on_answer(200)
    assert bench.told == [LegHoldAnswered(False, 200)]


def test_wish_that_changes_back_before_a_refusal_needs_no_other_offer() -> None:
    bench = Bench()
    bench.holding.want("sendonly")
    bench.holding.want("sendrecv")
    bench.holding.on_answer(488)
    assert (bench.sent, bench.told) == (["sendonly"], [LegHoldAnswered(False, 488)])


def test_what_is_true_already_is_told_without_an_offer() -> None:
    bench = Bench()
    bench.holding.want("sendrecv")
    assert (bench.sent, bench.told) == ([], [LegHoldAnswered(False, 200)])


@pytest.mark.parametrize("how", ["busy", "glare"])
def test_offer_that_cannot_go_out_now_is_tried_again(how: str) -> None:
    async def story() -> None:
        bench = Bench()
        bench.is_busy = how == "busy"
        bench.holding.want("sendonly")
        if how == "glare":
            bench.holding.on_answer(491)
        assert bench.told == []
        bench.is_busy = False
        n_sent = len(bench.sent)
        await asyncio.sleep(RETRY_S + 0.1)
        assert len(bench.sent) == n_sent + 1
        bench.holding.on_answer(200)
        assert bench.told == [LegHoldAnswered(True, 200)]

    run_virtually(story())


def test_offer_that_can_never_go_out_is_given_up_and_told() -> None:
    async def story() -> None:
        bench = Bench()
        bench.is_busy = True
        bench.holding.want("sendonly")
        await asyncio.sleep(RETRY_S * (MAX_TRIES + 2))
        assert bench.told == [LegHoldAnswered(False, 491)]

    run_virtually(story())


def test_hold_of_the_peer_is_told_once_and_with_what_it_plays() -> None:
    bench = Bench()
    for agreement in (Agreement(True, True), Agreement(True, True), Agreement(), Agreement(True, False), Agreement()):
        bench.sound.agreement = agreement
        bench.holding.on_agreement()
    assert bench.told == [LegHeld(True), LegHeld(False), LegHeld(True, is_silent=True), LegHeld(False)]


def test_answer_to_an_offer_that_was_asked_for_is_no_answer_to_a_hold() -> None:
    bench = Bench()
    bench.sound.agreement = Agreement(True, False)
    bench.holding.on_answer(200)
    assert bench.told == [LegHeld(True, is_silent=True)]


WISHES = st.sampled_from(["sendonly", "inactive", "sendrecv", "answer 200", "answer 488", "answer 491", "busy", "free", "wait"])


@given(st.lists(WISHES, max_size=20))
def test_every_order_of_wishes_and_answers_comes_to_rest_in_the_truth(steps: list[str]) -> None:
    async def story() -> None:
        bench = Bench()
        wanted, n_answered = "sendrecv", 0
        for step in [*steps, "free", "wait"]:
            if step.startswith("answer"):
                if len(bench.sent) > n_answered:
                    n_answered += 1
                    bench.holding.on_answer(int(step[7:]))
            elif step in ("busy", "free"):
                bench.is_busy = step == "busy"
            elif step == "wait":
                await asyncio.sleep(60)
            else:
                wanted = step
                bench.holding.want(step)  # type: ignore[arg-type]
            assert len(bench.sent) - n_answered in (0, 1), "two offers at once"
        while len(bench.sent) > n_answered:  # from here on the peer agrees to everything
            n_answered += 1
            bench.holding.on_answer(200)
            await asyncio.sleep(60)
        told = [one for one in bench.told if isinstance(one, LegHoldAnswered)]
        if told:
            assert told[-1].on_hold == (bench.sound.direction != "sendrecv")
        if not any(one.code >= 300 for one in told):
            assert bench.sound.direction == wanted

    run_virtually(story())
