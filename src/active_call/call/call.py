"""One call: one ordered mailbox, one task group that owns every task of the call, one loop that never waits for a peer, a model or a disk.

What enters: commands (clients, the agent), messages of other calls, events of the leg and its media stream, results of providers. What
leaves: contract events, commands to the leg, sound to the stream, one record at the end. The call owns mailbox, tasks and dispatch; its
parts (`parts`) handle the items. Parts get ports, never the call.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from math import inf
from typing import Any

from active_call.agent import effects
from active_call.agent.playbook.scenes import Playbook
from active_call.base.errors import ActiveCallError, LocalProtocolError
from active_call.base.weakly import weakly
from active_call.call.call_time import CallTime
from active_call.call.closing import CallClosing
from active_call.call.dependencies import CallDependencies
from active_call.call.dispatch import carry_out
from active_call.call.events.command_watch import CommandWatch
from active_call.call.events.event_output import EventOutput
from active_call.call.events.journal import Journal
from active_call.call.faults import Faults
from active_call.call.handle import CallDescription, CallHandle, describe
from active_call.call.items import (
    Fatal,
    ForAgent,
    FromLeg,
    Item,
    Later,
    RecogniserFailed,
    Requested,
    Routed,
    ends_leg,
    is_essential,
    sender_of,
)
from active_call.call.log import CallLog
from active_call.call.mailbox import Mailbox
from active_call.call.opening.options import merged
from active_call.call.opening.routing import Router
from active_call.call.parties.machine_types import Input, TalkingWith
from active_call.call.parties.messages import CallMessage
from active_call.call.parties.parties import BRIDGED, PEER, WITH_AGENT, Role
from active_call.call.parts import CallContext, make_parts
from active_call.call.ports import CallNetwork, CallPorts, NoNetwork
from active_call.call.renegotiation import renegotiate
from active_call.call.requests import BeginAgent, EndAgent, Renegotiate, Request
from active_call.call.shared_state import CallState
from active_call.call.state import Phase, facts_of
from active_call.contract import commands, events
from active_call.contract.options import CallOption
from active_call.legs import events as leg_events
from active_call.legs.abilities import renegotiable
from active_call.legs.leg import Leg
from active_call.legs.trunks.outbound_guard import Asker
from active_call.media.link import messages as link
from active_call.providers.base import Recognised
from active_call.providers.usage.metering import metered_by
from active_call.store.records import OpenCall


class Call:
    """One call from start to record. `run` is its lifetime; everything else posts into its mailbox."""

    def __init__(
        self,
        session_id: str,
        leg: Leg,
        dependencies: CallDependencies,
        *,
        direction: str,
        option: CallOption = CallOption(),  # noqa: B008 (frozen)
        playbook: Playbook | None = None,
        variables: Mapping[str, Any] | None = None,
        router: Router | None = None,
        network: CallNetwork | None = None,
    ) -> None:
        self._time = CallTime(dependencies.world.clock)
        given = dict(variables or {})
        self.state = CallState(
            facts_of(leg, session_id, direction, self._time.started_at, given),
            leg,
            merged(option, dependencies.defaults),
            option,
            playbook,
            [str(value) for value in given.values()],
            trunk_keys=dependencies.trunk_keys.get(leg.trunk, ""),
            last_activity_at=self._time.now(),
        )
        self._log = CallLog(logging.getLogger("active_call.call"), {"session_id": session_id, "call_id": leg.call_id})
        self._mailbox: Mailbox[Item] = Mailbox(is_essential, is_last=ends_leg)
        self._tasks: asyncio.TaskGroup | None = None
        self._running: set[asyncio.Task[None]] = set()
        self._is_over = False
        self._is_broken = False
        self._due: float | None = None
        """The earliest deadline of the parts when the call began to wait; None: unknown."""
        self._commands = CommandWatch()
        self._journal = Journal(self.state.facts)
        self._output = EventOutput(self._journal, self._time, dependencies.records, self._log, weakly(self._to_agent, _drop))
        self._before_step = dependencies.before_step
        self._spending = dependencies.spending
        self._faults = Faults(self._log, weakly(self._report_fault, _drop), weakly(self._give_up, _drop), self._before_step)
        ports = CallPorts(self._output.emit, weakly(self.post, _drop), weakly(self.spawn, _refuse), self._time.now, self._log)
        context = CallContext(
            self.state,
            ports,
            self._time,
            self._output,
            self._journal,
            self._faults,
            dependencies,
            network or NoNetwork(),
            router,
            weakly(self._perform_for, _drop),
        )
        self.parts = make_parts(context)
        self._closing = CallClosing(context, self.parts, self._mailbox)
        self.parts.own_leg.listen_to(leg)

    # -- from outside

    @property
    def id(self) -> str:
        """The session id."""
        return self.state.facts.session_id

    def post(self, item: Item) -> None:
        """Put an item into the mailbox. Sound bypasses it: its sample numbers keep it in order."""
        if self._closing.is_closed:
            self._closing.refuse(item)
            return
        if isinstance(item, leg_events.LegMedia) and isinstance(item.report, link.CallerAudio):
            self.parts.speech_input.audio(item.report)
            self.parts.taps.caller(item.report)
            return
        if isinstance(item, leg_events.LegMedia) and isinstance(item.report, link.SentAudio):
            self.parts.taps.sent(item.report)
            return
        if not self._mailbox.put(item):
            self._closing.refuse(item)

    def request(self, command: Request) -> asyncio.Future[None]:
        """Execute a command, or begin or end an agent, in order. The future raises ActiveCallError if that fails."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.post(Requested(command, done))
        return done

    def handle(self) -> CallHandle:
        """The handle by which other code uses this call."""
        return CallHandle(
            self.id, self.post, self.request, self._output.event_log.subscribe, self._describe, self.parts.taps.add, self._commands.add
        )

    def watch(self, watcher: Callable[[events.Event], None]) -> Callable[[], None]:
        """Call `watcher` with every further event until the returned function is called; for an ended call, with its hangup."""
        return self._output.watch(watcher)

    def take_over(self, leg: Leg) -> None:
        """A new leg asks to replace ours (RFC 3891)."""
        leg.attach(lambda _: None)
        self.post(Later(lambda: self.parts.transfers.taken_over(leg)))

    def hang_up(self, *, by: str, cause: str, reason: str = "", headers: Mapping[str, str] | None = None) -> None:
        """End the call. The leg reports when it has ended."""
        if self._closing.is_closed:
            return
        self.parts.own_leg.hang_up(by=by, cause=cause, reason=reason, headers=headers)

    def open_record(self) -> OpenCall:
        """The call's entry in the records list while it is in progress."""
        return self._journal.open_call()

    def _describe(self) -> CallDescription:
        states, parts = self.parts.machine.now, self.parts
        mix = parts.transfers.mix or (BRIDGED if states.talking_with is TalkingWith.BRIDGED else WITH_AGENT)
        mix = mix.with_role(PEER, Role.AWAY) if states.is_on_hold else mix
        scene = self.state.agent.scene if self.state.agent is not None else ""
        return describe(self.state.facts, self.state.leg, mix, parts.bridging.busy_because(), scene)

    # -- tasks and faults

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run `work` as a task of this call. Its failure is reported and ends nothing else."""
        assert self._tasks is not None  # noqa: S101 (only while running)
        task = self._tasks.create_task(self._faults.watch_over(name, work), name=f"{self.id} {name}")
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        task.add_done_callback(lambda _: work.close())  # a task that is cancelled before its first step has not started its coroutine
        if self._is_over:
            task.cancel()
        return task

    def _cancel_tasks(self) -> None:
        """End the tasks: the call is over. An exception, which would do so as well, would form cycles with the frames of its traceback."""
        self._is_over = True
        for task in list(self._running):
            task.cancel()

    def _report_fault(self, sender: str, error: str) -> None:
        self._output.emit(events.Error(sender=sender, error=error))

    def _give_up(self, reason: str) -> None:
        """The call cannot continue: end it at once, with a record that says why."""
        self.state.facts.error = reason
        self._is_broken = True

    def _to_agent(self, event: events.Event) -> None:
        if self.state.agent is not None:
            self.state.agent.hear(effects.Heard(event))

    # -- lifetime

    async def run(self) -> None:
        """The whole lifetime of the call; returns when its record has been handed over. Cancelling hangs up."""
        # weakly: connections that are opened for the call and kept for others keep the context too; later use counts for the day
        with metered_by(weakly(self.parts.cost.note, self._spending.note)):
            await self._live()

    async def _live(self) -> None:
        facts = self.state.facts
        try:
            async with asyncio.TaskGroup() as self._tasks:
                self._log.info("call started", extra={**facts.who(), "leg": self.state.leg.kind})
                self.parts.machine.feed(Input.BEGIN)
                await self._consume()
                self._cancel_tasks()
        except* asyncio.CancelledError:
            if self.parts.own_leg.ended is None:  # else the call ended by itself
                facts.error = facts.error or "server stopped"
        except* Exception as failures:  # noqa: BLE001 - the wall of the call
            facts.error = "; ".join(f"{type(error).__name__}: {error}" for error in failures.exceptions)
            self._log.exception("call failed", exc_info=failures)
        finally:
            await self._closing.close()
            self._cut_cycles()

    def _cut_cycles(self) -> None:
        """Cut the reference cycles of the ended call: its objects are freed at once, and not by a pass of the garbage collector."""
        self.state.agent = None
        self.state.leg.attach(_drop)
        self._output.close()
        self.parts.disconnect()

    async def _consume(self) -> None:
        parts, state, attempt = self.parts, self.state, self._faults.attempt
        timed = (
            ("hearing", parts.speech_input.handle_timeout),
            ("opening", parts.machine.handle_timeout),
            ("answering", parts.answering.handle_timeout),
            ("refer", parts.transfers.handle_timeout),
            ("call", self._handle_own_timeouts),
        )
        try:
            while parts.own_leg.ended is None and not self._is_broken:
                item = await self._next_item()
                self._before_step()
                now = self._time.now()
                if item is not None:
                    self._attempt_item(item, now)
                if item is None or self._is_due(now):
                    for sender, handle_timeout in timed:
                        attempt(sender, handle_timeout, now)
                if state.agent is not None:
                    attempt("agent", state.agent.settle, now)
        finally:
            self._mailbox.close()

    def _is_due(self, now: float) -> bool:
        """Whether a deadline has passed or is unknown, or the mailbox has overflowed. The next pass checks a new deadline."""
        due, hearing = self._due, self.parts.speech_input.next_timeout()
        is_late = due is None or now >= due or (hearing is not None and now >= hearing)
        return is_late or self._mailbox.n_refused > 0 or self.parts.transfers.is_timed

    def _attempt_item(self, item: Item, now: float) -> None:
        try:
            self._handle(item, now)
        except Exception as error:  # noqa: BLE001 - the wall of the call: one item
            self._faults.note(sender_of(item), error)

    async def _next_item(self) -> Item | None:
        """The next item of the mailbox, or None if a deadline comes first."""
        if not self._mailbox.is_empty():
            self._due = None  # unknown: the previous item may have changed it
            return self._mailbox.get_nowait()
        due = self._due = self._next_timeout()
        if due == inf:
            return await self._mailbox.wait()
        delay = due - self._time.now()
        return None if delay <= 0 else await self._mailbox.wait(delay)

    def _next_timeout(self) -> float:
        """The earliest deadline of the parts; infinite if there is none."""
        parts, agent, due = self.parts, self.state.agent, inf
        for at in (
            parts.speech_input.next_timeout(),
            parts.machine.deciding_until,
            parts.transfers.next_timeout(),
            self._inactive_at(),
            parts.answering.next_timeout(),
            agent.next_timeout() if agent is not None else None,
        ):
            if at is not None and at < due:
                due = at
        return due

    def _inactive_at(self) -> float | None:
        state, limit_s = self.state, self.state.option.inactivity_timeout
        if not limit_s or state.facts.phase is not Phase.ANSWERED or self.parts.attention.state.is_aside:
            return None
        return state.last_activity_at + limit_s

    def _handle_own_timeouts(self, now: float) -> None:
        if self.parts.own_leg.ended is not None:
            return
        if self._mailbox.is_overflowed and not self.parts.machine.now.is_ending:
            self.state.facts.error = f"mailbox overflow: the call could not keep up ({self._mailbox.n_refused} items dropped)"
            self.hang_up(by="system", cause="overload")
        inactive_at = self._inactive_at()
        if inactive_at is not None and now >= inactive_at:
            self.state.last_activity_at = now
            self._output.emit(events.Inactivity())
            self.hang_up(by="system", cause="inactivity")

    # -- dispatch

    def _handle(self, item: Item, now: float) -> None:
        parts = self.parts
        match item:
            case commands.CommandBase():
                self.perform(item)
            case Requested(command, done):
                self._carry_out_request(command, done)
            case CallMessage():
                parts.bridging.handle(item)
            case Recognised():
                self.state.last_activity_at = now
                parts.speech_input.recognised(item, now)
            case ForAgent(said, number):
                if self.state.agent is not None and number in (None, self.state.agent_number):
                    self.state.agent.hear(said)
            case Routed(decision):
                parts.machine.decided(decision)
            case Later(do):
                do()
            case RecogniserFailed(error):
                parts.speech_input.failed(error, now)
            case Fatal():
                parts.machine.failed(item)
            case FromLeg(leg, event):
                if parts.own_leg.concerns_call(leg, event):
                    parts.reports.handle(event)
            case _:
                parts.reports.handle(item)

    def _perform_for(self, command: commands.Command, asked_by: Asker) -> None:
        self.perform(command, asked_by=asked_by)

    def perform(self, command: commands.Command, *, asked_by: Asker = "api") -> None:
        """Execute a command now. A failure becomes an `error` event, never an exception.

        The sender in the error is `command` if a client sent the command, else the command's name.
        """
        sender = sender_of(command)
        self._commands.tell(command)
        try:
            carry_out(self.parts.commanded, command, asked_by=asked_by)
        except ActiveCallError as error:
            by_client = asked_by == "api"
            text = f"{sender}: {error}" if by_client else str(error)
            self._output.emit(events.Error(sender="command" if by_client else sender, error=text))
        except Exception as error:  # noqa: BLE001 - the wall of the call: an unexpected value
            self._faults.note(sender, error)

    def _carry_out_request(self, command: Request, done: asyncio.Future[None]) -> None:
        if done.done():
            return
        try:
            match command:
                case BeginAgent():
                    self.parts.setup.begin_agent(command)
                case EndAgent():
                    self.parts.setup.end_agent()
                case Renegotiate():
                    self.spawn(renegotiate(renegotiable(self.state.leg), command), "renegotiation")
                case _:
                    self._commands.tell(command)
                    carry_out(self.parts.commanded, command)
        except ActiveCallError as error:
            done.set_exception(error)
        except Exception as error:  # noqa: BLE001 - the wall of the call: an unexpected value
            self._faults.note(type(command).__name__.lower(), error)
            done.set_exception(LocalProtocolError(f"unforeseen {type(error).__name__}: {error}"))
        else:
            done.set_result(None)

    def close_record(self) -> None:
        """Report the end and close the record. May be called again."""
        self._closing.close_record()


def _drop(*_: object) -> None:
    """Ignore what a part posts after its call has ended and was freed."""


def _refuse(work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    """Refuse to begin a task after the end of its call. Raises LocalProtocolError."""
    work.close()
    raise LocalProtocolError(f"the call is over: {name}")
