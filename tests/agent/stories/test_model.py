"""A caller and a model: streaming, thinking, failing, scenes, HTTP."""

from __future__ import annotations

import pytest

from active_call.agent.effects import AbandonModel, HttpAnswered, ModelDone, ModelText, SendHttp
from active_call.contract import commands, events

BOOK = """---
greeting: Hello {{ name }}.
llm: {provider: openai, model: m, temperature: 0.5}
followup: {timeout: 5000, max: 2}
---
You are polite.

# Scene: start
Ask for the name.
<dtmf digit="0" action="transfer" target="sip:{{ desk }}@example.com"/>

# Scene: order
Take the order of {{ name }}.
"""


@pytest.fixture
def call(start):
    call = start(BOOK, variables={"name": "Ann", "desk": "desk"})
    call.wait(3)
    return call


def test_prompts_hold_instructions_scene_and_what_was_heard(call):
    call.say("I want flowers")
    prompts = call.asked[-1].prompts
    assert prompts[0].role == "system"
    assert prompts[0].text.startswith("You are polite.\n\nAsk for the name.")
    assert "<hangup/>" in prompts[0].text
    assert [(p.role, p.text) for p in prompts[1:]] == [("assistant", "Hello Ann."), ("user", "I want flowers")]
    assert call.asked[-1].temperature == 0.5


def test_sentences_are_spoken_while_the_model_goes_on(call):
    call.say("hi")
    call.model("Of cou", "rse. What", done=False)
    assert call.spoken[-1] == "Of course."
    call.model(" else?")
    assert call.spoken[-1] == "What else?"
    last = call.commands_of(commands.Tts)[-1]
    assert last.end_of_stream
    call.wait(5)
    assert call.transcript[-1] == ("assistant", "Of course. What else?")


def test_speech_while_thinking_asks_again_with_both_utterances(call):
    call.say("I want")
    first = call.asked[-1].reply
    call.say("red roses")
    assert call.asked[-1].reply != first
    assert AbandonModel(first) in call.effects
    assert call.asked[-1].prompts[-1].text == "I want red roses"
    assert call.dialogue.handle(ModelText(first, "Too late. "), call.now) == []
    assert call.dialogue.handle(ModelDone(first), call.now) == []


def test_reply_waits_while_the_caller_speaks_again_and_goes_on_after_a_cough(call):
    call.say("I want roses")
    call.hear(events.Speaking())
    call.model("Which colour?")
    assert "Which colour?" not in call.spoken
    call.hear(events.Silence(duration=200))
    call.hear(events.AsrFinal(text=""))
    assert call.spoken[-1] == "Which colour?"
    assert len(call.asked) == 1


def test_barge_in_abandons_the_model_and_drops_its_late_text(call):
    call.say("tell me a story")
    call.model("Once upon a time there was a king. ", done=False)
    old = call.asked[-1].reply
    call.wait(1)
    call.hear(events.Speaking())
    call.wait(0.2)
    call.hear(events.AsrDelta(text="stop"))
    assert AbandonModel(old) in call.effects
    n_spoken = len(call.spoken)
    call.give(ModelText(old, "He had a horse. "))
    call.wait(0.2)
    assert len(call.spoken) == n_spoken
    call.hear(events.AsrFinal(text="stop"))
    assert [(p.role, p.text) for p in call.asked[-1].prompts[-2:]] == [("assistant", "Once upon a"), ("user", "stop")]


def test_noise_in_an_unfinished_reply_pauses_it_and_the_model_goes_on_meanwhile(call):
    call.say("tell me a story")
    call.model("Once upon a time there was a king. ", done=False)
    call.wait(1)
    call.hear(events.Speaking())
    call.model("He had a horse.")
    call.wait(0.4)
    call.hear(events.Silence(duration=400))
    call.wait(5)
    assert call.spoken[-2:] == ["Once upon a time there was a king.", "He had a horse."]
    assert call.heard[-1] == "Once upon a time there was a king. He had a horse."
    assert len(call.asked) == 1


@pytest.mark.parametrize("failure", ["error", "silence", "empty"])
def test_failing_model_is_made_good_by_speaking(call, failure):
    call.say("hi")
    if failure == "error":
        call.model(error="503")
    elif failure == "empty":
        call.model("  ")
    else:
        call.wait(9.9)
        assert call.spoken[1].startswith("I am sorry, this takes")
        call.wait(0.2)
        assert "model failed" in call.notes
    assert any(text.startswith("I am sorry, something") for text in call.spoken)
    call.wait(10)
    assert call.dialogue.state in ("listening", "thinking")


def test_goto_is_acted_on_after_the_words_before_it_and_the_model_speaks_first_in_the_new_scene(call):
    call.say("roses")
    call.model('Very well. <goto scene="order"/> never said.')
    assert call.dialogue.scene == "start"
    call.wait(3)
    assert call.dialogue.scene == "order"
    assert "Take the order of Ann." in call.asked[-1].prompts[0].text
    assert "never said." not in call.spoken


