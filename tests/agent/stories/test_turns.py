"""The caller's turn in a conversation: held, ended, taken back; and the model that is asked before it is over."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.agent.conftest import VirtualCall

from active_call.agent.effects import (
    AbandonModel,
    EndUtterance,
    FinalForAgent,
    JudgeTurn,
    Paused,
    PrepareSpeech,
    RunTool,
    ToolCall,
    TurnDecided,
    TurnJudged,
    TurnProposed,
)
from active_call.agent.tools.registry import Tool
from active_call.agent.turn.adaptive_detector import AdaptiveTurnDetector, TurnSettings
from active_call.agent.turn.turn_detector import PauseSound, RecogniserTurnDetector, TurnTaking, VendorTurn
from active_call.contract import commands, events

MODEL = "---\ngreeting: {greeting}\n---\nYou take bookings.\n"
ADAPTIVE = TurnTaking(AdaptiveTurnDetector())
JUDGING = TurnTaking(AdaptiveTurnDetector(TurnSettings(has_judge=True)))


@pytest.fixture
def begin(start: Callable[..., VirtualCall]) -> Callable[..., VirtualCall]:
    def go(greeting: str = "Hello. How can I help you?", turns: TurnTaking = ADAPTIVE, tools: tuple[Tool, ...] = ()) -> VirtualCall:
        call = start(MODEL.format(greeting=greeting), turns=turns, tools=tools)
        call.wait(20)
        return call

    return go


class Speech:
    """The caller speaks; the recogniser sends partials, and finishes when it is told to, after 60 ms."""

    def __init__(self, call: VirtualCall) -> None:
        self.call = call
        self.index = 0

    def says(self, text: str, seconds: float = 0.8) -> None:
        """Speak and stop: the partial is there, the silence is told 100 ms after its beginning."""
        self.index += 1
        self.call.hear(events.Speaking())
        self.call.wait(seconds)
        if text:
            self.call.hear(events.AsrDelta(index=self.index, text=text))
        self.call.wait(0.1)
        self.call.hear(events.Silence(timestamp=int(1e6), start_time=int(1e6) - 100, duration=int(seconds * 1000)))

    def final(self, text: str) -> None:
        self.call.hear(events.AsrFinal(index=self.index, text=text))

    def pause_until_asked(self, at_most: float = 5.0) -> float:
        """Be silent until the recogniser is told to finish. Returns the length of the silence."""
        n = len(self.call.effects_of(EndUtterance))
        silence = 0.1
        while len(self.call.effects_of(EndUtterance)) == n and silence < at_most:
            self.call.wait(0.01)
            silence += 0.01
        return silence


def user_prompts(call: VirtualCall) -> list[str]:
    return [prompt.text for prompt in call.asked[-1].prompts if prompt.role == "user"]


def test_whole_sentence_is_answered_within_200_ms_of_the_final_words(begin):
    call = begin()
    speech = Speech(call)
    speech.says("I would like to book a table")
    assert speech.pause_until_asked() == pytest.approx(0.2, abs=0.02)
    call.wait(0.06)
    speech.final("I would like to book a table.")
    call.wait(0.1)
    assert call.effects_of(TurnDecided)
    assert user_prompts(call) == ["I would like to book a table"], "asked about the partial, adopted for the final text"
    assert len(call.asked) == 1
    assert [line for line in call.transcript if line[0] == "user"] == [("user", "I would like to book a table.")]


def test_unfinished_sentence_is_waited_for_and_both_parts_are_one_turn(begin):
    call = begin()
    speech = Speech(call)
    speech.says("I would like to")
    call.wait(0.45)
    speech.final("I would like to")
    call.wait(0.2)
    assert not call.asked
    speech.says("book a table")
    call.wait(0.1)
    speech.final("book a table")
    call.wait(0.3)
    assert user_prompts(call) == ["I would like to book a table"]
    assert [text for who, text in call.transcript if who == "user"] == ["I would like to book a table"]


@pytest.mark.parametrize("whole_from", [1, 2])
def test_text_of_several_utterances_together_replaces_theirs_if_all_are_in_the_turn(begin, whole_from):
    call = begin()
    speech = Speech(call)
    speech.index = 0 if whole_from == 1 else 4
    speech.says("I would like to")
    call.wait(0.45)
    speech.final("I would like to")
    call.wait(0.2)
    speech.says("book a table")
    call.wait(0.1)
    together = "I would like to book a table"
    call.hear(FinalForAgent(index=speech.index, text="look at able", whole_from=whole_from, whole_text=together))
    call.wait(1.0)
    expected = together if whole_from == 1 else "I would like to look at able"  # utterance 2 is not in this turn
    assert user_prompts(call) == [expected]
    assert [text for who, text in call.transcript if who == "user"] == [expected]


def test_number_is_collected_over_long_pauses_and_taken_at_once_when_it_is_whole(begin):
    call = begin("Hello. What is your six digit order number?")
    speech = Speech(call)
    for part in ("one two", "three"):
        speech.says(part)
        call.wait(0.45)
        speech.final(part)
        call.wait(1.2)
        assert not call.asked and not call.effects_of(TurnDecided)
    n_ended = len(call.effects_of(EndUtterance))
    speech.says("four five six")
    assert len(call.effects_of(EndUtterance)) == n_ended + 1, "nothing is missing: the recogniser finishes when the silence is told"
    speech.final("four five six")
    assert user_prompts(call) == ["one two three four five six"]


def test_number_that_stays_unfinished_is_answered_after_two_seconds(begin):
    call = begin("Hello. What is your six digit order number?")
    speech = Speech(call)
    speech.says("one two")
    call.wait(0.45)
    speech.final("one two")
    call.wait(1.3)
    assert not call.effects_of(TurnDecided)
    call.wait(0.3)
    assert user_prompts(call) == ["one two"]


def test_turn_ends_with_the_stable_partial_when_the_recogniser_is_late_and_its_final_text_is_not_answered_again(begin):
    call = begin()
    speech = Speech(call)
    speech.says("I would like to book a table")
    speech.pause_until_asked()
    call.wait(0.85)
    assert user_prompts(call) == ["I would like to book a table"]
    n_asked = len(call.asked)
    speech.final("I would like to book a cable")
    call.wait(0.1)
    assert len(call.asked) == n_asked
    assert [text for who, text in call.transcript if who == "user"] == ["I would like to book a table"]


def test_caller_who_goes_on_after_a_false_end_is_answered_once_to_all_of_it_and_is_waited_for_longer(begin):
    call = begin()
    speech = Speech(call)
    speech.says("I would like a table")
    call.wait(0.15)
    speech.final("I would like a table")
    call.wait(0.4)
    first = call.asked[-1].reply
    speech.says("for tomorrow evening please")
    call.wait(0.15)
    speech.final("for tomorrow evening please")
    call.wait(1.5)
    assert AbandonModel(first) in call.effects
    assert user_prompts(call) == ["I would like a table for tomorrow evening please"]
    assert "turn ended too early" in call.notes
    call.model("Gladly.")
    call.wait(3)
    speech.says("and a place at the window")
    call.wait(0.2)
    speech.final("and a place at the window")
    n = len(call.effects_of(TurnDecided))
    call.wait(0.15)
    assert len(call.effects_of(TurnDecided)) == n, "this caller's pauses are long"


def test_noise_in_a_held_turn_does_not_end_it(begin):
    call = begin()
    speech = Speech(call)
    speech.says("I would like to")
    call.wait(0.45)
    speech.final("I would like to")
    speech.says("", seconds=0.1)
    speech.final("")
    assert not call.asked
    call.wait(1.3)
    assert user_prompts(call) == ["I would like to"]


def test_falling_pitch_of_a_pause_moves_the_end(begin):
    call = begin()
    speech = Speech(call)
    speech.says("Baker")
    call.wait(0.05)
    speech.final("Baker")
    call.give(Paused(PauseSound(0.2, pitch_change_st=-4.0, final_lengthening=1.0)))
    call.wait(0.5)
    assert call.effects_of(TurnDecided), "without it the silence would have to last 0.67 s"


def test_vendors_eager_end_asks_the_model_and_its_resumption_gives_the_answer_up(begin):
    call = begin()
    speech = Speech(call)
    call.hear(events.Speaking())
    call.wait(0.5)
    call.hear(events.AsrDelta(index=1, text="I need"))
    call.hear(events.Silence())
    call.give(TurnProposed(VendorTurn.EAGER_END, "book me a room"))
    (asked,) = call.asked
    call.give(TurnProposed(VendorTurn.RESUMED))
    assert AbandonModel(asked.reply) in call.effects
    assert speech.call.transcript[-1][0] != "user"


def test_model_of_the_sound_is_asked_once_a_pause_and_an_answer_to_an_older_pause_is_not_used(begin):
    call = begin(turns=JUDGING)
    speech = Speech(call)
    speech.says("Baker")
    call.wait(0.05)
    speech.final("Baker")
    call.give(Paused(PauseSound(0.2)))
    (question,) = call.effects_of(JudgeTurn)
    speech.says("Street")
    call.give(TurnJudged(question.question, 0.99))
    assert not call.effects_of(TurnDecided)
    call.wait(0.05)
    speech.final("Street")
    questions = call.effects_of(JudgeTurn)
    assert len(questions) == 2
    call.give(TurnJudged(questions[-1].question, 0.9))
    call.wait(0.15)
    assert call.effects_of(TurnDecided)


# -- speculation


def held(call: VirtualCall, text: str = "Baker") -> Speech:
    """The caller has said something that may be all: the recogniser is done, the turn is not over."""
    speech = Speech(call)
    speech.says(text)
    call.wait(0.05)
    speech.final(text)
    return speech


def test_answer_that_was_asked_for_early_sounds_when_the_turn_ends_and_stands_once_in_the_history(begin):
    call = begin()
    held(call)
    (asked,) = call.asked
    n_spoken = len(call.spoken)
    call.model("Thank you, ", "Mr Baker. Goodbye then.")
    assert len(call.spoken) == n_spoken, "its sound is held back"
    assert call.transcript[-1] != ("user", "Baker"), "the history is written by the end of the turn alone"
    call.wait(0.7)
    assert call.asked == [asked], "not asked twice"
    assert call.spoken[n_spoken:] == ["Thank you, Mr Baker.", "Goodbye then."]
    call.wait(10)
    assert call.transcript[-2:] == [("user", "Baker"), ("assistant", "Thank you, Mr Baker. Goodbye then.")]


def test_answer_is_adopted_in_the_middle_of_its_text(begin):
    call = begin()
    held(call)
    call.model("One moment. ", done=False)
    call.wait(0.7)
    call.model("I look.")
    call.wait(5)
    assert call.transcript[-1] == ("assistant", "One moment. I look.")
    assert len(call.asked) == 1


def test_answer_is_dropped_when_the_caller_says_more(begin):
    call = begin()
    speech = held(call)
    (first,) = call.asked
    call.model("Thank you, Mr Baker.", done=False)
    speech.says("Miller Baker")
    call.wait(0.05)
    speech.final("Miller Baker")
    assert AbandonModel(first.reply) in call.effects
    call.wait(1)
    call.model("Thank you.")
    call.wait(5)
    assert call.transcript[-2:] == [("user", "Baker Miller Baker"), ("assistant", "Thank you.")]


def test_tools_wait_for_the_end_of_the_turn(begin):
    call = begin(tools=(Tool("book"),))
    held(call)
    reply = call.asked[-1].reply
    call.give(ToolCall(reply, "c1", "book", "{}"))
    assert not call.effects_of(RunTool)
    call.wait(0.7)
    assert [run.name for run in call.effects_of(RunTool)] == ["book"]


def test_failed_answer_is_asked_for_again_at_the_end_of_the_turn(begin):
    call = begin()
    held(call)
    call.model(error="503")
    assert not [note for note in call.notes if note == "model failed"]
    call.wait(0.7)
    assert len(call.asked) == 2


def test_hold_gives_up_what_was_asked_early_and_the_words_are_answered_after_it(begin):
    call = begin()
    held(call)
    (asked,) = call.asked
    call.hear(events.Hold(on_hold=True))
    assert AbandonModel(asked.reply) in call.effects
    call.wait(5)
    call.hear(events.Hold(on_hold=False))
    assert user_prompts(call) == ["Baker"]
    assert len(call.asked) == 2


def test_at_most_three_are_asked_in_a_turn(begin):
    call = begin()
    speech = Speech(call)
    for word in ("red", "green", "blue", "white", "black"):
        speech.says(word)
        call.wait(0.05)
        speech.final(word)
        call.wait(0.2)
    assert len(call.asked) == 3


def test_without_speculation_the_model_is_asked_at_the_end(begin):
    call = begin(turns=TurnTaking(AdaptiveTurnDetector(), speculates=False))
    held(call)
    assert not call.asked
    call.wait(0.7)
    assert len(call.asked) == 1


def test_interruption_whose_final_text_is_late_is_answered_by_its_partial(begin):
    call = begin()
    held(call)
    call.wait(0.7)
    call.model("Here is the news of the week, which is long and has many words in it, and goes on for quite a while.")
    call.wait(3)
    speech = Speech(call)
    speech.index = 1
    speech.says("That is enough, thank you,")
    n_ended = len(call.effects_of(TurnDecided))
    call.wait(0.45)
    call.hear(events.Eou(completed=True))
    call.wait(0.9)
    assert len(call.effects_of(TurnDecided)) == n_ended + 1
    assert user_prompts(call)[-1] == "That is enough, thank you,"


def test_first_clause_of_an_early_answer_is_prepared_once_and_said(begin):
    call = begin()
    held(call)
    call.model("One moment, ", "Mr Baker. I look it up.", done=False)
    (prepared,) = call.effects_of(PrepareSpeech)
    assert prepared.command is not None and prepared.command.text == "One moment, Mr Baker."
    call.wait(0.7)
    assert call.effects_of(PrepareSpeech) == [prepared], "it was wanted"
    assert prepared.command.text in call.spoken


def test_prepared_clause_is_dropped_when_the_caller_says_more(begin):
    call = begin()
    speech = held(call)
    call.model("Thank you, Mr Baker. And", done=False)
    speech.says("Miller Baker")
    call.wait(0.05)
    speech.final("Miller Baker")
    assert [effect.command is None for effect in call.effects_of(PrepareSpeech)] == [False, True]


def test_early_answer_that_begins_with_an_action_or_with_reasoning_prepares_no_speech(begin):
    call = begin()
    held(call)
    call.model('<set_var key="a" value="b"/> Thank you.')
    assert not call.effects_of(PrepareSpeech)


def test_sound_without_words_is_asked_for_again_only_when_the_caller_does_not_go_on(begin):
    call = begin()
    speech = Speech(call)
    n_heard = len(call.heard)
    speech.says("")
    call.wait(0.05)
    speech.final("")
    call.wait(0.4)
    assert len(call.heard) == n_heard, "the caller may go on"
    speech.says("a table for two please")
    call.wait(0.05)
    speech.final("a table for two please")
    call.wait(0.5)
    assert call.effects_of(TurnDecided)
    assert call.transcript[-1] == ("user", "a table for two please") or ("user", "a table for two please") in call.transcript


NEWS = """---
llm: {provider: script, greeting: "Here is the news of the week. On Monday we bake rye bread and on Tuesday cinnamon rolls."}
---
# Scene: main
## that's enough
Of course. What else would you like to know?

