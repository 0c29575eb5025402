"""The judging telephone against an independent user agent: the phone is heard, hears, and finds nothing to object to in a correct peer."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from peers.baresip import Baresip
from peers.sipp import SCENARIOS, Sipp

from active_call.testing.phone.user_agent import Phone, Profile
from active_call.testing.sound import audio, voice
from active_call.testing.sound.audio import Pcm
from active_call.testing.sound.listening import Recogniser, recognise_wav, utterances

AGENT_SAYS = "Please hold while I connect you."
PHONE_SAYS = "Press one for sales, or two for support."
DECOYS = ["Goodbye, and thank you for calling."]


def speech(text: str, *, before_ms: int = 1500) -> Pcm:
    return np.concatenate((audio.silence(before_ms), voice.speak(text, "en-us"), audio.silence(8000)))


@pytest.mark.parametrize(
    ("transport", "srtp", "profile", "ends"),
    [("tls", True, "trunk", "agent"), ("udp", False, "plain", "caller"), ("tcp", False, "trunk", "agent")],
)
def test_phone_and_baresip_understand_each_other(tmp_path: Path, transport: str, srtp: bool, profile: Profile, ends: str) -> None:
    with (
        Baresip(tmp_path / "peer", speech=speech(AGENT_SAYS), transport=transport, srtp=srtp, answers=True) as peer,
        Phone(profile=profile) as phone,
    ):
        peer.start()
        phone.dial(peer.uri, srtp=srtp)
        assert phone.wait_answered(10), phone.responses
        assert phone.sender is not None
        assert phone.receiver is not None
        phone.say(PHONE_SAYS)
        assert phone.sender.wait_idle(10)
        phone.wait_ended(1.0)  # the rest of the agent's sentence
        if ends == "agent":
            peer.command("hangup")
        else:
            phone.hang_up()
        ended = phone.wait_ended(5)
        assert ended is not None
        assert (ended.by, ended.code) == (ends, 200)
        phone.close()
        peer.stop()
        assert phone.violations == []
        heard = phone.heard
        recogniser = Recogniser([AGENT_SAYS, PHONE_SAYS], DECOYS)
        assert [recogniser.recognise(heard[one.start : one.end]).sentences for one in utterances(heard)] == [(AGENT_SAYS,)]
        assert [one.sentences for one in recognise_wav(peer.heard, [AGENT_SAYS, PHONE_SAYS], DECOYS)] == [(PHONE_SAYS,)]
        figures = phone.receiver.figures()
        assert figures.packets > 100
        assert (figures.repeated_sequence, figures.timestamp_gaps) == (0, 0)
        assert max(figures.lost, figures.rejected) <= 1  # baresip's first packet may leave before it has its key


def test_phone_that_cancels_is_answered_487(tmp_path: Path) -> None:
    with Baresip(tmp_path / "peer", speech=speech(AGENT_SAYS)) as peer, Phone() as phone:
        peer.start()
        phone.dial(peer.uri)
        assert not phone.wait_answered(0.5)
        phone.cancel()
        ended = phone.wait_ended(5)
        assert ended is not None
        assert (ended.by, ended.code) == ("caller", 487)


def test_story_played_from_the_command_line_reports_what_was_heard(tmp_path: Path) -> None:
    story = {
        "agent": {"hold": AGENT_SAYS},
        "decoys": DECOYS,
        "steps": [
            {"do": "listen", "expect": ["hold"]},
            {"do": "press", "digit": "4"},
            {"do": "say", "text": PHONE_SAYS},
            {"do": "hang_up"},
        ],
        "success": {"ended_by": "caller"},
    }
    (tmp_path / "story.json").write_text(json.dumps(story))
    with Baresip(tmp_path / "peer", speech=speech(AGENT_SAYS, before_ms=700), transport="tls", srtp=True, answers=True) as peer:
        peer.start()
        command = [sys.executable, "-m", "active_call.testing.phone", "--uri", peer.uri, "--srtp", "--json-lines"]
        command += ["--story", str(tmp_path / "story.json"), "--out", str(tmp_path / "out")]
        run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    events = [json.loads(line) for line in run.stdout.splitlines()]
    assert run.returncode == 0, run.stdout + run.stderr
    assert [event["kind"] for event in events] == ["answered", "agent", "digit", "caller", "ended", "summary"]
    assert events[1]["text"] == AGENT_SAYS
    assert 500 < events[1]["latency_ms"] < 1500  # the peer begins 700 ms after its answer
    assert [one.sentences for one in recognise_wav(tmp_path / "out" / "call.wav", [AGENT_SAYS], channel=1)] == [(AGENT_SAYS,)]
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["success"] is True


def test_story_whose_expected_line_is_not_heard_fails(tmp_path: Path) -> None:
    story = {"agent": {"bye": DECOYS[0]}, "decoys": [AGENT_SAYS], "steps": [{"do": "listen", "expect": ["bye"], "timeout_s": 4}]}
    (tmp_path / "story.json").write_text(json.dumps(story))
    with Baresip(tmp_path / "peer", speech=speech(AGENT_SAYS, before_ms=300), answers=True) as peer:
        peer.start()
        command = [sys.executable, "-m", "active_call.testing.phone", "--uri", peer.uri, "--json-lines"]
        command += ["--story", str(tmp_path / "story.json"), "--out", str(tmp_path / "out")]
        run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 1
    summary = json.loads(run.stdout.splitlines()[-1])
    assert "a decoy was heard" in summary["failures"]


BROKEN = {
    "Route": ("      [routes]\n", "", "BYE: Route [] is not the Record-Route set"),
    "Record-Route": ("      [last_Record-Route:]\n", "", "Record-Route not echoed"),
    "Contact": ("[local_port];transport=[transport]>", "9;transport=[transport]>", "names another port"),
    "payload types": ("RTP/AVP 0", "RTP/AVP 0 9", "exceed the offer"),
    "profile": ("RTP/AVP 0", "RTP/SAVP 0", "profile"),
}


@pytest.mark.parametrize("transport", ["u1", "t1"])
def test_phone_finds_nothing_wrong_with_sipp_hanging_up(tmp_path: Path, transport: str) -> None:
    with Sipp("answers_and_hangs_up", tmp_path, transport=transport, timeout_s=15) as server, Phone() as phone:
        server.start()
        phone.dial(f"sip:+15550199@127.0.0.1:{server.port}", transport={"u1": "udp", "t1": "tcp"}[transport])
        ended = phone.wait_ended(8)
        assert ended is not None
        assert (ended.by, phone.violations) == ("agent", [])


@pytest.mark.parametrize("what", BROKEN)
def test_phone_names_what_is_wrong_with_a_peer(tmp_path: Path, what: str) -> None:
    right, wrong, says = BROKEN[what]
    scenario = (SCENARIOS / "answers_and_hangs_up.xml").read_text()
    assert right in scenario
    (tmp_path / "broken.xml").write_text(scenario.replace(right, wrong))
    with Sipp(tmp_path / "broken.xml", tmp_path / "peer", timeout_s=15) as server, Phone() as phone:
        server.start()
        phone.dial(f"sip:+15550199@127.0.0.1:{server.port}")
        phone.wait_answered(5)
        phone.wait_ended(2.5)
        assert says in " ".join(phone.violations)
