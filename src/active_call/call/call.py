"""One call: one ordered mailbox, one task group that owns every lifetime of the call, one loop that never waits for anybody.

What enters: commands (clients, the agent), events of the leg and its media stream, results of providers. What leaves: contract events to
whoever watches, commands to the leg, sound to the stream, one record at the end. The parts keep to their trade: `hearing` the caller's
speech, `speaking` the agent's, `opening` the beginning, `brain` the agent, `control` the commands, `journal` the record.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Protocol

import msgspec

from active_call.agent import effects
from active_call.agent.playbook.scenes import Playbook
from active_call.base.errors import ActiveCallError, MediaError
from active_call.call.agent_runner import AgentRunner
from active_call.call.attention import CallerSilence
from active_call.call.bridging import Bridging
from active_call.call.call_progress import CallProgressWatch
from active_call.call.closing import Parts, close_each
from active_call.call.dependencies import CallDependencies
from active_call.call.dispatch import carry_out
from active_call.call.faults import Faults
from active_call.call.holding import Holding
from active_call.call.items import ForAgent, Item, Later, RecogniserFailed, is_essential, sender_of
from active_call.call.journal import Journal
from active_call.call.latency import TurnClock
from active_call.call.leg import Leg
from active_call.call.leg_reports import LegReports
from active_call.call.log import CallLog
from active_call.call.mailbox import Mailbox
from active_call.call.media_watchdog import MediaWatchdog
from active_call.call.music import Music
from active_call.call.options import choose_speech, merged
from active_call.call.recording import Recording
from active_call.call.routing import Router
from active_call.call.setup import CallSetup, Fatal, Routed
from active_call.call.speech_input import SpeechInput
from active_call.call.speech_output import SpeechOutput
from active_call.call.state import Phase, facts_of
from active_call.call.transfer.executor import TransferExecutor
from active_call.contract import commands, events
from active_call.contract.options import CallOption
from active_call.legs import events as leg_events
from active_call.legs.trunks.outbound_guard import ANYTHING, Asker, OutboundRequest
from active_call.media.link import messages as link
from active_call.media.pool.pool import StreamLost
from active_call.providers.base import Recognised
from active_call.sdp.protection import without_keys


class Registry(Protocol):
    """The other calls of this server, as one of them sees them."""

    def find(self, session_id: str) -> Call | None:
        """The live call of that session id or, failing that, of that protocol's own id."""
        ...

    def new_leg(self, option: CallOption, request: OutboundRequest = ANYTHING) -> Leg:
        """A leg that will dial `option.callee`, as `request` wants it. Raises ActiveCallError when the address cannot be used."""
        ...

    def check_outbound(self, callee: str, request: OutboundRequest) -> object:
        """Raise NotAllowed where `callee` may not be called, ActiveCallError where it is no address."""
        ...

    def way_out(self, trunk: str) -> str:
        """The address of the named trunk, else of the first one that has any; empty where there is none."""
        ...


