"""The end of a call: its parts are closed, each with a time limit, then its record, which is closed in any case."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace

from active_call.base.errors import LocalProtocolError
from active_call.call.events.signalling import sip_messages_of
from active_call.call.items import FromLeg, Item, Requested
from active_call.call.log import CallLog
from active_call.call.mailbox import Mailbox
from active_call.call.parties.messages import BridgeInvite
from active_call.call.parts import CallContext, CallParts
from active_call.call.state import Phase
from active_call.legs import events as leg_events
from active_call.media.link import messages as link
from active_call.media.pool.pool import StreamLost
from active_call.store.records import CallRecord

RELEASE_DEADLINE_S = 3.0

Closers = Iterator[tuple[str, Callable[[], Awaitable[object]]]]
"""Names of parts, with the functions that close them."""


class CallClosing:
    """Closes one call. Items that wait in its mailbox or come later are refused if their sender waits for an answer."""

    def __init__(self, context: CallContext, parts: CallParts, mailbox: Mailbox[Item]) -> None:
        self._context = context
        self._parts = parts
        self._mailbox = mailbox
        self.is_closed = False
        """Items of the mailbox are no longer handled."""

    async def close(self) -> None:
        """Hang up if needed, close all parts, then the record. A part that is cancelled, too slow or fails does not prevent this."""
        context, log = self._context, self._context.ports.log
        context.dependencies.before_step()  # several calls may end in one pass of the loop
        try:
            if self._parts.own_leg.ended is None:
                self._parts.own_leg.hang_up(by="system", cause="error")
            context.state.facts.reach(Phase.ENDED, context.time.utc_now())
            self._write_cut_turn()
            await close_each(self._closers(), log)
        except Exception:
            log.exception("call could not be closed in order")
        finally:
            context.dependencies.before_step()  # the record is as costly as all of the above
            self.close_record()

    def _closers(self) -> Closers:
        """The parts that have something to close, in order."""
        yield "transfers", self._close_transfers
        if self._parts.recording.is_running:
            yield "recording", lambda: self._parts.recording.complete(self._next_report)
        yield "leg", self._release_leg
        yield "hearing", self._parts.speech_input.close
        if self._context.state.is_realtime:
            yield "agent", self._release_agent

    async def _close_transfers(self) -> None:
        self._parts.bridging.end()
        await self._parts.transfers.close()

    async def _release_agent(self) -> None:
        if self._context.state.agent is not None:
            await self._context.state.agent.release()

    async def _release_leg(self) -> None:
        self._context.journal.media |= await self._context.state.leg.release()

    async def _next_report(self) -> None:
        """Handle the next item when the call has ended and only the end of its recording still matters."""
        item = await self._mailbox.wait()
        item = item.event if isinstance(item, FromLeg) else item
        if isinstance(item, leg_events.LegMedia) and isinstance(item.report, link.RecordingEnded | StreamLost):
            self._parts.reports.handle_media(item.report)

    def _write_cut_turn(self) -> None:
        """Write the turn that the end of the call has cut short to the transcript."""
        agent, context = self._context.state.agent, self._context
        if agent is None:
            return
        heard = self._parts.speech_output.heard_so_far(context.time.now())
        if heard is not None:
            context.journal.cut_short()
        agent.close(heard)

    def close_record(self) -> None:
        """Report the end and close the record. May be called again."""
        if self.is_closed:
            return
        self.is_closed = True
        context, journal, log = self._context, self._context.journal, self._context.ports.log
        facts = context.state.facts
        facts.reach(Phase.ENDED, context.time.utc_now())
        journal.transfers = self._parts.transfers.records()
        facts.call_id = facts.call_id or context.state.leg.call_id
        journal.sip_messages += sip_messages_of(context.state.leg, context.state.option)
        used = self._parts.cost.close()
        if used is not None:
            context.output.tell(used)
        try:
            context.output.tell(journal.hangup_event(self._parts.own_leg.ended))
        finally:
            if facts.error:
                log.warning("call ended with an error", extra={"error": facts.error})
            log.info("call ended", extra={**facts.who(), **journal.outcome()})
            record = journal.record()
            context.dependencies.records.write(record)
            self._report(record)
            while not self._mailbox.is_empty():
                self.refuse(self._mailbox.get_nowait())

    def _report(self, record: CallRecord) -> None:
        """Send the report to the playbook's URL if the call was answered."""
        playbook, posthooks = self._context.state.playbook, self._context.dependencies.posthooks
        if playbook is not None and playbook.posthook is not None and posthooks is not None and record.answer_time is not None:
            posthooks.begin(replace(playbook, trust=self._context.state.trust), record)  # its model uses the keys of this call

    def refuse(self, item: Item) -> None:
        """Answer a waiting sender: the call has ended, or is overloaded. Other items are dropped."""
        match item:
            case Requested(_, done) if not done.done():
                done.set_exception(LocalProtocolError("the call is over" if self.is_closed else "the call has too many waiting items"))
            case BridgeInvite():
                self._parts.bridging.refuse(item, "is over" if self.is_closed else "cannot keep up")
            case _:
                pass


async def close_each(parts: Closers, log: CallLog) -> None:
    """Close one after the other. An error or a timeout in one part does not prevent closing the others."""
    for name, close in parts:
        try:
            async with asyncio.timeout(RELEASE_DEADLINE_S):
                await close()
        except TimeoutError:
            log.warning("call parts were slow to close", extra={"part": name})
        except Exception:  # a wall: one part
            log.exception("part of a call could not be closed", extra={"part": name})