def test_http_answer_goes_back_to_the_model(call):
    call.say("is it raining")
    call.model('One moment. <http url="http://w/" set_var="weather"/>')
    sent = call.effects_of(SendHttp)[-1]
    call.wait(3)
    assert call.dialogue.state == "thinking"
    call.give(HttpAnswered(sent.reply, sent.request, "rain"))
    assert call.asked[-1].prompts[-1].text == "HTTP Response: rain"
    assert call.dialogue.variables["weather"] == "rain"


def test_set_var_with_a_header_name_reaches_the_bye(call):
    call.say("bye")
    call.model("<set_var key='X-Mood' value='happy'/>Goodbye. <hangup/>")
    call.wait(3)
    assert call.hangups[-1].headers == {"X-Mood": "happy"}
    assert commands.SetVar(key="X-Mood", value="happy") in call.commands_of(commands.SetVar)


def test_followup_comes_after_silence_and_gives_up_after_its_maximum(call):
    n_before = len(call.asked)
    for _ in range(4):
        call.wait(5.1)
        if len(call.asked) > n_before:
            call.model("Are you there?")
            n_before = len(call.asked)
        call.wait(2)
    assert len(call.asked) == 2
    assert "nothing for a while" in call.asked[-1].prompts[-1].text


def test_digit_transfers_and_a_failed_transfer_gives_the_caller_back(call):
    call.press("0")
    assert call.commands_of(commands.Refer)[-1].callee == "sip:desk@example.com"
    assert call.dialogue.state == "ending"
    target = "sip:desk@example.com"
    call.hear(events.Transfer(state="calling", target=target))
    assert call.dialogue.state == "away"
    call.hear(events.Transfer(state="failed", target=target, code=486, reason="the line is busy", returned=True))
    assert "The transfer to sip:desk@example.com has failed: the line is busy (486)." in call.asked[-1].prompts[-1].text
    call.model("I am sorry, that line is busy.")
    assert call.spoken[-1] == "I am sorry, that line is busy."
    call.wait(4)
    assert call.dialogue.state == "listening"


def test_caller_who_has_talked_to_somebody_else_is_received_back(call):
    call.say("hi")
    call.model("One two three four five six. ", done=False)
    call.hear(events.Transfer(state="calling", target="sip:a@b"))  # by a client of the call
    assert call.dialogue.state == "away"
    assert len(call.commands_of(commands.Interrupt)) == 1
    n_spoken, n_asked = len(call.spoken), len(call.asked)
    call.say("are you there")
    call.press("0")
    call.hear(events.Transfer(state="connected", target="sip:a@b"))
    call.wait(120)
    assert (len(call.spoken), len(call.asked)) == (n_spoken, n_asked)
    call.hear(events.Transfer(state="completed", target="sip:a@b", returned=True))
    assert "has spoken with sip:a@b and is back" in call.asked[-1].prompts[-1].text


def test_transfer_that_succeeds_leaves_the_agent_silent_until_the_end(call):
    call.press("0")
    call.hear(events.Transfer(state="referring", target="sip:desk@example.com"))
    call.hear(events.Transfer(state="completed", target="sip:desk@example.com", code=200, returned=False))
    call.wait(60)
    assert call.dialogue.state == "away"


def test_bridge_parts_the_agent_from_the_caller_and_gives_it_back(call):
    call.hear(events.Bridge(state="joined", target_session_id="s.2"))
    assert call.dialogue.state == "away"
    call.hear(events.Bridge(state="parted", target_session_id="s.2", reason="the other call ended"))
    assert "is back with you" in call.asked[-1].prompts[-1].text
    n_asked = len(call.asked)
    call.hear(events.Bridge(state="parted", target_session_id="s.3"))  # one that never came about
    assert len(call.asked) == n_asked


def test_caller_who_comes_back_on_hold_is_spoken_to_after_it(call):
    call.hear(events.Transfer(state="referring", target="sip:a@b"))
    call.hear(events.Hold(on_hold=True, initiator="caller"))
    call.hear(events.Transfer(state="failed", target="sip:a@b", code=603, reason="the call was declined", returned=True))
    assert call.dialogue.state == "paused"
    n_spoken = len(call.spoken)
    call.model("I could not connect you.")
    assert len(call.spoken) == n_spoken
    call.hear(events.Hold(on_hold=False, initiator="caller"))
    assert call.spoken[-1] == "I could not connect you."


def test_unmapped_digit_is_told_to_the_model(call):
    call.press("5")
    assert call.asked[-1].prompts[-1].text == "[pressed 5]"


def test_hold_says_nothing_more_and_the_reply_goes_on_afterwards(call):
    call.say("hi")
    call.model("One two three four five six. ", done=False)
    call.hear(events.Hold(on_hold=True))
    assert call.is_paused
    call.model("Seven eight.")
    assert "Seven eight." not in call.spoken
    call.say("la la la")
    call.wait(30)
    assert len(call.asked) == 1
    call.hear(events.Hold(on_hold=False))
    assert call.spoken[-1] == "Seven eight."
    assert not [*call.commands_of(commands.Pause), *call.commands_of(commands.Resume)]  # the call freezes what plays, and nobody else


def test_lost_playback_does_not_leave_the_call_in_silence(call):
    call.say("hi")
    call.model("Hello there.")
    call.track = None  # the synthesiser has died and nobody tells
    call.wait(15)
    assert "playback lost" in call.notes
    assert call.dialogue.state in ("listening", "thinking")
