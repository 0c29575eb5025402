"""Whole calls in virtual time, for tests of programs: the real call machine and a scripted caller. No phone, no sound, no waiting.

    async def caller(caller: Caller) -> None:
        await caller.hears("Your PIN")
        await caller.press("1234")
        await caller.hears("Thank you")

    def test_pin_is_asked_for() -> None:
        result = virtual_call(app, caller)
        assert result.ended_by == "agent"

Minutes pass in milliseconds, always the same way. Speech is text here: the recogniser gets what the caller `says`, and what the program
says is heard after 50 ms a character. `model` holds the replies of the language model. Calls that the program places, or transfers to, are
answered by the scripts in `others`, by address. `virtual_run` is for programs that place calls by themselves, and for several callers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from active_call.app.app import App
from active_call.app.programs import Handler
from active_call.testing.fakes.providers import Reply
from active_call.testing.virtual_caller import Caller, Script
from active_call.testing.virtual_server import CallResult, VirtualServer, WatchedLeg
from active_call.testing.virtual_time import run_virtually

__all__ = ["CallResult", "Caller", "Incoming", "RunResult", "Script", "virtual_call", "virtual_run"]

CALLER, CALLEE = "sip:+15550001@example.com", "sip:+15559999@example.com"
HANGS_UP_AFTER_S = 60.0
"""When the script of a caller has ended, the caller hangs up after this time, unless the program has."""

Program = App | Handler | Path
"""What answers the calls: an application, one function, or the file of a playbook."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """An inbound call, `after_s` seconds after the beginning."""

    script: Script
    after_s: float = 0.0
    caller: str = CALLER
    callee: str = CALLEE
    headers: Mapping[str, str] = field(default_factory=dict)
    trunk: str = ""
    allows_refer: bool = True
    """Whether the caller's carrier accepts a REFER."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """The result of a program that ran in virtual time."""

    value: Any
    """The return value of its own work; None if it was stopped."""
    calls: tuple[CallResult, ...]
    """Every call, inbound and outbound, in the order in which they began."""
    placed: tuple[str, ...]
    """The addresses that the program has called, in order."""

    def calls_with(self, other_side: str) -> list[CallResult]:
        """The calls with that caller, or to that callee, in order."""
        return [call for call in self.calls if call.other_side == other_side]


def virtual_call(
    program: Program,
    script: Script,
    *,
    caller: str = CALLER,
    callee: str = CALLEE,
    headers: Mapping[str, str] | None = None,
    trunk: str = "",
    model: Iterable[Reply] = (),
    realtime: Iterable[str] | None = None,
    others: Mapping[str, Script | int] | None = None,
    allows_refer: bool = True,
    may_fail: bool = False,
) -> CallResult:
    """Call `program` and play `script`; returns when the call is over and its handler has ended.

    `model`: the replies of the language model; `realtime`: those of a speech-to-speech model, of which `call NAME ARGUMENTS` calls a tool;
    None: no such model is installed. `others`: scripts of those whom the program calls or transfers to, by address; a number refuses with
    that SIP status, an address that is not named does not exist (404). `allows_refer`: whether the caller's carrier takes a REFER.

    Raises what a function of the program raises, unless it `may_fail`: then the call ends as on a server. Raises what a script raises.
    """
    incoming = Incoming(script, 0.0, caller, callee, dict(headers or {}), trunk, allows_refer)
    result = virtual_run(program, callers=[incoming], model=model, realtime=realtime, others=others, may_fail=may_fail)
    return next(call for call in result.calls if call.record.direction == "inbound")


def virtual_run(
    program: Program,
    work: Coroutine[Any, Any, Any] | None = None,
    *,
    callers: Sequence[Incoming] = (),
    model: Iterable[Reply] = (),
    realtime: Iterable[str] | None = None,
    others: Mapping[str, Script | int] | None = None,
    for_s: float | None = None,
    may_fail: bool = False,
) -> RunResult:
    """Run `program`, with `callers` who call it, and `work` of its own beside them: `virtual_run(app, main())`.

    Returns when `work` and all calls of `callers` are over. `for_s`: stop `work` after so many seconds, as a stop signal does. `others`,
    `model` and `may_fail` as in `virtual_call`. Raises what `work`, a function of the program or a script raises. In `work`,
    `async with app:` finds the application running.
    """
    return run_virtually(_run(program, work, callers, model, others, for_s, realtime, may_fail))


async def _run(
    program: Program,
    work: Coroutine[Any, Any, Any] | None,
    callers: Sequence[Incoming],
    model: Iterable[Reply],
    others: Mapping[str, Script | int] | None,
    for_s: float | None,
    realtime: Iterable[str] | None,
    may_fail: bool,
) -> RunResult:
    app = program if isinstance(program, App) else App()
    playbook = program if isinstance(program, Path) else None
    if not isinstance(program, App | Path):
        app.incoming()(program)
    async with (
        httpx.AsyncClient() as http,
        VirtualServer(app, http, model=model, others=others, playbook=playbook, realtime=realtime, may_fail=may_fail) as server,
    ):
        working = asyncio.ensure_future(_limited(work, for_s))
        tasks = [working, *(asyncio.ensure_future(_call_in(server, one)) for one in callers)]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            for task in tasks:
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            failed = [one for one in outcomes if isinstance(one, BaseException) and not isinstance(one, asyncio.CancelledError)]
            await server.stop()
        if failed:
            raise failed[0]
        return RunResult(working.result(), server.results(), server.placed)


async def _limited(work: Coroutine[Any, Any, Any] | None, for_s: float | None) -> Any:
    if work is None:
        return None
    try:
        async with asyncio.timeout(for_s) as limit:
            return await work
    except TimeoutError:
        if not limit.expired():
            raise
        return None


async def _call_in(server: VirtualServer, incoming: Incoming) -> None:
    """One inbound call, from its INVITE to its end."""
    await asyncio.sleep(incoming.after_s)
    methods = frozenset({"INVITE", "BYE", "INFO", "MESSAGE"} | ({"REFER"} if incoming.allows_refer else set()))
    leg = WatchedLeg(
        caller=incoming.caller,
        callee=incoming.callee,
        headers=dict(incoming.headers),
        trunk=incoming.trunk,
        allowed=methods,
        direction="inbound",
    )
    other = server.party(leg)
    server.registry.handle_incoming(leg)  # type: ignore[arg-type]
    playing = asyncio.ensure_future(incoming.script(other))
    over = asyncio.ensure_future(other.is_over())
    try:
        await asyncio.wait({playing, over}, return_when=asyncio.FIRST_COMPLETED)
        if playing.done():
            playing.result()
            await asyncio.wait({over}, timeout=HANGS_UP_AFTER_S)
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
