"""`active-call chat PLAYBOOK`: a playbook's dialogue by text, with timings and state. The fastest way to write a playbook; needs no server.

A real call with the real agent and the real language model; only the caller's words are typed instead of recognised, and the agent's are
printed instead of spoken: the leg, its stream and the two engines for speech are stand-ins that take no time.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import httpx
import typer

from active_call.agent.playbook.scenes import Playbook
from active_call.base.errors import ActiveCallError
from active_call.base.trust import Trust
from active_call.base.world import World
from active_call.call.call import Call
from active_call.call.dependencies import CallDependencies
from active_call.call.opening.routing import Accepted, IncomingCall, Playbooks
from active_call.contract import events, wire
from active_call.contract.options import AsrOption, CallOption, EouOption, TtsOption
from active_call.net.outgoing import GuardedClients
from active_call.providers.base import ChatModel, RecognitionEvent, Services, SpeechToTextCapabilities
from active_call.providers.base import Final as FinalWords
from active_call.providers.local.local_engines import EngineProcesses
from active_call.providers.registry import Engines
from active_call.providers.settings import LlmSettings
from active_call.providers.tts.whole_text import WholeTextToSpeech
from active_call.server.call_commands import JsonFlag, event_line, fail, print_line
from active_call.server.config.config import Config, default_option
from active_call.server.config.document import read_environment
from active_call.server.config.loading import DEFAULT_FILE, load_config
from active_call.server.outside import outgoing_policy
from active_call.server.playbook_files import find_playbook
from active_call.store.records import CallRecord, OpenCall
from active_call.testing.fake_call import FakeLeg

AT_ONCE: Final = CallOption(eou=EouOption(type="fixed", timeout=50))
"""Who types has finished with the end of the line."""
PATIENCE_S: Final = 120.0
SETTLED_S: Final = 0.4
"""Without anything said for so long, the caller is to type."""


class _Ear:
    """Recognises what was typed, at once."""

    name = "typed"
    capabilities = SpeechToTextCapabilities(free_speech=True)

    def __init__(self) -> None:
        self.typed: deque[str] = deque()

    def open(self, on_event: Callable[[RecognitionEvent], None], *, language: str | None = None) -> _Hearing:
        return _Hearing(self, on_event)

    async def close(self) -> None: ...


class _Hearing:
    def __init__(self, ear: _Ear, on_event: Callable[[RecognitionEvent], None]) -> None:
        self._ear, self._on_event = ear, on_event
        self._begun: dict[int, int] = {}

    def push_audio(self, pcm: bytes, sample: int) -> None: ...

    def start_utterance(self, index: int, sample: int) -> None:
        self._begun[index] = sample

    def end_utterance(self, index: int, sample: int) -> None:
        text = self._ear.typed.popleft() if self._ear.typed else ""
        self._on_event(FinalWords(text, index, self._begun.pop(index, sample), sample, 1.0))

    def cancel_utterance(self, index: int) -> None: ...

    def expect_phrases(self, phrases: Sequence[str]) -> None: ...

    async def close(self) -> None: ...


class _Voice(WholeTextToSpeech):
    """Makes a moment of silence of each text."""

    name = "printed"
    rate_hz = 8000

    async def synthesise(self, text: str, *, speaker: str | None = None, speed: float | None = None) -> AsyncIterator[bytes]:
        yield b"\1\0" * 320

    async def close(self) -> None: ...


@dataclass
class _TextEngines:
    """The engines of one chat: typed words, printed voice, and the model that the playbook names."""

    engines: Engines
    ear: _Ear = field(default_factory=_Ear)
    voice: _Voice = field(default_factory=_Voice)

    def get_recogniser(self, option: AsrOption, trust: Trust | None = None) -> _Ear:
        return self.ear

    def get_synthesiser(self, option: TtsOption, trust: Trust | None = None) -> _Voice:
        return self.voice

    def get_responder(self, option: LlmSettings, trust: Trust) -> ChatModel:
        return self.engines.get_responder(option, trust)

    def selection(self, *_: object) -> tuple[Any, ...]:
        return ()


class _NoRecords:
    """Keeps nothing."""

    def begin(self, call: OpenCall) -> None: ...

    def update(self, call: OpenCall) -> None: ...

    def write(self, record: CallRecord) -> None: ...


@dataclass
class _Always:
    playbook: Playbook

    async def route(self, call: IncomingCall) -> Accepted:
        return Accepted(self.playbook)


class Chat:
    """One dialogue. `tell` gets each event; `says` gives the caller's words and returns when the agent has answered."""

    def __init__(self, call: Call, leg: FakeLeg, ear: _Ear) -> None:
        self._call, self._leg, self._ear = call, leg, ear
        self._last_at = time.monotonic()
        call.watch(lambda _: self._touch())

    def _touch(self) -> None:
        self._last_at = time.monotonic()

    async def says(self, text: str) -> None:
        """The caller says `text`."""
        self._ear.typed.append(text)
        self._touch()
        await self._leg.speak(0.08)
        await self.settled()

    async def settled(self) -> None:
        """Return when nothing is said or awaited any more, or the call is over."""
        deadline = time.monotonic() + PATIENCE_S
        while not self.is_over and time.monotonic() < deadline:
            agent = self._call.state.agent
            is_busy = self._call.parts.speech_output.is_speaking or self._call.parts.speech_input.is_busy or agent is None
            if not is_busy and time.monotonic() - self._last_at > SETTLED_S and not getattr(agent, "is_answering", False):
                return
            await asyncio.sleep(0.02)

    @property
    def is_over(self) -> bool:
        return self._call.parts.own_leg.ended is not None

    def state(self) -> dict[str, Any]:
        """The variables of the call."""
        return dict(self._call.state.facts.variables)


