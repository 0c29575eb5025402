"""The end of a turn by evidence: how long a silence is waited for, in which situation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from active_call.agent.turn.adaptive_detector import AdaptiveTurnDetector, TurnSettings
from active_call.agent.turn.expectation import Asked, Expectation, expected_after
from active_call.agent.turn.pauses import MAX_S, Pauses
from active_call.agent.turn.turn_detector import EndOfTurn, PauseSound, TurnFacts, Undecided, VendorTurn, WaitUntil

DETECTOR = AdaptiveTurnDetector(TurnSettings())
END = 10.0


def silent(text: str = "", **more) -> TurnFacts:
    """The caller has been silent since `END`; the recogniser has decided."""
    final_at = END + 0.1 if text else None
    return TurnFacts(**{"since": 8.0, "voice_ended_at": END, "final": text, "final_at": final_at, **more})


def silence_needed(facts: TurnFacts, detector: AdaptiveTurnDetector = DETECTOR) -> float:
    """After how much silence the turn is over when no new fact comes."""
    now = END
    for _ in range(20):
        verdict = detector.decide(facts, now)
        if isinstance(verdict, EndOfTurn):
            return now - END
        if isinstance(verdict, WaitUntil) and verdict.wants_text:
            facts = replace(facts, text_asked_at=now)
        now = max(now, verdict.at)
    raise AssertionError("the turn never ends")


@pytest.mark.parametrize(
    ("facts", "at_least", "at_most"),
    [
        (silent("yes, please", expected=Expectation(Asked.YES_NO)), 0.0, 0.2),
        (silent("yes", expected=Expectation(Asked.YES_NO)), 0.45, 0.55),
        (silent("goodbye"), 0.0, 0.2),
        (silent("thank you"), 0.5, 0.9),
        (silent("1234", expected=Expectation(Asked.DIGITS, 4, 4)), 0.0, 0.2),
        (silent("I would like to book a table"), 0.2, 0.4),
        (silent("What are your opening hours?"), 0.15, 0.25),
        (silent("my order number is 427"), 0.75, 0.95),
        (silent("I would like to know"), 1.0, 1.2),
        (silent("Baker"), 0.5, 0.8),
        (silent("My flight was cancelled."), 0.5, 0.65),
        (silent("My flight was cancelled.", expected=Expectation(Asked.SOMETHING)), 0.2, 0.35),
        (silent("I would like to book a table,"), 0.4, 0.6),
        (silent("I would like to book a table", confidence=0.4), 0.5, 0.75),
        (silent("goodbye", confidence=0.5), 0.0, 0.2),
        (silent("I would like to"), 1.0, 1.2),
        (silent("Can you send it?", confidence=0.91), 0.8, 0.95),
        (silent("There is a problem with this.", confidence=0.9), 0.8, 0.95),
        (silent("I cannot find mine.", confidence=0.89), 0.8, 0.95),
        (silent("How much is it?", confidence=0.97), 0.15, 0.25),
        (silent("How much is it?"), 0.15, 0.25),
        (silent("Can you tell me what?"), 1.0, 1.2),
        (silent("Could you please?"), 1.0, 1.2),
        (silent("Can you tell me where your shop is?"), 0.15, 0.25),
        (silent("I want to know what the total would be."), 0.15, 0.4),
        (silent("What I need is"), 1.0, 1.2),
        (silent("Where is"), 1.0, 1.2),
        (silent("one two", expected=Expectation(Asked.DIGITS, 4, 4)), 1.9, 2.0),
        (silent("cat at example", expected=Expectation(Asked.EMAIL)), 1.9, 2.0),
        (silent("b a k", expected=Expectation(Asked.SPELLING)), 0.8, 1.0),
        (silent("book", is_known_phrase=True), 0.0, 0.2),
        (silent("My order number is", is_known_phrase=True), 1.9, 2.0),
        (silent("What is it about", is_known_phrase=True), 1.0, 1.2),
        (silent("My order number is 14 7."), 0.8, 0.9),
        (silent("My order number is 427915"), 0.8, 0.9),
        (silent("The second number is wrong."), 0.5, 0.65),
        (silent("I would like to know, none."), 1.0, 1.2),
        (silent("Ich wollte wissen Ohm", language="de"), 1.0, 1.2),
        (silent("Is it a sort of me?", expected=Expectation(Asked.BIRTHDAY)), 0.75, 0.85),
        (silent("One salad.", said="I need two pieces."), 0.6, 0.75),
        (silent("Meine Kundennummer ist vier zwei", language="de"), 0.8, 1.2),
        (silent("I'd like"), 1.0, 1.2),
        (silent("It is about my order number"), 0.65, 0.8),
        (silent("two one", expected=Expectation(Asked.DIGITS, at_least=2)), 0.84, 0.9),
        (silent("four two seven", expected=Expectation(Asked.DIGITS, at_least=2)), 0.8, 0.85),
        (silent("b a", expected=Expectation(Asked.SPELLING)), 0.8, 0.85),
        (silent("mm-hmm", expected=Expectation(Asked.YES_NO)), 0.2, 0.35),
        (silent("uh-huh", expected=Expectation(Asked.SOMETHING)), 1.0, 1.2),
        (silent("Four people.", expected=expected_after("How many people, and on which day?")), 0.7, 0.9),
        (silent("Four people on Friday.", expected=expected_after("How many people, and on which day?")), 0.2, 0.35),
        (silent("", final_at=END + 0.1), 1.15, 1.25),
    ],
)
def test_silence_that_ends_the_turn_follows_from_what_was_said_and_asked(facts, at_least, at_most):
    assert at_least <= silence_needed(facts) <= at_most + 1e-9


def test_falling_pitch_says_nothing_after_a_statement_and_everything_that_was_asked_for_ends_the_turn_whatever_the_pitch():
    told = silent("My flight was cancelled.")
    assert silence_needed(replace(told, pause=PauseSound(0.2, pitch_change_st=-4.0))) == silence_needed(told)
    whole = silent("one two three four", expected=Expectation(Asked.DIGITS, 4, 4))
    assert silence_needed(replace(whole, pause=PauseSound(0.2, pitch_change_st=0.1, final_lengthening=2.2))) <= 0.2


def test_number_of_unknown_length_is_given_what_its_pauses_took_before():
    number = silent("one two three four", expected=Expectation(Asked.DIGITS, at_least=2), usual_pause_s=1.0)
    assert 0.95 <= silence_needed(number) <= 1.05


def test_falling_pitch_ends_sooner_and_a_long_level_syllable_later():
    text = silent("Baker")
    falls = replace(text, pause=PauseSound(0.2, pitch_change_st=-3.5, final_lengthening=1.0))
    holds = replace(text, pause=PauseSound(0.2, pitch_change_st=0.1, final_lengthening=2.2))
    breathes = replace(text, pause=PauseSound(0.4, voice_probability=0.4))
    assert silence_needed(falls) < silence_needed(text) < silence_needed(breathes) < silence_needed(holds) <= 1.2


def test_callers_usual_pause_is_waited_for_unless_the_turn_is_surely_over():
    assert silence_needed(silent("My flight was cancelled.", usual_pause_s=1.1)) == pytest.approx(1.1)
    assert silence_needed(silent("I would like to book a table", usual_pause_s=1.1)) == pytest.approx(0.66), "it looks whole"
    assert silence_needed(silent("goodbye", usual_pause_s=1.1)) <= 0.2


def test_vendor_events_are_proposals():
    text = silent("Baker")
    assert silence_needed(replace(text, vendor=VendorTurn.EAGER_END)) < silence_needed(text)
    assert silence_needed(replace(text, vendor=VendorTurn.ENDED)) <= 0.2
    assert silence_needed(replace(text, vendor=VendorTurn.RESUMED)) > silence_needed(text)
    half_sure = replace(text, vendor=VendorTurn.EAGER_END, vendor_confidence=0.3)
    assert silence_needed(replace(text, vendor=VendorTurn.EAGER_END)) < silence_needed(half_sure) < silence_needed(text)


def test_a_likely_partial_lets_the_recogniser_finish_early():
    facts = TurnFacts(since=8.0, voice_ended_at=END, partial="I would like to book a table", partial_at=END)
    waits = DETECTOR.decide(facts, END + 0.1)
    assert isinstance(waits, WaitUntil) and not waits.wants_text and waits.at == pytest.approx(END + 0.2)
    asks = DETECTOR.decide(facts, END + 0.2)
    assert isinstance(asks, WaitUntil) and asks.wants_text
    asked = replace(facts, text_asked_at=END + 0.2)
    assert not isinstance(DETECTOR.decide(asked, END + 0.9), EndOfTurn), "the final text is waited for"
    assert DETECTOR.decide(asked, END + 1.0) == EndOfTurn(), "then the stable partial is the text"
    older = replace(asked, partial_at=END - 0.2)
    assert not isinstance(DETECTOR.decide(older, END + 2.1), EndOfTurn), "the last words may be missing in it"
    assert DETECTOR.decide(older, END + 2.2) == EndOfTurn()
    assert DETECTOR.decide(replace(asked, final="I'd like to book a table", final_at=END + 0.36), END + 0.36) == EndOfTurn()


def test_an_unfinished_partial_leaves_the_recogniser_alone():
    facts = TurnFacts(since=8.0, voice_ended_at=END, partial="I would like to", partial_at=END)
    verdict = DETECTOR.decide(facts, END + 0.3)
    assert isinstance(verdict, WaitUntil) and not verdict.wants_text and verdict.at > END + 1


def test_without_partials_the_text_is_asked_for_early_and_a_noise_ends_after_patience():
    facts = TurnFacts(since=8.0, voice_ended_at=END)
    assert DETECTOR.decide(facts, END + 0.1) == WaitUntil(END + 0.35, pytest.approx(0.45, abs=0.01))
    assert DETECTOR.decide(facts, END + 0.35).wants_text
    assert DETECTOR.decide(replace(facts, text_asked_at=END + 0.35), END + 3.4) == EndOfTurn()
    level = PauseSound(0.2, pitch_change_st=0.0, final_lengthening=2.0)
    assert DETECTOR.decide(replace(facts, pause=level), END + 0.2).at > END + 0.6, "it sounds as if more follows"


def test_model_of_the_sound_is_asked_only_when_unsure_and_moves_the_end():
    judging = AdaptiveTurnDetector(TurnSettings(has_judge=True))
    assert judging.decide(silent("Baker"), END + 0.2).wants_judgement
    assert not judging.decide(silent("I would like to"), END + 0.2).wants_judgement
    assert not judging.decide(silent("Baker", judged=0.1), END + 0.2).wants_judgement
    assert not DETECTOR.decide(silent("Baker"), END + 0.2).wants_judgement
    whole, going_on = silent("Baker", judged=0.9), silent("Baker", judged=0.01)
    assert silence_needed(whole, judging) < 0.3 < 0.9 < silence_needed(going_on, judging)


def test_a_speaking_caller_is_waited_for_and_words_after_a_final_text_show_that_it_is_the_caller():
    assert DETECTOR.decide(TurnFacts(since=8.0, is_speaking=True), 9.0) == Undecided(23.0)
    after = TurnFacts(since=8.0, is_speaking=True, final="well", final_at=9.0)
    assert DETECTOR.decide(after, 9.5) == Undecided(10.0)
    assert DETECTOR.decide(after, 10.0) == EndOfTurn()
    assert DETECTOR.decide(replace(after, partial="well I", partial_at=9.5), 10.0) == Undecided(23.0)


FACTS = st.builds(
    TurnFacts,
    since=st.floats(0, 10),
    is_speaking=st.booleans(),
    voice_ended_at=st.none() | st.floats(0, 20),
    partial=st.sampled_from(["", "yes", "I want to", "one two"]),
    partial_at=st.none() | st.floats(0, 20),
    final=st.sampled_from(["", "yes", "my number is", "cat at"]),
    final_at=st.none() | st.floats(0, 20),
    said=st.sampled_from(["", "one two"]),
    expected=st.sampled_from([Expectation(), Expectation(Asked.DIGITS, 6, 6), Expectation(Asked.EMAIL), Expectation(Asked.YES_NO)]),
    pause=st.none()
    | st.builds(
        PauseSound, st.floats(0, 3), st.floats(0, 1), st.floats(-90, 0), st.none() | st.floats(-12, 12), st.none() | st.floats(0, 9)
    ),
    vendor=st.sampled_from(VendorTurn),
    vendor_confidence=st.none() | st.floats(0, 1),
    judged=st.none() | st.floats(0, 1),
    usual_pause_s=st.floats(0, MAX_S),
)


@given(facts=FACTS, now=st.floats(20, 21))
def test_every_turn_ends_and_no_verdict_names_a_time_that_is_past(facts, now):
    start = now
    for _ in range(20):
        verdict = DETECTOR.decide(facts, now)
        if isinstance(verdict, EndOfTurn):
            assert now - start <= 20
            return
        assert verdict.at > now
        if isinstance(verdict, WaitUntil) and verdict.wants_text:
            facts = replace(facts, text_asked_at=now)
        now = verdict.at
    raise AssertionError("the turn never ends")


def test_pauses_are_learnt_and_forgotten():
    pauses = Pauses()
    assert pauses.usual_s == 0
    pauses.went_on(0.05)
    assert pauses.usual_s == 0, "a gap within a word"
    pauses.went_on(0.8)
    assert pauses.usual_s == pytest.approx(0.8)
    pauses.went_on(1.2)
    assert 0.9 < pauses.usual_s <= 1.3
    before = pauses.usual_s
    pauses.ended_rightly()
    assert pauses.usual_s == pytest.approx(before * 0.75)
    for _ in range(50):
        pauses.went_on(2.4)
    assert pauses.usual_s <= MAX_S


def test_words_over_the_agents_voice_are_waited_for_a_little_longer_even_when_they_are_sure() -> None:
    facts = TurnFacts(since=0.0, voice_ended_at=1.0, final="that's enough", final_at=1.05, is_known_phrase=True)
    detector = AdaptiveTurnDetector()
    assert isinstance(detector.decide(facts, 1.3), EndOfTurn)
    verdict = detector.decide(replace(facts, interrupts=True), 1.3)
    assert isinstance(verdict, WaitUntil) and verdict.at == 1.45
    assert isinstance(detector.decide(replace(facts, interrupts=True), 1.5), EndOfTurn)
