"""One server for the whole folder, and the tiny peer on the path."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from running_server import Server, running_server

_HERE = Path(__file__).parent
if str(_HERE) not in sys.path:
    sys.path.insert(0, str(_HERE))  # importlib mode adds no folder

PLAYBOOK = """---
llm: {provider: script}
greeting: One two three four five six seven eight nine ten. One two three four five six seven eight nine ten.
dtmf:
  "1": {action: hangup}
  "2": {action: transfer, target: "sip:+15550177@trunk.pstn.example.com"}
---

## hello
Hello.
"""


@dataclass(frozen=True, slots=True)
class Program:
    """The running program as the tests address it."""

    server: Server

    def uri(self, transport: str) -> str:
        """Where it answers over that transport."""
        port = self.server.tls_port if transport == "tls" else self.server.udp_port
        return f"sip:+15550199@127.0.0.1:{port};transport={transport}"

    def place(self, callee: str, **sip: Any) -> str:
        """Have it place a call; gives the session id."""
        body = {"callee": callee, "caller": sip.pop("caller", "+15550199"), "playbook": "main.md", "sip": sip}
        return str(self.server.post("/call", body)["session_id"])


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    with running_server(tmp_path_factory.mktemp("trunk"), PLAYBOOK, extra="media_workers = 1") as server:
        yield Program(server)
