"""Whole calls in virtual time, for tests of programs: the real call machine, and a caller who is scripted. No phone, no sound, no waiting.

    async def caller(caller: Caller) -> None:
        await caller.hears("Your PIN")
        await caller.press("1234")
        await caller.hears("Thank you")

    def test_pin_is_asked_for() -> None:
        result = virtual_call(app, caller)
        assert result.ended_by == "agent"

Minutes pass in milliseconds and always in the same way. Speech is text here: what the caller `says` is what is recognised, what the program
says is heard after 50 ms a character. `model` holds the replies of the language model. Calls that the program places, or transfers to, are
answered by the scripts in `others`, by address.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from active_call.app.app import App
from active_call.app.programs import Handler
from active_call.base.errors import LocalProtocolError
from active_call.base.world import World
from active_call.call.dependencies import CallDependencies
from active_call.call.registry import CallRegistry
from active_call.call.routing import Playbooks
from active_call.contract import events
from active_call.contract.options import CallOption
from active_call.store.records import CallRecord, OpenCall
from active_call.testing.fake_call import FakeLeg, join_fakes
from active_call.testing.fake_providers import FakeEngines, FakeRecogniser, FakeResponder, Reply
from active_call.testing.virtual_time import CountingRandomness, VirtualClock, run_virtually

S_PER_CHARACTER = 0.06
"""How fast a scripted caller speaks."""
AGENT = ("agent", "assistant")


class Caller:
    """The other side of one call: what a test lets it do, and what it has heard."""

    def __init__(self, leg: FakeLeg, recogniser: FakeRecogniser) -> None:
        self._leg = leg
        self._recogniser = recogniser
        self._news = asyncio.Event()
        self.events: list[events.Event] = []
        """Every event of the call."""
        self.transcript: list[tuple[str, str]] = []
        """Who (`caller` or `agent`) said what, as far as it was heard."""
        self._n_read = 0

    # -- what the caller does

    async def says(self, text: str, *, duration_s: float | None = None) -> None:
        """Say `text`; returns when it is said."""
        self._recogniser.script.append(text)
        await self._leg.speak(duration_s if duration_s is not None else max(0.4, len(text) * S_PER_CHARACTER))

    async def press(self, digits: str, *, every_s: float = 0.3) -> None:
        """Press keys, one after another."""
        for digit in digits:
            await asyncio.sleep(every_s)
            self._leg.press(digit)

    async def waits(self, seconds: float) -> None:
        """Do nothing for so long."""
        await asyncio.sleep(seconds)

    async def hangs_up(self) -> None:
        """End the call."""
        self._leg.end("callee" if self._leg.dialled is not None else "caller", "remote_bye")
        await asyncio.sleep(0.05)

    # -- what the caller expects

    async def hears(self, text: str, *, timeout_s: float = 60.0) -> str:
        """Wait until the agent has said `text` (letters in any case) after what was heard before; gives all that it said.

        Raises AssertionError when it does not come.
        """
        heard: list[str] = []

        def has_come() -> bool:
            while self._n_read < len(self.transcript):
                speaker, line = self.transcript[self._n_read]
                self._n_read += 1
                if speaker == "agent":
                    heard.append(line)
                if text.lower() in " ".join(heard).lower():
                    return True
            return False

        await self._until(has_come, timeout_s, f"the agent has not said {text!r}; it has said {' '.join(heard)!r}", heard)
        return " ".join(heard)

    async def is_answered(self, *, timeout_s: float = 60.0) -> None:
        """Wait until the call is answered."""
        await self._until(lambda: any(isinstance(event, events.Answer) for event in self.events), timeout_s, "the call is not answered", [])

    async def is_over(self, *, timeout_s: float = 600.0) -> None:
        """Wait for the end of the call."""
        await self._until(lambda: any(_is_end(event) for event in self.events), timeout_s, "the call does not end", [])

    @property
    def was_referred_to(self) -> list[str]:
        """Where the program has asked this caller's carrier to transfer it."""
        return list(self._leg.referred_to)

    @property
    def digits_heard(self) -> str:
        """What the program has sent as digits."""
        return self._leg.stream.digits_sent if self._leg.stream is not None else ""

    # -- inside

    def take(self, event: events.Event) -> None:
        """An event of the call."""
        self.events.append(event)
        if isinstance(event, events.AddHistory) and not event.refer:
            self.transcript.append(("agent" if event.speaker in AGENT else "caller", event.text))
        self._news.set()

    async def _until(self, has_come: Callable[[], bool], timeout_s: float, otherwise: str, heard: list[str]) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                while not has_come():
                    assert not any(_is_end(event) for event in self.events), f"the call is over; {otherwise}; heard: {heard}"
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"{otherwise}; heard within {timeout_s:g} s: {heard}") from None


