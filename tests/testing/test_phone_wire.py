"""The judges' sockets: none is left open by a hub that is closed."""

from __future__ import annotations

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
