"""The playbooks that ship."""

from __future__ import annotations

from pathlib import Path

import pytest

from active_call.agent.playbook.parser import parse_playbook

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "playbooks"
STARTER = ROOT / "src/active_call/server/starter"


@pytest.mark.parametrize("path", [*FOLDER.glob("*.md"), *STARTER.glob("*.md")], ids=lambda path: path.stem)
def test_shipped_playbook_parses_and_needs_no_model_but_for_tools_or_to_show_one(path):
    book = parse_playbook(path.read_text(), file=path.name, environment={})
    assert book.script is not None or book.tools or path.stem == "demo_model"
    assert book.greeting


def test_receptionist_tells_its_story(start):
    call = start((FOLDER / "receptionist.md").read_text())
    call.wait(20)
    call.say("what are your opening hours")
    call.wait(10)
    assert "nine" in call.heard[-1]
    call.say("address")
    call.wait(10)
    assert "Market Street" in call.heard[-1]
    call.press("2")
    call.wait(3)
    assert call.dialogue.scene == "news"
    assert len(" ".join(call.track.words).split()) > 60  # more than twelve seconds at five words a second
    call.say("goodbye")
    assert call.heard[-1].endswith("-")
    call.wait(15)
    assert call.hangups[0].headers == {"X-Outcome": "goodbye"}


def test_greeting_reads_the_carriers_headers(start):
    headers = {"X-Twilio-CallSid": "CA99", "X-Twilio-FromE164": "+15550100"}
    call = start((STARTER / "greeting.md").read_text(), headers=headers, variables={"caller": "alice"})
    call.wait(20)
    call.say("which call is this")
    assert call.spoken[-1] == "Your carrier calls this call CA99."
    call.wait(10)
    call.press("1")
    assert call.spoken[-1] == "You are calling from +15550100."


def test_greeting_hangs_up_on_a_caller_who_says_nothing(start):
    call = start((STARTER / "greeting.md").read_text())
    call.wait(60)
    assert call.hangups[0].headers == {"X-Outcome": "silence"}


def test_ivr_waits_for_the_web_and_speaks_of_the_answer(start):
    from active_call.agent.effects import HttpAnswered

    call = start((FOLDER / "ivr.md").read_text(), headers={"X-Customer-Id": "c7"})
    assert "I see that you are one of our customers." in call.spoken
    call.wait(20)
    call.press("2")
    call.wait(20)
    call.say("my bill")
    sent = call.http[-1]
    assert sent.url == "https://example.com/balance?customer=c7"
    call.give(HttpAnswered(sent.reply, sent.request, "ten dollars"))
    assert call.spoken[-1] == "Your balance is ten dollars."
