"""Kamailio as a carrier's edge: TLS towards us, UDP behind it, two Record-Routes, digest; an independent user agent on the far side."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from peers.baresip import Baresip
from peers.kamailio import Edge, edge_certificate
from peers.process import wait_until
from peers.sipp import Sipp
from peers.sipp_steps import SPEAKING, Steps, sdp
from running_server import Server, running_server
from shared_servers import shared_server

from active_call.agent.matching.spoken_form import spoken_words
from active_call.testing.sound import audio, voice
from active_call.testing.sound.audio import Pcm
from active_call.testing.sound.listening import recognise_wav

GREETING = "Welcome to Harbour Street Bakery. How may I help you?"
HOURS = "We are open from nine in the morning until five in the afternoon."
DECOYS = ["I am sorry, I did not understand that.", "Please hold the line."]
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


@contextmanager
def a_server(tmp_path: Path, playbook: str = PLAYBOOK) -> Iterator[Server]:
    """Our side; it verifies the edge's certificate, and the edge verifies its."""
    certificate = _edge_certificate_for(tmp_path)
    with shared_server(playbook, tls=f'tls_ca_file = "{certificate}"') as server:
        yield server


@cache
def _common_certificate() -> Path:
    """One for all edges of this process: who trusts it is one server."""
    return edge_certificate(Path(tempfile.mkdtemp(prefix="edge-certificate-")))


def _edge_certificate_for(tmp_path: Path) -> Path:
    (tmp_path / "edge").mkdir(exist_ok=True)
    shutil.copy(_common_certificate(), tmp_path / "edge" / "certificate.pem")
    return _common_certificate()


def an_edge(tmp_path: Path, server: Server, **options: Any) -> Edge:
    return Edge(tmp_path / "edge", customer_port=server.tls_port, customer_certificate=server.folder / "cert.pem", **options)


def question(after_s: float = 6.0) -> Pcm:
    return np.concatenate((audio.silence(after_s * 1000), voice.speak(QUESTION, "en-us+f2"), audio.silence(30_000)))


def a_call(edge: Edge, **sip: Any) -> dict[str, Any]:
    """A call out through the edge, with its account."""
    account = {"username": Edge.USER, "password": Edge.PASSWORD, "realm": Edge.REALM, "enableSrtp": True, **sip}
    return {"callee": f"sip:peer@127.0.0.1:{edge.tls_port};transport=tls", "playbook": "main.md", "sip": account}


def assert_understood(record: dict[str, Any], heard: Path) -> None:
    assert (record["status"], record["error"]) == ("answered", None)
    assert [spoken_words(event["text"]) for event in record["events"] if event["event"] == "asrFinal"] == [spoken_words(QUESTION)]
    sentences = [one.sentences for one in recognise_wav(heard, [GREETING, HOURS], DECOYS)]
    assert [sentence for group in sentences for sentence in group] == [GREETING, HOURS]
    assert "RTP/SAVP " in next(event["sdp"] for event in record["events"] if event["event"] == "answer")


def test_caller_behind_the_edge_is_understood_and_hung_up_by_the_agent(tmp_path: Path) -> None:
    with (
        a_server(tmp_path) as server,
        Baresip(tmp_path / "caller", speech=question(), srtp=True) as caller,
        an_edge(tmp_path, server) as edge,
    ):
        caller.start(dial=f"sip:bakery@127.0.0.1:{edge.udp_port}")
        assert caller.wait_established(), caller.log + edge.log + server.log
        (record,) = server.wait_records(1, 40)
        caller.stop()
        assert_understood(record, caller.heard)
        assert (record["direction"], record["hangupBy"]) == ("inbound", "agent")
        assert edge.passed == ["INVITE", "ACK", "BYE"]
        assert wait_until(lambda: server.health()["sip"]["dialogs"] == 0, 5)


