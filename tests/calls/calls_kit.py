"""A whole call in virtual time: real session, real agent, real playbook; the leg, the media stream and the engines are the test's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from active_call.agent.playbook.parser import parse_playbook
from active_call.base.errors import NotAllowed, ProviderError
from active_call.base.world import World
from active_call.call import call as calls
from active_call.call.cost.spending import Spending
from active_call.call.dependencies import CallDependencies
from active_call.call.handle import CallHandle
from active_call.call.opening.routing import Accepted, Decision, IncomingCall, Playbooks, Router
from active_call.call.parties.attention import Why
from active_call.contract import events
from active_call.contract.options import CallOption
from active_call.legs.trunks.outbound_guard import ANYTHING, OutboundRequest
from active_call.providers.base import Failed, Final, RecognitionEvent, ReplyRequest, SpeechToTextCapabilities
from active_call.providers.llm.text_only import TextOnlyChatModel
from active_call.providers.selection import Selection
from active_call.providers.tts.whole_text import WholeTextToSpeech
from active_call.store.records import CallRecord, OpenCall
from active_call.testing.fakes.call import FakeLeg, join_fakes
from active_call.testing.virtual_time import CountingRandomness, VirtualClock

MS_PER_CHARACTER = 60
"""How long the test's voice takes for each letter."""


class Voice(WholeTextToSpeech):
    """A synthesiser whose sound is as long as its text; it takes 30 ms to begin."""

    name = "voice"
    rate_hz = 8000

    def __init__(self) -> None:
        self.said: list[str] = []
        self.fails = False

    async def synthesise(self, text: str, *, speaker: str | None = None, speed: float | None = None) -> AsyncIterator[bytes]:
        await asyncio.sleep(0.03)
        if self.fails:
            raise ProviderError("voice", "out of breath", retryable=True)
        self.said.append(text)
        yield b"\0\x20" * (len(text) * MS_PER_CHARACTER * 8)

    async def close(self) -> None:
        pass


class FakeSpeechToText:
    """A recogniser that gives the texts it was told, one an utterance, 50 ms after its end."""

    name = "recogniser"
    capabilities = SpeechToTextCapabilities()

    def __init__(self) -> None:
        self.will_hear: list[str | Exception] = []
        self.expected: tuple[str, ...] = ()
        self.closed = 0

    def open(self, on_event: Callable[[RecognitionEvent], None], *, language: str | None = None) -> _Hearing:
        return _Hearing(self, on_event)

    async def close(self) -> None:
        pass


class _Hearing:
    def __init__(self, recogniser: FakeSpeechToText, on_event: Callable[[RecognitionEvent], None]) -> None:
        self._recogniser, self._on_event = recogniser, on_event
        self._starts: dict[int, int] = {}

    def push_audio(self, pcm: bytes, sample: int) -> None:
        pass

    def start_utterance(self, index: int, sample: int) -> None:
        self._starts[index] = sample

    def end_utterance(self, index: int, sample: int) -> None:
        text = self._recogniser.will_hear.pop(0) if self._recogniser.will_hear else ""
        loop = asyncio.get_running_loop()
        if isinstance(text, Exception):
            loop.call_later(0.05, self._on_event, Failed(text, index))  # type: ignore[arg-type]
        else:
            loop.call_later(0.05, self._on_event, Final(text, index, self._starts[index], sample, 0.9))

    def cancel_utterance(self, index: int) -> None:
        pass

    def expect_phrases(self, phrases: Sequence[str]) -> None:
        self._recogniser.expected = tuple(phrases)

    async def close(self) -> None:
        self._recogniser.closed += 1


class Model(TextOnlyChatModel):
    """A responder that gives the answers it was told, word by word, beginning after 200 ms."""

    name = "model"

    def __init__(self) -> None:
        self.will_say: list[str | Exception] = []
        self.asked: list[ReplyRequest] = []
        self.abandoned = 0

    async def respond(self, request: ReplyRequest) -> AsyncIterator[str]:
        self.asked.append(request)
        answer = self.will_say.pop(0)
        try:
            await asyncio.sleep(0.2)
            if isinstance(answer, Exception):
                raise answer
            for word in answer.split(" "):
                await asyncio.sleep(0.02)
                yield word + " "
        except (asyncio.CancelledError, GeneratorExit):
            self.abandoned += 1
            raise

    async def close(self) -> None:
        pass


class Records:
    """Keeps records in memory."""

    def __init__(self) -> None:
        self.begun: list[OpenCall] = []
        self.updated: list[OpenCall] = []
        self.written: list[CallRecord] = []

    def begin(self, call: OpenCall) -> None:
        self.begun.append(call)

    def update(self, call: OpenCall) -> None:
        self.updated.append(call)

    def write(self, record: CallRecord) -> None:
        self.written.append(record)


@dataclass
class Engines:
    recogniser: FakeSpeechToText = field(default_factory=FakeSpeechToText)
    voice: Voice = field(default_factory=Voice)
    model: Model = field(default_factory=Model)

    def get_recogniser(self, _: object, trust: object = None) -> FakeSpeechToText:
        return self.recogniser

    def get_synthesiser(self, _: object, trust: object = None) -> Voice:
        return self.voice

    def get_responder(self, _: object, trust: object = None) -> Model:
        return self.model

    def selection(self, *_: object) -> tuple[Selection, ...]:
        return (Selection("asr", "fake", "a test"), Selection("tts", "fake", "a test"))


@dataclass
class Always:
    """A router with one answer."""

    answer: Callable[[IncomingCall], Decision]

    async def route(self, call: IncomingCall) -> Decision:
        return self.answer(call)


