"""baresip calls the server, and is called by it: an independent user agent, speech judged from the audio on both sides."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from peers.baresip import Baresip
from peers.process import wait_until
from running_server import Server, running_server
from shared_servers import shared_server

from active_call.agent.matching.spoken_form import spoken_words
from active_call.testing.sound import audio, voice
from active_call.testing.sound.audio import Pcm
from active_call.testing.sound.listening import recognise_wav

GREETING = "Welcome to Harbour Street Bakery. How may I help you?"
HOURS = "We are open from nine in the morning until five in the afternoon."
DECOYS = ["I am sorry, I did not understand that.", "Your balance is forty two dollars.", "Please hold the line."]
QUESTION = "when are you open"
CALLER_VOICE = "en-us+f2"

PLAYBOOK = f"""---
llm:
  provider: script
greeting: {GREETING}
interruption: {{strategy: none}}
---
# Scene: main

## {QUESTION}
{HOURS} <hangup/>

## where is your shop
Right behind the market hall.

## *
I am sorry, I did not understand that.
"""


def question(after_s: float = 6.0) -> Pcm:
    """The caller's part: silence while the greeting plays, the question, silence. The file starts over at its end."""
    return np.concatenate((audio.silence(after_s * 1000), voice.speak(QUESTION, CALLER_VOICE), audio.silence(30_000)))


def judge(record: dict, heard: Path) -> None:  # type: ignore[type-arg]
    assert record["status"] == "answered", record["error"]
    assert record["error"] is None
    assert record["hangupBy"] == "agent"
    # What the agent recognised of what baresip played.
    assert [spoken_words(event["text"]) for event in record["events"] if event["event"] == "asrFinal"] == [spoken_words(QUESTION)]
    # What can be recognised in what baresip recorded.
    sentences = [one.sentences for one in recognise_wav(heard, [GREETING, HOURS], DECOYS)]
    assert [sentence for group in sentences for sentence in group] == [GREETING, HOURS]
    assert all("market hall" not in one for one in recognise_wav(heard, ["Right behind the market hall."], DECOYS)[0].sentences)


@pytest.mark.parametrize(
    ("transport", "srtp"),
    [("tls", True), pytest.param("tcp", False, marks=pytest.mark.slow), ("udp", False)],
    ids=["tls-srtp", "tcp", "udp"],
)
def test_baresip_dials_in_and_the_two_understand_each_other(tmp_path: Path, transport: str, srtp: bool) -> None:
    """TCP is slow: linphone dials in over it (`test_linphone_dials_in…[tcp]`), and SIPp."""
    with (
        shared_server(PLAYBOOK) as server,
        Baresip(tmp_path / "caller", speech=question(), transport=transport, srtp=srtp) as caller,
    ):
        port = server.tls_port if transport == "tls" else server.udp_port
        caller.start(dial=f"sip:bakery@127.0.0.1:{port};transport={transport}")
        assert caller.wait_established(), caller.log + server.log
        (record,) = server.wait_records(1, 40)
        caller.stop()
        judge(record, caller.heard)
        used = "RTP/SAVP" if srtp else "RTP/AVP"
        assert f"{used} " in next(event["sdp"] for event in record["events"] if event["event"] == "answer")


@pytest.mark.parametrize(
    ("transport", "srtp"), [pytest.param("udp", False, marks=pytest.mark.slow), ("tls", True)], ids=["udp", "tls-srtp"]
)
def test_post_call_rings_baresip_and_the_two_understand_each_other(tmp_path: Path, transport: str, srtp: bool) -> None:
    """UDP is slow: `test_post_call_rings_linphone…[udp-srtp]` calls by it."""
    with (
        shared_server({"main.md": PLAYBOOK, "sales.md": PLAYBOOK}) as server,
        Baresip(tmp_path / "called", speech=question(), transport=transport, srtp=srtp, answers=True) as called,
    ):
        called.start()
        body = {
            "callee": called.uri,
            "playbook": "sales.md",
            "sip": {"username": "active-call", "password": "strongpassword", "realm": "127.0.0.1", "enableSrtp": srtp},
        }
        session_id = server.post("/call", body)["session_id"]
        assert called.wait_established(), called.log + server.log
        (record,) = server.wait_records(1, 40)
        called.stop()
        assert (record["sessionId"], record["direction"]) == (session_id, "outbound")
        judge(record, called.heard)


def test_baresip_hangs_up_in_the_middle_of_a_sentence(tmp_path: Path) -> None:
    with (
        shared_server(PLAYBOOK) as server,
        Baresip(tmp_path / "caller", speech=audio.silence(30_000)) as caller,
    ):
        caller.start(dial=f"sip:bakery@127.0.0.1:{server.udp_port};transport=udp")
        assert caller.wait_established(), caller.log
        time.sleep(1.5)
        caller.command("hangup")
        (record,) = server.wait_records(1, 10)
        assert (record["status"], record["hangupBy"], record["hangupReason"]) == ("answered", "caller", "remote_bye")
        assert wait_until(lambda: server.health()["calls"] == 0, 5)


def test_recording_by_the_server_holds_both_sides_aligned(tmp_path: Path) -> None:
    with (
        shared_server(PLAYBOOK, recording=True) as server,
        Baresip(tmp_path / "caller", speech=question()) as caller,
    ):
        caller.start(dial=f"sip:bakery@127.0.0.1:{server.udp_port};transport=udp")
        (record,) = server.wait_records(1, 40)
        recording = server.folder / record["recording"]
        assert [one.sentences for one in recognise_wav(recording, [QUESTION], DECOYS, channel=0)] == [(QUESTION,)]
        agent = [one.sentences for one in recognise_wav(recording, [GREETING, HOURS], DECOYS, channel=1)]
        assert [sentence for group in agent for sentence in group] == [GREETING, HOURS]
        assert abs(record["recordingMs"] / 1000 - record["durationS"]) < 1.0


def refused_with(server: Server, tmp_path: Path, dial: str) -> str:
    with Baresip(tmp_path / "caller", speech=audio.silence(2000)) as caller:
        caller.start(dial=dial)
        assert wait_until(lambda: "session closed" in caller.log or "Call terminated" in caller.log or "closed:" in caller.log, 10), (
            caller.log
        )
        return caller.log


def test_call_that_no_rule_takes_is_a_404_with_a_record(tmp_path: Path) -> None:
    handler = '[handler]\ntype = "playbook"\n[[handler.rules]]\ncallee = "sales"\nplaybook = "main.md"'
    with running_server(tmp_path, PLAYBOOK, handler=handler) as server:
        log = refused_with(server, tmp_path, f"sip:nobody@127.0.0.1:{server.udp_port};transport=udp")
        assert "404" in log
        (record,) = server.wait_records(1, 10)
        assert (record["status"], record["sipCode"]) == ("rejected", 404)
