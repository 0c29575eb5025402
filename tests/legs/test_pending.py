"""A leg that is not there yet: what is asked of it waits, and it ends where no leg comes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from far_end import AGES_S, Party
from hypothesis import given
from hypothesis import strategies as st
from leg_kits import LATE
from leg_stories import OPTION, call_in_vain
from test_conformance_property import HABITS, STEPS, run_any_story

from active_call.base.errors import LocalProtocolError, MediaError
from active_call.legs.events import LegAnswered, LegEnded, LegReady, LegRinging
from active_call.legs.pending import WAIT_S, PendingLeg
from active_call.testing.fake_call import FakeLeg
from active_call.testing.fake_leg import BareFakeLeg
from active_call.testing.virtual_time import run_virtually


def story(tell: Callable[[], Awaitable[None]]) -> None:
    run_virtually(tell())


def pending(**before: Any) -> tuple[PendingLeg, Party]:
    leg = PendingLeg("websocket", **before)
    return leg, Party(leg, None)  # type: ignore[arg-type]


def test_what_is_asked_before_the_leg_is_done_when_it_comes_in_the_same_order() -> None:
    async def tell() -> None:
        leg, party = pending()
        opening, ringing = asyncio.create_task(leg.open_media()), asyncio.create_task(leg.ring())
        await asyncio.sleep(0)
        accepting = asyncio.create_task(leg.accept(OPTION))
        await asyncio.sleep(5)
        assert (party.told, leg.stream) == ([], None)
        real = FakeLeg()
        assert leg.fill(real)
        assert await opening is real.stream is leg.stream
        await ringing
        await accepting
        assert party.kinds == ["Ringing", "Answered", "Ready"]
        assert party.of(LegRinging) == [LegRinging(early_media=False, code=180)]

    story(tell)


def test_call_is_placed_when_its_leg_comes() -> None:
    async def tell() -> None:
        leg, party = pending()
        dialling = asyncio.create_task(leg.dial(OPTION, call_id="chosen"))
        await asyncio.sleep(1)
        assert leg.fill(FakeLeg(direction="outbound", call_id=""))
        await dialling
        await party.until_told(LegReady)
        assert (leg.call_id, len(party.of(LegAnswered))) == ("chosen", 1)

    story(tell)


def test_call_tells_what_is_known_before_and_the_legs_own_words_afterwards() -> None:
    async def tell() -> None:
        leg, _ = pending(caller="browser", callee="reception", peer_address="192.0.2.7")
        assert (leg.kind, leg.caller, leg.callee, leg.peer_address) == ("websocket", "browser", "reception", "192.0.2.7")
        assert (leg.call_id, dict(leg.headers), leg.trunk, leg.offer, leg.attended_target, leg.replaces) == ("", {}, "", "", "", None)
        assert leg.fill(FakeLeg(kind="sip", caller="sip:a@b", trunk="carrier", headers={"X-A": "1"}, peer_address="192.0.2.8"))
        assert (leg.kind, leg.caller, leg.trunk, leg.headers, leg.peer_address) == ("sip", "sip:a@b", "carrier", {"X-A": "1"}, "192.0.2.8")

    story(tell)


def test_call_ends_where_no_leg_comes_in_time_and_what_waited_is_told_so() -> None:
    async def tell() -> None:
        leg, party = pending()
        accepting, dialling = asyncio.create_task(leg.accept(OPTION)), asyncio.create_task(leg.dial(OPTION))
        opening, ringing = asyncio.create_task(leg.open_media()), asyncio.create_task(leg.ring())
        await asyncio.sleep(WAIT_S - 0.1)
        assert party.told == []
        await asyncio.sleep(0.2)
        assert party.told == [LegEnded(by="system", cause="timeout", code=408, reason="no leg within 30 s")]
        for waiting in (accepting, dialling):
            with pytest.raises(LocalProtocolError):
                await waiting
        with pytest.raises(MediaError):
            await opening
        await ringing

    story(tell)


def test_end_that_comes_before_anybody_listens_is_told_then() -> None:
    async def tell() -> None:
        leg = PendingLeg("websocket", wait_s=1.0)
        await asyncio.sleep(2)
        assert Party(leg, None).kinds == ["Ended"]  # type: ignore[arg-type]

    story(tell)


def test_leg_that_comes_in_time_has_no_deadline() -> None:
    async def tell() -> None:
        leg, party = pending()
        assert leg.fill(FakeLeg())
        await asyncio.sleep(AGES_S)
        assert party.told == []

    story(tell)


@pytest.mark.parametrize("real", [FakeLeg, BareFakeLeg])
def test_leg_that_comes_after_the_end_is_ended_with_the_same_words(real: type[BareFakeLeg]) -> None:
    async def tell() -> None:
        for rejects in (True, False):
            leg, party = pending()
            if rejects:
                assert leg.reject(486, "Busy Here")
                assert not leg.reject(480, "Temporarily Unavailable")
            else:
                leg.hang_up(headers={}, by="client", cause="hangup", reason="closed")
            late = real()
            assert not leg.fill(late)
            assert len(party.told) == 1
            assert late.ended is not None
            expected = ("system", "rejected", "Busy Here") if rejects else ("client", "hangup", "closed")
            assert (late.ended.by, late.ended.cause, late.ended.reason) == expected == (party.end.by, party.end.cause, party.end.reason)
            assert late.rejected == ((486, "Busy Here") if rejects else None)

    story(tell)


def test_second_leg_is_ended_and_the_first_goes_on() -> None:
    async def tell() -> None:
        leg, party = pending()
        first, second = FakeLeg(), FakeLeg()
        assert leg.fill(first)
        assert not leg.fill(second)
        assert second.ended is not None
        assert party.told == []
        await leg.accept(OPTION)
        assert first.answered

    story(tell)


def test_leg_that_comes_after_release_is_ended_and_opens_nothing() -> None:
    async def tell() -> None:
        leg, party = pending()
        opening = asyncio.create_task(leg.open_media())
        await asyncio.sleep(1)
        assert await leg.release() == {}
        with pytest.raises(MediaError):
            await opening
        late = FakeLeg()
        assert not leg.fill(late)
        assert (late.ended is not None, late.streams, party.told) == (True, [], [])

    story(tell)


def test_refusal_with_a_code_that_refuses_nothing_raises() -> None:
    async def tell() -> None:
        leg, party = pending()
        with pytest.raises(LocalProtocolError):
            leg.reject(200, "OK")
        assert (party.told, leg.is_waiting) == ([], True)

    story(tell)


def test_operations_that_need_a_call_raise_while_there_is_no_leg() -> None:
    async def tell() -> None:
        leg, party = pending()
        call_in_vain(party)
        assert not leg.has_telephone_events
        assert not leg.allows("REFER")
        assert party.told == []

    story(tell)


def test_ability_that_the_real_leg_lacks_raises_in_its_words() -> None:
    async def tell() -> None:
        leg, _ = pending()
        assert leg.fill(BareFakeLeg(kind="webrtc"))
        await leg.accept(OPTION)
        with pytest.raises(LocalProtocolError, match="a webrtc call cannot be put on hold"):
            leg.hold(True)
        assert not leg.allows("REFER")

    story(tell)


@given(is_inbound=st.booleans(), first=st.sampled_from(("", "accept", "dial")), habits=HABITS, steps=STEPS)
def test_any_story_in_whose_middle_the_leg_comes_keeps_the_promises_of_a_leg(
    is_inbound: bool, first: str, habits: Any, steps: list[Any]
) -> None:
    run_any_story(LATE, is_inbound=is_inbound, first=first, habits=habits, steps=steps)
