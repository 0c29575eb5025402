"""One call with the caller's real sound in virtual time: the whole call machine, the voice detector and the recogniser, without a wire.

The agent's voice is none (a silence as long as its text), so that nothing of it is heard by the caller's side: no echo, no overlap.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from active_call.app.app import App
from active_call.contract import events
from active_call.legs.events import LegMedia
from active_call.media.link.messages import Link
from active_call.testing.sound.audio import Pcm
from active_call.testing.spoken_calls.line import Line
from active_call.testing.spoken_calls.recogniser import CachedRecogniser, OfflineRecogniser
from active_call.testing.virtual_caller import Caller, is_end
from active_call.testing.virtual_server import VirtualServer, WatchedLeg
from active_call.testing.virtual_time import run_virtually

AFTER_REPLY_S = 0.8
"""How long after the agent's last sound the caller speaks."""
PATIENCE_S = 6.0
"""A reply that takes longer does not count."""
GREETING_S = 30.0


@dataclass(slots=True)
class PlayedTurn:
    """The result of one utterance of the caller, in seconds of the call. `heard`: what was recognised."""

    began: float
    ended: float
    answers: list[float] = field(default_factory=list)
    """When the agent began to speak, from the beginning of what was said on."""
    heard: str = ""
    reply: str = ""
    """The agent's answer."""

    @property
    def is_cut_off(self) -> bool:
        """The agent began to speak before the last word."""
        return bool(self.answers) and self.answers[0] < self.ended

    @property
    def delay_s(self) -> float | None:
        """From the last word to the agent's first sound; None if there was none, or it came too early."""
        return self.answers[0] - self.ended if self.answers and not self.is_cut_off else None


@dataclass(slots=True)
class PlayedCall:
    """A finished call. `ended_by` is `agent` or `caller`."""

    turns: list[PlayedTurn] = field(default_factory=list)
    ended_by: str = ""


def play_call(playbook: Path, said: Sequence[Pcm], background: Pcm, cached: CachedRecogniser) -> PlayedCall:
    """Call `playbook`, say each of `said` (8 kHz) when the agent has finished, and hang up."""
    return run_virtually(_play(playbook, said, background, cached))


async def _play(playbook: Path, said: Sequence[Pcm], background: Pcm, cached: CachedRecogniser) -> PlayedCall:
    async with httpx.AsyncClient() as http, VirtualServer(App(), http, playbook=playbook, recogniser=OfflineRecogniser(cached)) as server:
        leg = WatchedLeg(direction="inbound", allowed=frozenset({"INVITE", "BYE", "REFER"}))
        caller = _Caller(leg, server.party(leg), background)
        server.registry.handle_incoming(leg)  # type: ignore[arg-type]
        line = asyncio.ensure_future(caller.line_runs())
        try:
            await caller.talk(said)
        finally:
            line.cancel()
            await asyncio.gather(line, return_exceptions=True)
            if leg.ended is None:
                leg.end("caller", "remote_bye")
            await asyncio.sleep(1.0)
            await server.stop()
        return caller.played


class _Caller:
    """The caller, with a real voice."""

    def __init__(self, leg: WatchedLeg, party: Caller, background: Pcm) -> None:
        self._leg = leg
        self._party = party
        self._loop = asyncio.get_running_loop()
        self._line = Line(self._report, background)
        self._n_read = 0
        self._is_agent_speaking = False
        self._agent_since: list[float] = []
        self._agent_until = 0.0
        self.played = PlayedCall()

    def _report(self, report: Link) -> None:
        if self._leg.ended is None:
            self._leg.sink(LegMedia(report))  # type: ignore[arg-type]

    async def line_runs(self) -> None:
        """Send and be heard as the call orders, until cancelled."""
        asyncio.ensure_future(self._follow_orders())  # noqa: RUF006 - ends with the loop
        await self._line.run()

    async def _follow_orders(self) -> None:
        order = None
        while self._leg.ended is None:
            stream = self._leg.stream
            if stream is not None and stream.listen_order is not None and stream.listen_order is not order:
                order = stream.listen_order
                self._line.listen(order)
            self._read()
            await asyncio.sleep(0.01)

    async def talk(self, said: Sequence[Pcm]) -> None:
        """Say one after another."""
        await self._wait_until(self._agent_was_silent, GREETING_S)
        for pcm in said:
            if self._leg.ended is not None:
                break
            turn = PlayedTurn(*await self._say(pcm))
            turn.answers = [at for at in self._agent_since if at >= turn.began]
            turn.heard, turn.reply = self._texts("caller"), self._texts("agent")
            self.played.turns.append(turn)
            self._n_lines = len(self._party.transcript)
        end = next((event for event in self._party.events if is_end(event)), None)
        self.played.ended_by = (end.initiator or "") if isinstance(end, events.Hangup) else "caller"

    _n_lines = 0

    async def _say(self, pcm: Pcm) -> tuple[float, float]:
        self._n_lines = len(self._party.transcript)
        began, ended = await self._line.say(pcm)
        await self._wait_until(lambda: bool(self._agent_since) and self._agent_since[-1] >= began, PATIENCE_S)
        await self._wait_until(self._agent_was_silent, GREETING_S)
        return began, ended

    def _texts(self, speaker: str) -> str:
        return " ".join(text for who, text in self._party.transcript[self._n_lines :] if who == speaker)

    def _agent_was_silent(self) -> bool:
        is_silent = bool(self._agent_since) and not self._is_agent_speaking
        return self._leg.ended is not None or (is_silent and self._loop.time() - self._agent_until >= AFTER_REPLY_S)

    async def _wait_until(self, has_come: object, timeout_s: float) -> None:
        deadline = self._loop.time() + timeout_s
        while self._loop.time() < deadline and self._leg.ended is None:
            self._read()
            if has_come():  # type: ignore[operator]
                return
            await asyncio.sleep(0.005)
        self._read()

    def _read(self) -> None:
        while self._n_read < len(self._party.events):
            event = self._party.events[self._n_read]
            self._n_read += 1
            if isinstance(event, events.TrackStart):
                self._is_agent_speaking = True
                self._agent_since.append(self._loop.time())
            elif isinstance(event, events.TrackEnd | events.Interruption):
                self._is_agent_speaking, self._agent_until = False, self._loop.time()
