"""linphone calls the server, and is called by it: another independent user agent; hold, digits, the end of a call from both sides.

It accepts no TLS connections ("not handled", says its log), so over TLS it only calls.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from peers.linphone import Linphone
from peers.process import wait_until
from running_server import Server
from shared_servers import shared_server

from active_call.agent.matching.spoken_form import spoken_words
from active_call.testing.sound import audio, voice
from active_call.testing.sound.audio import Pcm
from active_call.testing.sound.listening import recognise_wav

GREETING = "Welcome to Harbour Street Bakery. How may I help you?"
HOURS = "We are open from nine in the morning until five in the afternoon."
DECOYS = ["I am sorry, I did not understand that.", "Your balance is forty two dollars.", "Please hold the line."]
QUESTION = "when are you open"
PLAYBOOK = f"""---
llm: {{provider: script}}
greeting: {GREETING}
interruption: {{strategy: none}}
---
# Scene: main

## {QUESTION}
{HOURS} <hangup/>

## *
I am sorry, I did not understand that.
"""
PATIENT = PLAYBOOK.replace(" <hangup/>", "")
TRANSPORTS = pytest.mark.parametrize(
    ("transport", "srtp"),
    [pytest.param("udp", False, marks=pytest.mark.slow), ("tcp", False), ("tls", True)],
    ids=["udp", "tcp", "tls-srtp"],
)
"""UDP is slow: baresip and SIPp call by it, and linphone is called by it."""


def question(after_s: float = 6.0) -> Pcm:
    return np.concatenate((audio.silence(after_s * 1000), voice.speak(QUESTION, "en-us+f2"), audio.silence(30_000)))


def uri_of(server: Server, transport: str) -> str:
    port = server.tls_port if transport == "tls" else server.udp_port
    return f"sip:bakery@127.0.0.1:{port};transport={transport}"


def events_of(record: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [event for event in record["events"] if event["event"] == kind]


def assert_understood(record: dict[str, Any], heard: Path, *, srtp: bool) -> None:
    assert (record["status"], record["error"], record["hangupBy"]) == ("answered", None, "agent")
    assert [spoken_words(event["text"]) for event in events_of(record, "asrFinal")] == [spoken_words(QUESTION)]
    sentences = [one.sentences for one in recognise_wav(heard, [GREETING, HOURS], DECOYS)]
    assert [sentence for group in sentences for sentence in group] == [GREETING, HOURS]
    assert ("RTP/SAVP " in events_of(record, "answer")[0]["sdp"]) == srtp


@TRANSPORTS
def test_linphone_dials_in_and_the_two_understand_each_other(tmp_path: Path, transport: str, srtp: bool) -> None:
    with (
        shared_server(PLAYBOOK) as server,
        Linphone(tmp_path / "caller", speech=question(), transport=transport, srtp=srtp) as caller,
    ):
        caller.start()
        caller.command(f"call {uri_of(server, transport)}")
        assert caller.wait_established(), caller.log + server.log
        (record,) = server.wait_records(1, 40)
        assert caller.wait_for("ended (", 5), caller.log
        caller.stop()
        assert_understood(record, caller.heard, srtp=srtp)


@pytest.mark.parametrize(
    ("transport", "srtp"), [("udp", True), pytest.param("tcp", False, marks=pytest.mark.slow)], ids=["udp-srtp", "tcp"]
)
def test_post_call_rings_linphone_and_the_two_understand_each_other(tmp_path: Path, transport: str, srtp: bool) -> None:
    """Calls of ours over TCP: `trunk/test_generic_pbx`; linphone over TCP: `test_linphone_dials_in…[tcp]`."""
    with (
        shared_server(PLAYBOOK) as server,
        Linphone(tmp_path / "called", speech=question(), transport=transport, srtp=srtp, answers=True) as called,
    ):
        called.start()
        server.post("/call", {"callee": called.uri, "playbook": "main.md", "sip": {"enableSrtp": srtp}})
        assert called.wait_established(), called.log + server.log
        (record,) = server.wait_records(1, 40)
        assert called.wait_for("ended (", 5), called.log
        called.stop()
        assert record["direction"] == "outbound"
        assert_understood(record, called.heard, srtp=srtp)


def test_linphone_holds_resumes_and_hangs_up(tmp_path: Path) -> None:
    with (
        shared_server(PATIENT) as server,
        Linphone(tmp_path / "caller", speech=audio.silence(60_000), transport="tls", srtp=True) as caller,
    ):
        caller.start()
        caller.command(f"call {uri_of(server, 'tls')}")
        assert caller.wait_established(), caller.log + server.log
        caller.command("pause")
        assert caller.wait_for("paused", 5), caller.log
        caller.command("resume")
        assert wait_until(lambda: caller.log.count("Media streams established") >= 2, 5), caller.log
        caller.command("terminate")
        (record,) = server.wait_records(1, 10)
        assert [event["onHold"] for event in events_of(record, "hold")] == [True, False]
        assert (record["hangupBy"], record["hangupReason"], record["error"]) == ("caller", "remote_bye", None)


@pytest.mark.parametrize("digits_by", ["rfc2833", "info"])
def test_digits_of_linphone_arrive_in_order(tmp_path: Path, digits_by: str) -> None:
    with (
        shared_server(PATIENT) as server,
        Linphone(tmp_path / "caller", speech=audio.silence(60_000), digits_by=digits_by) as caller,
    ):
        caller.start()
        caller.command(f"call {uri_of(server, 'udp')}")
        assert caller.wait_for("Media streams established"), caller.log + server.log
        for digit in "19#*":
            caller.command(digit)
            wait_until(lambda: False, 1.6)  # it sleeps for a second after each, and reads no answers meanwhile
        assert caller.trace.count("\nINFO sip:") == (4 if digits_by == "info" else 0)
        caller.command("terminate")
        (record,) = server.wait_records(1, 10)
        assert [event["digit"] for event in events_of(record, "dtmf")] == list("19#*")


def test_linphone_that_is_called_and_hangs_up_ends_the_call(tmp_path: Path) -> None:
    with (
        shared_server(PATIENT) as server,
        Linphone(tmp_path / "called", speech=audio.silence(60_000), transport="tcp", answers=True) as called,
    ):
        called.start()
        server.post("/call", {"callee": called.uri, "playbook": "main.md"})
        assert called.wait_established(), called.log + server.log
        called.command("terminate")
        (record,) = server.wait_records(1, 10)
        assert (record["hangupBy"], record["hangupReason"]) == ("callee", "remote_bye")


def test_linphone_that_does_not_answer_is_cancelled(tmp_path: Path) -> None:
    with (
        shared_server(PATIENT) as server,
        Linphone(tmp_path / "called", speech=audio.silence(1000)) as called,
    ):
        called.start()
        session_id = server.post("/call", {"callee": called.uri, "playbook": "main.md"})["session_id"]
        assert called.wait_for("Receiving new incoming call", 5), called.log + server.log
        server.get(f"/kill/{session_id}")
        (record,) = server.wait_records(1, 10)
        assert (record["hangupBy"], record["sipCode"]) == ("api", 487), record
        assert wait_until(lambda: "CANCEL sip:" in called.trace and "487 Request" in called.trace, 3)
        assert wait_until(lambda: server.health()["calls"] == 0, 5)
