"""Replaces the running server in virtual calls: the real call registry over legs, engines and records that exist only in memory."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from active_call.app.app import App
from active_call.base.errors import LocalProtocolError
from active_call.base.world import World
from active_call.call.dependencies import CallDependencies
from active_call.call.handle import CallHandle
from active_call.call.opening.registry import CallRegistry
from active_call.call.opening.routing import PlaybookRouter, Playbooks, Router
from active_call.contract import events
from active_call.contract.options import CallOption
from active_call.legs.events import LegEvent
from active_call.providers.speech_to_text import SpeechToText
from active_call.server.config.config import default_option
from active_call.server.config.sections import PlaybookHandler
from active_call.server.explain import playbook_router
from active_call.server.playbook_files import find_playbook
from active_call.server.setup.outside import sound_folders
from active_call.store.records import CallRecord, OpenCall
from active_call.testing.fakes.call import FakeLeg, join_fakes
from active_call.testing.fakes.providers import FakeEngines, FakeRecogniser, FakeResponder, Reply
from active_call.testing.fakes.realtime import FakeRealtimeModel
from active_call.testing.fakes.sounds import FakeSounds
from active_call.testing.virtual_caller import Caller, Script, is_end
from active_call.testing.virtual_time import CountingRandomness, VirtualClock


@dataclass(frozen=True, slots=True)
class CallResult:
    """The result of a virtual call."""

    transcript: tuple[tuple[str, str], ...]
    """Who (`caller` or `agent`) said what, as far as it was heard."""
    events: tuple[events.Event, ...]
    record: CallRecord
    ended_by: str
    """`caller`, `callee`, `agent` or `system`."""
    end_reason: str
    sip_code: int | None
    """The status of a refusal; None for an answered call."""
    placed: tuple[str, ...]
    """The addresses that the program has called, in order."""
    spoken: tuple[str, ...]
    """Every text that was synthesised, heard or not."""
    played: tuple[str, ...] = ()
    """Every file, URL and tone that was played, to its end or not."""
    prompts: tuple[Any, ...] = field(default=(), repr=False)
    """The requests to the language model."""

    @property
    def said(self) -> str:
        """Everything that the other side heard the agent say."""
        return " ".join(text for speaker, text in self.transcript if speaker == "agent")

    @property
    def other_side(self) -> str:
        """Who was in the call with the program: the caller of an inbound call, the callee of an outbound one."""
        return self.record.caller if self.record.direction == "inbound" else self.record.callee


class WatchedLeg(FakeLeg):
    """A leg that tells its far end when anything happens to it."""

    party: Caller | None = None

    def sink(self, event: LegEvent) -> None:
        super().sink(event)
        if self.party is not None:
            self.party.wake()

    def end(self, by: str, cause: str, code: int | None = None, reason: str = "", q850: int | None = None) -> None:
        super().end(by, cause, code, reason, q850)
        if self.party is not None:
            self.party.wake()


class VirtualServer:
    """Runs `app` for as long as its context lasts. `others`: scripts of those who are called, or the SIP status that refuses a call.

    `playbook`: takes the calls that no function of the application takes; without one the configured playbooks do. `recogniser`: hears the
    callers; without one what they say is understood as it was written. `realtime`: the replies of the speech-to-speech model; None: there
    is none. `may_fail`: the failure of one of the application's functions is only logged.
    """

    def __init__(
        self,
        app: App,
        http: httpx.AsyncClient,
        *,
        model: Iterable[Reply] = (),
        others: Mapping[str, Script | int] | None = None,
        playbook: Path | None = None,
        recogniser: SpeechToText | None = None,
        realtime: Iterable[str] | None = None,
        may_fail: bool = False,
    ) -> None:
        self._app = app
        self._others = dict(others or {})
        self._tasks: list[asyncio.Task[object]] = []
        self._parties: dict[str, Caller] = {}
        """By the Call-ID of the leg."""
        self._placed: list[str] = []
        self._scripted = FakeRecogniser()
        self._engines = FakeEngines(recogniser=recogniser or self._scripted, responder=FakeResponder(model))
        if realtime is not None:
            self._engines.realtime = FakeRealtimeModel(realtime, self._scripted.script)
        self._sounds = FakeSounds(sound_folders(app.config))
        self._records = _Records()
        self._may_fail = may_fail
        self._failures: list[BaseException] = []
        """Of the application's functions and of the scripts of `others`."""
        self._began: list[tuple[str, Caller]] = []
        """Every call with its id, in the order of their beginnings."""

        def find(name: str) -> Path:
            return playbook if playbook is not None and name == str(playbook) else find_playbook(name, app.config)

        loop = asyncio.get_running_loop()
        services = CallDependencies(
            recordings=Path("/nonexistent"),
            world=World(VirtualClock(loop), CountingRandomness()),
            engines=self._engines,
            http=http,
            records=self._records,
            playbooks=Playbooks(find, os.environ),
            defaults=default_option(app.config),
            sounds=self._sounds,
            join=join_fakes,  # type: ignore[arg-type]
        )
        router = app.router(_configured_router(app, playbook))
        self.registry = CallRegistry(services, router, self, lambda: True)  # type: ignore[arg-type]
        self.registry.on_new_call = self._begin

    async def __aenter__(self) -> VirtualServer:
        self._app.begin(self, on_failure=self._fail)
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def stop(self) -> None:
        """End the remaining calls, and wait for the application's functions. Raises what one of them has raised, or a
        script of `others`.
        """
        draining = asyncio.ensure_future(self.registry.drain(0.0))
        await self._app.close()
        await draining
        if self._failures:
            raise self._failures[0]

    # -- the network: where the legs of placed calls come from

    def new_leg(self, option: CallOption, request: object = None) -> FakeLeg:
        """The leg of a call to `option.callee`, which its script answers."""
        address = option.callee or ""
        self._placed.append(address)
        other = self._others.get(address, 404)
        if isinstance(other, int):
            refused = WatchedLeg(
                caller=option.caller or "", callee=address, direction="outbound", answers=False, refuses=(other, "Refused")
            )
            self.party(refused)
            return refused
        leg = WatchedLeg(caller=option.caller or "", callee=address, direction="outbound")
        self._tasks.append(asyncio.ensure_future(self._follow(other(self.party(leg)))))
        return leg

    def check_outbound(self, callee: str, request: object) -> None:
        """Every address may be called here. Raises LocalProtocolError without an address."""
        if not callee:
            raise LocalProtocolError("there is no address to call")

    def way_out(self, trunk: str) -> str:
        """Numbers are not rewritten."""
        return ""

    def party(self, leg: WatchedLeg) -> Caller:
        """The other side of `leg`."""
        if leg.party is None:
            leg.call_id = f"virtual-{len(self._parties) + 1}"
            leg.party = self._parties[leg.call_id] = Caller(leg, self._scripted)
        return leg.party

    # -- what has happened

    @property
    def placed(self) -> tuple[str, ...]:
        """The addresses that the application has called, in order."""
        return tuple(self._placed)

    def results(self) -> tuple[CallResult, ...]:
        """The result of every call, in the order in which they began; after `stop`."""
        return tuple(self._result(session_id, party) for session_id, party in self._began)

    def result(self, other: Caller) -> CallResult:
        """The result of the call of `other`; after `stop`."""
        return next(self._result(session_id, party) for session_id, party in self._began if party is other)

    def _result(self, session_id: str, other: Caller) -> CallResult:
        record = next(record for record in self._records.written if record.session_id == session_id)
        end = next(event for event in other.events if is_end(event))
        assert isinstance(end, events.Hangup)
        return CallResult(
            transcript=tuple(other.transcript),
            events=tuple(other.events),
            record=record,
            ended_by=end.initiator or "",
            end_reason=record.hangup_reason,
            sip_code=record.sip_code,
            placed=self.placed,
            spoken=tuple(one.text for one in getattr(self._engines.synthesiser, "spoken", [])),
            played=tuple(self._sounds.played),
            prompts=tuple(getattr(self._engines.responder, "requests", ())),
        )

    def _begin(self, call: CallHandle) -> None:
        party = self._parties.get(call.describe().call_id)
        if party is not None:
            self._began.append((call.id, party))
            party.begin()
            events_of_call = call.subscribe()

            def read() -> None:
                for item in events_of_call.take():
                    party.take(item.event)

            events_of_call.notify(read)

    def _fail(self, error: BaseException) -> None:
        """A function of the application has failed."""
        if not self._may_fail:
            self._failures.append(error)

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


def _configured_router(app: App, playbook: Path | None) -> Router | None:
    if playbook is not None:
        return PlaybookRouter((), str(playbook))
    handler = app.config.handler
    return playbook_router(handler) if isinstance(handler, PlaybookHandler) else None
