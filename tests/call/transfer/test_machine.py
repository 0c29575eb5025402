"""A transfer's states: each cell of the table, and that every order of events leads to one known end."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from active_call.call.transfer.machine import (
    PEER_LEAVES_S,
    Briefed,
    CallerGone,
    Do,
    EmitEvent,
    FarAnswered,
    FarEnded,
    FarHeard,
    FarRinging,
    Joined,
    JoinFailed,
    Mode,
    ReferProgress,
    ReferRefused,
    State,
    Transfer,
    Withdrawn,
    in_words,
)

AUTO, REFER, BRIDGE, WARM = Mode.AUTO, Mode.REFER, Mode.BRIDGE, Mode.WARM


class Bench:
    """A transfer, and everything it has asked for."""

    def __init__(self, mode: Mode = AUTO, *, can_refer: bool = True, auto_hangup: bool = False, asked_by_peer: bool = False) -> None:
        self.now = 100.0
        self.transfer = Transfer(mode, timeout_s=30, auto_hangup=auto_hangup, asked_by_peer=asked_by_peer)
        self.done: list[Any] = []
        self.transfer.begin(self.now, can_refer=can_refer)
        self.done += self.transfer.take_actions()

    def feed(self, *items: Any) -> list[Any]:
        new: list[Any] = []
        for item in items:
            self.transfer.receive(item, self.now)
            new += self.transfer.take_actions()
        self.done += new
        return new

    def wait(self, seconds: float) -> list[Any]:
        self.now += seconds
        self.transfer.handle_timeout(self.now)
        new = self.transfer.take_actions()
        self.done += new
        return new


def connected(**options: Any) -> Bench:
    bench = Bench(BRIDGE, **options)
    bench.feed(FarRinging(180), FarAnswered(), Joined())
    assert bench.transfer.state is State.CONNECTED
    return bench


def failed(code: int, reason: str = "") -> list[Any]:
    """The end of every transfer that did not come about."""
    return [Do.RETURN, EmitEvent("failed", code, in_words(code, reason), final=True, returned=True)]


# -- by REFER ----------------------------------------------------------------------------------------------------------------------------


def test_refer_that_the_target_takes_hangs_up_the_caller_at_once() -> None:
    bench = Bench()
    assert bench.done == [EmitEvent("referring"), Do.REFER]
    assert bench.feed(ReferProgress(100), ReferProgress(180)) == [EmitEvent("progress", 100), EmitEvent("progress", 180)]
    assert bench.feed(ReferProgress(200, final=True)) == [EmitEvent("completed", 200, final=True), Do.HANG_UP]
    assert bench.transfer.is_over


@pytest.mark.parametrize("code", [400, 403, 405, 480, 486, 488, 500, 501, 603])
def test_peer_that_refuses_the_refer_has_us_call_the_target(code: int) -> None:
    assert Bench(AUTO).feed(ReferRefused(code)) == [EmitEvent("calling", code, in_words(code)), Do.MUSIC, Do.CALL]
    assert Bench(REFER).feed(ReferRefused(code)) == failed(code)


@pytest.mark.parametrize("code", [480, 486, 487, 600, 603, 604])
def test_target_that_refuses_is_not_rung_a_second_time(code: int) -> None:
    assert Bench(AUTO).feed(ReferProgress(code, final=True)) == failed(code)


@pytest.mark.parametrize("code", [0, 403, 404, 408, 500, 503])
def test_peer_that_cannot_reach_the_target_has_us_call_it(code: int) -> None:
    assert Bench(AUTO).feed(ReferProgress(code, final=True))[-1] is Do.CALL
    assert Bench(REFER).feed(ReferProgress(code, final=True)) == failed(code)


def test_peer_without_refer_is_not_asked() -> None:
    assert Bench(AUTO, can_refer=False).done == [EmitEvent("calling"), Do.MUSIC, Do.CALL]
    assert Bench(REFER, can_refer=False).done == failed(405)
    assert Bench(BRIDGE, can_refer=True).done == [EmitEvent("calling"), Do.MUSIC, Do.CALL]


def test_silent_peer_is_waited_for_with_music_and_then_passed_over() -> None:
    bench = Bench(AUTO)
    assert bench.transfer.next_timeout() == 101.5
    assert bench.wait(1.5) == [Do.MUSIC]
    assert bench.wait(10) == []
    assert bench.feed(ReferProgress(180)) == [EmitEvent("progress", 180)]
    assert bench.wait(29.9) == []  # news give it more time
    assert bench.wait(0.2) == [EmitEvent("calling", 408, in_words(408)), Do.CALL]  # the music plays on
    bench = Bench(REFER)
    assert bench.wait(30) == [Do.MUSIC, Do.SILENCE, *failed(408)]


def test_word_of_a_late_success_is_believed_and_our_call_is_withdrawn() -> None:
    bench = Bench(AUTO)
    bench.wait(1.5)
    bench.wait(29)
    bench.feed(FarRinging(180))
    assert bench.feed(ReferProgress(200, final=True)) == [Do.END_FAR, Do.SILENCE, EmitEvent("completed", 200, final=True), Do.HANG_UP]
    bench = Bench(AUTO)
    bench.feed(ReferRefused(603), FarAnswered(), Joined())
    assert bench.feed(ReferProgress(200, final=True)) == []  # they talk already


# -- by calling the target ---------------------------------------------------------------------------------------------------------------


def test_target_that_answers_is_joined_and_the_caller_returns_when_it_hangs_up() -> None:
    bench = Bench(BRIDGE)
    assert bench.feed(FarRinging(180)) == [EmitEvent("progress", 180)]
    assert bench.feed(FarAnswered()) == [Do.JOIN]
    assert bench.feed(Joined()) == [Do.SILENCE, EmitEvent("connected", 200)]
    assert bench.feed(FarEnded(0)) == [Do.RETURN, EmitEvent("completed", 200, final=True, returned=True)]


def test_auto_hangup_ends_the_callers_call_with_the_targets() -> None:
    bench = connected(auto_hangup=True)
    assert bench.feed(FarEnded(0)) == [EmitEvent("completed", 200, final=True), Do.HANG_UP]


def test_early_sound_of_the_target_takes_the_place_of_the_music() -> None:
    bench = Bench(BRIDGE)
    assert bench.feed(FarRinging(183), FarHeard()) == [EmitEvent("progress", 183), Do.SILENCE, Do.LISTEN]
    assert bench.feed(FarAnswered(), Joined()) == [Do.JOIN, EmitEvent("connected", 200)]


@pytest.mark.parametrize("code", [404, 486, 603, 503, 0])
def test_target_that_cannot_be_had_gives_the_caller_back_with_the_reason(code: int) -> None:
    bench = Bench(BRIDGE)
    assert bench.feed(FarEnded(code)) == [Do.SILENCE, *failed(code)]


def test_target_that_does_not_answer_in_time_is_withdrawn() -> None:
    bench = Bench(BRIDGE)
    bench.feed(FarRinging(180))
    assert bench.wait(29.9) == []
    assert bench.wait(0.2) == [Do.END_FAR, Do.SILENCE, *failed(408)]
    assert bench.feed(FarEnded(487), FarAnswered()) == []


def test_two_that_cannot_be_joined_are_told_so() -> None:
    bench = Bench(BRIDGE)
    bench.feed(FarAnswered())
    assert bench.feed(JoinFailed("full")) == [Do.END_FAR, Do.SILENCE, *failed(503)]
    bench = Bench(BRIDGE)
    bench.feed(FarAnswered())
    assert bench.feed(FarEnded(0)) == [Do.SILENCE, *failed(0)]


# -- the caller, and us ------------------------------------------------------------------------------------------------------------------

GONE = EmitEvent("cancelled", 487, "the caller hung up", final=True)


def test_caller_who_hangs_up_ends_everything() -> None:
    assert Bench(AUTO).feed(CallerGone()) == [GONE]
    assert Bench(BRIDGE).feed(CallerGone()) == [Do.END_FAR, Do.SILENCE, GONE]
    bench = Bench(BRIDGE)
    bench.feed(FarAnswered())
    assert bench.feed(CallerGone()) == [Do.END_FAR, Do.SILENCE, GONE]
    assert connected().feed(CallerGone()) == [Do.END_FAR, EmitEvent("completed", final=True)]


def test_transfer_that_is_withdrawn_gives_the_caller_back() -> None:
    bench = Bench(BRIDGE)
    last = EmitEvent("cancelled", 487, in_words(487), final=True, returned=True)
    assert bench.feed(Withdrawn()) == [Do.END_FAR, Do.SILENCE, Do.RETURN, last]
    assert connected().feed(Withdrawn()) == [Do.END_FAR, Do.RETURN, EmitEvent("completed", 200, final=True, returned=True)]
    assert connected(auto_hangup=True).feed(Withdrawn()) == [Do.END_FAR, EmitEvent("completed", 200, final=True), Do.HANG_UP]


def test_refer_cannot_be_taken_back() -> None:
    bench = Bench(AUTO)
    assert bench.feed(Withdrawn()) == []
    assert bench.transfer.state is State.REFERRING


# -- told first who waits -----------------------------------------------------------------------------------------------------------------


def briefing() -> Bench:
    bench = Bench(WARM)
    bench.feed(FarRinging(180), FarHeard())
    assert bench.feed(FarAnswered()) == [EmitEvent("briefing", 200), Do.BRIEF]
    return bench


def test_warm_transfer_calls_the_target_with_music_until_it_accepts_and_the_two_are_joined() -> None:
    bench = briefing()
    assert bench.done[:3] == [EmitEvent("calling"), Do.MUSIC, Do.CALL]
    assert bench.feed(Briefed(accepted=True)) == [Do.JOIN]
    assert bench.feed(Joined()) == [Do.SILENCE, EmitEvent("connected", 200)]


@pytest.mark.parametrize("item", [Briefed(False, 603), FarEnded(0, "gone"), Withdrawn(), CallerGone(), 301.0])
def test_warm_transfer_that_is_not_accepted_ends_in_one_way(item: Any) -> None:
    bench = briefing()
    done = bench.wait(item) if isinstance(item, float) else bench.feed(item)
    last = next(each for each in done if isinstance(each, EmitEvent))
    state = "cancelled" if item in (Withdrawn(), CallerGone()) else "failed"
    assert (last.state, last.final, last.returned) == (state, True, item != CallerGone())
    assert Do.SILENCE in done and Do.JOIN not in done
    assert (Do.END_FAR in done) == (item != FarEnded(0, "gone"))


# -- asked for by the peer ---------------------------------------------------------------------------------------------------------------

ADOPTED = [Do.ADOPT, EmitEvent("completed", 200, final=True, returned=True)]


def test_peer_that_has_transferred_us_leaves_and_the_target_takes_its_place() -> None:
    assert connected(asked_by_peer=True).feed(CallerGone()) == ADOPTED
    bench = Bench(BRIDGE, asked_by_peer=True)
    bench.feed(FarAnswered())
    assert bench.feed(CallerGone()) == [Do.SILENCE, *ADOPTED]  # while the two are being joined


def test_peer_that_stays_after_its_transfer_succeeded_is_hung_up() -> None:
    bench = connected(asked_by_peer=True)
    assert bench.wait(PEER_LEAVES_S - 0.1) == []
    assert bench.wait(0.1) == [Do.END_PEER]
    assert bench.wait(3600.0) == []
    assert bench.feed(CallerGone()) == ADOPTED


def test_peers_of_our_own_transfers_talk_as_long_as_they_like() -> None:
    assert connected().wait(3600.0) == []


def test_peer_that_leaves_at_once_leaves_us_alone_until_the_target_answers() -> None:
    bench = Bench(BRIDGE, asked_by_peer=True)
    assert bench.feed(CallerGone()) == [Do.SILENCE]
    assert bench.transfer.is_alone
    assert bench.feed(FarRinging(180), FarAnswered()) == [EmitEvent("progress", 180), *ADOPTED]


@pytest.mark.parametrize("item", [FarEnded(486), Withdrawn(), 30.0])
def test_target_that_nobody_takes_the_place_of_ends_the_call(item: Any) -> None:
    bench = Bench(BRIDGE, asked_by_peer=True)
    bench.feed(CallerGone())
    done = bench.wait(item) if isinstance(item, float) else bench.feed(item)
    code = {FarEnded(486): 486, Withdrawn(): 487}.get(item, 408)
    assert done == [*([] if code == 486 else [Do.END_FAR]), EmitEvent("failed", code, in_words(code), final=True), Do.END]


def test_target_that_hangs_up_first_leaves_us_with_the_peer() -> None:
    assert connected(asked_by_peer=True).feed(FarEnded(0)) == [Do.RETURN, EmitEvent("completed", 200, final=True, returned=True)]


# -- every order -------------------------------------------------------------------------------------------------------------------------

CODES = (0, 100, 180, 183, 200, 202, 302, 403, 404, 408, 480, 486, 487, 503, 603)
INPUTS = st.one_of(
    st.builds(ReferRefused, st.sampled_from([code for code in CODES if code >= 300])),
    st.builds(ReferProgress, st.sampled_from(CODES), final=st.booleans()),
    st.builds(FarRinging, st.sampled_from((180, 183))),
    st.builds(FarEnded, st.sampled_from(CODES)),
    st.builds(JoinFailed, st.just("full")),
    st.builds(Briefed, st.booleans(), st.sampled_from((0, 480, 603))),
    st.sampled_from([FarHeard(), FarAnswered(), Joined(), Withdrawn(), CallerGone()]),
    st.sampled_from((0.1, 1.5, 15.0, 31.0)),
)


@given(st.sampled_from(list(Mode)), st.booleans(), st.booleans(), st.booleans(), st.lists(INPUTS, max_size=12))
def test_every_order_of_events_has_one_known_end(
    mode: Mode, can_refer: bool, auto_hangup: bool, asked_by_peer: bool, items: list[Any]
) -> None:
    bench = Bench(BRIDGE if asked_by_peer else mode, can_refer=can_refer, auto_hangup=auto_hangup, asked_by_peer=asked_by_peer)
    far_ended = False
    for item in [*items, CallerGone(), 31.0]:
        transfer = bench.transfer
        waits = transfer.state in (State.REFERRING, State.CALLING, State.BRIEFING)
        waits = waits or (transfer.state is State.CONNECTED and transfer.asked_by_peer)  # until the peer leaves
        assert waits == (bench.transfer.next_timeout() is not None)  # nobody is waited for without an end
        far_ended = far_ended or (isinstance(item, FarEnded) and bench.transfer.has_far_leg)
        bench.wait(item) if isinstance(item, float) else bench.feed(item)
    done = bench.done
    assert bench.transfer.is_over
    finals = [one for one in done if isinstance(one, EmitEvent) and one.final]
    assert len(finals) == 1
    (last,) = finals
    assert last.state in ("completed", "failed", "cancelled")
    # Nothing is told after the last word; at most the caller is hung up then, or the call is over.
    assert done[done.index(last) + 1 :] in ([], [Do.HANG_UP], [Do.END])
    # Whoever is there is in one place: with the agent, hung up, or gone.
    assert last.returned == (Do.RETURN in done or Do.ADOPT in done)
    assert sum(done.count(end) for end in (Do.RETURN, Do.HANG_UP, Do.ADOPT, Do.END)) <= 1
    # The target's call: placed once at most, and never left behind.
    assert done.count(Do.CALL) <= 1
    assert done.count(Do.END_FAR) + done.count(Do.ADOPT) + far_ended == done.count(Do.CALL)
    assert done.count(Do.JOIN) <= 1
    # Nobody is joined in mode warm who was not told before, and the caller hears nothing of it.
    if bench.transfer.mode is WARM and Do.JOIN in done:
        assert Do.BRIEF in done[: done.index(Do.JOIN)] and Do.LISTEN not in done
    assert Do.ADOPT not in done or asked_by_peer
    # Music begins and ends in turn.
    assert [one for one in done if one in (Do.MUSIC, Do.SILENCE)] == [Do.MUSIC, Do.SILENCE] * (done.count(Do.MUSIC))
    # A REFER comes first, or never.
    assert Do.REFER not in done or done[1] is Do.REFER
