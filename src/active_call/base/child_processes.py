"""Starts child processes: each runs a module of this program and has one socket to its parent.

A module with `main(arguments) -> int`, its arguments and a descriptor enter; a `ChildProcess` leaves. `Programs` starts a new interpreter
for each. `forked_children.ForkServer` forks a process that has loaded the code already, and falls back to `Programs` if it cannot.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Protocol

from active_call.base.fork_server import DESCRIPTOR

__all__ = ["DESCRIPTOR", "ChildProcess", "Programs", "StartsChildren", "how_ended"]


class ChildProcess(Protocol):
    """A running child; `asyncio.subprocess.Process` is one."""

    @property
    def pid(self) -> int: ...

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        ...

    async def wait(self) -> int:
        """Wait for its end; returns the exit code."""
        ...

    def send_signal(self, number: int, /) -> None:
        """Raises ProcessLookupError if it has ended."""
        ...

    def kill(self) -> None:
        """SIGKILL. Raises ProcessLookupError if it has ended."""
        ...


class StartsChildren(Protocol):
    """Starts children."""

    async def start(self, module: str, arguments: Sequence[str], fd: int, environment: Mapping[str, str]) -> ChildProcess:
        """Run `module` with `arguments`, in which `DESCRIPTOR` stands for `fd`, and with `environment` added to our own.

        Standard input is empty, standard output and error are ours. Raises OSError. The caller keeps `fd` and closes it.
        """
        ...


class Programs:
    """Starts `python -m MODULE ARGUMENTS` for each child."""

    async def start(self, module: str, arguments: Sequence[str], fd: int, environment: Mapping[str, str]) -> ChildProcess:
        """See `StartsChildren`."""
        words = [word.replace(DESCRIPTOR, str(fd)) for word in arguments]
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", module, *words, pass_fds=(fd,), stdin=asyncio.subprocess.DEVNULL, env=os.environ | environment
        )


def how_ended(code: int | None) -> str:
    """How a process with the exit code `code` (None: not known) has ended, in words for an operator."""
    if code is None:
        return "ended"
    if code >= 0:
        return f"ended with exit code {code}"
    name = f"signal {-code}"
    with contextlib.suppress(ValueError):
        name = signal.Signals(-code).name
    return f"was ended by {name}" + (" (if nobody did so, memory ran out: see dmesg)" if code == -signal.SIGKILL else "")
