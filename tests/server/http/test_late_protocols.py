"""The HTTP port is open from the start; what serves it is loaded when calls come in already."""

from __future__ import annotations

import asyncio
import importlib
import threading
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from active_call.api.origins import OriginRules
from active_call.base.bulk_input import BulkInput
from active_call.base.world import World
from active_call.net.descriptors import DescriptorShares
from active_call.server.config.config import Config
from active_call.server.http import server
from active_call.server.http.settings import HttpSettings

SERVICES: Any = SimpleNamespace(origins=OriginRules(), health=lambda: {"status": "ok"}, access=None, token="")


async def health(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    return answer


def http_server(config: Config) -> Any:
    clock = World().clock
    connections = server.http_connections(config, DescriptorShares(1024), clock)
    return server.http_server(config, SERVICES, connections, HttpSettings(config, clock), BulkInput(clock))


def test_client_that_comes_before_the_protocols_are_loaded_waits_and_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    may_load = threading.Event()

    def load(name: str) -> ModuleType:
        assert may_load.wait(20)
        return importlib.import_module(name)

    monkeypatch.setattr(server, "importlib", SimpleNamespace(import_module=load))

    async def story() -> None:
        async with http_server(Config(http_addr="127.0.0.1:0")) as running:
            asking = asyncio.create_task(health(running.port))
            await asyncio.sleep(0.1)
            assert not asking.done()  # and the loop is not blocked
            may_load.set()
            answer = await asyncio.wait_for(asking, 20)
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert answer.endswith(b'{"status":"ok"}')
        with pytest.raises(ConnectionError):
            await health(running.port)

    asyncio.run(story())


def test_protocols_that_cannot_be_loaded_are_logged_and_calls_go_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server, "PROTOCOLS", "active_call.server.http.no_such_module")

    async def story() -> None:
        async with http_server(Config(http_addr="127.0.0.1:0")):
            async with asyncio.timeout(20):
                while "does not run" not in caplog.text:
                    await asyncio.sleep(0.01)

    asyncio.run(story())
    assert "no_such_module" in caplog.text
