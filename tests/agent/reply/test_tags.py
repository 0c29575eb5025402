from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from active_call.agent.playbook.templates import Rendered
from active_call.agent.reply.parser import ReplyParser
from active_call.agent.reply.scripted import read_rendered
from active_call.agent.reply.steps import Sentence
from active_call.agent.reply.tags import (
    CollectTag,
    GotoTag,
    HangupTag,
    HttpTag,
    MessageTag,
    PlayTag,
    ReferTag,
    SetVarTag,
    TagParser,
    UnknownTag,
    WaitInput,
)
from searches import searching


def say(*texts: str) -> list[Sentence]:
    return [Sentence(text) for text in texts]


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("Goodbye. <hangup/>", [*say("Goodbye."), HangupTag()]),
        ("<hangup reason='done'>", [HangupTag("done")]),
        ('One moment <refer to="sip:a@b"/>', [*say("One moment"), ReferTag("sip:a@b")]),
        ("<goto scene='x'/>", [GotoTag("x")]),
        ('<PLAY FILE="a.wav" />', [PlayTag("a.wav")]),
        ("<set_var key='a' value='1 > 0'/>", [SetVarTag("a", "1 > 0")]),
        (
            '<http url="http://x/?a=1&amp;b=2" method="post" body=\'{"k": "v"}\' set_var="r"/>',
            [HttpTag("http://x/?a=1&b=2", "POST", '{"k": "v"}', "r")],
        ),
        ('<message body="hi" contentType="text/plain" refer="true"/>', [MessageTag("hi", "text/plain", True)]),
        ('<collect type="pin" var="p" prompt="Your pin?"/>', [CollectTag("pin", "p", "Your pin?")]),
        ("[happy]Great![/happy] Next.", [Sentence("Great!", "happy"), Sentence("Next.")]),
        ("Press [1] or [enter].", say("Press [1] or [enter].")),
        ("3 < 5 and a<", say("3 < 5 and a<")),
        ("Well <unknown a='b'/> done.", [Sentence("Well"), UnknownTag("<unknown a='b'/>"), Sentence("done.")]),
        ("<goto/>Hm.", [UnknownTag("<goto/>", "scene is missing"), Sentence("Hm.")]),
        ("Bye. <hangup", [*say("Bye."), UnknownTag("<hangup", "a tag without its end")]),
        ("<think>secret <hangup/> plan</think>Hello.", say("Hello.")),
        (
            '{"text": "Hi there.", "waitInputTimeout": 5, "tools": [{"name": "goto", "scene": "x"}]}',
            [*say("Hi there."), WaitInput(5), GotoTag("x")],
        ),
        (
            'Let me see. ```json\n{"tools": [{"name": "http", "url": "http://x", "body": {"a": 1}}]}\n``` Wait.',
            [*say("Let me see."), HttpTag("http://x", "GET", '{"a":1}'), *say("Wait.")],
        ),
        ("```json\n[broken\n```Yes.", [UnknownTag("\n[broken\n", "not JSON"), *say("Yes.")]),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 5, 10_000])
def test_reply_is_read_the_same_in_pieces_of_any_size(text, steps, size):
    reader = ReplyParser(first_cut_words=0)
    found = []
    for start in range(0, len(text), size):
        found += reader.feed(text[start : start + size])
    found += reader.finish()
    assert found == steps


@given(
    st.lists(
        st.sampled_from(
            ["<hangup/>", "<", ">", "[happy]", "[", "/", "go", "to", " scene='a'", "<goto", ". ", "```json", "{", "}", '"', "\n"]
        )
    )
)
@searching(100)
def test_pieces_do_not_change_what_is_read_and_tags_are_never_spoken(pieces):
    reader = ReplyParser(first_cut_words=0)
    found = [step for piece in pieces for step in reader.feed(piece)] + reader.finish()
    assert found == read_rendered(Rendered(("".join(pieces),)))
    assert not any("<hangup" in step.text or "<goto " in step.text for step in found if isinstance(step, Sentence))


def test_sentence_is_given_out_before_the_next_one_is_complete():
    reader = ReplyParser()
    assert reader.feed("Hello there. How a") == say("Hello there.")


def test_tag_that_never_ends_is_dropped_and_memory_bounded():
    reader = ReplyParser()
    reader.feed("<http url='")
    steps = [step for _ in range(100) for step in reader.feed("x" * 1000)]
    assert any(isinstance(step, UnknownTag) for step in steps)


@pytest.mark.parametrize("timeout", ["9" * 5000, "٣", "-1", "1e9", ""])
def test_transfer_with_a_timeout_that_is_no_number_of_seconds_is_made_without_it(timeout: str) -> None:
    parser = TagParser()
    assert [*parser.feed(f'<refer to="sip:x@y.example" timeout="{timeout}"/>'), *parser.finish()] == [ReferTag("sip:x@y.example")]
