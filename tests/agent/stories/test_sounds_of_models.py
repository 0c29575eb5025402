"""A model has only those URLs played that the playbook's author names: a URL is a way out for what a caller said."""

from __future__ import annotations

import json

import pytest

from active_call.agent.effects import ModelDone, ToolCall
from active_call.agent.items import SystemItem, ToolResultItem
from active_call.agent.make_conversation import make_conversation
from active_call.agent.playbook.parser import parse_playbook
from active_call.agent.reply.sound_sources import SoundSources
from active_call.contract import commands

BOOK = """---
llm: {provider: openai}
http: {allow: ["*.cdn.example", "media.example:8443"]}
refer: {moh: "https://tones.example/ring.wav"}
---
# Scene: start
Play https://songs.example/list when asked. Never https://{{ host }}/x.

# Scene: other
Play <play file="https://scene.example/hello.wav"/> first.
"""
OUT = "https://attacker.example/?q=4711"


def begin(start, text=BOOK, variables=None, **options):
    kit = type(start("---\nllm: {provider: openai}\n---\nHi.\n"))
    call = kit(make_conversation(parse_playbook(text, file="t.md", environment={}), variables or {}, {}, **options))
    call.ready()
    if call.dialogue.playbook.script is None:
        call.say("Play something, please.")
        call.wait(3)
    return call


def played(call):
    return [command.url for command in call.commands_of(commands.Play)]


ALLOWED = [
    "https://songs.example/a.mp3?x=1",
    "https://SONGS.example:443/b.mp3",
    "https://tones.example/other.wav",
    "https://scene.example/x.wav",
    "http://a.b.cdn.example:8080/x.wav",
    "https://media.example:8443/x.wav",
    "hello.wav",
    "tone:busy",
    "https://given.example/song.mp3",
]
REFUSED = [
    OUT,
    "HTTPS://Attacker.Example/x.wav",
    "https://songs.example@attacker.example/x",
    "https://songs.example.attacker.example/",
    "https://attacker.example\\@songs.example/",
    "https://attacker.example#@songs.example/",
    "https://songs.example:8443/x.wav",
    "http://songs.example/x.wav",
    "https://songs.example:443@attacker.example/",
    "https://media.example/x.wav",
    "https://xcdn.example/",
    "https://attacker.example/https://songs.example/",
    "https://songs.example\t.attacker.example/",
    "https://given.example/song.mp3?q=4711",
    "https:///songs.example/",
    "https://söngs.example/",
    "https://name.example/",
]


@pytest.mark.parametrize("source", ALLOWED)
def test_source_that_the_author_names_is_allowed(source):
    book = parse_playbook(BOOK, file="t.md", environment={})
    assert SoundSources(book, {"song": "https://given.example/song.mp3", "caller_name": "https://name.example/"}).refusal(source) == ""


@pytest.mark.parametrize("source", REFUSED)
def test_source_of_another_host_is_refused(source):
    book = parse_playbook(BOOK, file="t.md", environment={})
    assert SoundSources(book, {"song": "https://given.example/song.mp3", "caller_name": "https://name.example/"}).refusal(source) != ""


def test_every_host_is_allowed_by_a_star():
    book = parse_playbook(BOOK.replace("*.cdn.example", "*"), file="t.md", environment={})
    assert SoundSources(book, {}).refusal(OUT) == ""


@pytest.mark.parametrize("tag", [f'<play file="{OUT}"/>', json.dumps({"text": "", "tools": [{"name": "play_file", "file": OUT}]})])
def test_tag_of_a_model_with_another_host_is_dropped_and_the_model_is_told(start, tag):
    call = begin(start)
    call.model(tag)
    assert played(call) == []
    told = [item.text for item in call.dialogue.history if isinstance(item, SystemItem)]
    assert any("attacker.example is not a host that the playbook names" in text for text in told)
    assert len(call.asked) == 2  # nothing else was said
    assert not any("4711" in text for text in told)


def test_words_beside_a_dropped_tag_are_said(start):
    call = begin(start)
    call.model(f'One moment. <play file="{OUT}"/> Here we are.')
    call.wait(10)
    assert played(call) == []
    assert call.spoken[:2] == ["One moment.", "Here we are."]
    assert len(call.asked) == 2  # about the sound that was left out


def test_tag_of_a_model_with_the_authors_host_is_played(start):
    call = begin(start)
    call.model('<play file="https://songs.example/a.mp3"/>')
    assert played(call) == ["https://songs.example/a.mp3"]


def test_function_of_a_model_with_another_host_is_refused(start):
    call = begin(start, calls_functions=True)
    reply = call.asked[-1].reply
    call.give(ToolCall(reply, "c1", "play_file", json.dumps({"file": OUT})))
    call.give(ModelDone(reply))
    assert played(call) == []
    results = [item for item in call.dialogue.history if isinstance(item, ToolResultItem)]
    assert results[0].is_error
    assert "attacker.example" in results[0].text


def test_music_of_a_models_hold_and_transfer_is_left_out(start):
    call = begin(start)
    call.model(f'<hold file="{OUT}" seconds="5"/><refer to="sip:a@b.example" moh="{OUT}"/>')
    call.wait(10)
    assert call.commands_of(commands.Hold) == [commands.Hold(moh=None)]
    assert [command.callee for command in call.commands_of(commands.Refer)] == ["sip:a@b.example"]
    assert OUT not in repr(call.commands_of(commands.Refer))


def test_text_of_the_author_plays_what_it_says(start):
    text = '---\nllm: {provider: script}\n---\n# Scene: start\n<play file="{{ url }}"/>\n'
    call = begin(start, text, {"url": OUT})
    assert played(call) == [OUT]
