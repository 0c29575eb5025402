"""What every leg promises about the life of a call, stated once and held against each kind of leg: its beginning and its end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from far_end import AGES_S, Habits, Stage
from leg_kits import Kit, every_kit, play
from leg_stories import OPTION, OUR_WORDS, UP, answered, buried, placed, reached, words

from active_call.base.errors import ActiveCallError
from active_call.contract.options import CallOption
from active_call.legs.events import LegAnswered, LegEnded, LegReady, LegRinging

# -- an inbound call, from ringing to ready --------------------------------------------------------------------------------------------


@every_kit()
def test_inbound_call_rings_is_answered_and_is_ready_once_each(kit: Kit) -> None:
    async def story(stage: Stage) -> None:
        party = await stage.incoming(Habits())
        assert (party.leg.caller != "", party.leg.callee != "", party.leg.call_id != "", party.leg.offer != "") == (True,) * 4
        assert party.told == []
        await party.leg.ring()
        await party.leg.ring()
        await party.until(lambda: party.seen.rings)
        await party.leg.accept(OPTION)
        await party.leg.ring()
        await party.leg.ring(early_media=True)
        await asyncio.sleep(AGES_S)
        assert party.kinds == ["Ringing", "Answered", "Ready"]
        assert party.of(LegRinging) == [LegRinging(early_media=False, code=180)]
        assert party.of(LegAnswered)[0].sdp != ""
        assert party.seen.rings == [False]
        assert party.seen.is_answered

    play(kit, story)


@every_kit()
def test_inbound_call_may_be_accepted_without_ringing(kit: Kit) -> None:
    async def story(stage: Stage) -> None:
        party = await stage.incoming(Habits())
        await party.leg.accept(OPTION)
        await asyncio.sleep(3)
        assert party.kinds == ["Answered", "Ready"]

    play(kit, story)


@every_kit("early media")
def test_sound_before_the_answer_is_told_once_and_is_not_taken_back(kit: Kit) -> None:
    async def story(stage: Stage) -> None:
        party = await stage.incoming(Habits())
        await party.leg.ring()
        await party.leg.ring(early_media=True)
        await party.leg.ring(early_media=True)
        await party.leg.ring()
        await asyncio.sleep(1)
        stream = party.leg.stream
        assert stream is not None
        assert party.of(LegRinging) == [LegRinging(early_media=False, code=180), LegRinging(early_media=True, code=183)]
        assert party.seen.rings == [False, True]
        await party.leg.accept(OPTION)
        await asyncio.sleep(3)
        assert party.leg.stream is stream
        assert party.kinds == ["Ringing", "Ringing", "Answered", "Ready"]

    play(kit, story)


@every_kit("early media")
def test_ringing_with_sound_that_the_answer_or_the_end_overtakes_is_harmless(kit: Kit) -> None:
    async def story(stage: Stage) -> None:
        stage.opens_after_s = 1.0
        one, other = await stage.incoming(Habits()), await stage.incoming(Habits())
        ringing = [asyncio.create_task(party.leg.ring(early_media=True)) for party in (one, other)]
        await asyncio.sleep(0.1)
        other.far.cancels()
        await one.leg.accept(OPTION)
        await asyncio.gather(*ringing)
        await asyncio.sleep(1)
        assert one.kinds in (["Answered", "Ready"], ["Ringing", "Answered", "Ready"])
        assert other.kinds == ["Ended"]

    play(kit, story)


@every_kit("confirmation")
def test_call_that_is_confirmed_late_is_ready_all_the_same_and_not_twice(kit: Kit) -> None:
    async def story(stage: Stage) -> None:
        party = await stage.incoming(Habits(confirms=False))
        accepting = asyncio.create_task(party.leg.accept(OPTION))
        await asyncio.sleep(1.5)
        assert party.kinds == ["Answered"]
        await asyncio.sleep(1)
        assert party.kinds == ["Answered", "Ready"]
        party.far.confirms()
        await asyncio.sleep(AGES_S)
        await accepting
        assert party.kinds == ["Answered", "Ready"]

    play(kit, story)


@every_kit("confirmation")
def test_call_that_is_confirmed_is_ready_at_once(kit: Kit) -> None:
    async def story(stage: Stage) -> None:
        party = await stage.incoming(Habits(confirms=False))
        accepting = asyncio.create_task(party.leg.accept(OPTION))
        await asyncio.sleep(0.5)
        party.far.confirms()
        await asyncio.sleep(0.5)
        assert party.kinds == ["Answered", "Ready"]
        await accepting

    play(kit, story)


@every_kit("confirmation")
def test_call_that_is_never_confirmed_ends_by_itself(kit: Kit) -> None:
    async def story(stage: Stage) -> None:
        party = await stage.incoming(Habits(confirms=False))
        await party.leg.accept(OPTION)
        await party.until_told(LegEnded)
        assert (party.end.by, party.end.cause, party.end.code) == ("system", "no_ack", None)
        assert party.kinds == ["Answered", "Ready", "Ended"]
        await buried(party)

    play(kit, story)


@every_kit()
def test_accept_raises_a_second_time_after_the_end_and_for_a_call_of_ours(kit: Kit) -> None:
    async def story(stage: Stage) -> None:
        twice, over = await answered(stage), await answered(stage)
        over.hang_up()
        ours, undialled = await reached(stage), await stage.outgoing(Habits())
        for party in (twice, over, ours, undialled):
            before = list(party.kinds)
            with pytest.raises(ActiveCallError):
                await party.leg.accept(OPTION)
            assert party.kinds == before

    play(kit, story)


@every_kit()
def test_dial_raises_a_second_time_after_the_end_and_for_a_call_of_theirs(kit: Kit) -> None:
    async def story(stage: Stage) -> None:
        twice, over, theirs = await placed(stage), await stage.outgoing(Habits()), await stage.incoming(Habits())
        over.hang_up()
        for party in (twice, over, theirs):
            with pytest.raises(ActiveCallError):
                await party.leg.dial(OPTION)
        await twice.until_told(LegReady)
        assert twice.kinds == ["Ringing", "Answered", "Ready"]
        assert over.kinds == ["Ended"]
        assert theirs.kinds == []

    play(kit, story)


@every_kit()
def test_sound_that_cannot_be_agreed_on_refuses_the_call_and_raises(kit: Kit) -> None:
    async def story(stage: Stage) -> None:
        party = await stage.incoming(Habits(has_usable_sound=False))
        await party.leg.ring()
        with pytest.raises(ActiveCallError):
            await party.leg.accept(OPTION)
        party.leg.reject(500, "Server Internal Error")  # as the call does then
        assert (party.end.by, party.end.cause, party.end.code) == ("system", "no_media", 488)
        assert party.kinds in (["Ended"], ["Ringing", "Ended"])  # a leg that reads offers refuses them before they ring
        await buried(party)
        assert party.seen.refused_with == 488

    play(kit, story)


@every_kit("delayed offer")
def test_call_whose_sound_is_agreed_on_when_it_is_confirmed_is_ready_then(kit: Kit) -> None:
    async def story(stage: Stage) -> None:
        party = await stage.incoming(Habits(leaves_the_offer_to_us=True, confirms=False))
        assert party.leg.offer == ""
        await party.leg.accept(OPTION)
        await asyncio.sleep(1)
        assert party.kinds == ["Answered"]  # no sound can flow yet
        party.far.confirms()
        await asyncio.sleep(1)
        assert party.kinds == ["Answered", "Ready"]

    play(kit, story)


@every_kit("delayed offer")
@pytest.mark.parametrize("habits", [{"has_usable_sound": False}, {"forgets_to_answer": True}], ids=["unusable", "missing"])
def test_call_whose_sound_is_not_agreed_on_when_it_is_confirmed_ends(kit: Kit, habits: dict[str, bool]) -> None:
    async def story(stage: Stage) -> None:
        party = await stage.incoming(Habits(leaves_the_offer_to_us=True, **habits))
        await party.leg.accept(OPTION)
        await buried(party)
        assert (party.end.by, party.end.cause, party.kinds) == ("system", "no_media", ["Answered", "Ended"])

    play(kit, story)


# -- a call of ours -------------------------------------------------------------------------------------------------------------------


@every_kit()
def test_call_of_ours_rings_is_answered_and_is_ready_once_each(kit: Kit) -> None:
    async def story(stage: Stage) -> None:
        party = await stage.outgoing(Habits())
        assert (party.told, dict(party.leg.headers), party.leg.offer) == ([], {}, "")
        await party.leg.dial(OPTION)
        assert party.leg.call_id != ""
        await party.until_told(LegRinging)
        assert not party.leg.headers
        await party.until_told(LegReady)
        assert party.leg.headers["X-Desk"] == "7"
        await asyncio.sleep(AGES_S)
        assert party.kinds == ["Ringing", "Answered", "Ready"]
        assert party.of(LegRinging) == [LegRinging(early_media=False, code=180)]
        assert party.of(LegAnswered)[0].sdp != ""

    play(kit, story)


@every_kit()
def test_call_of_ours_takes_the_protocols_id_that_it_is_given(kit: Kit) -> None:
    async def story(stage: Stage) -> None:
        party = await stage.outgoing(Habits())
        await party.leg.dial(OPTION, call_id="chosen-id")
        assert party.leg.call_id == "chosen-id"
        await party.until_told(LegReady)
        assert party.leg.call_id == "chosen-id"

    play(kit, story)


@every_kit()
def test_dial_returns_while_it_rings(kit: Kit) -> None:
    async def story(stage: Stage) -> None:
        party = await stage.outgoing(Habits(answers_after_s=20.0))
        async with asyncio.timeout(5.0):
            await party.leg.dial(OPTION)
        assert party.of(LegAnswered) == []
        await party.until_told(LegReady)

    play(kit, story)


@every_kit("early media")
def test_sound_of_the_callee_before_its_answer_is_told(kit: Kit) -> None:
    async def story(stage: Stage) -> None:
        party = await reached(stage, has_early_media=True)
        assert party.of(LegRinging) == [LegRinging(early_media=True, code=183)]
        assert party.kinds == ["Ringing", "Answered", "Ready"]

    play(kit, story)


@every_kit("early media")
def test_answer_that_came_with_early_media_is_told_when_the_call_is_answered(kit: Kit) -> None:
    async def story(stage: Stage) -> None:
        party = await reached(stage, has_early_media=True, repeats_its_sound=False)
        assert [answered.sdp[:3] for answered in party.of(LegAnswered)] == ["v=0"]

    play(kit, story)


@every_kit()
@pytest.mark.parametrize("has_early_media", [False, True])
def test_ringing_that_is_repeated_is_told_once(kit: Kit, has_early_media: bool) -> None:
    async def story(stage: Stage) -> None:
        party = await placed(stage, has_early_media=has_early_media)
        await party.until_told(LegRinging)
        party.far.rings_again()
        await party.until_told(LegReady)
        assert party.kinds == ["Ringing", "Answered", "Ready"]

    play(kit, story)


@every_kit()
def test_ring_of_a_call_of_ours_is_harmless(kit: Kit) -> None:
    async def story(stage: Stage) -> None:
        party = await stage.outgoing(Habits())
        await party.leg.ring()
        await party.leg.dial(OPTION)
        await party.leg.ring(early_media=True)
        await party.until_told(LegReady)
        await party.leg.ring()
        assert party.kinds == ["Ringing", "Answered", "Ready"]

    play(kit, story)


# -- ends -----------------------------------------------------------------------------------------------------------------------------


@every_kit()
@UP
def test_peer_hangs_up(kit: Kit, make: Any) -> None:
    async def story(stage: Stage) -> None:
        party = await make(stage)
        party.far.hangs_up()
        await party.until_told(LegEnded)
        peer = "caller" if make is answered else "callee"
        assert (party.end.by, party.end.cause, party.end.code) == (peer, "remote_bye", None)
        party.hang_up()
        await buried(party)

    play(kit, story)


@every_kit("q850")
def test_peer_hangs_up_and_tells_the_networks_cause(kit: Kit) -> None:
    async def story(stage: Stage) -> None:
        party = await answered(stage)
        party.far.hangs_up(q850=17)
        assert (await party.until_told(LegEnded)).q850 == 17

    play(kit, story)


@every_kit()
@UP
def test_we_hang_up_once_however_often_it_is_said(kit: Kit, make: Any) -> None:
    async def story(stage: Stage) -> None:
        party = await make(stage)
        party.hang_up()
        party.hang_up(by="system", cause="error", reason="later")
        party.far.hangs_up()
        await buried(party)
        assert (words(party), party.end.code) == (OUR_WORDS, None)

    play(kit, story)


@every_kit()
@pytest.mark.parametrize("rings", [False, True], ids=["at once", "ringing"])
def test_we_hang_up_on_a_call_that_is_not_accepted(kit: Kit, rings: bool) -> None:
    async def story(stage: Stage) -> None:
        party = await stage.incoming(Habits())
        if rings:
            await party.leg.ring()
        party.hang_up()
        party.leg.reject(486, "Busy Here")
        await buried(party)
        assert (words(party), party.end.code) == (OUR_WORDS, 603)
        assert party.seen.refused_with == 603
        assert LegAnswered not in map(type, party.told)

    play(kit, story)


@every_kit("confirmation")
def test_we_hang_up_on_a_call_that_is_not_confirmed(kit: Kit) -> None:
    async def story(stage: Stage) -> None:
        party = await stage.incoming(Habits(confirms=False))
        accepting = asyncio.create_task(party.leg.accept(OPTION))
        await asyncio.sleep(1)
        party.hang_up()
        await asyncio.sleep(5)
        assert LegReady not in map(type, party.told)  # nobody is there to be spoken to
        party.far.confirms()
        await buried(party)
        assert words(party) == OUR_WORDS
        await accepting

    play(kit, story)


@every_kit()
@pytest.mark.parametrize("seconds", [0.0, 0.005, 0.5])
def test_we_withdraw_a_call_that_rings(kit: Kit, seconds: float) -> None:
    async def story(stage: Stage) -> None:
        party = await placed(stage)
        await asyncio.sleep(seconds)
        party.hang_up()
        party.hang_up(cause="again")
        await buried(party)
        assert (words(party), party.end.code) == (OUR_WORDS, 487)
        assert LegAnswered not in map(type, party.told)

    play(kit, story)


@every_kit("confirmation")
def test_answer_that_crosses_our_withdrawal_is_no_answer(kit: Kit) -> None:
    async def story(stage: Stage) -> None:
        party = await placed(stage, is_slow_to_withdraw=True)
        await party.until_told(LegRinging)
        party.hang_up()
        await buried(party)
        assert words(party) == OUR_WORDS
        assert party.end.code is None or party.end.code >= 300
        assert LegAnswered not in map(type, party.told)

    play(kit, story)


@every_kit()
def test_call_that_is_hung_up_before_it_was_placed_is_not_placed(kit: Kit) -> None:
    async def story(stage: Stage) -> None:
        before, while_opening = await stage.outgoing(Habits()), await stage.outgoing(Habits())
        before.hang_up()
        stage.opens_after_s = 1.0
        dialling = asyncio.create_task(while_opening.leg.dial(OPTION))
        await asyncio.sleep(0.5)
        while_opening.hang_up()
        with pytest.raises(ActiveCallError):
            await dialling
        with pytest.raises(ActiveCallError):
            await before.leg.dial(OPTION)
        for party in (before, while_opening):
            assert (words(party), party.end.code) == (OUR_WORDS, None)
            assert party.kinds == ["Ended"]

    play(kit, story)


@every_kit()
def test_call_is_refused_by_us(kit: Kit) -> None:
    async def story(stage: Stage) -> None:
        party = await stage.incoming(Habits())
        party.leg.reject(486, "Busy Here")
        party.leg.reject(480, "Temporarily Unavailable")
        party.hang_up()
        await buried(party)
        assert (words(party), party.end.code) == (("system", "rejected", "Busy Here"), 486)
        assert party.seen.refused_with == 486

    play(kit, story)


@every_kit()
@UP
def test_refusal_that_comes_too_late_says_so_and_changes_nothing(kit: Kit, make: Any) -> None:
    async def story(stage: Stage) -> None:
        party = await make(stage)
        assert party.leg.reject(486, "Busy Here") is False
        party.far.hangs_up()
        await buried(party)
        assert party.end.cause == "remote_bye"

    play(kit, story)


@every_kit()
def test_refusal_with_a_code_that_refuses_nothing_raises_and_changes_nothing(kit: Kit) -> None:
    async def story(stage: Stage) -> None:
        party = await stage.incoming(Habits())
        with pytest.raises(ActiveCallError):
            party.leg.reject(200, "OK")
        party.far.cancels()
        await buried(party)
        assert (party.end.by, party.end.cause) == ("caller", "cancelled")

    play(kit, story)


@every_kit()
@pytest.mark.parametrize("rings", [False, True], ids=["at once", "ringing"])
def test_caller_gives_up_before_it_is_accepted(kit: Kit, rings: bool) -> None:
    async def story(stage: Stage) -> None:
        party = await stage.incoming(Habits())
        if rings:
            await party.leg.ring()
        party.far.cancels()
        await party.until_told(LegEnded)
        assert (party.end.by, party.end.cause, party.end.code) == ("caller", "cancelled", 487)
        with pytest.raises(ActiveCallError):
            await party.leg.accept(OPTION)
        await party.leg.ring()
        party.leg.reject(486, "Busy Here")
        await buried(party)

    play(kit, story)


@every_kit()
def test_caller_gives_up_while_it_is_accepted(kit: Kit) -> None:
    async def story(stage: Stage) -> None:
        stage.opens_after_s = 1.0
        party = await stage.incoming(Habits())
        accepting = asyncio.create_task(party.leg.accept(OPTION))
        await asyncio.sleep(0.5)
        party.far.cancels()
        with pytest.raises(ActiveCallError):
            await accepting
        await buried(party)
        assert party.kinds == ["Ended"]
        assert (party.end.by, party.end.cause) == ("caller", "cancelled")
        assert all(stream.closed for stream in stage.streams)

    play(kit, story)


@every_kit()
@pytest.mark.parametrize("has_early_media", [False, True])
def test_callee_refuses(kit: Kit, has_early_media: bool) -> None:
    async def story(stage: Stage) -> None:
        party = await placed(stage, refuses=(486, "Busy Here"), has_early_media=has_early_media)
        await buried(party)
        assert (words(party), party.end.code) == (("callee", "rejected", "Busy Here"), 486)
        assert party.kinds == ["Ringing", "Ended"]

    play(kit, story)


@every_kit()
def test_callee_that_says_nothing_is_given_up(kit: Kit) -> None:
    async def story(stage: Stage) -> None:
        party = await placed(stage, is_silent=True)
        await party.until_told(LegEnded)
        assert (party.end.by, party.end.cause, party.end.code) == ("system", "timeout", 408)
        assert party.kinds == ["Ended"]

    play(kit, story)


@every_kit()
def test_callee_that_only_rings_is_given_up_after_the_time_that_was_asked_for(kit: Kit) -> None:
    async def story(stage: Stage) -> None:
        party = await stage.outgoing(Habits(never_answers=True))
        await party.leg.dial(CallOption(handshake_timeout=7))
        began = asyncio.get_running_loop().time()
        await party.until_told(LegEnded)
        assert 7.0 <= asyncio.get_running_loop().time() - began <= 8.0
        assert (party.end.by, party.end.cause, party.end.code) == ("system", "timeout", 487)
        await buried(party)

    play(kit, story)


@every_kit("hang-up headers")
@pytest.mark.parametrize("state", ["offered", "placed", "up"])
def test_headers_of_a_hangup_reach_the_far_end(kit: Kit, state: str) -> None:
    async def story(stage: Stage) -> None:
        makes = {"offered": stage.incoming(Habits()), "placed": placed(stage), "up": answered(stage)}
        party = await makes.pop(state)
        for unused in makes.values():
            unused.close()
        await asyncio.sleep(0.5)
        party.hang_up(headers={"X-Outcome": "sold"})
        await buried(party)
        assert party.seen.bye_headers["X-Outcome"] == "sold"

    play(kit, story)


@every_kit("hang-up headers", "header syntax")
@pytest.mark.parametrize("headers", [{"X-Outcome": "sold\r\nX-Evil: 1"}, {"X Outcome": "sold"}, {"": ""}])
def test_header_of_a_hangup_that_cannot_be_sent_does_not_keep_the_call_from_ending(kit: Kit, headers: dict[str, str]) -> None:
    async def story(stage: Stage) -> None:
        for party in (await answered(stage), await stage.incoming(Habits()), await placed(stage)):
            party.hang_up(headers={**headers, "X-Good": "1"})
            await buried(party)
            assert words(party) == OUR_WORDS
            assert party.seen.bye_headers["X-Good"] == "1"
            assert "X-Evil" not in party.seen.bye_headers

    play(kit, story)
