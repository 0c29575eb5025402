"""The judges' sockets: none is left open by a hub that is closed, and what is not for them is not judged."""

from __future__ import annotations

import queue
import socket

import pytest

from active_call.testing.phone.wire import Hub


def test_connection_that_comes_about_while_the_hub_closes_is_closed_too() -> None:
    """A caller of `connect` may be a test, a timer or a leg, in another thread than the one that closes."""
    hub = Hub("127.0.0.1", "tcp", on_message=lambda message, peer: None, on_tick=lambda: None, on_fault=lambda text: None)
    with socket.create_server(("127.0.0.1", 0)) as server:
        hub.close()
        with pytest.raises(ConnectionAbortedError):
            hub.connect(server.getsockname())
        server.settimeout(5)
        accepted, _ = server.accept()
        with accepted:
            accepted.settimeout(5)
            assert accepted.recv(1) == b""


def test_sound_of_an_earlier_call_on_the_port_is_no_message() -> None:
    faults: queue.Queue[str] = queue.Queue()
    hub = Hub("127.0.0.1", "udp", on_message=lambda message, peer: None, on_tick=lambda: None, on_fault=faults.put)
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for datagram in (b"\x81\xc8\x00\x06" + bytes(24), b"\x80\x00" + bytes(170), b"no message"):
                sender.sendto(datagram, hub.listener.getsockname())
        assert "no message" in faults.get(timeout=10)
        assert faults.empty()
    finally:
        hub.close()
