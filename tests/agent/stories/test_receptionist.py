"""A caller and a scripted receptionist: questions, barge-in, a cough, a digit, a goodbye."""

from __future__ import annotations

import pytest

from active_call.contract import commands, events

SCRIPT = """---
greeting: Welcome to the flower shop. How may I help you?
llm:
  provider: script
sip:
  hangupHeaders:
    X-Reason: "{{ outcome }}"
---
## opening hours | when are you open
We are open from nine to six. On Sundays we are closed.

## goodbye
Goodbye. <set_var key="outcome" value="served"/> <hangup/>

## *
Sorry, I did not understand.

## *
Please ask for our opening hours.

# Scene: start

<dtmf digit="2" action="goto" scene="news"/>

# Scene: news

One two three four five. Six seven eight nine ten. Eleven twelve thirteen fourteen fifteen.

## go back
<goto scene="start"/>
"""


def test_greeting_is_spoken_sentence_by_sentence_in_one_closed_playback(start):
    call = start(SCRIPT)
    tts = [effect.command for effect in call.effects if hasattr(effect, "command")]
    assert [(t.text, t.play_id, t.streaming, t.end_of_stream) for t in tts] == [
        ("Welcome to the flower shop.", "r1", True, False),
        ("How may I help you?", "r1", True, True),
    ]


def test_question_is_answered_and_the_transcript_holds_both_sides(start):
    call = start(SCRIPT)
    call.wait(5)
    call.say("when are you open please")
    call.wait(10)
    assert call.transcript == [
        ("assistant", "Welcome to the flower shop. How may I help you?"),
        ("user", "when are you open please"),
        ("assistant", "We are open from nine to six. On Sundays we are closed."),
    ]
    assert call.dialogue.state == "listening"


def test_goodbye_hangs_up_only_after_it_was_heard_with_headers(start):
    call = start(SCRIPT)
    call.wait(5)
    call.say("goodbye")
    assert call.spoken[-1] == "Goodbye."
    assert call.hangups == []
    call.wait(1)
    assert call.heard[-1] == "Goodbye."
    assert [(h.initiator, h.headers) for h in call.hangups] == [("agent", {"X-Reason": "served"})]
    assert call.dialogue.state == "ending"


def test_goodbye_is_not_interrupted_by_the_callers_own_goodbye(start):
    call = start(SCRIPT)
    call.wait(5)
    call.say("goodbye")
    call.hear(events.Speaking())
    call.hear(events.AsrFinal(text="bye bye"))
    call.wait(2)
    assert len(call.hangups) == 1
    assert call.heard[-1] == "Goodbye."


def test_barge_in_interrupts_and_history_holds_only_what_was_heard(start):
    call = start(SCRIPT)
    call.wait(5)
    call.press("2")
    call.wait(1.1)
    call.say("opening hours")
    assert call.transcript[-2:] == [("assistant", "One two three"), ("user", "opening hours")]
    assert call.heard[-1] == "One two three -"
    assert call.spoken[-2:] == ["We are open from nine to six.", "On Sundays we are closed."]


COUNTED = "One two three four five. Six seven eight nine ten. Eleven twelve thirteen fourteen fifteen."


def test_cough_pauses_the_reply_and_it_goes_on_where_it_stood_without_being_made_again(start):
    call = start(SCRIPT)
    call.wait(5)
    call.press("2")
    call.wait(6.5 / 3)
    n_spoken = len(call.spoken)
    call.say("")
    assert call.overlapped_at is None and len(call.spoken) == n_spoken
    call.wait(10)
    assert call.transcript[-1] == ("assistant", COUNTED)
    assert call.heard[-1] == COUNTED


@pytest.mark.parametrize(("speech_s", "resumed_after_s"), [(0.4, 0.35), (0.8, 0.7)])
def test_noise_without_any_result_resumes_soon_after_it(start, speech_s, resumed_after_s):
    call = start(SCRIPT)
    call.wait(5)
    call.press("2")
    call.wait(1)
    call.hear(events.Speaking())
    assert call.overlapped_at == call.now
    call.wait(speech_s)
    call.hear(events.Silence(duration=round(speech_s * 1000)))
    call.wait(resumed_after_s - 0.01)
    assert call.overlapped_at is not None and call.dialogue.turn == "undecided"
    call.wait(0.02)
    assert call.overlapped_at is None
    call.wait(10)
    assert call.heard[-1] == COUNTED
    assert call.commands_of(commands.Interrupt) == []


