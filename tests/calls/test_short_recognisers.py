"""Recognisers that are late, full, dead or refuse: a call that was held and ended well has a record that says so, with a remark.

The recogniser is the real one of this machine, with its queue, its wall and its supervisor; only its process is the test's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from calls_kit import Always, Call, Engines, Network, a_call

from active_call.agent.playbook.scenes import Playbook, Scene
from active_call.agent.wording import ENGLISH
from active_call.base.errors import ConfigError, ProviderError
from active_call.base.world import World
from active_call.call.opening.routing import LeftOpen
from active_call.call.requests import BeginAgent
from active_call.contract import commands, events
from active_call.contract.options import AsrOption, CallOption, ReferOption
from active_call.legs.events import LegMedia
from active_call.media.link.messages import CallerAudio
from active_call.providers.asr.pocketsphinx import PocketsphinxSpeechToText
from active_call.providers.base import Failed, Final, RecognitionEvent, SpeechToTextCapabilities
from active_call.providers.guarding.guarded_speech_to_text import GuardedSpeechToText
from active_call.providers.guarding.supervisor import SupervisedSpeechToText
from active_call.providers.local import engine_pool
from active_call.providers.local.local_engines import EngineProcesses
from active_call.providers.services import Services
from active_call.testing.fakes.call import FakeLeg
from active_call.testing.virtual_time import CountingRandomness, VirtualClock

PLAYBOOK = """---
llm: {provider: script}
greeting: Welcome.
---
## hello
Hello again.
## *
I see.
"""
FOR_EVER_S = 1e6


class Process:
    """Stands in for the process of an engine: each request takes `took_s`, then it dies, hangs or answers, as `does` says of its number."""

    took_s = 1.0
    does: Callable[[int], str] = staticmethod(lambda number: "answers")
    n_asked = n_started = 0

    @classmethod
    async def start(cls, name: str) -> Process:
        Process.n_started += 1
        return cls()

    async def ask(self, function: Any, args: tuple[Any, ...]) -> tuple[bool, Any]:
        if function.__name__ == "prepare":
            return True, []
        number, Process.n_asked = Process.n_asked, Process.n_asked + 1
        await asyncio.sleep(self.took_s)
        match type(self).does(number):
            case "dies":
                raise EOFError("the process is gone")
            case "hangs":
                await asyncio.sleep(FOR_EVER_S)
            case "fails":
                return False, "the model cannot be read"
        return True, ("hello", 0.9)

    def kill(self) -> None:
        pass

    async def close(self) -> None:
        pass


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> type[Process]:
    made = type("Process", (Process,), {})
    Process.n_asked = Process.n_started = 0
    monkeypatch.setattr(engine_pool, "EngineLink", made)
    return made


class RealEngines(Engines):
    """The engines of a test; the recogniser is `recogniser`."""

    def __init__(self, recogniser: Any) -> None:
        super().__init__()
        self.recogniser = recogniser

    def get_recogniser(self, option: object, trust: object = None) -> Any:
        return self.recogniser


def supervised(inner: Any) -> SupervisedSpeechToText:
    world = World(VirtualClock(asyncio.get_running_loop()), CountingRandomness())
    return SupervisedSpeechToText(GuardedSpeechToText(inner, world))


@asynccontextmanager
async def local_recogniser(max_waiting: int = 128) -> AsyncIterator[SupervisedSpeechToText]:
    world = World(VirtualClock(asyncio.get_running_loop()), CountingRandomness())
    processes = EngineProcesses(world.clock, max_waiting=max_waiting)
    services = Services(world=world, http=None, local=processes, environment={})  # type: ignore[arg-type]
    yield supervised(PocketsphinxSpeechToText((), services))
    await processes.close()


async def says(call: Call, seconds: float = 1.0) -> None:
    """The caller makes sound that has words, and the voice detector notices it."""
    began = int(asyncio.get_running_loop().time() * 16_000)
    speaking = asyncio.ensure_future(call.leg.speak(seconds))
    for tick in range(round(seconds * 5)):
        await asyncio.sleep(0.2)
        call.leg.sink(LegMedia(CallerAudio(1, began + tick * 3200, b"\1\0" * 3200)))
    await speaking


async def greeted(*calls: Call) -> None:
    for call in calls:
        await call.until(lambda call=call: bool(call.of(events.TrackEnd)))


async def ended_well(*calls: Call) -> list[Any]:
    """All callers hang up; the records say that the calls were answered, and how much was lost."""
    for call in calls:
        call.leg.end("caller", "remote_bye")
    records = [await call.over() for call in calls]
    assert {(record.status, record.error, record.hangup_by) for record in records} == {("answered", None, "caller")}
    for call, record in zip(calls, records, strict=True):
        n_lost = sum(bool(event.is_lost) for event in call.of(events.AsrFinal))
        assert record.media.get("utterances_lost", 0) == n_lost
        assert sum(event.get("isLost", event.get("is_lost")) is True for event in record.events) == n_lost
        assert n_lost == 0 or any(event.sender == "asr" for event in call.of(events.Error))
    return records


WAYS: dict[str, Callable[[int], str]] = {
    "more than it can do": lambda number: "answers",
    "dies each time": lambda number: "dies",
    "dies and is restarted": lambda number: "dies" if number % 3 == 0 else "answers",
    "hangs": lambda number: "hangs" if number % 4 == 0 else "answers",
    "fails for good": lambda number: "fails",
}


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_calls_whose_callers_all_speak_at_once_have_records_that_say_answered(
    virtually: Any, process: type[Process], way: str, at_once: bool
) -> None:
    """Eight callers, one process, a queue of three. `at_once`: they hang up while the queue is full."""
    process.does = staticmethod(WAYS[way])

    async def story() -> None:
        async with AsyncExitStack() as stack:
            recogniser = await stack.enter_async_context(local_recogniser(max_waiting=3))
            calls = [
                await stack.enter_async_context(a_call(PLAYBOOK, engines=RealEngines(recogniser), session_id=f"s.{number}"))
                for number in range(8)
            ]
            await greeted(*calls)
            for _ in range(3):
                await asyncio.gather(*(says(call) for call in calls))
                await asyncio.sleep(0.7 if at_once else 20.0)
            if not at_once:
                for call in calls:
                    await call.quiet()
                    finals, asked = call.of(events.AsrFinal), "".join(call.spoken).count(ENGLISH.not_heard)
                    assert len(finals) == 3 and all(event.is_lost or event.text == "hello" for event in finals)
                    assert asked >= sum(bool(event.is_lost) for event in finals)
            records = await ended_well(*calls)
            assert at_once or any(record.media.get("utterances_lost") for record in records)

    virtually(story())


class Vendor:
    """A recogniser with streams. `does`: what the stream of that number does at the end of an utterance, or at its opening."""

    name = "vendor"
    capabilities = SpeechToTextCapabilities(partials=True)

    def __init__(self, does: Callable[[int], str]) -> None:
        self._does = does
        self.n_streams = 0
        self.n_open = 0

    def open(self, on_event: Callable[[RecognitionEvent], None], *, language: str | None = None) -> VendorStream:
        number, self.n_streams = self.n_streams, self.n_streams + 1
        match self._does(number):
            case "refuses":
                raise ProviderError("vendor", "too many streams", retryable=True)
            case "refuses for good":
                raise ConfigError("asr.secretKey", "wrong")
            case "breaks":
                raise TypeError("odd")
        self.n_open += 1
        return VendorStream(self, self._does(number), on_event)

    async def close(self) -> None:
        pass


class VendorStream:
    def __init__(self, vendor: Vendor, does: str, on_event: Callable[[RecognitionEvent], None]) -> None:
        self._vendor, self._does, self._on_event = vendor, does, on_event

    def push_audio(self, pcm: bytes, sample: int) -> None:
        pass

    def start_utterance(self, index: int, sample: int) -> None:
        if self._does == "dies while one speaks":
            self._report(Failed(ProviderError("vendor", "connection lost", retryable=True)))

    def end_utterance(self, index: int, sample: int) -> None:
        match self._does:
            case "answers":
                self._report(Final("hello", index, 0, sample, 0.9))
            case "dies":
                self._report(Failed(ProviderError("vendor", "connection lost", retryable=True)))
            case "dies for good":
                self._report(Failed(ProviderError("vendor", "no more credit")))
            case "raises":
                raise RuntimeError("odd")

    def _report(self, event: RecognitionEvent) -> None:
        asyncio.get_running_loop().call_later(0.05, self._on_event, event)

    def cancel_utterance(self, index: int) -> None:
        pass

    def expect_phrases(self, phrases: Any) -> None:
        pass

    async def close(self) -> None:
        self._vendor.n_open -= 1


@pytest.mark.parametrize("later", ["answers", "the same", "refuses", "refuses for good", "breaks"])
@pytest.mark.parametrize("first", ["is silent", "dies", "dies while one speaks", "dies for good", "raises"])
def test_stream_of_a_vendor_that_is_lost_fails_no_record(virtually: Any, first: str, later: str) -> None:
    async def story() -> None:
        vendor = Vendor(lambda number: first if number == 0 or later == "the same" else later)
        async with a_call(PLAYBOOK, engines=RealEngines(supervised(vendor))) as call:
            await greeted(call)
            for _ in range(3):
                await says(call)
                await asyncio.sleep(30)
            assert len(call.of(events.AsrFinal)) == 3
            assert all(event.is_lost or event.text == "hello" for event in call.of(events.AsrFinal))
            if later != "answers":
                assert ENGLISH.not_heard in call.spoken
            await ended_well(call)
            assert vendor.n_open == 0

    virtually(story())


@pytest.mark.parametrize("how", ["refuses", "refuses for good", "breaks"])
@pytest.mark.parametrize("what", ["another leg", "another language", "another agent", "the target of a transfer"])
def test_stream_that_is_refused_in_a_call_that_is_under_way_fails_no_record(virtually: Any, what: str, how: str) -> None:
    async def story() -> None:
        vendor, network = Vendor(lambda number: how if number else "answers"), Network()
        asr = CallOption(asr=AsrOption(language="de")) if what == "another agent" else CallOption()
        async with a_call(None, router=Always(lambda _: LeftOpen()), engines=RealEngines(supervised(vendor)), network=network) as call:
            call.session.post(commands.Accept(option=CallOption()))
            await call.until(lambda: bool(call.of(events.MediaReady)))
            await says(call)
            await call.until(lambda: bool(call.of(events.AsrFinal)))
            leg, playbook = call.leg, call.session.state.playbook
            match what:
                case "another leg":
                    leg = FakeLeg(caller="sip:+15557777@example.com", call_id="new-call-id", replaces=call.leg)
                    call.session.take_over(leg)
                    await call.until(lambda: call.session.state.leg is leg and bool(call.of(events.Transfer)[1:]))
                case "another language":
                    call.session.parts.setup.switch_language("de")
                case "another agent":
                    book = Playbook(file="agent", scenes=(Scene(id="main", line=1, text="Hi."),), option=asr)
                    with pytest.raises((ProviderError, ConfigError)):
                        await call.session.request(BeginAgent(book))
                    assert call.session.state.playbook is playbook and call.session.state.agent is None
                case _:
                    network.legs = [FakeLeg(call_id="far-call-id", callee="sip:desk@example.com")]
                    option = ReferOption(call_id=None, asr=AsrOption(provider="vendor"))
                    call.session.post(commands.Refer(callee="sip:desk@example.com", options=option))
                    await call.until(lambda: any(event.state == "connected" for event in call.of(events.Transfer)))
            await asyncio.sleep(1.0)
            told = [event.error for event in call.of(events.Error)]
            assert what == "another agent" or len(told) == 1
            if what == "another leg":
                call.session.post(commands.Tts(text="hello", play_id="t1"))
                await call.until(lambda: any(event.play_id == "t1" for event in call.of(events.TrackEnd)), 10)
            if what in ("another language", "another agent"):
                await says(call)
                await call.until(lambda: len(call.of(events.AsrFinal)) == 2, 10)  # the stream of before goes on
            leg.end("caller", "remote_bye")
            record = await call.over()
            assert (record.status, record.error) == ("answered", None)

    virtually(story())


def test_server_that_stops_while_a_call_that_is_over_is_closed_does_not_say_that_it_failed(virtually: Any) -> None:
    async def story() -> None:
        async with a_call(PLAYBOOK) as call:
            await greeted(call)
            session = call.session

            async def lingers() -> None:
                try:
                    await asyncio.sleep(FOR_EVER_S)
                except asyncio.CancelledError:
                    await asyncio.sleep(3)  # an engine that does not let go at once
                    raise

            session.spawn(lingers(), "lingers")
            await asyncio.sleep(0.1)
            call.leg.end("caller", "remote_bye")
            await asyncio.sleep(1.0)
            assert not call.task.done()
            call.task.cancel()
            await asyncio.wait({call.task})
            (record,) = call.records.written
            assert (record.status, record.error, record.hangup_by) == ("answered", None, "caller")

    virtually(story())
