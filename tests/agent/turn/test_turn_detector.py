"""The rule by which a recogniser's final text ends the turn: its table, and that it always comes to an end."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from active_call.agent.turn.turn_detector import (
    RECOGNITION_PATIENCE_S,
    SPEECH_MAX_S,
    STILL_SPEAKING_S,
    EndOfTurn,
    RecogniserTurnDetector,
    TurnDetector,
    TurnFacts,
    Undecided,
    WaitUntil,
)

DETECTOR: TurnDetector = RecogniserTurnDetector()


def test_speech_without_a_text_is_undecided_for_fifteen_seconds():
    facts = TurnFacts(since=10.0, is_speaking=True, partial="I would", partial_at=12.0)
    assert DETECTOR.decide(facts, 12.0) == Undecided(10.0 + SPEECH_MAX_S)
    assert DETECTOR.decide(facts, 25.0) == EndOfTurn()


def test_final_text_in_speech_waits_a_second_for_the_end():
    facts = TurnFacts(since=10.0, is_speaking=True, final="yes", final_at=11.0)
    assert DETECTOR.decide(facts, 11.0) == Undecided(11.0 + STILL_SPEAKING_S)
    assert DETECTOR.decide(facts, 12.0) == EndOfTurn()


def test_final_text_from_before_the_interruption_does_not_count_while_the_caller_speaks():
    facts = TurnFacts(since=12.0, is_speaking=True, final="yes", final_at=11.0)
    assert DETECTOR.decide(facts, 12.5) == Undecided(12.0 + SPEECH_MAX_S)


def test_final_text_in_silence_ends_the_turn():
    assert DETECTOR.decide(TurnFacts(since=10.0, final="yes", final_at=11.0), 11.0) == EndOfTurn()


def test_silence_without_a_text_waits_for_the_recogniser_from_the_last_thing_heard():
    facts = TurnFacts(since=10.0, voice_ended_at=11.0)
    assert DETECTOR.decide(facts, 11.0) == WaitUntil(11.0 + RECOGNITION_PATIENCE_S)
    facts = TurnFacts(since=10.0, voice_ended_at=11.0, partial="ye", partial_at=12.0)
    assert DETECTOR.decide(facts, 12.0) == WaitUntil(12.0 + RECOGNITION_PATIENCE_S)
    assert DETECTOR.decide(facts, 15.0) == EndOfTurn()


TIMES = st.floats(0, 100)
MAYBE = st.none() | TIMES
FACTS = st.builds(TurnFacts, since=TIMES, is_speaking=st.booleans(), voice_ended_at=MAYBE, partial_at=MAYBE, final_at=MAYBE)


@given(facts=FACTS, now=TIMES)
def test_without_new_facts_every_turn_ends_at_the_time_that_was_named(facts, now):
    verdict = DETECTOR.decide(facts, now)
    if not isinstance(verdict, EndOfTurn):
        assert verdict.at > now
        assert DETECTOR.decide(facts, verdict.at) == EndOfTurn()