def test_caller_behind_the_edge_holds_resumes_and_hangs_up(tmp_path: Path) -> None:
    with (
        a_server(tmp_path, PATIENT) as server,
        Baresip(tmp_path / "caller", speech=audio.silence(60_000), srtp=True) as caller,
        an_edge(tmp_path, server) as edge,
    ):
        caller.start(dial=f"sip:bakery@127.0.0.1:{edge.udp_port}")
        assert caller.wait_established(), caller.log + edge.log
        caller.command("hold")
        assert wait_until(lambda: edge.passed.count("INVITE") == 2, 5), edge.log
        caller.command("resume")
        assert wait_until(lambda: edge.passed.count("INVITE") == 3, 5), edge.log
        assert wait_until(lambda: edge.passed.count("ACK") == 3, 5), edge.log
        caller.command("hangup")
        (record,) = server.wait_records(1, 10)
        assert [event["onHold"] for event in record["events"] if event["event"] == "hold"] == [True, False]
        assert (record["hangupBy"], record["hangupReason"]) == ("caller", "remote_bye")
        assert edge.passed == ["INVITE", "ACK", "INVITE", "ACK", "INVITE", "ACK", "BYE"]


@pytest.mark.parametrize(
    "challenges_within", [pytest.param(False, marks=pytest.mark.slow), True], ids=["INVITE challenged", "BYE challenged too"]
)
def test_call_out_through_the_edge_answers_407_and_is_understood(tmp_path: Path, challenges_within: bool) -> None:
    """The second challenges the INVITE as well, so the first is slow."""
    with a_server(tmp_path) as server, Baresip(tmp_path / "called", speech=question(), srtp=True, answers=True) as called:
        called.start()
        with an_edge(tmp_path, server, subscriber=f"127.0.0.1:{called.port}", challenges_within=challenges_within) as edge:
            server.post("/call", a_call(edge))
            assert called.wait_established(), called.log + edge.log + server.log
            (record,) = server.wait_records(1, 40)
            called.stop()
            assert_understood(record, called.heard)
            assert (record["direction"], record["hangupBy"]) == ("outbound", "agent")
            assert edge.challenged == (["INVITE", "BYE"] if challenges_within else ["INVITE"])
            assert edge.passed == ["INVITE", "ACK", "BYE"]
            assert wait_until(lambda: server.health()["sip"]["dialogs"] == 0, 5)


def test_called_side_behind_the_edge_hangs_up(tmp_path: Path) -> None:
    with (
        a_server(tmp_path, PATIENT) as server,
        Baresip(tmp_path / "called", speech=audio.silence(30_000), srtp=True, answers=True) as called,
    ):
        called.start()
        with an_edge(tmp_path, server, subscriber=f"127.0.0.1:{called.port}") as edge:
            server.post("/call", a_call(edge))
            assert called.wait_established(), called.log + edge.log + server.log
            called.command("hangup")
            (record,) = server.wait_records(1, 10)
            assert (record["hangupBy"], record["hangupReason"]) == ("callee", "remote_bye")
            assert edge.passed == ["INVITE", "ACK", "BYE"]


@pytest.mark.parametrize("challenges_within", [False, True], ids=["unchallenged", "challenged"])
def test_hold_of_ours_goes_through_the_edge_and_back(tmp_path: Path, challenges_within: bool) -> None:
    with (
        a_server(tmp_path, PATIENT) as server,
        Baresip(tmp_path / "called", speech=audio.silence(30_000), srtp=True, answers=True) as called,
    ):
        called.start()
        with an_edge(tmp_path, server, subscriber=f"127.0.0.1:{called.port}", challenges_within=challenges_within) as edge:
            session_id = server.post("/call", a_call(edge))["session_id"]
            assert called.wait_established(), called.log + edge.log + server.log
            for number, command in ((2, "hold"), (3, "unhold")):
                server.post(f"/command/{session_id}", {"command": command})
                assert wait_until(lambda number=number: edge.passed.count("INVITE") == number, 5), edge.log + server.log  # type: ignore[misc]
                assert wait_until(lambda: edge.passed[-1] == "ACK", 5), edge.log
            server.get(f"/kill/{session_id}")
            (record,) = server.wait_records(1, 10)
            assert (record["hangupBy"], record["error"]) == ("api", None)
            again = ["ACK", "INVITE", "ACK"] if challenges_within else ["INVITE", "ACK"]  # it lets the ACK to its own 407 pass
            assert edge.passed == ["INVITE", "ACK", *again, *again, "BYE"]
            assert edge.challenged == (["INVITE"] * 3 + ["BYE"] if challenges_within else ["INVITE"])


def test_wrong_password_is_refused_by_the_edge_and_told(tmp_path: Path) -> None:
    with a_server(tmp_path) as server, an_edge(tmp_path, server) as edge:
        server.post("/call", a_call(edge, password="wrong"))
        (record,) = server.wait_records(1, 10)
        assert (record["status"], record["sipCode"]) == ("rejected", 407), record
        assert edge.passed == []
        assert 2 <= len(edge.challenged) <= 3


