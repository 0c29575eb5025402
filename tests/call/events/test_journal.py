"""What a call keeps for its record, however much a caller sends."""

from __future__ import annotations

from datetime import UTC, datetime
from sys import getsizeof
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
    assert characters(record) < 2_500_000
    assert record.media["events_left_out"] == 300 - len(record.events)
    assert len(record.events) > 60
    journal.note(events.Message(track_id="t", timestamp=1, body="short"))
    assert journal.record().events[-1]["body"] == "short"


@pytest.mark.parametrize("letter", ["x", "é", "文", "😀"])
def test_memory_of_texts_is_bounded_whatever_their_letters(journal: Journal, letter: str) -> None:
    for n in range(300):
        body = "".join((letter * 32_000, str(n)))  # a text of its own
        journal.note(events.Message(track_id="t", timestamp=n, body=body))
        journal.note(events.AddHistory(track_id="t", timestamp=n, speaker="user", text=body + "."))
    record = journal.record()
    assert sum(getsizeof(event.get("body", "")) + getsizeof(event.get("text", "")) for event in record.events) < 2.2 * (1 << 20)
    assert sum(getsizeof(line.text) for line in record.turns) < 1.1 * (1 << 20)


def test_events_of_an_ordinary_long_call_all_stay(journal: Journal) -> None:
    for n in range(MAX_EVENTS // 2):
        journal.note(events.AsrFinal(track_id="t", timestamp=n, text="I would like a table for two people tomorrow evening, please. " * 2))
        journal.note(events.Speaking(track_id="t", timestamp=n, start_time=n))
    assert len(journal.record().events) == MAX_EVENTS


def test_one_line_that_is_too_long_leaves_room_for_later_ones(journal: Journal) -> None:
    for text in ("x" * (1 << 20), "short"):
        journal.note(events.AddHistory(track_id="t", timestamp=1, speaker="user", text=text))
    assert [line.text for line in journal.record().turns] == ["short"]


def test_texts_inside_values_count_too(journal: Journal) -> None:
    for n in range(300):
        journal.note(events.Custom(track_id="t", timestamp=n, data={"text": ["x" * 32_000]}))
    assert characters(journal.record()) < 2_500_000


@pytest.mark.parametrize("text", ["5", "x" * 200_000])
def test_transcript_is_bounded(journal: Journal, text: str) -> None:
    for n in range(MAX_LINES + 100 if len(text) == 1 else 100):
        journal.note(events.AddHistory(track_id="t", timestamp=n, speaker="user", text=text))
    record = journal.record()
    assert len(record.turns) <= MAX_LINES and sum(len(line.text) for line in record.turns) <= 1 << 20
    assert record.media["lines_left_out"] > 0
    assert len(record.events) <= MAX_EVENTS


def test_problems_that_come_and_go_are_bounded(journal: Journal) -> None:
    for n in range(3000):
        journal.note(events.MediaProblem(track_id="t", timestamp=n, problem="not_heard", detail="x", over=bool(n % 2)))
    assert len(journal.record().media["problems"]) <= 200
