"""An interruption from the cut to its outcome, with a fake in the place of the replies."""

from __future__ import annotations

from typing import Any

import pytest

from active_call.agent.effects import PauseOnVoice, PauseReply, Perform, ResumeReply
from active_call.agent.items import AgentItem
from active_call.agent.outbox import Outbox
from active_call.agent.playbook.scenes import InterruptionOption
from active_call.agent.reply.queue import Cut, Playback
from active_call.agent.reply.steps import Sentence
from active_call.agent.turn.barge_in import MAX_RESUMES, WORDS_NEEDED_S, BargeIn
from active_call.agent.turn.floor import Floor, Holder
from active_call.agent.turn.interruption import Interruptions
from active_call.agent.turn.overlap import LAST_MS, MAX_S
from active_call.agent.turn.phase import Phase, Signal, State
from active_call.agent.turn.timers import Timer, Timers
from active_call.agent.turn.turn_detector import RecogniserTurnDetector
from active_call.agent.turn.voice_pauses import ONSET_MS, VoicePauses
from active_call.contract import commands
from active_call.providers.speech_to_text import Alternative


class FakeReplies:
    """One reply of two sentences, which sounds."""

    def __init__(self, phase: Phase) -> None:
        self.phase = phase
        self.sounding_since: float | None = 0.0
        self.resumed: list[tuple[Cut, int]] = []
        self.playback: Playback | None = Playback("r1", [Sentence("One two."), Sentence("Three four.")], has_started=True)
        self.is_paused = False
        self.n_given_up = 0
        self.pauses: list[PauseReply] = []

    def pause(self, effect: PauseReply) -> None:
        self.is_paused = True
        self.pauses.append(effect)

    def unpause(self, now: float) -> None:
        self.is_paused = False

    def cut(self) -> Cut:
        self.is_paused = False
        self.phase.fire(Signal.CUT)
        return Cut(Playback("r1", [Sentence("One two."), Sentence("Three four.")]), (), True)

    def give_up(self) -> None:
        self.n_given_up += 1

    def resume(self, cut: Cut, heard_words: int, now: float) -> None:
        self.resumed.append((cut, heard_words))
        self.phase.fire(Signal.SAY)


class Parts:
    def __init__(self, **options: Any) -> None:
        self.phase, self.timers, self.outbox = Phase(), Timers(), Outbox()
        self.floor = Floor(self.phase, self.timers, RecogniserTurnDetector())
        self.replies = FakeReplies(self.phase)
        rules = Interruptions(InterruptionOption(**options))
        self.barge_in = BargeIn(rules, self.phase, self.timers, self.floor, self.replies, self.outbox)  # type: ignore[arg-type]
        self.phase.fire(Signal.SAY)

    def voice(self, now: float, *, is_filler: bool = False) -> None:
        self.floor.voice_began(now, may_claim=False)
        self.barge_in.on_voice(now, is_filler=is_filler)

    @property
    def stops(self) -> list[Any]:
        return [effect.command for effect in self.outbox.take() if isinstance(effect, Perform)]


@pytest.fixture
def parts() -> Parts:
    return Parts()


def test_voice_pauses_the_reply_and_leaves_it_undecided(parts):
    parts.voice(5.0)
    assert parts.replies.pauses == [PauseReply(LAST_MS)]
    assert parts.barge_in.is_overlapping and parts.barge_in.is_undecided and parts.barge_in.settling is None
    assert parts.floor.holder is Holder.UNDECIDED
    assert parts.timers.next_at() == 5.0 + MAX_S


def test_decided_overlap_cuts_the_reply_and_waits_for_what_was_heard(parts):
    parts.voice(5.0)
    parts.barge_in.decide(5.0 + MAX_S)
    assert parts.stops == [commands.Interrupt(fade_out_ms=None)]
    assert not parts.barge_in.is_overlapping and parts.barge_in.is_undecided and parts.barge_in.settling is not None
    assert parts.floor.holder is Holder.UNDECIDED


def test_noise_resumes_when_it_is_known_how_much_was_heard(parts):
    parts.voice(5.0)
    parts.barge_in.cut(5.0)
    parts.barge_in.want_resume(5.1)
    assert parts.replies.resumed == []
    parts.barge_in.settle("One two. Three")
    parts.barge_in.resume_if_due(5.2)
    assert [heard for _, heard in parts.replies.resumed] == [3]
    assert parts.outbox.history.items == [AgentItem("One two. Three", is_interrupted=True)]
    assert not parts.floor.is_claimed
    assert parts.phase.state is State.SPEAKING


def test_words_that_take_the_turn_give_the_reply_up(parts):
    parts.voice(5.0)
    parts.barge_in.cut(5.0)
    parts.barge_in.forget()
    parts.barge_in.settle("One")
    parts.barge_in.resume_if_due(5.2)
    assert parts.replies.resumed == []