## *
I am sorry, I did not understand that.
"""


def test_sorry_over_the_agents_voice_does_not_end_the_turn(start):
    call = start(NEWS, turns=ADAPTIVE)
    call.wait(3)
    speech = Speech(call)
    speech.says("Sorry")
    speech.final("Sorry.")
    call.wait(0.75)
    assert call.commands_of(commands.Interrupt)
    assert not call.effects_of(TurnDecided), "more must follow"
    speech.says("that's enough")
    speech.final("that's enough")
    call.wait(1)
    assert call.spoken[2:] == ["Of course.", "What else would you like to know?"]


def test_words_before_the_answer_is_heard_are_answered_together_with_those_before(start):
    call = start(NEWS, turns=ADAPTIVE)
    call.wait(20)
    speech = Speech(call)
    speech.says("that's enough")
    speech.final("that's enough")
    call.wait(0.3)
    speech.says("thank you", 0.4)
    speech.final("thank you")
    call.wait(2)
    assert "I am sorry, I did not understand that." not in call.spoken
    assert call.spoken[-2:] == ["Of course.", "What else would you like to know?"]


READ_OUT = """---
llm: {provider: script}
---
## news
Here is the news of the week, which is long and has many words in it, and goes on for quite a while.
## that's enough
Of course.
## *
Pardon?
"""


@pytest.mark.parametrize("final_after_s", [0.02, 0.3])
def test_rest_of_an_interruption_counts_although_the_final_text_of_its_beginning_comes_late(start, final_after_s):
    """ "Sorry," (a pause) "that's enough." The final text of the first word arrives when the caller already speaks again."""
    call = start(READ_OUT, turns=ADAPTIVE)
    call.say("News.")
    call.wait(5)
    assert call.track is not None
    call.hear(events.Speaking())
    call.wait(0.4)
    call.hear(events.Silence(duration=400))
    call.wait(0.25)
    call.hear(events.Speaking())
    call.wait(final_after_s)
    call.hear(events.AsrFinal(index=1, text="Sorry.", confidence=0.9))
    call.wait(0.5)
    call.hear(events.AsrDelta(index=2, text="That's enough.", confidence=0.95))
    call.wait(0.05)
    call.hear(events.Silence(duration=500))
    call.wait(1.0)
    call.hear(events.AsrFinal(index=2, text="That's enough.", confidence=0.9))
    call.wait(3)
    assert [text for who, text in call.transcript if who == "user"] == ["News.", "Sorry. That's enough."]
    assert call.spoken[-1] == "Of course."


@pytest.mark.parametrize(("gap_s", "turns"), [(0.4, ["Sorry. That's enough."]), (0.8, ["Sorry.", "That's enough."])])
def test_fixed_silence_counts_over_the_agents_voice_too(start, gap_s, turns):
    """The final text of an overlap is asked for at once, since it decides about the reply. It does not end the turn earlier."""
    call = start(READ_OUT, turns=TurnTaking(RecogniserTurnDetector(0.55), speculates=False))
    call.say("News.")
    call.wait(5)
    call.hear(events.Speaking())
    call.wait(0.4)
    call.hear(events.Silence(duration=400))
    call.wait(0.2)
    call.hear(events.AsrFinal(index=1, text="Sorry.", confidence=0.9))
    call.wait(gap_s - 0.2)
    call.say("That's enough.")
    call.wait(3)
    assert [text for who, text in call.transcript if who == "user"][1:] == turns