class Call:
    """One call from birth to record. `run` is its life; everything else posts into it."""

    def __init__(
        self,
        session_id: str,
        leg: Leg,
        services: CallDependencies,
        *,
        direction: str,
        option: CallOption = CallOption(),  # noqa: B008 (frozen)
        playbook: Playbook | None = None,
        variables: Mapping[str, Any] | None = None,
        router: Router | None = None,
        house: Registry | None = None,
    ) -> None:
        self.leg = leg
        self._house = house
        self.services = services
        self.option = merged(option, services.defaults)
        self.playbook = playbook
        self._clock = services.world.clock
        self._began_at = self._clock.now()
        self.facts = facts_of(leg, session_id, direction, self._clock.utc_now(), variables or {})
        self.given_texts = [str(value) for value in (variables or {}).values()]
        """Variables of whoever has placed or accepted the call; what the caller or a model sets later is not among them."""
        self._epoch_offset_s = self.facts.started_at.timestamp() - self._began_at
        self.log = CallLog(logging.getLogger("active_call.call"), {"session_id": session_id, "call_id": leg.call_id})
        self._mailbox: Mailbox[Item] = Mailbox(is_essential)
        self.faults = Faults(self.log, lambda sender, error: self.emit(events.Error(sender=sender, error=error)), self._give_up)
        self._is_broken = False
        self._hangup: events.Hangup | None = None
        self.is_ending = False
        """Somebody has hung up, or refused the call: its end is on its way."""
        self._watchers: list[Callable[[events.Event], None]] = []
        self._tasks: asyncio.TaskGroup | None = None
        self._leg_ended: leg_events.LegEnded | None = None
        self._last_end: leg_events.LegEnded | None = None
        self._is_closed = False
        self._opening = CallSetup(self, router, option)
        self._last_activity_at = self._clock.now()
        self.brain: AgentRunner | None = None
        self.turn = TurnClock()
        self.journal = Journal(self.facts)
        self.hearing = SpeechInput(
            emit=self.emit, to_epoch_ms=self.to_epoch_ms, turn=self.turn, end_of_turn_ms=choose_speech(self.option, None).end_of_turn_ms
        )
        self.speaking = SpeechOutput(
            emit=self.emit,
            clock=self._clock,
            turn=self.turn,
            on_auto_hangup=lambda: self.hang_up(by="agent", cause="autohangup"),
            sounds=services.sounds,
            speech=services.speech,
        )
        self.music = Music(lambda: self.leg.stream, self.spawn, self.pieces_of, self.music_failed)
        self.transfers = TransferExecutor(self)
        self.bridging = Bridging(self)
        self.holding = Holding(self)
        self.recording = Recording(self)
        self._reports = LegReports(self)
        self.presence = CallerSilence(self)
        self.surroundings = CallProgressWatch(self)
        self.direction = MediaWatchdog(self)
        leg.attach(self.post)

    # -- from outside

    @property
    def id(self) -> str:
        return self.facts.session_id

    def post(self, item: Item) -> None:
        """Put something into the mailbox. The caller's sound goes past it: it is in order by its sample numbers."""
        if isinstance(item, leg_events.LegMedia) and isinstance(item.report, link.CallerAudio):
            self.hearing.audio(item.report)
            return
        self._mailbox.put(item, always=isinstance(item, leg_events.LegEnded))

    def post_later(self, do: Callable[[], object]) -> None:
        """Have something done in its turn, as an item of the mailbox."""
        self.post(Later(do))

    def post_to_agent(self, item: effects.AgentInput) -> None:
        """Put something for the agent into the mailbox."""
        self.post(ForAgent(item))

    def recogniser_failed(self, error: Exception) -> None:
        """The recogniser could not; what it was asked has no other result."""
        self.post(RecogniserFailed(error))

    def accept(self, option: CallOption) -> None:
        """Answer an inbound call, by command. Raises LocalProtocolError for one that is settled already."""
        self._opening.accept(option)

    def reject(self, code: int, reason: str) -> None:
        """Refuse an inbound call, by command. Raises LocalProtocolError for one that is settled already."""
        self._opening.reject(code, reason)

    def ring(self, command: commands.Ringing) -> None:
        """Let the caller hear that it rings, by command."""
        self._opening.ring(command)

    def now(self) -> float:
        """Monotonic seconds."""
        return self._clock.now()

    def utc_now(self) -> datetime:
        """The time of day: that of the call's beginning and what has passed since, so that a clock that is set changes no duration."""
        return self.facts.started_at + timedelta(seconds=self._clock.now() - self._began_at)

    def watch(self, watcher: Callable[[events.Event], None]) -> Callable[[], None]:
        """Call `watcher` with every event from now on, until the returned function is called; of a call that is over, with its hangup."""
        self._watchers.append(watcher)
        if self._hangup is not None:
            watcher(self._hangup)
        return lambda: self._watchers.remove(watcher) if watcher in self._watchers else None

    def emit(self, event: events.Event) -> None:
        """An event has happened: stamp it, write it down, tell the agent and everybody who watches."""
        stamped = self.tell(event)
        if self.brain is not None:
            self.brain.hear(effects.Heard(stamped))

    def tell(self, event: events.Event) -> events.Event:
        """As `emit`, but not to the agent, who said it. Gives the event with its time."""
        event = _without_keys(event)
        stamped = msgspec.structs.replace(event, timestamp=event.timestamp or self.to_epoch_ms(self._clock.now()))
        self.journal.note(stamped)
        if isinstance(stamped, events.Hangup) and not stamped.refer:
            self._hangup = stamped
        if isinstance(stamped, events.Ringing | events.Answer) and not stamped.refer:
            self.services.records.update(self.journal.open_call())
        for watcher in list(self._watchers):
            try:
                watcher(stamped)
            except Exception:  # who watches does not end what is watched
                self.log.exception("watcher of a call failed")
        return stamped

    # -- for the parts

    @property
    def peer_role(self) -> str:
        """Who the peer of our leg is: `caller` or `callee`."""
        return "caller" if self.facts.direction == "inbound" else "callee"

    @property
    def end_of_turn_ms(self) -> int:
        return choose_speech(self.option, self.playbook).end_of_turn_ms

    def touch(self) -> None:
        """Something is going on in the call: its inactivity counts from now."""
        self._last_activity_at = self._clock.now()

    def leg_over(self, ended: leg_events.LegEnded) -> None:
        """Our leg is gone: so is the call, unless a transfer goes on without it."""
        self._last_end = ended
        if not self.transfers.caller_gone():
            self._leg_ended = ended

    def find_call(self, session_id: str) -> Call | None:
        """Another call of this server, by its session id or its protocol's own id."""
        return self._house.find(session_id) if self._house is not None else None

    def new_leg(self, option: CallOption, request: OutboundRequest = ANYTHING) -> Leg:
        """A further leg of this call. Raises ActiveCallError for an address that cannot be dialled."""
        if self._house is None:
            raise MediaError("this server places no calls")
        return self._house.new_leg(option, request)

    def check_outbound(self, callee: str, request: OutboundRequest) -> None:
        """Raise NotAllowed where `callee` may not be called, ActiveCallError where it is no address."""
        if self._house is not None:
            self._house.check_outbound(callee, request)

    @property
    def way_out(self) -> str:
        """Where numbers without a host go from this call; empty where no trunk is configured."""
        return self._house.way_out(self.leg.trunk) if self._house is not None else ""

    def pieces_of(self, source: str, rate_hz: int) -> AsyncGenerator[bytes, None]:
        """The sound of a file or URL at `rate_hz`. Raises MediaError."""
        if self.services.sounds is None:
            raise MediaError(f"{source}: there is no library of sounds to play it from")
        return self.services.sounds.pieces(source, rate_hz)

    def music_failed(self, error: ActiveCallError) -> None:
        """A piece of music cannot be played."""
        self.emit(events.Error(sender="play", error=str(error)))

    def adopt(self, leg: Leg) -> None:
        """Go on with another leg, that of a target to which the peer has transferred us; the old one is over."""
        before, self.leg = self.leg, leg
        self._last_end = None
        self.is_ending = False
        before.attach(self._hear_afterwards)
        self.facts.call_id = self.facts.call_id or before.call_id
        self.log.info("call goes on with another leg", extra={"far_call_id": leg.call_id})
        leg.attach(self.post)
        self.speaking.interrupt()
        self.holding.forget()
        self.touch()
        self._opening.go_on_with(leg)
        self.recording.go_on()
        self.surroundings.listen()
        self.spawn(self._release(before), "old leg's end")

    def _hear_afterwards(self, event: leg_events.LegEvent) -> None:
        """From a leg that is over: only its recording still matters."""
        if isinstance(event, leg_events.LegMedia) and isinstance(event.report, link.RecordingEnded):
            self.post(event)

    async def _release(self, leg: Leg) -> None:
        self.journal.media["beforeTransfer"] = await leg.release()

    def end_if_gone(self) -> None:
        """Nobody takes the place of our leg: where it is over already, the call is."""
        self._leg_ended = self._last_end

    def take_over(self, leg: Leg) -> None:
        """A new leg names ours as the one that it replaces."""
        leg.attach(lambda _: None)
        self.post_later(lambda: self.transfers.taken_over(leg))

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run `work` as a task of this call. Its failure is told, and ends nothing else."""
        assert self._tasks is not None  # noqa: S101 (only while running)
        task = self._tasks.create_task(self.faults.watch_over(name, work), name=f"{self.id} {name}")
        task.add_done_callback(lambda _: work.close())  # a task that is cancelled before its first step has not begun it
        return task

    def hang_up(self, *, by: str, cause: str, reason: str = "", headers: Mapping[str, str] | None = None) -> None:
        """End the call; the leg tells when it is over."""
        if self.transfers.is_alone:
            self.transfers.withdraw()
            return
        own_option = self._opening.own_option
        own = own_option.sip.hangup_headers if own_option.sip else {}
        agent = self.brain.hangup_headers() if self.brain is not None else {}
        self.leg.hang_up(headers={**own, **agent, **(headers or {})}, by=by, cause=cause, reason=reason)
        self.is_ending = True

    # -- life

    async def run(self) -> None:
        """The whole life of the call; returns when its record has been handed over. Cancelling hangs up."""
        try:
            async with asyncio.TaskGroup() as self._tasks:
                self.log.info("call started", extra={**self.journal.who(), "leg": self.leg.kind})
                self._opening.begin()
                await self._consume()
                raise _CallOver
        except* _CallOver:
            pass
        except* asyncio.CancelledError:
            self.facts.error = self.facts.error or "server stopped"
        except* Exception as failures:
            self.facts.error = "; ".join(f"{type(error).__name__}: {error}" for error in failures.exceptions)
            self.log.exception("call failed", exc_info=failures)
        finally:
            await self._finish()

    async def _consume(self) -> None:
        while self._leg_ended is None and not self._is_broken:
            item = await self._next_item()
            now = self._clock.now()
            if item is not None:
                self.faults.attempt(sender_of(item), partial(self._handle, item, now))
            self.faults.attempt("hearing", partial(self.hearing.handle_timeout, now))
            self.faults.attempt("opening", partial(self._opening.handle_timeout, now))
            self.faults.attempt("refer", partial(self.transfers.handle_timeout, now))
            self.faults.attempt("call", partial(self._handle_own_timeouts, now))
            if self.brain is not None:
                self.faults.attempt("agent", partial(self.brain.settle, now))

    async def _next_item(self) -> Item | None:
        """The next thing in the mailbox, or None when a deadline comes first."""
        if not self._mailbox.is_empty():
            return self._mailbox.get_nowait()
        due = self._next_timeout()
        if due is None:
            return await self._mailbox.get()
        delay = due - self._clock.now()
        if delay <= 0:
            return None
        try:
            async with asyncio.timeout(delay):
                return await self._mailbox.get()
        except TimeoutError:
            return None

    def _next_timeout(self) -> float | None:
        times = [self.hearing.next_timeout(), self._opening.deciding_until, self.transfers.next_timeout(), self._inactive_at()]
        if self.brain is not None:
            times.append(self.brain.next_timeout())
        return min((at for at in times if at is not None), default=None)

    def _inactive_at(self) -> float | None:
        limit_s = self.option.inactivity_timeout
        is_counted = self.facts.phase is Phase.ANSWERED and not self.presence.is_aside
        return self._last_activity_at + limit_s if limit_s and is_counted else None

    def _handle_own_timeouts(self, now: float) -> None:
        if self._mailbox.is_overflowed and not self.is_ending:
            self.facts.error = f"mailbox overflow: the call could not keep up ({self._mailbox.n_refused} items dropped)"
            self.hang_up(by="system", cause="overload")
        inactive_at = self._inactive_at()
        if inactive_at is not None and now >= inactive_at:
            self._last_activity_at = now
            self.emit(events.Inactivity())
            self.hang_up(by="system", cause="inactivity")

    def _give_up(self, reason: str) -> None:
        """The call is broken for good: it ends at once, with a record that says why."""
        self.facts.error = reason
        self._is_broken = True

    async def _finish(self) -> None:
        """Close everything, then the record, which is closed whatever else happens: cancelled, too slow, broken."""
        try:
            if self._leg_ended is None:
                self.hang_up(by="system", cause="error")
            self.facts.reach(Phase.ENDED, self.utc_now())
            self._write_down_last_words()
            await self._close_parts()
        except Exception:
            self.log.exception("call could not be closed in order")
        finally:
            self.close_record()

    async def _close_parts(self) -> None:
        """Each within its own time; an error in one part does not keep the others from closing."""
        parts: Parts = (
            ("transfers", self._close_transfers),
            ("recording", lambda: self.recording.complete(self._next_report)),
            ("leg", self._release_leg),
            ("hearing", self.hearing.close),
        )
        await close_each(parts, self.log)

    async def _close_transfers(self) -> None:
        self.bridging.end()
        await self.transfers.close()

    async def _release_leg(self) -> None:
        self.journal.media |= await self.leg.release()

    def close_record(self) -> None:
        """Tell the end and close the record; harmless a second time."""
        if self._is_closed:
            return
        self._is_closed = True
        self.facts.reach(Phase.ENDED, self.utc_now())
        self.journal.transfers = self.transfers.records()
        self.facts.call_id = self.facts.call_id or self.leg.call_id
        try:
            self.tell(self.journal.hangup_event(self._leg_ended))
        finally:
            if self.facts.error:
                self.log.warning("call ended with an error", extra={"error": self.facts.error})
            self.log.info("call ended", extra={**self.journal.who(), **self.journal.outcome()})
            self.services.records.write(self.journal.record())

    def _write_down_last_words(self) -> None:
        """The turn that the end of the call has cut short."""
        if self.brain is None:
            return
        heard = self.speaking.heard_so_far(self._clock.now())
        if heard is not None:
            self.journal.cut_short()
        self.brain.close(heard)

    async def _next_report(self) -> None:
        """Take in what comes next, when the call is over and only the end of its recording still matters."""
        item = await self._mailbox.get()
        if isinstance(item, leg_events.LegMedia) and isinstance(item.report, link.RecordingEnded | StreamLost):
            self._reports.handle_media(item.report)

    # -- what happens

    def _handle(self, item: Item, now: float) -> None:
        match item:
            case commands.CommandBase():
                self.perform(item)
            case Recognised():
                self._last_activity_at = now
                self.hearing.recognised(item, now)
            case ForAgent(said):
                if self.brain is not None:
                    self.brain.hear(said)
            case Routed(decision):
                self._opening.decided(decision)
            case Later(do):
                do()
            case RecogniserFailed(error):
                self.hearing.failed(error, now)
            case Fatal():
                self._opening.give_up(item)
            case _:
                self._reports.handle(item)

    def require(self, command: commands.Command) -> None:
        """Carry out a command of a program now. Raises ActiveCallError when the call cannot."""
        carry_out(self, command)

    def perform(self, command: commands.Command, *, asked_by: Asker = "api") -> None:
        """Carry out a command now. A command that cannot be carried out becomes an `error` event, never an exception."""
        sender = sender_of(command)
        try:
            carry_out(self, command, asked_by=asked_by)
        except ActiveCallError as error:
            self.emit(events.Error(sender=sender, error=str(error)))
        except Exception as error:  # noqa: BLE001 - the session's wall: a value that nobody has foreseen
            self.faults.note(sender, error)

    def set_variable(self, key: str, value: Any) -> None:
        """A variable of the call, known to its templates from now on and kept in the record."""
        self.facts.variables[key] = value
        if self.brain is not None:
            self.brain.set_variable(key, value)

    def to_epoch_ms(self, monotonic_s: float) -> int:
        """Monotonic seconds as a time stamp."""
        return int((monotonic_s + self._epoch_offset_s) * 1000)


def _without_keys(event: events.Event) -> events.Event:
    """The event as records and watchers get it: descriptions without the keys of the media."""
    sdp = getattr(event, "sdp", None)
    return msgspec.structs.replace(event, sdp=without_keys(sdp)) if isinstance(sdp, str) and sdp else event


class _CallOver(Exception):
    """Ends the task group when the leg is gone."""