def test_short_sound_that_the_recogniser_is_not_sure_of_lets_the_reply_go_on(parts):
    for text, confidence, takes in (("You add.", 0.6, False), ("You add.", 0.9, True), ("Hello.", 0.6, True)):
        parts = Parts()
        parts.voice(5.0)
        parts.floor.voice_ended(5.3)
        assert parts.barge_in.takes_turn(text, 5.6, confidence) is takes
        assert parts.barge_in.is_overlapping is takes, "else the reply goes on at once"


@pytest.mark.parametrize(("text", "takes"), [("So,", False), ("But", False), ("Roses", True), ("But roses", True)])
def test_single_word_after_which_more_must_follow_does_not_take_the_turn(parts, text, takes):
    parts.voice(5.0)
    parts.floor.voice_ended(5.4)
    assert parts.barge_in.takes_turn(text, 5.6, 0.95) is takes
    assert parts.barge_in.is_overlapping, "the reply waits for more"


def test_what_is_left_of_a_back_channel_lets_the_reply_go_on(parts):
    parts.voice(5.0)
    parts.floor.voice_ended(5.9)
    assert not parts.barge_in.takes_turn("So, okay.", 6.0, 0.84)
    assert not parts.barge_in.is_overlapping


def test_doubtful_text_of_speech_before_the_caller_spoke_again_decides_nothing(parts):
    parts.voice(5.0)
    parts.floor.voice_ended(5.2)
    parts.barge_in.on_silence(5.3)
    parts.voice(5.4)
    assert not parts.barge_in.takes_turn("Else,", 5.5, 0.54)
    assert parts.barge_in.is_overlapping, "the caller still speaks"
    parts.floor.voice_ended(6.2)
    parts.barge_in.on_silence(6.3)
    assert parts.barge_in.takes_turn("Where are you?", 6.5, 0.9)


@pytest.mark.parametrize(
    ("text", "alternative", "share", "said"),
    [
        ("Oh, Bill K.", "Oh, okay.", 0.05, "Oh, okay."),
        ("Oh, Bill K.", "Oh, okay.", 0.01, "Oh, Bill K."),
        ("Wait.", "Great.", 0.2, "Wait."),
        ("Wait.", "Great.", 0.8, "Great."),
        ("Who are you?", "Thank you.", 0.1, "Who are you?"),
        ("No.", "Oh.", 0.3, "No."),
        ("No.", "Oh.", 0.8, "Oh."),
        ("Hanging on.", "Hang on.", 0.4, "Hang on."),
        ("You know?", "No.", 0.4, "You know?"),
        ("Hmm.", "Hang on.", 300.0, "Hang on."),
        ("Hmm.", "No.", 40.0, "Hmm."),
        ("I would like some bread.", "Okay.", 0.9, "I would like some bread."),
    ],
)
def test_short_reply_that_is_nearly_as_likely_by_its_sound_is_what_was_said(parts, text, alternative, share, said):
    parts.voice(5.0)
    assert parts.barge_in.likelier_text(text, (Alternative(alternative, share),)) == said


def test_answer_to_a_question_of_the_agent_stays_as_it_was_heard(parts):
    parts.replies.playback = Playback("r1", [Sentence("Red or white?")], has_started=True)
    parts.voice(5.0)
    assert parts.barge_in.likelier_text("White.", (Alternative("Right.", 0.9),)) == "White."


def test_word_that_the_agent_offers_or_the_playbook_expects_stays_as_it_was_heard(parts):
    parts.replies.playback = Playback("r1", [Sentence("You can have red or white.")], has_started=True)
    parts.voice(5.0)
    assert parts.barge_in.likelier_text("White.", (Alternative("Right.", 0.9),)) == "White."
    assert parts.barge_in.likelier_text("Light.", (Alternative("Right.", 0.9),)) == "Right."
    parts.floor.known(True)
    assert parts.barge_in.likelier_text("Light.", (Alternative("Right.", 0.9),)) == "Light."


def test_two_sounds_in_vain_in_a_row_make_words_necessary_for_a_while(parts):
    for n in range(MAX_RESUMES):
        parts.voice(5.0 + n)
        parts.barge_in.want_resume(5.5 + n)
    assert len(parts.replies.pauses) == MAX_RESUMES
    parts.voice(9.0)
    assert not parts.barge_in.is_overlapping
    parts.barge_in.on_partial_words("tell me", 9.3)
    assert not parts.stops
    parts.barge_in.on_partial_words("tell me more", 9.4)
    assert parts.stops


def test_words_are_no_longer_needed_after_a_while(parts):
    for n in range(MAX_RESUMES):
        parts.voice(5.0 + n)
        parts.barge_in.want_resume(5.5 + n)
    parts.voice(5.5 + MAX_RESUMES - 1 + WORDS_NEEDED_S)
    assert parts.barge_in.is_overlapping


def test_interruption_by_words_between_two_sounds_in_vain_keeps_the_voice_enough(parts):
    for n in range(2 * MAX_RESUMES):
        parts.voice(5.0 + n)
        parts.barge_in.want_resume(5.5 + n)
        parts.barge_in.caller_took_part()
    parts.voice(20.0)
    assert parts.barge_in.is_overlapping


