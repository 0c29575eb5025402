"""An operator's regular expression and a caller's number that together would hold the server for hours."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sip_attacker import Call, Wire
from speechless_server import speechless_server

PLAYBOOK = "---\nllm: {provider: script}\ngreeting: Welcome.\n---\n# Scene: main\n## hello\nHello.\n"
HANDLER = r"""
[handler]
type = "playbook"
default = "main.md"

[[handler.rules]]
caller = '^sip:(\+?\d+)+@pbx'
playbook = "pbx.md"
"""


@pytest.fixture(autouse=True)
def _closed_wires() -> Iterator[None]:
    yield
    Wire.close_all()


def test_number_that_a_rule_cannot_judge_in_time_gets_the_default_and_others_are_served(tmp_path: Path) -> None:
    with speechless_server(tmp_path, {"main.md": PLAYBOOK, "pbx.md": PLAYBOOK}, handler=HANDLER) as server:
        call = Call(Wire("udp", server.udp_port))
        begun = time.monotonic()
        call.wire.send(call.invite().replace("<sip:+15550100@", f"<sip:{'1' * 60}@", 1))
        call.learn(call.wire.wait(200, 20))
        call.wire.send(call.ack())
        assert server.health()["calls"] == 1
        assert time.monotonic() - begun < 20
        call.hang_up()
        (record,) = server.wait_records(1)
        assert record["playbook"].endswith("main.md")
        assert "regular expression takes too long" in server.log
