"""Refusals are all counted, and told without letting a flood fill the log."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from active_call.legs.sip import refusals as limits
from active_call.legs.sip.refusals import Refusals


@dataclass
class Clock:
    at: float = 1000.0

    def now(self) -> float:
        return self.at

    def utc_now(self) -> datetime:
        return datetime.fromtimestamp(self.at, UTC)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def refusals(clock: Clock, caplog: pytest.LogCaptureFixture) -> Refusals:
    caplog.set_level(logging.INFO, logger="active_call.admission")
    return Refusals(clock)


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str, int]]:
    """Message, peer, and how many more it stands for."""
    return [(record.message, str(vars(record)["peer"]), int(vars(record).get("n_more", 0))) for record in caplog.records]


def test_first_refusal_of_an_address_is_told_at_once_with_its_rule(refusals: Refusals, caplog: pytest.LogCaptureFixture) -> None:
    refusals.note_refused("unlisted", "203.0.113.9", code=403)
    (record,) = caplog.records
    assert (record.levelname, vars(record)["rule"], vars(record)["code"]) == ("WARNING", "unlisted", 403)


def test_flood_of_one_address_is_one_line_and_one_sum(clock: Clock, refusals: Refusals, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(5000):
        clock.at += 0.01
        refusals.note_refused("unlisted", "203.0.113.9")
    clock.at += limits.QUIET_S
    refusals.flush()
    assert refusals.refused == {"unlisted": 5000}
    assert lines(caplog) == [("refused", "203.0.113.9", 0), ("refused again", "203.0.113.9", 4999)]


def test_other_rules_and_other_addresses_are_told_by_themselves(refusals: Refusals, caplog: pytest.LogCaptureFixture) -> None:
    refusals.note_refused("unlisted", "203.0.113.9")
    refusals.note_refused("silenced", "203.0.113.9")
    refusals.note_refused("unlisted", "203.0.113.10")
    refusals.note_dropped("parse_error", "203.0.113.9", detail="x")
    assert len(lines(caplog)) == 4
    assert refusals.dropped == {"parse_error": 1}


def test_flood_of_forged_addresses_is_bounded_in_lines_and_in_memory(
    clock: Clock, refusals: Refusals, caplog: pytest.LogCaptureFixture
) -> None:
    for n in range(20_000):
        clock.at += 0.001
        refusals.note_refused("unlisted", f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}")
    assert len(lines(caplog)) <= (20 + 1) * limits.MAX_LINES
    assert refusals.n_suppressed > 15_000
    assert refusals.refused["unlisted"] == 20_000
    assert len(refusals._logged) <= limits.MAX_ADDRESSES


def test_address_that_comes_again_later_is_told_again(clock: Clock, refusals: Refusals, caplog: pytest.LogCaptureFixture) -> None:
    refusals.note_refused("unlisted", "203.0.113.9")
    clock.at += limits.QUIET_S + 1
    refusals.note_refused("unlisted", "203.0.113.9")
    assert lines(caplog) == [("refused", "203.0.113.9", 0)] * 2
