"""Whole calls over ::1, signalling and sound, with real programs; and over 127.0.0.1 to the same server, which listens on `::`."""

from __future__ import annotations

import socket
from pathlib import Path

import numpy as np
import pytest
from peers.baresip import Baresip
from peers.sipp import Sipp
from shared_servers import shared_server
from udp_caller import description, udp_caller

from active_call.agent.matching.spoken_form import spoken_words
from active_call.testing.sound import audio, voice
from active_call.testing.sound.listening import recognise_wav

PLAYBOOK = """---
llm: {provider: script}
greeting: Thank you for calling.
interruption: {strategy: none}
followup: {timeout: 60000, max: 1}
---
# Scene: main

## when are you open
From nine to five. <hangup/>

## *
Pardon?
"""


@pytest.mark.parametrize("transport", ["u1", "t1"])
def test_sipp_calls_over_ipv6_and_over_ipv4_to_the_same_server(tmp_path: Path, transport: str) -> None:
    with shared_server(PLAYBOOK, addr="::") as server:
        for ip, target in (("[::1]", f"[::1]:{server.udp_port}"), ("127.0.0.1", f"127.0.0.1:{server.udp_port}")):
            with Sipp("caller_hangs_up", tmp_path / f"sipp{ip}", target=target, calls=3, ip=ip, transport=transport) as run:
                result = run.result()
            assert (result.successful, result.failed, result.unexpected) == (3, 0, 0), result.errors + server.log[-3000:]
        records = server.wait_records(6)
        assert {(record["hangupBy"], record["hangupReason"]) for record in records} == {("caller", "remote_bye")}
        assert all(record["media"]["packets_received"] > 20 and record["media"]["packets_sent"] > 20 for record in records)
        answers = [event["sdp"] for record in records for event in record["events"] if event["event"] == "answer"]
        assert [("IN IP6 ::1\r\n" in sdp, "[" in sdp) for sdp in answers].count((True, False)) == 3
        assert [("IN IP4 127.0.0.1\r\n" in sdp) for sdp in answers].count(True) == 3


def test_server_calls_sipp_over_ipv6(tmp_path: Path) -> None:
    with (
        shared_server(PLAYBOOK, addr="::") as server,
        Sipp("answers_and_hangs_up", tmp_path / "sipp", ip="[::1]") as called,
    ):
        called.start()
        server.post("/call", {"callee": f"sip:peer@[::1]:{called.port}", "playbook": "main.md"})
        result = called.result()
        assert (result.successful, result.failed, result.unexpected) == (1, 0, 0), result.errors + server.log[-3000:]
        (record,) = server.wait_records(1)
        assert record["status"] == "answered"
        assert record["media"]["packets_sent"] > 20


def test_baresip_dials_in_by_tls_and_srtp_over_ipv6_and_the_two_understand_each_other(tmp_path: Path) -> None:
    speech = np.concatenate((audio.silence(5000), voice.speak("when are you open", "en-us+f2"), audio.silence(30_000)))
    with (
        shared_server(PLAYBOOK, addr="::1") as server,
        Baresip(tmp_path / "caller", speech=speech, transport="tls", srtp=True, host="[::1]") as caller,
    ):
        caller.start(dial=f"sip:bakery@[::1]:{server.tls_port};transport=tls")
        assert caller.wait_established(), caller.log + server.log
        (record,) = server.wait_records(1, 40)
        caller.stop()
        assert (record["status"], record["hangupBy"], record["error"]) == ("answered", "agent", None)
        assert [spoken_words(event["text"]) for event in record["events"] if event["event"] == "asrFinal"] == [
            spoken_words("when are you open")
        ]
        said = ["Thank you for calling.", "From nine to five."]
        heard = [one.sentences for one in recognise_wav(caller.heard, said, ["Pardon?", "Please hold the line."])]
        assert [sentence for group in heard for sentence in group] == said


def test_caller_over_ipv4_with_its_media_at_an_ipv6_address_is_heard_there_although_the_server_listens_on_ipv4(tmp_path: Path) -> None:
    """An offer with ICE candidates of both families may name the one of IPv6 in c= (RFC 8839 §4.3.1.1); pjsua does."""
    with (
        shared_server(PLAYBOOK, addr="0.0.0.0") as server,
        udp_caller(server.udp_port) as caller,
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as phone,
    ):
        phone.bind(("::1", 0))
        phone.settimeout(5.0)
        caller.invite(description(phone.getsockname()[1]).replace("c=IN IP4 127.0.0.1", "c=IN IP6 ::1"))
        assert "c=IN IP6 ::1\r\n" in caller.answered()
        caller.ack()
        sources = {phone.recvfrom(2048)[1][:2] for _ in range(10)}
        caller.bye()
        assert sources == {("::1", caller.media_port)}
