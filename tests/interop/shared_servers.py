"""Servers that several tests use one after another: a start costs more than most calls.

`shared_server` takes the same words as `running_server`, of what a configuration says. Tests of this process that ask for the same
configuration get the same server, with playbooks of their own; it counts only the records and the log of the test. A server in which a test
has failed, or left a call, is not used again.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from running_server import Server, running_server

_MOST = 2
"""Servers alive at a time in one test process; the one that was used longest ago gives way."""


@dataclass
class _Shared:
    server: Server
    stack: ExitStack

    def stop(self) -> None:
        self.stack.close()


_alive: dict[tuple[str, str, str, bool], _Shared] = {}


@contextmanager
def shared_server(
    playbook: str | dict[str, str],
    *,
    extra: str = "",
    tls: str = "tls_verify = false",
    addr: str = "127.0.0.1",
    recording: bool = False,
) -> Iterator[Server]:
    """A server with that configuration, running already or started now, with these playbooks."""
    key = (extra, tls, addr, recording)
    books = playbook if isinstance(playbook, dict) else {"main.md": playbook}
    shared = _alive.pop(key, None) or _started(books, extra, tls, addr, recording)
    while len(_alive) >= _MOST:
        _alive.pop(next(iter(_alive))).stop()
    server = shared.server
    for name, text in books.items():
        (server.folder / "playbooks" / name).write_text(text, encoding="utf-8")
    server.begin_anew()
    try:
        yield server
        server.wait(lambda: server.health()["calls"] == 0, 10, "the calls of the test to be over")
    except BaseException:
        shared.stop()
        raise
    _alive[key] = shared


def stop_shared_servers() -> None:
    """To be called when all tests of this process have run."""
    while _alive:
        _alive.popitem()[1].stop()


def _started(books: dict[str, str], extra: str, tls: str, addr: str, recording: bool) -> _Shared:
    stack = ExitStack()
    with contextlib.ExitStack() as undo:
        undo.callback(stack.close)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="shared-server-")))
        server = stack.enter_context(running_server(folder, books, extra=extra, tls=tls, addr=addr, recording=recording))
        undo.pop_all()
    return _Shared(server, stack)
