"""Who hears whom in a mix."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from active_call.call.parties.parties import (
    AGENT,
    BRIDGED,
    CONNECTED,
    CONNECTED_HEARD,
    EARLY_MEDIA,
    PARTNER,
    PEER,
    TARGET,
    WITH_AGENT,
    Join,
    Mix,
    Party,
    Role,
)


@pytest.mark.parametrize(
    ("mix", "first", "second", "join"),
    [
        (WITH_AGENT, PEER, AGENT, Join.BOTH),
        (BRIDGED, PEER, PARTNER, Join.BOTH),
        (BRIDGED, PEER, AGENT, Join.NOT),
        (EARLY_MEDIA, PEER, TARGET, Join.FIRST_HEARS),
        (EARLY_MEDIA, TARGET, PEER, Join.SECOND_HEARS),
        (CONNECTED, PEER, TARGET, Join.BOTH),
        (CONNECTED, AGENT, PEER, Join.NOT),
        (CONNECTED_HEARD, AGENT, PEER, Join.FIRST_HEARS),
        (WITH_AGENT, PEER, TARGET, Join.NOT),
    ],
)
def test_bridges_and_transfers_of_today_join_as_drawn(mix: Mix, first: str, second: str, join: Join) -> None:
    assert mix.join(first, second) is join


def test_whisper_is_heard_by_the_one_that_it_is_meant_for() -> None:
    mix = Mix((Party("caller"), Party("agent"), Party("supervisor", Role.WHISPER, whispers_to="agent"), Party("trainee", Role.LISTEN)))
    assert [name for name in ("caller", "agent", "trainee") if mix.hears(name, "supervisor")] == ["agent"]
    assert all(mix.hears("supervisor", name) for name in ("caller", "agent"))
    assert not any(mix.hears(name, "trainee") for name in ("caller", "agent", "supervisor"))


def test_two_parties_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="one name"):
        Mix((Party("a"), Party("a", Role.LISTEN)))


@given(st.lists(st.tuples(st.sampled_from(Role), st.sampled_from("abcd")), max_size=4))
def test_join_is_the_same_seen_from_either_side(roles: list[tuple[Role, str]]) -> None:
    mix = Mix(tuple(Party(name, role, to) for name, (role, to) in zip("abcd", roles, strict=False)))
    swapped = {Join.FIRST_HEARS: Join.SECOND_HEARS, Join.SECOND_HEARS: Join.FIRST_HEARS}
    for first in "abcd":
        assert not mix.hears(first, first)
        for second in "abcd":
            if first != second:
                assert mix.join(second, first) is swapped.get(mix.join(first, second), mix.join(first, second))
