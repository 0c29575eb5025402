"""`active-call chat PLAYBOOK`: a playbook's dialogue by text, with timings and state, for writing playbooks. Needs no server.

A real call with the real agent and the real language model (`text_calls`); lines are typed instead of recognised, and printed instead of
spoken.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated

import httpx
import typer

from active_call.base.errors import ActiveCallError
from active_call.base.world import World
from active_call.call.dependencies import CallDependencies
from active_call.call.opening.routing import Playbooks
from active_call.contract import events, wire
from active_call.net.outgoing import GuardedClients
from active_call.providers.base import Services
from active_call.providers.local.local_engines import EngineProcesses
from active_call.providers.registry import Engines
from active_call.server.commands.calls import JsonFlag, event_line, fail, print_line
from active_call.server.config.config import Config, default_option, key_variables
from active_call.server.config.document import read_environment
from active_call.server.config.loading import DEFAULT_FILE, load_config
from active_call.server.playbook_files import find_playbook
from active_call.server.setup.outside import outgoing_policy
from active_call.server.text_calls import NoRecords, TextCall


def chat(
    playbook: str,
    conf: Annotated[Path | None, typer.Option("--conf", help="Config file (default: active-call.toml).")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Talk to a playbook by typing: a line is the caller's speech, `#5` a digit, `:state` shows variables, an empty line ends the call."""
    try:
        file = conf or (DEFAULT_FILE if DEFAULT_FILE.exists() else None)
        config = load_config(file, {}, os.environ, starter_playbook=True)
        environment = read_environment(file.parent if file else Path(), os.environ)
        asyncio.run(_chat(playbook, config, environment, as_json))
    except ActiveCallError as error:
        fail(str(error), 2)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


async def _chat(name: str, config: Config, environment: dict[str, str], as_json: bool) -> None:
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(httpx.AsyncClient(timeout=15.0))
        clients = GuardedClients(outgoing_policy(config, environment))
        stack.push_async_callback(clients.close)
        local = EngineProcesses()
        stack.push_async_callback(local.close)
        world = World()
        engines = Engines(Services(world, clients.shared(), local, environment, clients.new, clients))
        engines.use_key_sets(key_variables(config))
        stack.push_async_callback(engines.close)
        path = Path(name)
        playbooks = Playbooks(lambda wanted: path if wanted == name and path.is_file() else find_playbook(wanted, config), environment)
        book = playbooks.load(name)
        dependencies = CallDependencies(
            world=world,
            engines=engines,
            http=http,
            guarded=clients.shared(),
            records=NoRecords(),
            playbooks=playbooks,
            defaults=default_option(config),
        )
        output = _Output(as_json)
        call = TextCall(book, dependencies, output.show, caller="sip:you@terminal")
        try:
            await _talk(call, output, as_json)
        finally:
            await call.close()


class _Output:
    """Prints events. When the reader of a pipe has left, nothing more is printed, and `is_closed` is set."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self.is_closed = False

    def show(self, event: events.Event) -> None:
        """Print an event, unless only programs need it."""
        line = wire.encode_event(event).decode() if self._as_json else _line_of(event)
        if line:
            self.print(line)

    def print(self, line: str) -> None:
        """Print one line at once."""
        if self.is_closed:
            return
        try:
            print_line(line)
        except BrokenPipeError:
            self.is_closed = True
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still buffered is flushed at the exit


async def _talk(call: TextCall, output: _Output, as_json: bool) -> None:
    await call.settled()
    while not call.is_over and not output.is_closed:
        line = await asyncio.to_thread(_read_line, as_json)
        if not line:
            return
        if line == ":state":
            output.print(json.dumps(call.variables(), ensure_ascii=False, default=str))
        elif line.startswith("#") and len(line) > 1:
            await call.presses(line[1:])
        else:
            await call.says(line)


def _read_line(as_json: bool) -> str:
    if not as_json and sys.stdin.isatty():
        sys.stdout.write(f"{'you':>9}  ")
        sys.stdout.flush()
    return sys.stdin.readline().strip()


def _line_of(event: events.Event) -> str:
    is_typed = isinstance(event, events.AddHistory) and event.speaker in ("user", "caller") and sys.stdin.isatty()
    return "" if is_typed or isinstance(event, events.Incoming | events.Ringing | events.Answer) else event_line(event)
