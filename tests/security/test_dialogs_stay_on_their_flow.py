"""Dialogs that were set up over TLS or TCP: what we send inside them leaves by the same connection, whatever the Contact says."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator

import pytest
from raw_peer import SDP, RawPeer
from running_server import Server
from speechless_server import speechless_server

from ports import free_port

PLAYBOOK = "---\nllm: {provider: script}\ngreeting: Good day.\n---\n## hello\nHello.\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with speechless_server(tmp_path_factory.mktemp("server"), PLAYBOOK, extra="media_workers = 1") as running:
        yield running


def calls(server: Server) -> set[str]:
    return {str(entry["id"]) for entry in server.get("/list")["active_calls"]}


@pytest.mark.parametrize("transport", ["tls", "tcp"])
@pytest.mark.parametrize("parameters", ["", ";transport=udp"])
@pytest.mark.parametrize("method", ["BYE", "MESSAGE", "REFER", "INVITE"])
def test_requests_inside_a_call_come_by_its_connection(server: Server, transport: str, parameters: str, method: str) -> None:
    port = server.tls_port if transport == "tls" else server.udp_port
    call_id = f"flow-{transport}-{len(parameters)}-{method}"
    with RawPeer("udp") as eavesdropper, RawPeer(transport, ("127.0.0.1", port)) as peer:
        contact, before = f"<sip:peer@127.0.0.1:{eavesdropper.port}{parameters}>", calls(server)
        peer.call(f"sip:agent@127.0.0.1:{port}", contact, call_id)
        (session_id,) = calls(server) - before
        commands = {
            "MESSAGE": {"command": "message", "body": "hello"},
            "REFER": {"command": "refer", "callee": "sip:+15550123@127.0.0.1", "options": {"mode": "refer"}},
            "INVITE": {"command": "hold"},
        }
        if method in commands:
            server.post(f"/command/{session_id}", commands[method])
            request = peer.expect(method)
            peer.respond(request, 488 if method == "INVITE" else 603 if method == "REFER" else 200)
            if method == "INVITE":
                peer.expect("ACK")
        server.get(f"/kill/{session_id}")
        peer.respond(peer.expect("BYE"), 200)
        eavesdropper.poll(0.3)
        assert eavesdropper.inbox == []
    server.wait(lambda: session_id not in calls(server), 20, "the end of the call")


@pytest.mark.parametrize("parameters", ["", ";transport=udp", ";transport=tcp"])
def test_bye_after_the_tls_connection_is_gone_is_not_sent_in_the_clear(server: Server, parameters: str) -> None:
    port = free_port()
    with RawPeer("udp", port=port) as eavesdropper, RawPeer("tls", ("127.0.0.1", server.tls_port)) as peer:
        contact = f"<sip:peer@127.0.0.1:{port}{parameters}>"
        listener = socket.create_server(("127.0.0.1", port))
        listener.settimeout(5)
        before = calls(server)
        peer.call(f"sip:agent@127.0.0.1:{server.tls_port}", contact, f"gone{len(parameters)}{parameters[-3:]}")
        (session_id,) = calls(server) - before
        peer.close()
        server.get(f"/kill/{session_id}")
        connection, _ = listener.accept()
        with connection, listener:
            connection.settimeout(5)
            first = connection.recv(3)
            assert first[:2] == b"\x16\x03", f"expected the beginning of a TLS handshake, found {first!r}"
        eavesdropper.poll(0.5)
        assert eavesdropper.inbox == []
    server.wait(lambda: session_id not in calls(server), 20, "the end of the call")


def test_call_that_we_place_over_tls_ends_over_tls(server: Server) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server.folder / "cert.pem", server.folder / "key.pem")
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    accepted: list[socket.socket] = []

    def accept() -> None:
        listener.settimeout(10)
        accepted.append(context.wrap_socket(listener.accept()[0], server_side=True))

    thread = threading.Thread(target=accept)
    thread.start()
    with listener, RawPeer("udp", port=port) as eavesdropper:
        session_id = server.post("/call", {"callee": f"sip:x@127.0.0.1:{port};transport=tls", "playbook": "main.md"})["session_id"]
        thread.join(10)
        with RawPeer("tls", accepted=accepted[0]) as peer:
            peer.respond(peer.expect("INVITE"), 200, contact=f"<sip:x@127.0.0.1:{port}>", sdp=SDP)
            peer.expect("ACK")
            server.get(f"/kill/{session_id}")
            peer.respond(peer.expect("BYE"), 200)
        eavesdropper.poll(0.3)
        assert eavesdropper.inbox == []
