"""Who answers an outbound call, by real sound over RTP: a person, a mailbox with its beep, call screening, a menu, a fax, hold music."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import pytest
from running_server import Server, running_server

from active_call.bench.evals import speech
from active_call.testing.sound import audio
from active_call.testing.trunk.switches import generic_pbx
from active_call.testing.trunk.trunk import Trunk

pytestmark = pytest.mark.slow
PLAYBOOK = """---
tts: {provider: espeak}
llm: {provider: script}
onMachine: continue
---
## hello | mary speaking | flowers and more
I would like to order twelve red roses for Saturday morning, please.
## *
Pardon?
"""
VOICE = "piper:joe"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("server"), PLAYBOOK, engines="") as running:
        yield running


def tone(hz: float, ms: int) -> audio.Pcm:
    moments = np.arange(ms * audio.RATE_HZ // 1000) / audio.RATE_HZ
    return np.asarray(6000 * np.sin(2 * np.pi * hz * moments)).astype(np.int16)


@cache
def says(text: str) -> audio.Pcm:
    return speech.say(text, VOICE)


def call(server: Server, *sounds: audio.Pcm | float) -> tuple[list[dict[str, Any]], list[float], float]:
    """Have the server call somebody who plays these sounds (numbers: seconds of silence), and hang up a second later. What was told of
    who answers, when the agent was heard, and when the last sound began."""
    server.begin_anew()
    with Trunk(generic_pbx("udp", supports_media=True)) as trunk:
        server.post("/call", {"callee": f"sip:+15550100@127.0.0.1:{trunk.hub.port}", "playbook": "main.md"})
        leg = trunk.wait_call(30, count=1)
        assert leg.wait_answered() and leg.sound is not None
        time.sleep(0.5)
        began_at = time.monotonic()
        for sound in sounds:
            began_at = time.monotonic()
            pcm = audio.silence(sound * 1000) if isinstance(sound, float) else sound
            leg.sound.sender.say(pcm)
            assert leg.sound.sender.wait_idle(len(pcm) / audio.RATE_HZ + 5)
        time.sleep(2.5)
        voiced_at = list(leg.sound.receiver.voiced_at)
        leg.hang_up()
        (record,) = server.wait_records(1)
    print([event["text"] for event in record["events"] if event["event"] == "asrFinal"])
    told = [event for event in record["events"] if event["event"] == "answerMachineDetection"]
    return told, voiced_at, began_at


@pytest.mark.load
@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Hello?", "human"),
        ("Mary Baker speaking, who is this?", "human"),
        ("For sales, press one. For support, press two.", "menu"),
        ("Please leave your message after the tone.", "voicemail"),
        (
            "You have reached the office of Doctor Brown. We are closed until Monday. Please leave your message after the tone.",
            "voicemail",
        ),
    ],
    ids=["hello", "a name", "menu", "short mailbox", "long mailbox"],
)
def test_who_has_answered_is_told_within_three_seconds_of_speech(server: Server, text: str, kind: str) -> None:
    """From the first sample on the wire; the first verdict is the right one."""
    server.begin_anew()
    with Trunk(generic_pbx("udp", supports_media=True)) as trunk:
        server.post("/call", {"callee": f"sip:+15550100@127.0.0.1:{trunk.hub.port}", "playbook": "main.md"})
        leg = trunk.wait_call(30, count=1)
        assert leg.wait_answered() and leg.sound is not None
        pcm = says(text)
        time.sleep(0.5)
        leg.sound.sender.say(pcm)
        began_ms = time.time() * 1000
        time.sleep(max(3.5, len(pcm) / audio.RATE_HZ + 1.0))
        leg.hang_up()
        (record,) = server.wait_records(1)
    told = [(event["kind"], event["timestamp"] - began_ms) for event in record["events"] if event["event"] == "answerMachineDetection"]
    print(told)
    assert told[0][0] == kind, told
    assert 0 < told[0][1] <= 3000, told


def test_each_kind_is_told_by_its_sound(server: Server) -> None:
    mailbox = says("You have reached Green Garden Flowers. Please leave your message after the tone.")
    screening = says("Hi, if you record your name and reason for calling, I will see if this person is available.")
    menu = says("Thank you for calling. For sales, press one. For support, press two.")
    cases: dict[str, tuple[audio.Pcm | float, ...]] = {
        "human": (says("Hello?"), 1.5),
        "voicemail": (mailbox, 0.4, tone(1000, 600), 1.0),
        "screening": (screening, 1.0),
        "menu": (menu, 1.0),
        "fax": (tone(1100, 500), 2.5, tone(1100, 500), 0.5),
    }
    found = {}
    for kind, sounds in cases.items():
        told, _, _ = call(server, *sounds)
        found[kind] = told[-1]["kind"] if told else None
        if kind == "voicemail":
            assert [event["text"] for event in told if event["text"] == "beep"], told
    print(found)
    assert found == {kind: kind for kind in cases}


def test_hold_music_is_waited_through_until_a_person_speaks(server: Server) -> None:
    hold = says("Please hold the line. All our agents are busy.")
    person = says("Hello, Mary speaking.")
    told, voiced_at, person_at = call(server, hold, 1.0, speech.music(9.0), person)
    assert "hold" in [event["kind"] for event in told]
    before = [at for at in voiced_at if person_at - 8 < at < person_at]
    after = [at for at in voiced_at if at > person_at + len(person) / audio.RATE_HZ]
    assert not before, "nothing is said to music"
    assert after, "the person is answered"
