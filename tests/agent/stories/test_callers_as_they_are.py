"""Callers as they are: they hesitate, correct themselves, answer two questions at once, cough, thank, nod, ask whether we are there."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.agent.conftest import VirtualCall

from active_call.agent.effects import AbandonModel, EndUtterance, PauseReply, TurnDecided
from active_call.agent.turn.adaptive_detector import AdaptiveTurnDetector
from active_call.agent.turn.turn_detector import TurnTaking
from active_call.contract import commands, events

MODEL = "---\ngreeting: {greeting}\n---\nYou take bookings.\n"
SCRIPT = """---
llm: {{provider: script}}
greeting: {greeting}
---
## yes | yes please
It is booked.
## no
All right.
## *
Pardon?
"""
NEWS = "Our shop is open from nine in the morning until six in the evening on every day of the week, but not on Sundays and holidays."
STEP_S = 0.01


class Caller:
    """Speaks with pauses; the recogniser sends a partial text after each part, and its final text 60 ms after it is told to finish."""

    def __init__(self, call: VirtualCall) -> None:
        self.call = call
        self._index = 0
        self._text = ""
        self._is_open = False

    def says(self, *parts: str | float, sound_s: float | None = None) -> None:
        """Texts, each with the silence after it in seconds. An empty text is a sound without words, `sound_s` long."""
        for text, silence_s in zip(parts[::2], parts[1::2], strict=True):
            self._speaks(str(text), sound_s or max(0.25, 0.3 * len(str(text).split())))
            self._is_silent(float(silence_s))

    def _speaks(self, text: str, seconds: float) -> None:
        if not self._is_open:
            self._index, self._is_open, self._text = self._index + 1, True, ""
        self._n_told = len(self.call.effects_of(EndUtterance))
        self.call.hear(events.Speaking())
        self.call.wait(seconds)
        self._text = f"{self._text} {text}".strip()
        if text:
            self.call.hear(events.AsrDelta(index=self._index, text=self._text, confidence=0.9))
        self.call.wait(0.1)
        self.call.hear(events.Silence(timestamp=int(1e6), start_time=int(1e6) - 100, duration=int(seconds * 1000)))

    def _is_silent(self, seconds: float) -> None:
        silence_s, told_s = 0.1, None
        while silence_s < seconds - STEP_S / 2:
            is_told = len(self.call.effects_of(EndUtterance)) > self._n_told or silence_s >= 0.55
            told_s = silence_s if self._is_open and told_s is None and is_told else told_s
            if self._is_open and told_s is not None and silence_s >= told_s + 0.06:
                self._is_open = False
                self.call.hear(events.AsrFinal(index=self._index, text=self._text, confidence=0.9))
            self.call.wait(STEP_S)
            silence_s += STEP_S


@pytest.fixture
def begin(start: Callable[..., VirtualCall]) -> Callable[..., tuple[VirtualCall, Caller]]:
    def go(greeting: str, playbook: str = MODEL, after_s: float = 20.0) -> tuple[VirtualCall, Caller]:
        call = start(playbook.format(greeting=greeting), turns=TurnTaking(AdaptiveTurnDetector()))
        call.wait(after_s)
        return call, Caller(call)

    return go


def turns_of(call: VirtualCall) -> list[str]:
    """What the model was asked with when the turn was over."""
    return [text for who, text in call.transcript if who == "user"]


def n_ends(call: VirtualCall) -> int:
    return len(call.effects_of(TurnDecided))


def test_hesitation_is_one_turn(begin):
    call, caller = begin("Hello. How can I help you?")
    caller.says("uh", 0.6, "I'd like", 0.7, "um", 0.6, "to book a table", 1.5)
    assert (n_ends(call), turns_of(call)) == (1, ["uh I'd like um to book a table"])


def test_correction_of_oneself_is_one_turn(begin):
    call, caller = begin("Hello. For how many people?")
    caller.says("Four people.", 0.45, "No, sorry, five.", 1.5)
    assert (n_ends(call), turns_of(call)) == (1, ["Four people. No, sorry, five."])


def test_two_questions_at_once_are_answered_in_two_parts(begin):
    call, caller = begin("How many people, and on which day?")
    caller.says("Four people.", 0.7, "On Friday.", 1.5)
    assert (n_ends(call), turns_of(call)) == (1, ["Four people. On Friday."])


def test_single_question_is_not_waited_for_like_two(begin):
    call, caller = begin("How many people?")
    caller.says("Four people.", 0.8)
    assert n_ends(call) == 1


def test_caller_who_asks_whether_anybody_is_there_hears_so_and_the_request_goes_on(begin):
    call, caller = begin("Hello. How can I help you?")
    caller.says("What are your opening hours?", 3.0)
    assert len(call.asked) == 1
    caller.says("Hello? Are you there?", 1.0)
    assert call.spoken[-1] == "Yes, I am here. One moment, please."
    call.model("From nine to five.")
    call.wait(5)
    assert call.spoken[-1] == "From nine to five."
    assert len(call.asked) == 1 and not call.effects_of(AbandonModel), "it is not asked for a second time"
    assert turns_of(call) == ["What are your opening hours?", "Hello? Are you there?"]


def test_answer_that_comes_while_the_caller_asks_whether_anybody_is_there_is_said_without_more(begin):
    call, caller = begin("Hello. How can I help you?")
    caller.says("What are your opening hours?", 3.0)
    call.hear(events.Speaking())
    call.model("From nine to five.")
    caller.says("Hello?", 2.0)
    assert "Yes, I am here. One moment, please." not in call.spoken
    assert call.spoken[-1] == "From nine to five."


def test_script_tells_a_caller_that_it_is_there(begin):
    call, caller = begin("Shall I book it for you?", SCRIPT)
    caller.says("Hello? Is anybody there?", 1.5)
    assert call.spoken[-1] == "Yes, I am listening."


def test_number_of_unknown_length_is_waited_for_through_slow_groups(begin):
    call, caller = begin("What is your order number?")
    caller.says("two one", 0.82, "four", 0.8, "seven", 2.0)
    assert (n_ends(call), turns_of(call)) == (1, ["two one four seven"])


def test_spelling_is_waited_for_as_long_as_its_pauses_were_before(begin):
    call, caller = begin("Could you spell your last name for me?")
    caller.says("B A", 0.75, "K E", 0.75, "R", 2.0)
    assert (n_ends(call), turns_of(call)) == (1, ["B A K E R"])


@pytest.mark.parametrize("thanks", ["Thank you.", "Okay, thanks.", "Oh, that's nice."])
def test_thanks_while_the_agent_talks_do_not_stop_it(begin, thanks):
    call, caller = begin(NEWS, after_s=2.5)
    caller.says(thanks, 10.0)
    assert call.effects_of(PauseReply)
    assert not call.commands_of(commands.Interrupt) and not call.asked


@pytest.mark.parametrize(
    ("said", "answer"), [("Mm-hmm.", "It is booked."), ("Uh-huh", "It is booked."), ("Yeah.", "It is booked."), ("Nope.", "All right.")]
)
def test_hums_and_other_words_for_yes_and_no_answer_a_question(begin, said, answer):
    call, caller = begin("Shall I book it for you?", SCRIPT)
    caller.says(said, 1.2)
    assert call.spoken[-1] == answer


def test_hum_after_another_question_is_a_hesitation(begin):
    call, caller = begin("Which day would suit you?")
    caller.says("Uh-huh.", 0.9, "Friday.", 1.5)
    assert (n_ends(call), turns_of(call)) == (1, ["Uh-huh. Friday."])


def test_cough_is_not_answered_and_the_words_after_it_are(begin):
    call, caller = begin("How can I help you?", SCRIPT)
    n_spoken = len(call.spoken)
    caller.says("", 3.0, sound_s=0.4)
    assert len(call.spoken) == n_spoken
    caller.says("yes please", 1.5)
    assert call.spoken[n_spoken:] == ["It is booked."]


def test_second_sound_without_words_is_asked_about(begin):
    call, caller = begin("How can I help you?", SCRIPT)
    for _ in range(2):
        caller.says("", 2.0, sound_s=0.4)
    assert call.spoken[-1] == "Pardon?"


def test_cough_before_the_answer_to_a_question_is_no_answer(begin):
    call, caller = begin("Shall I book it for you?", SCRIPT)
    caller.says("", 1.0, "yes please", 1.5, sound_s=0.4)
    assert call.spoken[-1] == "It is booked." and "Pardon?" not in call.spoken


def test_long_sound_without_words_is_waited_through(begin):
    """Hold music on the caller's side."""
    call, caller = begin("How can I help you?", SCRIPT)
    n_spoken = len(call.spoken)
    for _ in range(4):
        caller.says("", 0.5, sound_s=5.0)
    assert len(call.spoken) == n_spoken


def test_words_over_the_beginning_of_the_greeting_are_heard_out(begin):
    call, caller = begin("Good morning, this is the flower shop in Market Street. How can I help you?", after_s=0.6)
    caller.says("I want to order some flowers please", 2.0)
    assert call.commands_of(commands.Interrupt)
    assert turns_of(call) == ["I want to order some flowers please"]


def test_back_channels_follow_the_language_that_the_conversation_has_switched_to(start):
    playbook = "---\ngreeting: Hello.\nlanguages: {de: ''}\n---\nYou take bookings.\n"
    call = start(playbook, turns=TurnTaking(AdaptiveTurnDetector()))
    call.dialogue._context.switch_language("de", "")
    barge_in = call.dialogue._barge_in
    assert barge_in._read("ach so, alles klar").kind == "back-channel"