def chat(
    playbook: Annotated[str, typer.Argument(help="A playbook file.")],
    conf: Annotated[Path | None, typer.Option("--conf", help="Config file (default: active-call.toml).")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Talk to a playbook by typing: a line is what the caller says, `#5` a digit, `:state` its variables, an empty line the end."""
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
        stack.push_async_callback(engines.close)
        text = _TextEngines(engines)
        path = Path(name)
        playbooks = Playbooks(lambda wanted: path if wanted == name and path.is_file() else find_playbook(wanted, config), environment)
        book = playbooks.load(name)
        dependencies = CallDependencies(
            world=world,
            engines=text,  # type: ignore[arg-type]
            http=http,
            guarded=clients.shared(),
            records=_NoRecords(),
            playbooks=playbooks,
            defaults=default_option(config),
        )
        leg = FakeLeg(caller="sip:you@terminal", callee="sip:agent@terminal")
        call = Call("s.chat", leg, dependencies, direction="inbound", option=AT_ONCE, router=_Always(book))  # type: ignore[arg-type]
        call.watch(lambda event: _show(event, as_json))
        running = asyncio.create_task(call.run())
        try:
            await _talk(Chat(call, leg, text.ear), leg, as_json)
        finally:
            leg.end("caller", "remote_bye")
            await asyncio.wait((running,), timeout=5)
            running.cancel()


async def _talk(chat: Chat, leg: FakeLeg, as_json: bool) -> None:
    await chat.settled()
    while not chat.is_over:
        line = await asyncio.to_thread(_read_line, as_json)
        if not line:
            return
        if line == ":state":
            print_line(json.dumps(chat.state(), ensure_ascii=False, default=str))
            continue
        if line.startswith("#") and len(line) > 1:
            for digit in line[1:]:
                leg.signal(digit)
            await chat.settled()
        else:
            await chat.says(line)


def _read_line(as_json: bool) -> str:
    if not as_json and sys.stdin.isatty():
        sys.stdout.write(f"{'you':>9}  ")
        sys.stdout.flush()
    return sys.stdin.readline().strip()


def _show(event: events.Event, as_json: bool) -> None:
    if as_json:
        print_line(wire.encode_event(event).decode())
        return
    is_typed = isinstance(event, events.AddHistory) and event.speaker in ("user", "caller") and sys.stdin.isatty()
    line = "" if is_typed or isinstance(event, events.Incoming | events.Ringing | events.Answer) else event_line(event)
    if line:
        print_line(line)