@pytest.mark.parametrize("said", ["uh-huh", "okay", "yeah right", "Mhm."])
def test_back_channel_over_the_agent_lets_it_go_on_and_is_not_answered(start, said):
    call = start(SCRIPT)
    call.wait(5)
    call.press("2")
    call.wait(1.5)
    call.hear(events.Speaking())
    call.wait(0.3)
    call.hear(events.AsrDelta(text=said))
    call.wait(0.1)
    call.hear(events.Silence(duration=400))
    call.wait(0.31)
    assert call.overlapped_at is None
    call.hear(events.AsrFinal(text=said))
    call.wait(10)
    assert call.heard[-1] == COUNTED
    assert "speech over the agent not answered" in call.notes


def test_sentence_over_the_agent_takes_the_turn_and_only_what_was_heard_is_history(start):
    call = start(SCRIPT)
    call.wait(5)
    call.press("2")
    call.wait(6.5 / 3)
    call.hear(events.Speaking())
    call.wait(0.6)
    call.hear(events.AsrDelta(text="can you tell"))
    assert call.heard[-1] == "One two three four five. Six -"
    call.wait(0.5)
    call.hear(events.Silence(duration=1100))
    call.hear(events.AsrFinal(text="can you tell me your hours"))
    call.wait(0.5)
    at = call.transcript.index(("assistant", "One two three four five. Six"))
    assert call.transcript[at + 1] == ("user", "can you tell me your hours")


def test_words_after_a_resume_take_the_turn_all_the_same(start):
    call = start(SCRIPT)
    call.wait(5)
    call.press("2")
    call.wait(1)
    call.hear(events.Speaking())
    call.wait(0.4)
    call.hear(events.Silence(duration=400))
    call.wait(0.5)
    assert call.overlapped_at is None
    call.hear(events.AsrFinal(text="goodbye now"))
    assert call.heard[-1].endswith("-")
    call.wait(1)
    assert ("user", "goodbye now") in call.transcript


def test_echo_of_the_agents_own_words_does_not_take_the_turn(start):
    call = start(SCRIPT)
    call.wait(5)
    call.press("2")
    call.wait(1.5)
    call.hear(events.Speaking())
    call.wait(0.2)
    call.hear(events.AsrDelta(text="two three four"))
    call.hear(events.Silence(duration=200))
    call.hear(events.AsrFinal(text="two three four"))
    assert call.overlapped_at is None
    call.wait(10)
    assert call.heard[-1] == COUNTED


def test_voice_into_the_last_second_does_not_pause_the_reply(start):
    call = start(SCRIPT)
    call.wait(5)
    call.press("2")
    call.wait(15 / 3 - 0.5)
    call.hear(events.Speaking())
    assert call.overlapped_at is None
    call.wait(0.6)
    assert call.heard[-1] == COUNTED
    call.hear(events.Silence(duration=600))
    call.hear(events.AsrFinal(text="thank you so much"))
    assert ("user", "thank you so much") in call.transcript


def test_hold_in_an_overlap_ends_it(start):
    call = start(SCRIPT)
    call.wait(5)
    call.press("2")
    call.wait(1.5)
    call.hear(events.Speaking())
    call.hear(events.Hold(on_hold=True, initiator="caller"))
    call.wait(20)
    call.hear(events.Hold(on_hold=False, initiator="caller"))
    assert call.overlapped_at is None
    call.wait(10)
    assert call.heard[-1] == COUNTED


def test_hello_into_the_first_second_of_the_greeting_is_no_interruption(start):
    call = start(SCRIPT)
    call.wait(0.2)
    call.say("hello")
    call.wait(4)
    assert call.heard == ["Welcome to the flower shop. How may I help you?"]
    assert call.spoken[-1] == "How may I help you?"


def test_fallbacks_are_used_in_turn(start):
    call = start(SCRIPT)
    call.wait(5)
    for _ in range(3):
        call.say("elephants")
        call.wait(5)
    assert call.heard[-3:] == ["Sorry, I did not understand.", "Please ask for our opening hours.", "Sorry, I did not understand."]


def test_what_was_not_understood_gets_the_fallback_but_not_for_ever(start):
    call = start(SCRIPT)
    call.wait(5)
    for _ in range(6):
        call.say("")
        call.wait(5)
    assert len(call.heard) == 1 + 3


