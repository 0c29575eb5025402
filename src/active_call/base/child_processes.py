"""How this program starts the processes below it: each runs a module of ours, with one socket to us.

A module with `main(arguments) -> int`, its arguments and a descriptor enter; a `ChildProcess` leaves. `Programs` starts the interpreter
anew for each. `forked_children.ForkServer` forks a process that has loaded the code already, and falls back to `Programs` where it cannot.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Protocol

from active_call.base.fork_server import DESCRIPTOR

__all__ = ["DESCRIPTOR", "ChildProcess", "Programs", "StartsChildren"]


class ChildProcess(Protocol):
    """A running child; `asyncio.subprocess.Process` is one."""

    @property
    def pid(self) -> int: ...

    @property
    def returncode(self) -> int | None:
        """How it ended, negative by a signal; None while it runs."""
        ...

    async def wait(self) -> int:
        """Returns when it has ended, with its return code."""
        ...

    def send_signal(self, number: int, /) -> None:
        """Raises ProcessLookupError if it is gone."""
        ...

    def kill(self) -> None:
        """SIGKILL. Raises ProcessLookupError if it is gone."""
        ...


class StartsChildren(Protocol):
    """What starts children."""

    async def start(self, module: str, arguments: Sequence[str], fd: int, environment: Mapping[str, str]) -> ChildProcess:
        """Run `module` with `arguments`, in which `DESCRIPTOR` stands for `fd`, and with `environment` beside our own.

        Standard input is empty, standard output and error are ours. Raises OSError. `fd` stays the caller's, to be closed.
        """
        ...


class Programs:
    """Starts `python -m MODULE ARGUMENTS` for each child."""

    async def start(self, module: str, arguments: Sequence[str], fd: int, environment: Mapping[str, str]) -> ChildProcess:
        """As `StartsChildren` says."""
        words = [word.replace(DESCRIPTOR, str(fd)) for word in arguments]
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", module, *words, pass_fds=(fd,), stdin=asyncio.subprocess.DEVNULL, env=os.environ | environment
        )
