"""Who has the turn: the table, the deadlines, and a detector of another kind in the place of the default."""

from __future__ import annotations

import pytest

from active_call.agent.turn.floor import TABLE, Claim, Floor, FloorEvent, Holder
from active_call.agent.turn.phase import Phase, Signal
from active_call.agent.turn.timers import Timer, Timers
from active_call.agent.turn.turn_detector import EndOfTurn, RecogniserTurnDetector, TurnFacts, TurnVerdict, WaitUntil


class Parts:
    def __init__(self, detector=None, *signals: Signal) -> None:
        self.phase = Phase()
        self.timers = Timers()
        self.floor = Floor(self.phase, self.timers, detector or RecogniserTurnDetector())
        for signal in signals:
            assert self.phase.fire(signal)


@pytest.fixture
def listening() -> Parts:
    return Parts(None, Signal.DONE)


def test_table_names_every_claim_and_every_happening():
    assert set(TABLE) == set(Claim)
    assert all(set(row) == set(FloorEvent) for row in TABLE.values())
    assert all(row[FloorEvent.RELEASE] is Claim.NONE for row in TABLE.values())
    assert all(row[FloorEvent.BARGE_IN] is Claim.UNDECIDED for row in TABLE.values())


@pytest.mark.parametrize(
    ("signals", "holder"),
    [
        ((), Holder.ELSEWHERE),
        ((Signal.DONE,), Holder.NOBODY),
        ((Signal.ASK,), Holder.AGENT),
        ((Signal.SAY,), Holder.AGENT),
        ((Signal.DONE, Signal.HOLD), Holder.ELSEWHERE),
        ((Signal.PART,), Holder.ELSEWHERE),
        ((Signal.LEAVE,), Holder.ELSEWHERE),
        ((Signal.OVER,), Holder.ELSEWHERE),
    ],
)
def test_without_a_claim_the_phase_says_who_has_the_turn(signals, holder):
    assert Parts(None, *signals).floor.holder is holder


def test_voice_in_silence_gives_the_caller_the_turn_with_a_deadline(listening):
    listening.floor.voice_began(5.0, may_claim=True)
    assert listening.floor.holder is Holder.CALLER
    assert listening.timers.next_at() == 20.0
    listening.floor.voice_ended(6.0)
    assert not listening.floor.is_over(6.0)
    assert listening.timers.next_at() == 9.0
    assert listening.floor.holder is Holder.CALLER


def test_voice_over_the_agent_claims_nothing():
    parts = Parts(None, Signal.SAY)
    parts.floor.voice_began(5.0, may_claim=False)
    assert parts.floor.is_caller_speaking
    assert parts.floor.holder is Holder.AGENT


def test_barge_in_that_is_reported_before_the_voice_stays_one():
    parts = Parts(None, Signal.SAY)
    parts.floor.barge_in(5.0)  # the media process pauses the reply at once, and reports the voice afterwards
    parts.floor.voice_began(5.1, may_claim=False)
    assert parts.floor.facts.interrupts
    parts.floor.release()
    parts.floor.voice_began(7.0, may_claim=False)
    assert not parts.floor.facts.interrupts


def test_barge_in_is_undecided_until_words_come():
    parts = Parts(None, Signal.SAY)
    parts.floor.voice_began(5.0, may_claim=False)
    parts.phase.fire(Signal.CUT)
    parts.floor.barge_in(5.5)
    assert parts.floor.holder is Holder.UNDECIDED
    assert parts.timers.next_at() == 20.5
    parts.floor.final("wait", 6.0)
    parts.floor.yield_after_words(6.0)
    assert parts.floor.holder is Holder.CALLER
    assert parts.timers.next_at() == 7.0


def test_words_in_silence_release_the_turn(listening):
    listening.floor.voice_began(5.0, may_claim=True)
    listening.floor.voice_ended(6.0)
    listening.floor.final("yes", 6.2)
    listening.floor.yield_after_words(6.2)
    assert listening.floor.holder is Holder.NOBODY
    assert not listening.timers.is_set(Timer.FLOOR)


def test_speech_without_an_end_lapses_and_counts_as_silence(listening):
    listening.floor.voice_began(5.0, may_claim=True)
    assert not listening.floor.lapse(10.0)
    assert listening.floor.lapse(20.0)
    assert not listening.floor.is_caller_speaking


def test_partial_words_in_silence_move_the_deadline(listening):
    listening.floor.voice_began(5.0, may_claim=True)
    listening.floor.voice_ended(6.0)
    listening.floor.is_over(6.0)
    listening.floor.partial("I would", 8.0)
    assert listening.timers.next_at() == 11.0


def test_while_the_heard_part_is_not_known_the_turn_is_the_agents(listening):
    listening.timers.set(Timer.SETTLE, 1.0)
    assert listening.floor.holder is Holder.AGENT


class PatientDetector:
    """Waits 2 s in silence, whatever the recogniser says."""

    def decide(self, facts: TurnFacts, now: float) -> TurnVerdict:
        at = (facts.voice_ended_at or facts.since) + 2.0
        return WaitUntil(at) if now < at else EndOfTurn()


def test_another_detector_may_wait_after_a_final_text():
    parts = Parts(PatientDetector(), Signal.DONE)
    parts.floor.voice_began(5.0, may_claim=True)
    parts.floor.voice_ended(6.0)
    parts.floor.final("my number is", 6.1)
    parts.floor.yield_after_words(6.1)
    assert parts.floor.holder is Holder.CALLER
    assert parts.timers.next_at() == 8.0
    assert parts.floor.lapse(8.0)


class HastyDetector:
    def decide(self, facts: TurnFacts, now: float) -> TurnVerdict:
        return EndOfTurn()


def test_claim_that_a_detector_ends_at_once_still_has_a_deadline():
    parts = Parts(HastyDetector(), Signal.DONE)
    parts.floor.voice_began(5.0, may_claim=True)
    assert parts.timers.next_at() == 5.0
