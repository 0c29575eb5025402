"""Who speaks to the caller: what is derived from the claims, and that the changes between two states lead from one to the other."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from active_call.call.parties.attention import Attention, Change, Claim, Holder, Music, Why, changes
from active_call.call.parties.attention_executor import AttentionExecutor, AttentionPorts


@pytest.mark.parametrize(
    ("whys", "holder"),
    [
        ((), Holder.AGENT),
        ((Why.PAUSED,), Holder.AGENT),
        ((Why.UNANSWERED,), Holder.NOBODY),
        ((Why.UNANSWERED, Why.RINGBACK), Holder.RINGBACK),
        ((Why.TRANSFER, Why.TRANSFER_MUSIC), Holder.TRANSFER),
        ((Why.TAKEOVER,), Holder.TRANSFER),
        ((Why.BRIDGE,), Holder.BRIDGE),
        ((Why.TRANSFER, Why.HOLD), Holder.HOLD),
    ],
)
def test_holder_is_the_first_that_has_a_claim(whys: tuple[Why, ...], holder: Holder) -> None:
    assert Attention(tuple(Claim(why) for why in whys)).holder is holder


def test_transfer_that_lets_the_agent_hear_is_aside_and_hears_until_a_hold_comes() -> None:
    transfer = Attention().with_claim(Claim(Why.TRANSFER, hears=True))
    assert (transfer.is_aside, transfer.hears, transfer.is_frozen) == (True, True, False)
    held = transfer.with_claim(Claim(Why.HOLD))
    assert (held.hears, held.is_frozen) == (False, True)
    assert held.without(Why.HOLD) == transfer


def test_music_is_that_of_the_latest_claim_and_the_one_before_comes_back() -> None:
    state = Attention().with_claim(Claim(Why.HOLD_MUSIC, music=Music("a.wav"))).with_claim(Claim(Why.TRANSFER_MUSIC, music=Music()))
    assert state.music == Music()
    assert state.with_claim(Claim(Why.HOLD_MUSIC, music=Music("a.wav"))).music == Music()  # it stood already
    assert state.with_claim(Claim(Why.HOLD_MUSIC, music=Music("b.wav"))).music == Music("b.wav")
    assert state.without(Why.TRANSFER_MUSIC).music == Music("a.wav")


class Effects:
    """What the executor has done, as the state that it leads to."""

    def __init__(self) -> None:
        self.music: Music | None = None
        self.is_frozen = self.is_aside = self.is_suspended = False
        self.muted: set[str] = set()
        self.n_orders = 0

    def ports(self) -> AttentionPorts:
        return AttentionPorts(
            play_music=lambda music: self._set("music", music),
            mute=self._mute,
            freeze=lambda frozen: self._set("is_frozen", frozen),
            suspend=lambda: self._set("is_suspended", True),
            resume=lambda: self._set("is_suspended", False),
            step_aside=lambda: self._set("is_aside", True),
            step_back=lambda: self._set("is_aside", False),
        )

    def _mute(self, track: str, muted: bool) -> None:
        self._set("muted", self.muted | {track} if muted else self.muted - {track})

    def _set(self, name: str, value: object) -> None:
        assert getattr(self, name) != value, "an order that changes nothing"
        setattr(self, name, value)
        self.n_orders += 1


CLAIMS = st.builds(Claim, st.sampled_from(Why), st.booleans(), st.sampled_from([None, Music(), Music("a.wav")]))


class Line:
    """The effects on the stream of the present leg; a new leg's stream is as it was opened."""

    def __init__(self) -> None:
        self.present = Effects()

    def ports(self) -> AttentionPorts:
        names = ("mute", "freeze", "suspend", "resume", "step_aside", "step_back")
        return AttentionPorts(self._play_music, *(self._order(name) for name in names))

    def _order(self, name: str) -> Any:
        return lambda *values: getattr(self.present.ports(), name)(*values)

    def _play_music(self, music: Music | None) -> None:
        if music != self.present.music:  # an end of the music where there is none is harmless
            self.present.ports().play_music(music)


MUTES = st.tuples(st.booleans(), st.sampled_from(["", "plays"]))
STEPS = st.lists(st.one_of(st.tuples(st.booleans(), CLAIMS), MUTES, st.none()), max_size=30)


@given(STEPS)
def test_effects_follow_the_state_whatever_comes_and_goes_on_any_leg(steps: list[tuple[bool, Claim | str] | None]) -> None:
    line = Line()
    executor = AttentionExecutor(line.ports())
    for step in steps:
        match step:
            case None:
                line.present = Effects()
                line.present.is_aside = not executor.state.is_aside  # an order for the background sound is due either way
                executor.leg_changed()
            case (enters, Claim() as claim) if enters:
                executor.claim(claim.why, hears=claim.hears, music=claim.music)
            case (_, Claim() as claim):
                executor.release(claim.why)
            case (muted, track):
                executor.mute(track, muted=muted)
        state, effects = executor.state, line.present
        assert (effects.music, effects.is_frozen, effects.is_aside) == (state.music, state.is_frozen, state.is_aside)
        assert effects.is_suspended is not state.hears
        assert effects.muted == state.muted
        assert len({claim.why for claim in state.claims}) == len(state.claims)


@given(st.lists(CLAIMS, max_size=6), st.lists(CLAIMS, max_size=6))
def test_changes_of_opposite_kinds_never_come_together(one: list[Claim], two: list[Claim]) -> None:
    found = changes(Attention(tuple(one)), Attention(tuple(two)))
    assert not {Change.FREEZE, Change.UNFREEZE} <= set(found)
    assert not {Change.SUSPEND, Change.RESUME} <= set(found)
    assert not {Change.STEP_ASIDE, Change.STEP_BACK} <= set(found)
    assert changes(Attention(tuple(one)), Attention(tuple(one))) == []


def test_unmute_without_a_track_undoes_every_mute() -> None:
    muted = Attention().with_mute("plays", muted=True).with_mute("", muted=True)
    assert muted.with_mute("plays", muted=False).muted == {""}
    assert muted.with_mute("", muted=False).muted == frozenset()
