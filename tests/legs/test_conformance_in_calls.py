"""What every leg promises while there is a call: its stream, texts, digits, hold, transfers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from far_end import AGES_S, Habits, Stage
from leg_kits import KITS, Kit, every_kit, play
from leg_stories import OPTION, TARGET, UP, answered, buried, call_in_vain, placed, reached

from active_call.base.errors import ActiveCallError
from active_call.legs.events import (
    LegAnswered,
    LegDigit,
    LegEnded,
    LegHeld,
    LegHoldAnswered,
    LegMedia,
    LegMessage,
    LegReady,
    LegRequestRefused,
    LegRinging,
    LegTransferProgress,
    LegTransferRequested,
)
from active_call.media.link import messages as link

# -- the stream -----------------------------------------------------------------------------------------------------------------------


@every_kit()
def test_stream_is_opened_once_and_its_reports_are_told(kit: Kit) -> None:
    async def story(stage: Stage) -> None:
        stage.opens_after_s = 0.5
        party = await stage.incoming(Habits())
        assert party.leg.stream is None
        one, other = await asyncio.gather(party.leg.open_media(), party.leg.open_media())
        third = await party.leg.open_media(one)
        assert one is not None
        assert one is other is third is party.leg.stream
        assert len(stage.streams) == 1
        await party.leg.accept(OPTION)
        assert party.leg.stream is one
        one.queue_audio("greeting", bytes(3200), end=True)
        await asyncio.sleep(1)
        assert [type(event.report) for event in party.of(LegMedia)] == [link.PlayStarted, link.PlayEnded]

    play(kit, story)


@every_kit()
def test_release_closes_the_stream_and_gives_figures_once(kit: Kit) -> None:
    async def story(stage: Stage) -> None:
        party = await answered(stage)
        party.hang_up()
        figures = await party.leg.release()
        assert figures["packets_sent"] == 1
        assert await party.leg.release() == {}
        assert [stream.closed for stream in stage.streams] == [True]

    play(kit, story)


@every_kit()
def test_release_without_a_stream_is_empty(kit: Kit) -> None:
    async def story(stage: Stage) -> None:
        for party in (await stage.incoming(Habits()), await stage.outgoing(Habits())):
            assert await party.leg.release() == {}
            party.hang_up()
            assert await party.leg.release() == {}
        assert list(stage.streams) == []

    play(kit, story)


@every_kit()
def test_stream_that_is_still_being_opened_at_release_does_not_stay_open(kit: Kit) -> None:
    async def story(stage: Stage) -> None:
        stage.opens_after_s = 1.0
        party = await stage.outgoing(Habits())
        opening = asyncio.create_task(party.leg.open_media())
        await asyncio.sleep(0.5)
        party.hang_up()
        await party.leg.release()
        with pytest.raises(ActiveCallError):
            await opening
        with pytest.raises(ActiveCallError):
            await party.leg.open_media()
        assert all(stream.closed for stream in stage.streams)

    play(kit, story)


@every_kit()
def test_reports_of_the_stream_are_told_after_the_end_until_release(kit: Kit) -> None:
    async def story(stage: Stage) -> None:
        party = await answered(stage)
        assert party.leg.stream is not None
        party.leg.stream.start_recording("/tmp/call.wav")
        party.far.hangs_up()
        await party.until_told(LegEnded)
        await party.leg.release()
        assert [type(event.report) for event in party.of(LegMedia)] == [link.RecordingEnded]

    play(kit, story)


@every_kit()
def test_events_go_to_whom_the_leg_was_attached_last(kit: Kit) -> None:
    async def story(stage: Stage) -> None:
        party = await answered(stage)
        heard: list[Any] = []
        party.leg.attach(heard.append)
        party.far.hangs_up()
        await party.until(lambda: heard)
        assert party.kinds == ["Ringing", "Answered", "Ready"]
        assert [type(event) for event in heard] == [LegEnded]

    play(kit, story)


# -- keys that come late ----------------------------------------------------------------------------------------------------------------


@every_kit("late keys")
@UP
def test_call_whose_keys_come_after_the_answer_is_ready_then_and_what_was_queued_is_heard_from_its_beginning(kit: Kit, make: Any) -> None:
    async def story(stage: Stage) -> None:
        party = await stage.incoming(Habits(keys_after_s=3.0)) if make is answered else await placed(stage, keys_after_s=3.0)
        stream = await party.leg.open_media()
        assert stream is not None
        stream.queue_audio("greeting", bytes(3200), end=True)
        if make is answered:
            await party.leg.accept(OPTION)
        await party.until_told(LegAnswered)
        await asyncio.sleep(2.5)
        assert party.of(LegReady) == []
        assert party.of(LegMedia) == []
        await party.until_told(LegReady)
        assert party.leg.stream is stream
        await asyncio.sleep(1)
        started, ended = (event.report for event in party.of(LegMedia))
        assert (type(started), type(ended)) == (link.PlayStarted, link.PlayEnded)
        assert (ended.completed, ended.heard_ms) == (True, 200.0)

    play(kit, story)


@every_kit("late keys")
@UP
def test_call_whose_keys_never_come_ends_and_is_never_ready(kit: Kit, make: Any) -> None:
    async def story(stage: Stage) -> None:
        party = await stage.incoming(Habits(keys_after_s=AGES_S)) if make is answered else await placed(stage, keys_after_s=AGES_S)
        if make is answered:
            await party.leg.accept(OPTION)
        await party.until_told(LegEnded)
        assert (party.end.by, party.end.cause) == ("system", "no_media")
        assert party.of(LegReady) == []
        await buried(party)

    play(kit, story)


# -- what needs a call ----------------------------------------------------------------------------------------------------------------


@every_kit()
def test_operations_that_need_a_call_raise_before_there_is_one_and_after_its_end(kit: Kit) -> None:
    async def story(stage: Stage) -> None:
        offered, ringing = await stage.incoming(Habits()), await stage.incoming(Habits())
        await ringing.leg.ring()
        undialled, on_its_way = await stage.outgoing(Habits()), await placed(stage, answers_after_s=20.0)
        await on_its_way.until_told(LegRinging)
        withdrawn, hung_up, gone = await stage.outgoing(Habits()), await answered(stage), await reached(stage)
        withdrawn.hang_up()
        hung_up.hang_up()
        gone.far.hangs_up()
        await gone.until_told(LegEnded)
        for party in (offered, ringing, undialled, on_its_way, withdrawn, hung_up, gone):
            before = list(party.events)
            call_in_vain(party)
            assert party.events == before
        await on_its_way.until_told(LegReady)
        assert on_its_way.seen.texts == []

    play(kit, story)


@every_kit("transfer")
@UP
def test_place_in_the_call_can_be_taken_while_it_is_up(kit: Kit, make: Any) -> None:
    async def story(stage: Stage) -> None:
        waiting = await stage.incoming(Habits()) if make is answered else await placed(stage)
        assert waiting.leg.attended_target == ""
        party = await make(stage)
        assert party.leg.attended_target != ""
        party.hang_up()
        await party.until_told(LegEnded)
        assert party.leg.attended_target == ""

    play(kit, story)


@every_kit("transfer")
@UP
def test_methods_are_allowed_that_the_peer_names_and_all_where_it_names_none(kit: Kit, make: Any) -> None:
    async def story(stage: Stage) -> None:
        assert (await stage.outgoing(Habits(methods=None))).leg.allows("REFER")
        party = await make(stage, methods=("INVITE", "ACK", "BYE", "INFO"))
        assert [party.leg.allows(method) for method in ("INFO", "REFER", "MESSAGE")] == [True, False, False]
        party = await make(stage, methods=None)
        assert [party.leg.allows(method) for method in ("INFO", "REFER", "MESSAGE")] == [True, True, True]

    play(kit, story)


# -- texts and digits -----------------------------------------------------------------------------------------------------------------


@every_kit("text")
@UP
def test_texts_go_both_ways(kit: Kit, make: Any) -> None:
    async def story(stage: Stage) -> None:
        party = await make(stage)
        party.leg.send_message("order 66", "text/plain", {"X-Kind": "order"})
        party.far.writes("got it")
        assert await party.until_told(LegMessage) == LegMessage("got it", "text/plain")
        assert party.seen.texts == ["order 66"]
        assert party.of(LegRequestRefused) == []

    play(kit, story)


@every_kit("digits")
@UP
def test_digits_go_both_ways_by_signalling(kit: Kit, make: Any) -> None:
    async def story(stage: Stage) -> None:
        party = await make(stage)
        party.leg.send_digits_by_signalling("12#", 160)
        party.far.presses("5")
        party.far.presses("*")
        await party.until_told(LegDigit, 2)
        assert party.of(LegDigit) == [LegDigit("5"), LegDigit("*")]
        assert party.seen.digits == "12#"

    play(kit, story)


@every_kit("text")
def test_text_and_digit_that_are_refused_are_told(kit: Kit) -> None:
    async def story(stage: Stage) -> None:
        party = await answered(stage, refuses_requests=(415, "Unsupported Media Type"))
        party.leg.send_message("order 66", "text/plain", {})
        party.leg.send_digits_by_signalling("1", 160)
        await party.until_told(LegRequestRefused, 2)
        assert {event.method for event in party.of(LegRequestRefused)} == {"MESSAGE", "INFO"}
        assert {(event.code, event.reason) for event in party.of(LegRequestRefused)} == {(415, "Unsupported Media Type")}

    play(kit, story)


@every_kit("text")
def test_refusal_that_the_end_of_the_call_cuts_off_is_not_told(kit: Kit) -> None:
    async def story(stage: Stage) -> None:
        party = await answered(stage, refuses_requests=(415, "Unsupported Media Type"))
        party.leg.send_message("order 66", "text/plain", {})
        party.hang_up()
        await buried(party)
        assert party.of(LegRequestRefused) == []

    play(kit, story)


# -- hold -----------------------------------------------------------------------------------------------------------------------------


@every_kit("hold")
@UP
@pytest.mark.parametrize(("inactive", "form"), [(False, "sendonly"), (True, "inactive")])
def test_hold_of_ours_is_true_when_the_peer_agrees(kit: Kit, make: Any, inactive: bool, form: str) -> None:
    async def story(stage: Stage) -> None:
        party = await make(stage)
        party.leg.hold(True, inactive=inactive)
        assert party.of(LegHoldAnswered) == []
        assert await party.until_told(LegHoldAnswered) == LegHoldAnswered(True, 200)
        party.leg.hold(False)
        assert await party.until_told(LegHoldAnswered, 2) == LegHoldAnswered(False, 200)
        assert party.seen.held_as == [form, "sendrecv"]
        assert party.of(LegHeld) == []

    play(kit, story)


@every_kit("hold")
@UP
def test_hold_of_ours_that_is_refused_is_not_true(kit: Kit, make: Any) -> None:
    async def story(stage: Stage) -> None:
        party = await make(stage, refuses_hold=488)
        party.leg.hold(True)
        assert await party.until_told(LegHoldAnswered) == LegHoldAnswered(False, 488)
        party.leg.hold(True)
        assert await party.until_told(LegHoldAnswered, 2) == LegHoldAnswered(False, 488)
        await asyncio.sleep(AGES_S)
        assert len(party.of(LegHoldAnswered)) == 2
        assert not party.is_over

    play(kit, story)


@every_kit("hold")
@pytest.mark.parametrize("wishes", [(True, False), (True, False, True), (False,)])
def test_wishes_that_follow_each_other_are_answered_with_what_is_true_at_last(kit: Kit, wishes: tuple[bool, ...]) -> None:
    async def story(stage: Stage) -> None:
        party = await answered(stage)
        for wish in wishes:
            party.leg.hold(wish)
        await asyncio.sleep(AGES_S)
        assert party.of(LegHoldAnswered) == [LegHoldAnswered(wishes[-1], 200)]

    play(kit, story)


@every_kit("hold")
def test_hold_that_the_end_of_the_call_cuts_off_is_not_told_after_it(kit: Kit) -> None:
    async def story(stage: Stage) -> None:
        party = await answered(stage)
        party.leg.hold(True)
        party.hang_up()
        await buried(party)

    play(kit, story)


@every_kit("hold", "confirmation")
def test_hold_of_a_call_that_is_not_confirmed_is_not_told_after_its_end(kit: Kit) -> None:
    async def story(stage: Stage) -> None:
        party = await stage.incoming(Habits(confirms=False))
        await party.leg.accept(OPTION)
        await party.until_told(LegReady)
        party.leg.hold(True)
        party.leg.hold(False)
        party.far.hangs_up()
        await buried(party)

    play(kit, story)


@pytest.mark.parametrize(("kit", "form", "is_silent"), [(kit, *form) for kit in KITS for form in kit.hold_forms])
@UP
def test_hold_of_the_peer_is_told_once_and_taken_back_once(kit: Kit, form: str, is_silent: bool, make: Any) -> None:
    async def story(stage: Stage) -> None:
        party = await make(stage)
        for n in (1, 3):
            party.far.holds(form)
            await party.until_told(LegHeld, n)
            party.far.holds(form)
            await asyncio.sleep(1)
            party.far.unholds()
            await party.until_told(LegHeld, n + 1)
            party.far.unholds()
            await asyncio.sleep(1)
        assert party.of(LegHeld) == [LegHeld(True, is_silent=is_silent), LegHeld(False)] * 2
        assert party.of(LegHoldAnswered) == []
        assert not party.is_over

    play(kit, story)


@every_kit("hold")
def test_both_hold_and_each_takes_back_its_own(kit: Kit) -> None:
    async def story(stage: Stage) -> None:
        party = await answered(stage)
        party.far.holds()
        await party.until_told(LegHeld)
        party.leg.hold(True)
        await party.until_told(LegHoldAnswered)
        party.leg.hold(False)
        await party.until_told(LegHoldAnswered, 2)
        party.far.unholds()
        await party.until_told(LegHeld, 2)
        assert party.of(LegHeld) == [LegHeld(True), LegHeld(False)]
        assert party.of(LegHoldAnswered) == [LegHoldAnswered(True, 200), LegHoldAnswered(False, 200)]

    play(kit, story)


# -- transfers ------------------------------------------------------------------------------------------------------------------------


@every_kit("transfer")
@UP
def test_transfer_that_we_ask_for_is_told_to_its_last_word(kit: Kit, make: Any) -> None:
    async def story(stage: Stage) -> None:
        party = await make(stage)
        party.leg.refer(TARGET, {"X-Why": "test"})
        await asyncio.sleep(1)
        for code, final in ((180, False), (200, True), (200, True)):
            party.far.tells_transfer(code, final=final)
            await asyncio.sleep(1)
        told = [(event.code, event.final, event.refused) for event in party.of(LegTransferProgress) if event.code > 100]
        assert told == [(180, False, False), (200, True, False)]
        assert party.seen.referred_to == [TARGET]
        assert not party.is_over

    play(kit, story)


@every_kit("transfer")
def test_transfer_that_the_peer_refuses_is_told_as_refused(kit: Kit) -> None:
    async def story(stage: Stage) -> None:
        party = await answered(stage, refuses_transfer=(603, "Decline"))
        for n in (1, 2):
            party.leg.refer(TARGET, {})
            assert await party.until_told(LegTransferProgress, n) == LegTransferProgress(603, "Decline", final=True, refused=True)
        await asyncio.sleep(AGES_S)
        assert len(party.of(LegTransferProgress)) == 2

    play(kit, story)


@every_kit("transfer")
def test_transfer_to_no_address_raises(kit: Kit) -> None:
    async def story(stage: Stage) -> None:
        party = await answered(stage)
        with pytest.raises(ActiveCallError):
            party.leg.refer("sip:", {})
        with pytest.raises(ActiveCallError):
            party.leg.refer("sip:a@b>\r\nX-Evil: 1", {})
        assert party.seen.referred_to == []

    play(kit, story)


@every_kit("transfer")
@UP
def test_transfer_that_the_peer_asks_for_is_answered_and_told_to_its_end(kit: Kit, make: Any) -> None:
    async def story(stage: Stage) -> None:
        party = await make(stage)
        party.leg.answer_transfer(True)  # nobody has asked
        party.far.asks_for_transfer(TARGET)
        assert (await party.until_told(LegTransferRequested)).refer_to == TARGET
        party.leg.answer_transfer(True)
        party.leg.answer_transfer(False)  # answered already
        await asyncio.sleep(1)
        for code, final in ((180, False), (200, True), (486, True)):
            party.leg.notify_transfer(code, "Told", final=final)
        await asyncio.sleep(1)
        assert party.seen.transfer_answers == [True]
        assert party.seen.transfer_told == [(180, False), (200, True)]
        assert len(party.of(LegTransferRequested)) == 1

    play(kit, story)


@every_kit("transfer")
def test_transfer_that_the_peer_asks_for_is_declined(kit: Kit) -> None:
    async def story(stage: Stage) -> None:
        party = await answered(stage)
        party.far.asks_for_transfer(TARGET)
        await party.until_told(LegTransferRequested)
        party.leg.answer_transfer(False)
        party.leg.notify_transfer(200, "OK", final=True)
        await asyncio.sleep(1)
        assert (party.seen.transfer_answers, party.seen.transfer_told) == ([False], [])

    play(kit, story)


@every_kit("transfer")
def test_second_request_for_a_transfer_is_not_told_while_the_first_waits(kit: Kit) -> None:
    async def story(stage: Stage) -> None:
        party = await answered(stage)
        party.far.asks_for_transfer(TARGET)
        party.far.asks_for_transfer("sip:other@example.com")
        await asyncio.sleep(1)
        assert [event.refer_to for event in party.of(LegTransferRequested)] == [TARGET]
        party.leg.answer_transfer(False)
        await asyncio.sleep(1)
        party.far.asks_for_transfer("sip:other@example.com")
        await party.until_told(LegTransferRequested, 2)

    play(kit, story)


@every_kit("transfer")
def test_request_for_a_transfer_that_the_end_cuts_off_is_answered_in_vain(kit: Kit) -> None:
    async def story(stage: Stage) -> None:
        party = await answered(stage)
        party.far.asks_for_transfer(TARGET)
        await party.until_told(LegTransferRequested)
        party.far.hangs_up()
        await party.until_told(LegEnded)
        party.leg.answer_transfer(True)
        party.leg.notify_transfer(200, "OK", final=True)
        await buried(party)
        assert True not in party.seen.transfer_answers

    play(kit, story)