def test_goto_changes_scene_and_the_recognisers_phrases(start):
    call = start(SCRIPT)
    assert call.phrases == ("opening hours", "when are you open", "goodbye")
    call.press("2")
    assert call.dialogue.scene == "news"
    assert call.phrases == ("go back", "opening hours", "when are you open", "goodbye")
    call.wait(20)
    call.say("go back")
    assert call.dialogue.scene == "start"


def test_unmapped_digit_in_a_script_is_noted_and_nothing_else(start):
    call = start(SCRIPT)
    call.press("7")
    assert "digit without a meaning" in call.notes
    call.wait(5)
    assert call.heard == ["Welcome to the flower shop. How may I help you?"]


def test_second_utterance_before_anything_was_heard_is_joined_to_the_first(start):
    call = start(SCRIPT.replace("## goodbye", "## where is the car park\nBehind the house.\n\n## goodbye"))
    call.wait(5)
    call.is_slow = True  # the synthesiser needs a while before anything sounds
    call.hear(events.AsrFinal(text="where is the"))
    call.hear(events.AsrFinal(text="park"))
    assert call.spoken[-1] == "Behind the house."


def test_transcript_waits_for_the_news_of_what_was_heard_but_not_for_long(start):
    call = start(SCRIPT)
    call.wait(5)
    call.press("2")
    call.wait(2)
    call.settles = False
    call.hear(events.AsrFinal(text="opening hours"))
    assert call.spoken[-1] != "On Sundays we are closed."
    call.wait(0.4)
    assert call.spoken[-1] == "On Sundays we are closed."


def test_nothing_leaves_after_the_call_is_over(start):
    call = start(SCRIPT)
    call.hear(events.Hangup(reason="remote"))
    n_effects = len(call.effects)
    call.track = None
    call.say("goodbye")
    call.press("2")
    call.wait(60)
    assert len(call.effects) == n_effects
    assert call.dialogue.next_timeout() is None


def with_interruption(option: str) -> str:
    return SCRIPT.replace("sip:\n", f"interruption: {option}\nsip:\n")


def test_strategy_none_lets_the_agent_finish_and_drops_what_was_said_into_it(start):
    call = start(with_interruption("{strategy: none}"))
    call.wait(2)
    call.say("opening hours")
    call.wait(4)
    assert call.heard == ["Welcome to the flower shop. How may I help you?"]
    assert "speech not answered" in call.notes
    call.press("2")
    assert call.dialogue.scene == "news"


def test_strategy_asr_waits_for_words_that_are_no_fillers(start):
    call = start(with_interruption("{strategy: asr, volumeFadeMs: 80}"))
    call.wait(5)
    call.press("2")
    call.wait(1)
    call.hear(events.Speaking())
    call.hear(events.AsrDelta(text="uh"))
    assert call.track is not None
    call.hear(events.AsrDelta(text="uh opening"))
    assert call.heard[-1].endswith("-")
    assert [i.fade_out_ms for i in call.commands_of(commands.Interrupt)][-1] == 80


def test_short_speech_does_not_interrupt_when_a_minimum_is_set(start):
    call = start(with_interruption("{strategy: vad, minSpeechMs: 600}"))
    call.wait(5)
    call.press("2")
    call.wait(1)
    call.say("yes")  # half a second
    call.wait(1)
    assert call.track is not None and call.track.play_id == "r3"
    call.hear(events.Speaking())
    call.wait(0.55)
    assert call.track is not None
    assert call.overlapped_at is None
    call.wait(0.1)
    assert call.overlapped_at is not None


def test_filler_is_no_answer_when_filtered_and_the_agent_goes_on(start):
    call = start(with_interruption("{strategy: vad, fillerWordFilter: true}"))
    call.wait(5)
    call.press("2")
    call.wait(1)
    call.say("mm-hmm")
    assert call.spoken[-3:] == ["One two three four five.", "Six seven eight nine ten.", "Eleven twelve thirteen fourteen fifteen."]
    assert ("user", "mm-hmm") not in call.transcript


def test_noisy_line_cannot_stop_the_agent_for_ever_but_words_still_can(start):
    call = start(SCRIPT)
    call.wait(5)
    call.press("2")
    for _ in range(2):
        call.wait(1)
        call.say("")
    n_spoken = len(call.spoken)
    call.wait(1)
    call.say("")
    assert len(call.spoken) == n_spoken
    call.say("opening hours")
    assert call.spoken[-1] == "On Sundays we are closed."