@dataclass
class Network:
    """The other calls, and the legs that a call may want: `legs` are handed out in order."""

    legs: list[FakeLeg] = field(default_factory=list)
    wanted: list[CallOption] = field(default_factory=list)
    wanted_by: list[OutboundRequest] = field(default_factory=list)
    sessions: dict[str, calls.Call] = field(default_factory=dict)
    trunk_address: str = ""
    asked: list[tuple[str, OutboundRequest]] = field(default_factory=list)
    """Targets of transfers, and who wanted them called."""
    forbidden: set[str] = field(default_factory=set)
    """Targets that are refused, as are those of an agent that nobody lists."""

    def way_out(self, trunk: str) -> str:
        return self.trunk_address

    def find(self, session_id: str) -> CallHandle | None:
        found = self.sessions.get(session_id)
        return found.handle() if found is not None else None

    def check_outbound(self, callee: str, request: OutboundRequest) -> None:
        self.asked.append((callee, request))
        if callee in self.forbidden or (request.by == "agent" and not request.is_listed):
            raise NotAllowed(f"{callee} is not listed", rule="outbound_target")

    def new_leg(self, option: CallOption, request: OutboundRequest = ANYTHING) -> FakeLeg:
        self.wanted.append(option)
        self.wanted_by.append(request)
        return self.legs[len(self.wanted) - 1]


@dataclass
class Call:
    """A call under test."""

    session: calls.Call
    leg: FakeLeg
    engines: Engines
    records: Records
    task: asyncio.Task[None]
    events: list[events.Event]
    network: Network
    dependencies: CallDependencies

    @property
    def recogniser(self) -> FakeSpeechToText:
        return self.engines.recogniser

    @property
    def spoken(self) -> list[str]:
        """Everything that was synthesised, in order."""
        return self.engines.voice.said

    async def says(self, text: str, duration_s: float = 1.0) -> None:
        """The caller says `text`; returns when its sound is over."""
        self.recogniser.will_hear.append(text)
        await self.leg.speak(duration_s)

    async def until(self, condition: Callable[[], bool], seconds: float = 60.0) -> None:
        """Let virtual time pass until `condition` holds."""
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.01)

    async def quiet(self) -> None:
        """Until the agent has said all it has to say."""
        await self.until(lambda: not self.session.parts.speech_output.is_speaking)
        await asyncio.sleep(0.05)

    async def over(self) -> CallRecord:
        async with asyncio.timeout(120):
            await self.task
        return self.records.written[0]

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


@asynccontextmanager
async def a_call(
    playbook: str | None,
    *,
    leg: FakeLeg | None = None,
    router: Router | None = None,
    direction: str = "inbound",
    variables: Mapping[str, Any] | None = None,
    option: CallOption = CallOption(),  # noqa: B008
    defaults: CallOption = CallOption(),  # noqa: B008
    network: Network | None = None,
    session_id: str = "s.test",
    sounds: Any = None,
    speech: Any = None,
    voice: Voice | None = None,
    engines: Engines | None = None,
    load_engines: Callable[[], None] | None = None,
    spending: Spending | None = None,
    trunk_keys: Mapping[str, str] | None = None,
    before_step: Callable[[], None] = lambda: None,
) -> AsyncIterator[Call]:
    """A call on its way; whatever the test does not end is ended for it."""
    loop = asyncio.get_running_loop()
    engines, records = engines or Engines(voice=voice or Voice()), Records()
    leg, network = leg or FakeLeg(), network or Network()

    def find(name: str) -> Path:
        raise AssertionError(f"no playbook file is looked for, {name} was")

    async with httpx.AsyncClient() as http:
        services = CallDependencies(
            recordings=Path("/tmp"),
            world=World(VirtualClock(loop), CountingRandomness()),
            engines=engines,  # type: ignore[arg-type]
            http=http,
            records=records,
            playbooks=Playbooks(find, {}),
            defaults=defaults,
            sounds=sounds,
            speech=speech,
            join=join_fakes,  # type: ignore[arg-type]
            load_engines=load_engines,
            spending=spending or Spending(),
            trunk_keys=trunk_keys or {},
            before_step=before_step,
        )
        book = parse_playbook(playbook, file="test.md", environment={}) if playbook is not None else None
        if router is None and direction == "inbound" and book is not None:
            router = Always(lambda _: Accepted(book))
        session = calls.Call(
            session_id,
            leg,
            services,
            direction=direction,
            router=router,
            playbook=book if direction == "outbound" else None,
            variables=variables,
            option=option,
            network=network,
        )
        network.sessions[session_id] = session
        seen: list[events.Event] = []
        session.watch(seen.append)
        task = loop.create_task(session.run())
        try:
            yield Call(session, leg, engines, records, task, seen, network, services)
        finally:
            session.state.leg.end("test", "over")  # type: ignore[attr-defined]
            async with asyncio.timeout(60):
                await asyncio.gather(task, return_exceptions=True)


def fault_in(error: events.Error) -> tuple[str, str]:
    """Which command or part an error is about, and what it says. A client's command is named at the beginning of the text."""
    name, _, text = error.error.partition(": ")
    return (name, text) if error.sender == "command" else (error.sender, error.error)


def assert_sounds_as_said(call: Call) -> None:
    """The stream of the call's leg is as the state of the call says; nothing of it is kept anywhere else."""
    attention, states, leg = call.session.parts.attention.state, call.session.parts.machine.now, call.session.state.leg
    stream: Any = leg.stream
    assert (stream.paused, stream.listens, bool(stream.music)) == (attention.is_frozen, attention.hears, attention.music is not None)
    assert stream.muted_tracks | ({""} if stream.muted else set()) == attention.muted
    assert attention.has(Why.HOLD) == states.is_on_hold
