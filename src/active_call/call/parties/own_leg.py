"""The call's own leg: whether it has ended, hanging it up, and replacing it by another one.

A call ends with its leg, unless a transfer continues without it. When the target of a transfer, or a leg with Replaces, replaces the leg,
the call continues with the new one: it speaks, listens and records there, and the old one is released. Playback, recognition, mutes and
recording of the new leg follow from the state of the call (`attention`, `recording`), never from earlier orders to the old one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol

from msgspec import Struct

from active_call.call.events.journal import Journal
from active_call.call.events.signalling import sip_messages_of
from active_call.call.items import FromLeg
from active_call.call.opening.setup import CallSetup
from active_call.call.parties.attention_executor import AttentionExecutor
from active_call.call.parties.machine_types import Input, PeerHeld
from active_call.call.ports import CallPorts, MachinePort
from active_call.call.shared_state import CallState
from active_call.call.sound.call_progress import CallProgressWatch
from active_call.call.sound.recording import Recording
from active_call.call.speech.speech_output import SpeechOutput
from active_call.call.state import Phase
from active_call.contract import events
from active_call.legs import events as leg_events
from active_call.legs.leg import Leg
from active_call.media.link import messages as link


class Transfers(Protocol):
    """The call's transfers, as far as the end of its leg concerns them."""

    @property
    def is_alone(self) -> bool:
        """The peer's call has ended, and the call to the target, which will replace it, is not answered yet."""
        ...

    def caller_gone(self) -> bool:
        """The caller's own call has ended; returns whether the call continues, or may continue, with the target."""
        ...

    def withdraw(self) -> None:
        """End the target's side."""
        ...


class OnLeg(Struct, frozen=True):
    """The parts that work on the leg."""

    machine: MachinePort
    setup: CallSetup
    attention: AttentionExecutor
    speech_output: SpeechOutput
    recording: Recording
    call_progress: CallProgressWatch
    transfers: Callable[[], Transfers]


class OwnLeg:
    """The leg of one call; `CallState.leg` is changed here only."""

    def __init__(self, state: CallState, ports: CallPorts, journal: Journal, parts: OnLeg) -> None:
        self._state = state
        self._ports = ports
        self._journal = journal
        self._parts = parts
        self._last_end: leg_events.LegEnded | None = None
        self.ended: leg_events.LegEnded | None = None
        """How the leg, and the call with it, has ended; None while the call continues."""

    def listen_to(self, leg: Leg) -> None:
        """Post the events of `leg` into the mailbox."""
        leg.attach(partial(self._take, leg))

    def _take(self, leg: Leg, event: leg_events.LegEvent) -> None:
        if not (isinstance(event, leg_events.LegMedia) and isinstance(event.report, link.SOUND_REPORTS)):
            self._ports.post(FromLeg(leg, event))
        elif leg is self._state.leg:
            self._ports.post(event)

    def concerns_call(self, leg: Leg, event: leg_events.LegEvent) -> bool:
        """Whether an event of `leg` concerns the call. For an ended leg only its recording still matters, at any time."""
        is_recording = isinstance(event, leg_events.LegMedia) and isinstance(event.report, link.RecordingEnded)
        return leg is self._state.leg or is_recording

    def is_over(self, ended: leg_events.LegEnded) -> None:
        """The leg has ended, and so has the call, unless a transfer continues without it."""
        self._last_end = ended
        facts = self._state.facts
        if facts.direction == "outbound" and facts.phase < Phase.ANSWERED and ended.code is not None and ended.code >= 300:
            self._ports.emit(events.Reject(code=ended.code, reason=ended.reason))
        if not self._parts.transfers().caller_gone():
            self.ended = ended

    def end_if_gone(self) -> None:
        """No other leg replaces ours: if ours has already ended, the call ends."""
        self.ended = self._last_end

    def hang_up(self, *, by: str, cause: str, reason: str = "", headers: Mapping[str, str] | None = None) -> None:
        """End the call. The leg reports when it has ended."""
        transfers = self._parts.transfers()
        if transfers.is_alone:
            transfers.withdraw()
            return
        own_sip, agent = self._state.own_option.sip, self._state.agent
        own = own_sip.hangup_headers if own_sip else {}
        of_agent = agent.hangup_headers() if agent is not None else {}
        set_by_command = self._state.bye_headers
        self._state.leg.hang_up(headers={**own, **set_by_command, **of_agent, **(headers or {})}, by=by, cause=cause, reason=reason)
        self._parts.machine.feed(Input.ENDING)

    def adopt(self, leg: Leg, *, is_held: bool) -> None:
        """Continue with another leg; the old one has ended. `is_held`: the new leg's peer has put us on hold."""
        state, parts = self._state, self._parts
        before, state.leg = state.leg, leg
        self._last_end = None
        state.facts.call_id = state.facts.call_id or before.call_id
        self._ports.log.info("call goes on with another leg", extra={"far_call_id": leg.call_id})
        self.listen_to(leg)
        parts.speech_output.leave_stream()
        parts.setup.continue_with(leg)
        parts.machine.feed(Input.LEG_REPLACED)
        if is_held:
            parts.machine.feed(PeerHeld(True))
        parts.attention.leg_changed()
        state.last_activity_at = self._ports.now()
        parts.recording.go_on()
        parts.call_progress.listen()
        self._ports.spawn(self._release(before), "old leg's end")

    async def _release(self, leg: Leg) -> None:
        self._journal.sip_messages += sip_messages_of(leg, self._state.option)
        self._journal.media["beforeTransfer"] = await leg.release()
