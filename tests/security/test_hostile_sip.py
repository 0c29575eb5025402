"""What strangers and odd carriers send, against a real server: bytes that are no UTF-8, connections that idle or flood, large headers."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest
from running_server import Server
from sip_attacker import Call, Closed, Wire
from speechless_server import speechless_server

PLAYBOOK = """---
llm: {provider: script}
greeting: Welcome.
---
# Scene: main

## hello
Hello.
"""
CONFIG = """
[admission]
stranger_idle = 2
max_connections = 40

[[trunks]]
name = "carrier"
server = "sip.carrier.example"
allow = ["127.0.0.1/32"]
"""


@pytest.fixture(autouse=True)
def _closed_wires() -> Iterator[None]:
    yield
    Wire.close_all()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with speechless_server(tmp_path_factory.mktemp("hostile"), PLAYBOOK, extra=CONFIG) as running:
        yield running


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
def test_bytes_that_are_no_utf8_lose_neither_call_nor_record(server: Server, transport: str) -> None:
    n_before = len(server.records())
    wire = Wire(transport, server.tls_port if transport == "tls" else server.udp_port)
    call = Call(wire)

    def latin(text: str) -> bytes:
        name = b'"J\xf6rg \xff\x00\x1b[31m"'
        return text.encode().replace(b'"x"', name)

    wire.send(latin(call.invite(extra="X-Street: Stra\ufffde")).replace("\ufffd".encode(), b"\xdf"))
    answer = wire.wait(200)
    assert 'From: "J\xf6rg \xff\x00\x1b[31m" <sip:' in answer  # byte for byte
    call.learn(answer)
    wire.send(latin(call.ack()))
    bye = call.request("BYE", extra='Reason: Q.850;cause=16;text="Gr\ufffd\ufffde"')
    wire.send(latin(bye).replace("\ufffd".encode(), b"\xfc"))
    wire.wait(200, cseq=f"CSeq: {call.cseq} BYE")
    server.wait(lambda: server.health()["calls"] == 0, 5, "the end of the call")
    record = server.wait_records(n_before + 1)[-1]
    text = json.dumps(record, ensure_ascii=False)
    text.encode("utf-8")
    assert "\x00" not in text
    assert "\x1b" not in server.log
    assert "Traceback" not in server.log
    wire.close()


def test_headers_that_only_inform_and_cannot_be_read_are_counted_and_the_call_is_taken(server: Server) -> None:
    wire = Wire("udp", server.udp_port)
    call = Call(wire)
    before = server.health()["ignored_headers"]
    wire.send(call.invite(extra="Diversion: <sip:a b@c>\r\nP-Asserted-Identity: nobody\r\nHistory-Info: <sip:a@b>;index=1"))
    call.learn(wire.wait(200))
    wire.send(call.ack())
    wire.send(call.request("BYE", extra="Reason: ;cause=16"))
    wire.wait(200, cseq=f"CSeq: {call.cseq} BYE")
    server.wait(lambda: server.health()["calls"] == 0, 5, "the end of the call")
    after = server.health()["ignored_headers"]
    news = {name: n - before.get(name, 0) for name, n in after.items() if n > before.get(name, 0)}
    assert news == {"Diversion": 1, "P-Asserted-Identity": 1, "Reason": 1}
    assert "header ignored" in server.log


def test_idle_connection_of_a_stranger_ends_and_that_of_a_trunk_stays(server: Server) -> None:
    stranger, trunk = Wire("tcp", server.udp_port, "127.0.0.2"), Wire("tcp", server.udp_port)
    deadline = time.monotonic() + 15
    is_closed = False
    while not is_closed and time.monotonic() < deadline:
        try:
            stranger.send("\r\n\r\n")
            stranger.read(1.0)
        except (Closed, OSError):
            is_closed = True
    stranger.close()
    assert is_closed
    Call(trunk).set_up().hang_up()
    trunk.close()


def test_strangers_cannot_take_the_connections_of_a_trunk(server: Server) -> None:
    wires = []
    for n in range(60):
        try:
            wires.append(Wire("tcp", server.udp_port, f"127.0.0.{2 + n % 20}"))
        except OSError:
            break
    assert server.health()["connections"] <= 30
    trunk = Wire("tcp", server.udp_port)
    Call(trunk).set_up().hang_up()
    assert server.health()["connections_refused"]["connections_total"] > 0
    for wire in [*wires, trunk]:
        wire.close()
    server.wait(lambda: server.health()["connections"] == 0, 5, "no connection")


def test_half_open_handshakes_do_not_keep_a_trunk_out(server: Server) -> None:
    wires = [Wire("tcp", server.tls_port, f"127.0.0.{2 + n % 20}") for n in range(25)]  # they never say a word of TLS
    trunk = Wire("tls", server.tls_port)
    Call(trunk).set_up().hang_up()
    trunk.close()
    for wire in wires:
        wire.close()
    server.wait(lambda: server.health()["connections"] == 0, 10, "no connection")


@pytest.mark.parametrize("flood", [b"\r\n\r\n" * 5000, b"INVITE sip:a@b SIP/2.0\r\n" + b"A: b\r\n" * 10_000])
def test_flood_on_a_stranger_s_connection_closes_it_and_the_server_answers_others(server: Server, flood: bytes) -> None:
    stranger = Wire("tcp", server.udp_port, "127.0.0.3")
    with pytest.raises((Closed, OSError)):
        stranger.send_and_read(flood, 5)
    stranger.close()
    wire = Wire("udp", server.udp_port)
    Call(wire).set_up().hang_up()
    wire.close()


def test_refusals_and_options_leave_no_transaction(server: Server) -> None:
    server.wait(lambda: server.health()["sip"]["transactions"] == 0, 40, "no transaction")
    stranger, trunk = Wire("udp", server.udp_port, "127.0.0.2"), Wire("udp", server.udp_port)
    for n in range(50):
        stranger.send(Call(stranger).invite())
        trunk.send(Call(trunk).request(("OPTIONS", "REGISTER", "BYE", "MESSAGE", "FOO")[n % 5]))
    assert len(trunk.read(20.0, 50)) == 50
    assert len(stranger.read(20.0, 50)) == 50  # loopback is never silenced
    assert trunk.read(0.2) + stranger.read(0.2) == []
    assert server.health()["sip"]["transactions"] == 0
    stranger.close()
    trunk.close()
