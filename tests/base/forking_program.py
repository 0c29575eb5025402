"""A program that forks children, for test_fork_server: `python forking_program.py`, its findings as JSON on standard output.

Run with an argument list as a module's `main` it is the child: it says what it sees, then does as it is told.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from active_call.base.fork_server import start_fork_server
from active_call.base.forked_children import ForkServer

MODULE = "forking_program"
LOADED = "wave"
"""A module that only the fork server loads."""


REST_AFTER_S = 0.3


def load() -> None:
    """What the fork server imports for its children."""
    importlib.import_module(LOADED)


def main(arguments: list[str]) -> int:
    """The child: `FD WORD`. Tells what it is, then ends with code 7 when it is told to, or fails."""
    with socket.socket(fileno=int(arguments[0])) as line:
        facts = {
            "pid": os.getpid(),
            "parent": os.getppid(),
            "word": arguments[1],
            "added": os.environ.get("ADDED"),
            "taken": os.environ.get("TAKEN"),
            "stdin": os.read(0, 10).decode(),
            "shown": Path("/proc/self/cmdline").read_bytes().replace(b"\0", b" ").decode().strip(),
            "has_loaded": LOADED in sys.modules,
            "threads": len(list(Path("/proc/self/task").iterdir())),
            "interrupts": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
        }
        line.sendall(json.dumps(facts).encode() + b"\n")
        order = line.recv(100)
    if order == b"fail":
        raise ValueError("as it was told")
    return 7


class Child:
    """A child that was started, and the socket to it."""

    @classmethod
    async def start(cls, server: ForkServer, word: str) -> Child:
        self = cls()
        self.line, theirs = socket.socketpair()
        with theirs:
            self.process = await server.start(MODULE, ("{fd}", word), theirs.fileno(), {"ADDED": word})
        self.line.setblocking(False)
        self.facts: dict[str, Any] = json.loads(await asyncio.get_running_loop().sock_recv(self.line, 4096))
        return self

    async def end(self, order: bytes = b"end") -> int:
        with self.line:
            await asyncio.get_running_loop().sock_sendall(self.line, order)
            return await self.process.wait()


def resident_mb(pid: int) -> float:
    """The memory of a process that is not that of files."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) / 1024


async def story(server: ForkServer) -> dict[str, Any]:
    os.environ.pop("TAKEN")
    first, second = await Child.start(server, "one"), await Child.start(server, "two")
    found: dict[str, Any] = {"own": os.getpid(), "server": server.pid, "first": first.facts, "second": second.facts}
    found["codes"] = [await first.end(), await second.end(b"fail")]
    before = await Child.start(server, "before")
    while b"fork_server_rest" not in Path(f"/proc/{server.pid}/cmdline").read_bytes():
        await asyncio.sleep(0.05)
    found["resting_mb"] = resident_mb(server.pid)
    after = await Child.start(server, "after")
    found["after"] = after.facts
    found["codes_over_rest"] = [await before.end(), await after.end()]
    third = await Child.start(server, "three")
    third.process.kill()
    found["killed"] = await third.process.wait()
    starting = asyncio.ensure_future(server.start(MODULE, ("0", "cancelled"), 0, {}))
    await asyncio.sleep(0)
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    fourth = await Child.start(server, "four")
    os.kill(server.pid, signal.SIGKILL)
    found["orphan"] = await fourth.end()  # only its pidfd tells
    fifth = await Child.start(server, "five")
    found["as_a_program"] = fifth.facts
    found["its_code"] = await fifth.end()
    return found


async def hung(server: ForkServer) -> dict[str, Any]:
    child = await Child.start(server, "before")
    os.kill(server.pid, signal.SIGSTOP)
    code = await child.end()
    after = await Child.start(server, "after")
    found = {"code": code, "after": after.facts, "after_code": await after.end()}
    again = await Child.start(server, "again")
    return {"hung": {**found, "again": again.facts, "again_code": await again.end()}}


async def hang_at_the_end(server: ForkServer) -> dict[str, Any]:
    os.kill(server.pid, signal.SIGSTOP)
    return {}


async def fallback(server: ForkServer) -> dict[str, Any]:
    child = await Child.start(server, "without")
    await child.end()
    return {"without": child.facts}


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit(main(sys.argv[1:]))
    os.environ["TAKEN"] = "yes"
    started = start_fork_server(f"{MODULE}:load", REST_AFTER_S)
    broken = start_fork_server("no_such_module:load")
    stopped = start_fork_server(f"{MODULE}:load")
    stopped_later = start_fork_server(f"{MODULE}:load")
    assert started and broken and stopped and stopped_later
    stories = {story: started, fallback: broken, hung: stopped, hang_at_the_end: stopped_later}
    found: dict[str, Any] = {}
    for tell, server in stories.items():
        forks = ForkServer(*server, answer_s=0.5 if tell is hung else 30)
        found |= asyncio.run(asyncio.wait_for(tell(forks), 60))
        forks.close()
    print(json.dumps(found | {"own_has_loaded": LOADED in sys.modules}))