def test_short_speech_does_not_interrupt():
    parts = Parts(min_speech_ms=300)
    parts.voice(5.0)
    assert parts.timers.is_set(Timer.CUT) and parts.replies.pauses == []
    parts.floor.voice_ended(5.2)
    parts.barge_in.on_silence(5.2)
    assert not parts.timers.is_set(Timer.CUT)
    assert not parts.barge_in.may_cut_by_words(5.3)


def test_speech_that_is_long_enough_interrupts():
    parts = Parts(min_speech_ms=300)
    parts.voice(5.0)
    parts.barge_in.on_cut_due(5.3)
    assert parts.replies.pauses


@pytest.mark.parametrize(("is_greeting", "now", "stops"), [(True, 0.5, False), (True, 1.5, True), (False, 0.5, True)])
def test_first_second_of_the_greeting_is_protected(parts, is_greeting, now, stops):
    parts.barge_in.is_greeting = is_greeting
    parts.voice(now)
    assert bool(parts.replies.pauses) is stops


@pytest.mark.parametrize(("strategy", "stops"), [("none", False), ("vad", False), ("asr", True), ("both", True)])
def test_partial_words_interrupt_by_the_strategy(strategy, stops):
    parts = Parts(strategy=strategy)
    parts.barge_in.on_partial_words("tell me", 5.0)
    assert bool(parts.stops) is stops


def test_filler_is_ignored_where_the_playbook_says_so():
    parts = Parts(filler_word_filter=True)
    parts.voice(5.0, is_filler=True)
    assert parts.replies.pauses == []
    assert not parts.barge_in.may_cut_by_words(5.1)


def voice_pauses(parts: Parts) -> tuple[VoicePauses, Any]:
    made = VoicePauses(parts.barge_in, parts.timers, parts.outbox)

    def orders(now: float, *, is_collecting: bool = False) -> list[Any]:
        made.review(now, is_collecting=is_collecting)
        return [effect for effect in parts.outbox.take() if isinstance(effect, PauseOnVoice | ResumeReply)]

    return made, orders


def test_media_process_is_asked_to_pause_once_and_again_after_the_reply_goes_on(parts):
    made, orders = voice_pauses(parts)
    asked = PauseOnVoice(ONSET_MS, LAST_MS)
    assert orders(4.0) == [asked] and orders(4.1) == []
    parts.voice(5.0)
    made.on_paused(5.0)
    assert parts.barge_in.is_overlapping
    assert orders(5.0) == [PauseOnVoice(None)] or orders(5.0) == []
    parts.floor.voice_ended(5.2)
    parts.barge_in.go_on(5.6)
    assert orders(5.6) == [asked]


@pytest.mark.parametrize(
    ("options", "state"),
    [({"strategy": "none"}, None), ({"strategy": "asr"}, None), ({}, "collecting"), ({}, "listening"), ({}, "silent"), ({}, "speaks")],
)
def test_media_process_is_not_asked_where_voice_pauses_nothing(options, state):
    parts = Parts(**options)
    _, orders = voice_pauses(parts)
    if state == "listening":
        parts.phase.fire(Signal.DONE)
    elif state == "silent":
        parts.replies.playback = Playback("r1", [Sentence("One.")])
    elif state == "speaks":
        parts.floor.voice_began(3.9, may_claim=False)
    assert orders(4.0, is_collecting=state == "collecting") == []


def test_media_process_is_asked_when_the_protected_beginning_and_the_need_of_words_are_over():
    parts = Parts(ignore_first_ms=2000)
    _, orders = voice_pauses(parts)
    assert orders(0.5) == []
    assert parts.timers.next_at() == 2.0
    assert orders(2.0) == [PauseOnVoice(ONSET_MS, LAST_MS)]
    for _ in range(MAX_RESUMES):
        parts.barge_in.pause(3.0)
        parts.barge_in.go_on(3.5)
    assert orders(3.5) == [PauseOnVoice(None)]
    parts.timers.clear(Timer.OVERLAP)  # as the true reply does at its end of the pause
    assert parts.timers.next_at() == 3.5 + WORDS_NEEDED_S
    assert orders(3.5 + WORDS_NEEDED_S) == [PauseOnVoice(ONSET_MS, LAST_MS)]


def test_pause_of_the_media_process_that_comes_too_late_ends_at_once(parts):
    made, orders = voice_pauses(parts)
    orders(4.0)
    parts.phase.fire(Signal.DONE)
    made.on_paused(4.1)
    assert not parts.barge_in.is_overlapping
    assert orders(4.1) == [ResumeReply()]


def test_minimum_of_speech_counts_from_its_beginning_and_asks_the_media_process_for_as_much():
    parts = Parts(min_speech_ms=300)
    made, orders = voice_pauses(parts)
    assert orders(4.0) == [PauseOnVoice(300, LAST_MS)]
    parts.floor.voice_began(5.0, may_claim=False)
    parts.barge_in.on_voice(5.0, is_filler=False, spoken_s=0.1)
    assert parts.timers.next_at() == pytest.approx(5.2)
    made.on_paused(5.19)
    assert parts.barge_in.is_overlapping and not parts.timers.is_set(Timer.CUT)
