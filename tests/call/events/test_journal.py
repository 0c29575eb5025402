"""What a call keeps for its record, however much a caller sends."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from active_call.call.events.journal import MAX_EVENTS, MAX_LINES, Journal
from active_call.call.state import CallFacts
from active_call.contract import events

NOW = datetime(2026, 11, 30, tzinfo=UTC)


@pytest.fixture
def journal() -> Journal:
    facts = CallFacts("s.1", "inbound", "sip", "sip:a@example", "sip:b@example", "call-1", NOW)
    facts.ended_at = NOW
    return Journal(facts)


def characters(record: Any) -> int:
    return len(record.to_json())


def test_long_messages_of_a_caller_are_kept_up_to_a_limit_and_the_rest_is_counted(journal: Journal) -> None:
    for n in range(300):
        journal.note(events.Message(track_id="t", timestamp=n, body="x" * 32_100))
    record = journal.record()
    assert characters(record) < 6_000_000
    assert record.media["events_left_out"] == 300 - len(record.events)
    assert len(record.events) > 100
    journal.note(events.Message(track_id="t", timestamp=1, body="short"))
    assert journal.record().events[-1]["body"] == "short"


def test_texts_inside_values_count_too(journal: Journal) -> None:
    for n in range(300):
        journal.note(events.Custom(track_id="t", timestamp=n, data={"text": ["x" * 32_000]}))
    assert characters(journal.record()) < 6_000_000


@pytest.mark.parametrize("text", ["5", "x" * 200_000])
def test_transcript_is_bounded(journal: Journal, text: str) -> None:
    for n in range(MAX_LINES + 100 if len(text) == 1 else 100):
        journal.note(events.AddHistory(track_id="t", timestamp=n, speaker="user", text=text))
    record = journal.record()
    assert len(record.turns) <= MAX_LINES and sum(len(line.text) for line in record.turns) <= 4_000_000
    assert record.media["lines_left_out"] > 0
    assert len(record.events) <= MAX_EVENTS


def test_problems_that_come_and_go_are_bounded(journal: Journal) -> None:
    for n in range(3000):
        journal.note(events.MediaProblem(track_id="t", timestamp=n, problem="not_heard", detail="x", over=bool(n % 2)))
    assert len(journal.record().media["problems"]) <= 200
