"""Starts a server from the command line or from a program: logging, the event loop, stop signals."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from active_call.base.child_processes import StartsChildren
from active_call.base.log_writer import DescriptorSink, LogWriter, QueuedText
from active_call.server.config.config import Config
from active_call.server.logs import LogOutput, settings_of
from active_call.server.reloading import ConfigSource
from active_call.server.serving import Program, serve_until_stopped
from active_call.server.stopping import Stopping
from active_call.server.terminal import Terminal

if TYPE_CHECKING:
    from rich.console import Console

out = Terminal()


@contextmanager
def logged(config: Config, level: str | None = None) -> Iterator[LogOutput]:
    """The log of a running server; the remaining lines are written at the end, within a time limit."""
    output = LogOutput(settings_of(config, level))
    try:
        yield output
    finally:
        output.close()


def queued_output() -> QueuedText:
    """Standard output for text printed during calls: a slow reader does not delay calls."""
    return QueuedText(LogWriter(DescriptorSink(1), name="stdout"), sys.stdout)


def queued_console() -> Console:
    """The same as a rich console."""
    from rich.console import Console

    return Console(file=queued_output(), width=out.console.width)  # type: ignore[arg-type]


def run_loop(work: Coroutine[Any, Any, Any], stopping: Stopping | None = None, *, is_last: bool = False) -> Any:
    """Run on uvloop. The first interrupt or termination cancels, and everything closes in order. See `Stopping` for further ones.

    `is_last`: the program ends after this. Then its exit is limited too if a signal has come: the interpreter waits for threads.
    """
    import uvloop

    stopping = stopping or Stopping()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            loop = runner.get_loop()
            task = loop.create_task(work)
            stopping.attach(loop, task.cancel)

            async def wait() -> Any:
                return await task

            try:
                return runner.run(wait())
            except (asyncio.CancelledError, KeyboardInterrupt):
                return None
            finally:
                stopping.closed()  # the runner waits for remaining tasks and threads
    finally:
        if not is_last:
            stopping.detach()


def serve(
    config: Config,
    source: ConfigSource,
    *,
    call: str | None = None,
    program: Program | None = None,
    children: StartsChildren | None = None,
) -> None:
    """Serve until a stop signal; with `call`, place that call once ready. `program` replaces the configured handler,
    `children` starts media and engine processes.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the server handles it; children keep ignoring it
    stopping = Stopping()
    with logged(config) as output:
        serving = serve_until_stopped(
            config, source.environment(), queued_output(), call, stopping, source=source, output=output, program=program, children=children
        )
        run_loop(serving, stopping, is_last=program is None)
