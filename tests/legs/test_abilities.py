"""Optional abilities: who has them, and what is said where one is missing."""

from __future__ import annotations

import re

import pytest

from active_call.base.errors import LocalProtocolError
from active_call.legs import abilities
from active_call.legs.sip.leg import SipLeg
from active_call.testing.fakes.call import FakeLeg
from active_call.testing.fakes.leg import BareFakeLeg

ALL = (abilities.Holdable, abilities.Transferable, abilities.Replaceable, abilities.Dtmf, abilities.Texting, abilities.KeepsSignalling)


@pytest.mark.parametrize("kind", [SipLeg, FakeLeg])
def test_leg_that_can_do_everything_has_every_method(kind: type) -> None:
    for ability in ALL:
        methods = [name for base in ability.__mro__ for name, member in vars(base).items() if callable(member) and name[0] != "_"]
        assert [name for name in methods if not callable(getattr(kind, name, None))] == []


def test_leg_with_abilities_is_given_back_with_them() -> None:
    leg = FakeLeg(contact="sip:peer@192.0.2.9", answered=True)
    assert all(isinstance(leg, ability) for ability in ALL)
    assert abilities.holdable(leg) is abilities.transferable(leg) is abilities.dtmf(leg) is abilities.texting(leg) is leg  # type: ignore[comparison-overlap]
    assert abilities.can_refer(leg)
    assert abilities.has_telephone_events(leg)
    assert abilities.attended_target(leg) != ""
    assert not abilities.can_refer(FakeLeg(allowed=frozenset({"INVITE"})))


def test_missing_ability_is_told_with_the_kind_of_call() -> None:
    leg = BareFakeLeg(kind="websocket")
    assert not any(isinstance(leg, ability) for ability in ALL)
    for ask, what in (
        (abilities.holdable, "be put on hold"),
        (abilities.transferable, "be transferred by its peer"),
        (abilities.dtmf, "send digits as signalling; use method 'inband'"),
        (abilities.texting, "carry a text"),
    ):
        with pytest.raises(LocalProtocolError, match=re.escape(f"a websocket call cannot {what}")):
            ask(leg)
    assert not abilities.can_refer(leg)
    assert not abilities.has_telephone_events(leg)
    assert abilities.attended_target(leg) == ""
    assert abilities.dialog_tags(leg) == ("", "")
    assert abilities.signalling_of(leg, whole=True) == ()
    assert abilities.replaced_by(leg) is None