Script = Callable[[Caller], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class CallResult:
    """What has become of a virtual call."""

    transcript: tuple[tuple[str, str], ...]
    """Who (`caller` or `agent`) said what, as far as it was heard."""
    events: tuple[events.Event, ...]
    record: CallRecord
    ended_by: str
    """`caller`, `callee`, `agent` or `system`."""
    end_reason: str
    sip_code: int | None
    """Of a refusal; None for a call that was answered."""
    placed: tuple[str, ...]
    """Whom the program has called, in order."""
    spoken: tuple[str, ...]
    """Every text that was synthesised, heard or not."""
    prompts: tuple[Any, ...] = field(default=(), repr=False)
    """What the language model was asked."""

    @property
    def said(self) -> str:
        """All that the caller heard the agent say."""
        return " ".join(text for speaker, text in self.transcript if speaker == "agent")


def virtual_call(
    program: App | Handler,
    script: Script,
    *,
    caller: str = "sip:+15550001@example.com",
    callee: str = "sip:+15559999@example.com",
    headers: Mapping[str, str] | None = None,
    trunk: str = "",
    model: Iterable[Reply] = (),
    others: Mapping[str, Script | int] | None = None,
    allows_refer: bool = True,
) -> CallResult:
    """Call `program` (an App, or one handler) and play `script`; returns when the call is over and its handler has ended.

    `others`: scripts of those whom the program calls or transfers to, by address; a number refuses with that SIP status, an address that is
    not named does not exist (404). `allows_refer`: whether the caller's carrier takes a REFER. Raises what the script raises.
    """
    return run_virtually(
        _play(program, script, caller, callee, dict(headers or {}), trunk, tuple(model), dict(others or {}), allows_refer=allows_refer)
    )


async def _play(
    program: App | Handler,
    script: Script,
    caller: str,
    callee: str,
    headers: dict[str, str],
    trunk: str,
    model: tuple[Reply, ...],
    others: dict[str, Script | int],
    *,
    allows_refer: bool,
) -> CallResult:
    app = program if isinstance(program, App) else _app_of(program)
    async with httpx.AsyncClient() as http, _VirtualServer(app, http, model, others) as server:
        methods = frozenset({"INVITE", "BYE", "INFO", "MESSAGE"} | ({"REFER"} if allows_refer else set()))
        leg = FakeLeg(caller=caller, callee=callee, headers=headers, trunk=trunk, allowed=methods, direction="inbound")
        other = server.party(leg)
        server.directory.handle_incoming(leg)  # type: ignore[arg-type]
        playing = asyncio.ensure_future(script(other))
        try:
            over = asyncio.ensure_future(other.is_over())
            await asyncio.wait({playing, over}, return_when=asyncio.FIRST_COMPLETED)
            if playing.done():
                playing.result()
                if leg.ended is None and not over.done():
                    await asyncio.wait({over}, timeout=60.0)
                    if leg.ended is None:
                        await other.hangs_up()
            await over
            await playing
        finally:
            playing.cancel()
            over.cancel()
            await asyncio.gather(playing, over, return_exceptions=True)
            if leg.ended is None:
                leg.end("caller", "remote_bye")
            await app.close()
            await server.directory.drain(0.0)
        return server.result(other)


def _app_of(handler: Handler) -> App:
    app = App()
    app.incoming()(handler)
    return app


class _VirtualServer:
    """Stands in for the running server: the real call registry over legs, engines and records that exist only here."""

    def __init__(self, app: App, http: httpx.AsyncClient, model: tuple[Reply, ...], others: dict[str, Script | int]) -> None:
        self._app = app
        self._others = others
        self._tasks: list[asyncio.Task[object]] = []
        self._parties: dict[int, Caller] = {}
        self._placed: list[str] = []
        self._engines = FakeEngines(responder=FakeResponder(model))
        self._records = _Records()
        self._failures: list[BaseException] = []
        self._session_ids: dict[int, str] = {}
        """By the party of the call."""
        loop = asyncio.get_running_loop()
        services = CallDependencies(
            recordings=Path("/nonexistent"),
            world=World(VirtualClock(loop), CountingRandomness()),  # type: ignore[arg-type]
            engines=self._engines,  # type: ignore[arg-type]
            http=http,
            records=self._records,
            playbooks=Playbooks(Path, {}),
            join=join_fakes,  # type: ignore[arg-type]
        )
        self.directory = CallRegistry(services, app.router(None), self, lambda: True)  # type: ignore[arg-type]
        self.directory.on_new_session = self._began

    async def __aenter__(self) -> _VirtualServer:
        self._app.begin(self)
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._failures:
            raise self._failures[0]

    # -- the network: where the legs of placed calls come from

    def new_leg(self, option: CallOption, request: object = None) -> FakeLeg:
        """The leg of a call to `option.callee`, which its script answers."""
        address = option.callee or ""
        self._placed.append(address)
        other = self._others.get(address, 404)
        if isinstance(other, int):
            return FakeLeg(caller=option.caller or "", callee=address, direction="outbound", answers=False, refuses=(other, "Refused"))
        leg = FakeLeg(caller=option.caller or "", callee=address, direction="outbound")
        self._tasks.append(asyncio.ensure_future(self._follow(other(self.party(leg)))))
        return leg

    def check_outbound(self, callee: str, request: object) -> None:
        """Everybody may be called here. Raises LocalProtocolError for no address at all."""
        if not callee:
            raise LocalProtocolError("there is no address to call")

    def way_out(self, trunk: str) -> str:
        """Numbers go nowhere else."""
        return ""

    def party(self, leg: FakeLeg) -> Caller:
        """The other side of `leg`."""
        recogniser = self._engines.recogniser
        assert isinstance(recogniser, FakeRecogniser)
        return self._parties.setdefault(id(leg), Caller(leg, recogniser))

    def result(self, other: Caller) -> CallResult:
        """What has become of the call of `other`."""
        record = next(record for record in self._records.written if record.session_id == self._session_ids[id(other)])
        end = next(event for event in other.events if _is_end(event))
        assert isinstance(end, events.Hangup)
        spoken = getattr(self._engines.synthesiser, "spoken", [])
        return CallResult(
            transcript=tuple(other.transcript),
            events=tuple(other.events),
            record=record,
            ended_by=end.initiator or "",
            end_reason=end.reason or "",
            sip_code=record.sip_code,
            placed=tuple(self._placed),
            spoken=tuple(one.text for one in spoken),
            prompts=tuple(getattr(self._engines.responder, "requests", ())),
        )

    def _began(self, call: Any) -> None:
        party = self._parties.get(id(call.leg))
        if party is not None:
            self._session_ids[id(party)] = call.id
            call.watch(party.take)

    async def _follow(self, work: Awaitable[object]) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001 - a failure of a script is the failure of the test
            self._failures.append(error)


class _Records:
    """Keeps records in memory."""

    def __init__(self) -> None:
        self.written: list[CallRecord] = []

    def begin(self, call: OpenCall) -> None:
        pass

    def update(self, call: OpenCall) -> None:
        pass

    def write(self, record: CallRecord) -> None:
        self.written.append(record)


def _is_end(event: events.Event) -> bool:
    return isinstance(event, events.Hangup) and not event.refer
