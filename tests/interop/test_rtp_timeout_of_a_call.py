"""`rtpTimeout` of one call, beside `rtp_timeout` of the server, which is 3 s here. A real server, real sockets."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from running_server import Server, running_server
from udp_caller import HOST, description, rtp, sink, udp_caller

NEWS = "Here is the news of the week. On Monday we bake rye bread with honey and walnuts. " * 6


def playbook(front_matter: str) -> str:
    return f"---\nllm: {{provider: script}}\ngreeting: {NEWS}\ninterruption: {{strategy: none}}\n{front_matter}---\n## bye\nBye.\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    books = {
        "main.md": playbook(""),
        "short.md": playbook("rtpTimeout: 1\n"),
        "long.md": playbook("rtp_timeout: 45s\n"),
        "never.md": playbook("rtpTimeout: 0\n"),
    }
    handler = '[handler]\ntype = "playbook"\ndefault = "main.md"\n' + "".join(
        f'[[handler.rules]]\ncallee = "^sip:{name}@"\nplaybook = "{name}.md"\n' for name in ("short", "long", "never")
    )
    with running_server(tmp_path_factory.mktemp("server"), books, extra="media_workers = 1\nrtp_timeout = 3\n", handler=handler) as running:
        yield running


def silent_for_s(server: Server, user: str) -> tuple[float, dict[str, Any]]:
    """A call to `user` that falls silent: when it is hung up, at most 5 s later, and its record."""
    n_before = len(server.records())
    with udp_caller(server.udp_port) as caller, sink() as phone:
        caller.user = user
        caller.invite(description(phone.port))
        caller.answered()
        caller.ack()
        for n in range(10):
            phone.sock.sendto(rtp(n), (HOST, caller.media_port))
            time.sleep(0.02)
        began_at = time.monotonic()
        if not caller.listen(5.0, "BYE"):
            caller.bye()
            caller.listen(0.5)
        taken_s = time.monotonic() - began_at
    return taken_s, server.wait_records(n_before + 1)[n_before]


@pytest.mark.parametrize(("user", "limit_s"), [("1", 3.0), ("short", 1.0), ("long", None), ("never", None)])
def test_rtp_timeout_of_the_playbook_comes_before_that_of_the_server(server: Server, user: str, limit_s: float | None) -> None:
    taken_s, record = silent_for_s(server, user)
    if limit_s is None:
        assert (record["hangupBy"], record["hangupReason"]) == ("caller", "remote_bye")
    else:
        assert limit_s - 0.1 <= taken_s <= limit_s + 1.0
        assert (record["hangupBy"], record["hangupReason"]) == ("system", "rtp_timeout")