def test_server_behind_the_edge_that_challenges_too_gets_both_answers(tmp_path: Path) -> None:
    other = '[[sip_registrations]]\nname = "inner"\nusername = "inner"\npassword = "second secret"\nrealm = "inner.example"\n'
    other += 'server = "127.0.0.1"\nregister = false\n[handler]\ntype = "playbook"\ndefault = "main.md"'
    certificate = edge_certificate(tmp_path / "edge")
    with (
        running_server(tmp_path / "server", PATIENT, tls=f'tls_ca_file = "{certificate}"', handler=other) as server,
        Sipp("challenges_and_answers", tmp_path / "called", timeout_s=30) as called,
    ):
        called.start()
        with an_edge(tmp_path, server, subscriber=f"127.0.0.1:{called.port}") as edge:
            session_id = server.post("/call", a_call(edge))["session_id"]
            assert wait_until(lambda: edge.passed.count("ACK") == 1, 10), edge.log + server.log
            server.get(f"/kill/{session_id}")
            result = called.result()
            assert (result.successful, result.failed) == (1, 0), result.errors + edge.log
            assert edge.challenged == ["INVITE"]
            assert edge.passed == ["INVITE", "INVITE", "ACK", "BYE"]


def test_edge_that_restarts_in_a_call_still_gets_our_bye(tmp_path: Path) -> None:
    with (
        a_server(tmp_path, PATIENT) as server,
        Baresip(tmp_path / "called", speech=audio.silence(60_000), srtp=True, answers=True) as called,
    ):
        called.start()
        with an_edge(tmp_path, server, subscriber=f"127.0.0.1:{called.port}") as edge:
            session_id = server.post("/call", a_call(edge))["session_id"]
            assert called.wait_established(), called.log + edge.log + server.log
            edge.stop()
            edge.start()
            n_before = len(edge.passed)
            server.get(f"/kill/{session_id}")
            assert called.wait_for("terminated", 10) or called.wait_for("closed", 1), called.log + edge.log
            assert edge.passed[n_before:] == ["BYE"]
            assert server.wait_records(1, 10)[0]["hangupBy"] == "api"


@pytest.mark.slow
def test_session_of_90_s_is_refreshed_by_our_reinvite_through_the_edge_and_ended_where_nobody_refreshes(tmp_path: Path) -> None:
    """RFC 4028 sections 7.4 and 10, in real time: we refresh after 45 s; a peer that should and does not is hung up on after 60 s."""
    offer = sdp(port=SPEAKING)
    allow = "Allow: INVITE, ACK, BYE, CANCEL\nSupported: timer\nSession-Expires: 90;refresher="

    def answered(refresher: str) -> Steps:
        steps = Steps("calls").invite(offer, headers=allow + refresher).gets(100, optional=True).gets(180, optional=True)
        return steps.gets(200, makes_route=True, has={"Session-Expires": f"90;refresher={refresher}"}).ack().speaks()

    ours = answered("uas").is_asked("INVITE", has={"Session-Expires": "90;refresher=uac"}, body="m=audio", timeout_s=50)
    ours.answer(200, within=True, headers="Require: timer\nSession-Expires: 90;refresher=uac", body=sdp(port=SPEAKING, version=1))
    ours.is_asked("ACK").ask("BYE", cseq=2).gets(200)
    theirs = answered("uac").is_asked("BYE", has={"Reason": "SIP;cause=408"}, timeout_s=65).answer(200, within=True)
    with a_server(tmp_path, PATIENT) as server, an_edge(tmp_path, server) as edge:
        target = f"127.0.0.1:{edge.udp_port}"
        with (
            Sipp(ours.write(tmp_path / "ours.xml"), tmp_path / "ours", target=target, timeout_s=80) as refreshed,
            Sipp(theirs.write(tmp_path / "theirs.xml"), tmp_path / "theirs", target=target, timeout_s=80) as forgetful,
        ):
            refreshed.start()
            forgetful.start()
            for sipp in (refreshed, forgetful):
                result = sipp.result()
                assert (result.successful, result.failed) == (1, 0), result.errors + edge.log[-2000:] + server.log[-2000:]
        reasons = {(record["hangupBy"], record["hangupReason"]) for record in server.wait_records(2, 5)}
        assert reasons == {("caller", "remote_bye"), ("system", "session_expired")}
