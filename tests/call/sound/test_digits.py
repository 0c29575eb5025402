"""One press told once, by whichever ways it comes."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from active_call.base.errors import LocalProtocolError
from active_call.call.sound.digits import DigitFilter, way_of

MEDIA, SIGNALLING = "media", "signalling"


@pytest.mark.parametrize("order", [(MEDIA, SIGNALLING), (SIGNALLING, MEDIA)])
def test_press_that_comes_by_both_ways_is_told_once(order: tuple[str, str]) -> None:
    digits = DigitFilter()
    assert [digits.is_new("5", way, at) for way, at in ((order[0], 10.0), (order[1], 10.3))] == [True, False]
    assert [digits.is_new("5", way, at) for way, at in ((order[0], 10.6), (order[1], 10.7))] == [True, False]


def test_same_digit_twice_by_one_way_is_two_presses() -> None:
    digits = DigitFilter()
    assert [digits.is_new("1", MEDIA, at) for at in (10.0, 10.2, 10.4)] == [True, True, True]
    # ... and their three twins, all of them late
    assert [digits.is_new("1", SIGNALLING, at) for at in (10.5, 10.6, 10.7, 10.8)] == [False, False, False, True]


def test_other_digit_or_much_later_is_another_press() -> None:
    digits = DigitFilter()
    assert digits.is_new("1", MEDIA, 10.0)
    assert digits.is_new("2", SIGNALLING, 10.1)
    assert digits.is_new("1", SIGNALLING, 11.5)


@given(
    st.lists(st.tuples(st.sampled_from("12"), st.floats(0.15, 3.0)), max_size=12), st.lists(st.floats(0.0, 0.1), min_size=12, max_size=12)
)
def test_every_sequence_that_comes_twice_is_told_once(presses: list[tuple[str, float]], delays: list[float]) -> None:
    reports, at = [], 0.0
    for (digit, gap), delay in zip(presses, delays, strict=False):
        at += gap
        reports += [(at, digit, MEDIA), (at + delay, digit, SIGNALLING)]
    digits = DigitFilter()
    told = [digit for at, digit, way in sorted(reports) if digits.is_new(digit, way, at)]
    assert told == [digit for digit, _ in presses]


@dataclass
class Peer:
    has_telephone_events: bool
    methods: tuple[str, ...] = ("INFO",)

    def allows(self, method: str) -> bool:
        return method in self.methods

    def send_digits_by_signalling(self, digits: str, duration_ms: int) -> None:
        raise AssertionError("only asked for the way")


def test_digits_go_the_best_way_that_the_peer_knows() -> None:
    assert way_of(Peer(True), None) == "rfc4733"  # type: ignore[arg-type]
    assert way_of(Peer(False), None) == "info"  # type: ignore[arg-type]
    assert way_of(Peer(False, ()), None) == "inband"  # type: ignore[arg-type]


def test_digits_go_the_way_that_is_asked_for_or_not_at_all() -> None:
    assert [way_of(Peer(True), way) for way in ("rfc4733", "info", "inband")] == ["rfc4733", "info", "inband"]  # type: ignore[arg-type]
    for peer, way in ((Peer(False), "rfc4733"), (Peer(True), "pigeon")):
        with pytest.raises(LocalProtocolError):
            way_of(peer, way)  # type: ignore[arg-type]
