"""Several requests of one call in one segment: the connection and the other calls on it live, and no call is left behind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from running_server import Server
from sip_attacker import CRYPTO, SOUND, Call, Wire
from speechless_server import speechless_server

PLAYBOOK = """---
llm: {provider: script}
greeting: Welcome. One two three four five six seven eight nine ten eleven twelve.
---
# Scene: main

## hello
Hello.
"""
SECURED_TRUNK = """
[[trunks]]
name = "secured"
server = "sip.secured.example"
allow = ["127.0.0.2/32"]
srtp = "required"

[[trunks]]
name = "open"
server = "sip.open.example"
allow = ["127.0.0.1/32"]
"""
BODIES = {
    "INFO": ("Signal=1\r\nDuration=100\r\n", "application/dtmf-relay"),
    "MESSAGE": ("hi", "text/plain"),
    "INVITE": (SOUND, "application/sdp"),
}
EXTRAS = {"REFER": "Refer-To: <sip:x@127.0.0.1:9>"}
COMBINATIONS = (
    "INFO BYE", "INVITE BYE", "MESSAGE BYE", "REFER BYE", "UPDATE BYE", "NOTIFY BYE", "PRACK BYE", "OPTIONS BYE", "FOO BYE",
    "BYE BYE", "BYE INFO", "BYE INVITE", "INFO INFO INFO BYE INFO", "INVITE CANCEL BYE", "INVITE INVITE BYE",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _closed_wires() -> Iterator[None]:
    yield
    Wire.close_all()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with speechless_server(tmp_path_factory.mktemp("one-read"), PLAYBOOK, extra=SECURED_TRUNK) as running:
        yield running


def port_of(server: Server, transport: str) -> int:
    return server.tls_port if transport == "tls" else server.udp_port


def message(call: Call, method: str) -> str:
    if method == "CANCEL":
        return call.request("CANCEL", cseq=call.cseq)
    body, kind = BODIES.get(method, ("", ""))
    return call.request(method, body, kind, extra=EXTRAS.get(method, ""))


@pytest.mark.parametrize("transport", ["tcp", "tls"])
@pytest.mark.parametrize("combination", COMBINATIONS)
def test_requests_of_one_call_in_one_segment_end_that_call_and_no_other(server: Server, transport: str, combination: str) -> None:
    wire = Wire(transport, port_of(server, transport))
    other, call = Call(wire).set_up(), Call(wire).set_up()
    wire.send(*(message(call, method) for method in combination.split()))
    server.wait(lambda: server.health()["calls"] == 1, 5, f"the end of the call by {combination}")
    other.hang_up()
    server.wait(lambda: server.health()["calls"] == 0, 5, "the end of the other call")
    assert server.health()["sip"]["calls"] == 0
    assert "Traceback" not in server.log
    wire.close()


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
@pytest.mark.parametrize("source", ["127.0.0.1", "127.0.0.2"])
@pytest.mark.parametrize("sound", [SOUND, SOUND.replace("RTP/AVP", "RTP/SAVP") + CRYPTO], ids=["plain", "srtp"])
def test_invite_and_cancel_in_one_segment_leave_no_call(server: Server, transport: str, source: str, sound: str) -> None:
    wire = Wire(transport, port_of(server, transport), source)
    call = Call(wire, sound)
    wire.send(call.invite(), call.cancel()) if transport != "udp" else (wire.send(call.invite()), wire.send(call.cancel()))
    final = wire.wait(487, or_code=488, cseq="CSeq: 1 INVITE")  # the one that wants SRTP may have refused plain RTP first
    call.learn(final)
    wire.send(call.ack(failed=True))
    server.wait(lambda: server.health()["calls"] == 0, 5, "no call")
    assert server.health()["sip"]["calls"] == 0
    assert wire.is_open()
    assert "Traceback" not in server.log
    wire.close()


def test_two_calls_set_up_and_ended_in_one_segment_each_have_a_record(server: Server) -> None:
    n_before = len(server.records())
    wire = Wire("tcp", server.udp_port)
    calls = [Call(wire).set_up() for _ in range(5)]
    wire.send(*(text for call in calls for text in (message(call, "INFO"), message(call, "BYE"))))
    server.wait(lambda: server.health()["calls"] == 0, 5, "no call")
    server.wait_records(n_before + 5)
    assert wire.is_open()
    wire.close()
