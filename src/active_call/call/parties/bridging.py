"""Bridges between two calls: `bridge` and `unbridge`, and the end of a bridge when either call ends.

The two calls negotiate by messages (`messages`), which each handles in its own order. The requesting call joins the two streams. During a
bridge the agents of both calls are silent and hear nothing. A call is in at most one bridge.

    invite ──accepted──> joining ──joined──> joined (both report) ──unbridge, or one call ends──> parted (the remaining call reports)
      └──refused, no answer──> error        └──cannot──> parted
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from msgspec import Struct

from active_call.base.errors import ActiveCallError, LocalProtocolError, MediaError
from active_call.call.dependencies import JoinStreams
from active_call.call.handle import CallHandle
from active_call.call.parties.machine_types import BlockedBy, Input
from active_call.call.parties.messages import BridgeAccepted, BridgeEnded, BridgeInvite, BridgeJoined, BridgeRefused, CallMessage
from active_call.call.parties.parties import BRIDGED, PARTNER, PEER, Join
from active_call.call.ports import CallNetwork, CallPorts, MachinePort
from active_call.call.shared_state import CallState
from active_call.call.state import Phase
from active_call.contract import events
from active_call.media.pool.pool import MediaStream, Relay

ANSWER_DEADLINE_S = 2.0
"""How long the other call may take to answer an invitation; it only has to process its mailbox."""


class BridgeListener(Struct, frozen=True):
    """Receives the events of a bridge on this side. `refused` and `parted` get the reason."""

    joined: Callable[[], None]
    refused: Callable[[str], None]
    parted: Callable[[str], None]


@dataclass(slots=True)
class _Bridge:
    """This side of one bridge."""

    id: str
    partner: CallHandle
    listener: BridgeListener
    relay: Relay | None = None
    is_accepted: bool = False


class Bridging:
    """A call's part in bridges: at most one at a time."""

    def __init__(self, state: CallState, ports: CallPorts, network: CallNetwork, machine: MachinePort, join: JoinStreams) -> None:
        self._state = state
        self._ports = ports
        self._network = network
        self._machine = machine
        self._join_streams = join
        self._n_bridges = 0
        self.current: _Bridge | None = None

    # -- commands

    def bridge(self, target_session_id: str) -> None:
        """Execute `bridge`. Raises LocalProtocolError if there is no such call, or one of the two is not free."""
        other = self._network.find(target_session_id)
        if other is None:
            raise LocalProtocolError(f"there is no call {target_session_id!r}")
        if other.id == self._id:
            raise LocalProtocolError("a call cannot be bridged with itself")
        busy_because = self.busy_because() or other.describe().busy_because
        if busy_because:
            raise LocalProtocolError(busy_because)
        self._machine.feed(Input.BRIDGE_BEGINS)
        self.invite(other, BridgeListener(partial(self._joined, other.id), self._refused, partial(self._bridge_ended, other.id)))

    def unbridge(self, target_session_id: str | None) -> None:
        """Execute `unbridge`. Raises LocalProtocolError if there is no such bridge."""
        if self.current is None or (target_session_id and self.current.partner.id != target_session_id):
            raise LocalProtocolError("there is no such bridge")
        self.part("unbridged")

    def busy_because(self) -> str:
        """Why this call cannot be bridged now; empty if it can."""
        blocked_by = self._machine.now.blocked_by
        if self._state.leg.stream is None or self._state.facts.phase is not Phase.ANSWERED or blocked_by is BlockedBy.NOT_ANSWERED:
            return f"the call {self._id!r} is not answered"
        if blocked_by is BlockedBy.BRIDGED or self.current is not None:
            return f"the call {self._id!r} is already bridged"
        return f"the call {self._id!r} is being transferred" if blocked_by is not None else ""

    # -- a bridge, from start to end

    def is_in(self, bridge_id: str) -> bool:
        """Whether this call is in that bridge."""
        return self.current is not None and self.current.id == bridge_id

    def invite(self, other: CallHandle, listener: BridgeListener) -> str:
        """Invite another call to a bridge; returns the bridge's id. `refused`, or `parted`, or `joined` and later `parted` follow."""
        self._n_bridges += 1
        bridge = self.current = _Bridge(f"{self._id}/{self._n_bridges}", other, listener)
        other.send(BridgeInvite(bridge.id, self._id))
        self._ports.spawn(self._await_answer(bridge), "bridge invitation")
        return bridge.id

    async def _await_answer(self, bridge: _Bridge) -> None:
        await asyncio.sleep(ANSWER_DEADLINE_S)
        self._ports.later(lambda: self._not_answered(bridge))

    def _not_answered(self, bridge: _Bridge) -> None:
        if self.current is bridge and not bridge.is_accepted:
            bridge.partner.send(BridgeEnded(bridge.id, self._id, "withdrawn"))
            self._refuse(bridge, f"the call {bridge.partner.id!r} does not answer")

    def handle(self, message: CallMessage) -> None:
        """A message about a bridge from another call."""
        bridge = self.current
        if isinstance(message, BridgeInvite):
            self._on_invite(message)
        elif bridge is None or message.bridge_id != bridge.id:
            self._ports.log.info("message about a bridge that is over", extra={"bridge": message.bridge_id})
        elif isinstance(message, BridgeAccepted):
            bridge.is_accepted = True
            self._ports.spawn(self._join(bridge, message.stream), "bridge")
        elif isinstance(message, BridgeRefused):
            self._refuse(bridge, message.reason)
        elif isinstance(message, BridgeJoined):
            bridge.relay = message.relay
            bridge.listener.joined()
        elif isinstance(message, BridgeEnded):
            self._end(bridge, message.reason)

    def part(self, reason: str) -> None:
        """End the bridge, and notify both sides. Does nothing if there is none."""
        bridge = self.current
        if bridge is not None:
            bridge.partner.send(BridgeEnded(bridge.id, self._id, reason))
            self._end(bridge, reason)

    def end(self) -> None:
        """This call has ended: notify only the other one."""
        bridge, self.current = self.current, None
        if bridge is not None:
            if bridge.relay is not None:
                bridge.relay.close()
            bridge.partner.send(BridgeEnded(bridge.id, self._id, "the other call ended"))

    def refuse(self, invite: BridgeInvite, why: str) -> None:
        """Refuse an invitation that this call no longer handles; `why` is the reason."""
        asking = self._network.find(invite.sender)
        if asking is not None:
            asking.send(BridgeRefused(invite.bridge_id, self._id, f"the call {self._id!r} {why}"))

    def _on_invite(self, invite: BridgeInvite) -> None:
        asking, stream = self._network.find(invite.sender), self._state.leg.stream
        if asking is None:
            return
        busy_because = self.busy_because()
        if stream is None or busy_because:
            asking.send(BridgeRefused(invite.bridge_id, self._id, busy_because))
            return
        self._machine.feed(Input.BRIDGE_BEGINS)
        listener = BridgeListener(partial(self._joined, asking.id), self._refused, partial(self._bridge_ended, asking.id))
        self.current = _Bridge(invite.bridge_id, asking, listener, is_accepted=True)
        asking.send(BridgeAccepted(invite.bridge_id, self._id, stream))

    async def _join(self, bridge: _Bridge, partner: MediaStream) -> None:
        own = self._state.leg.stream
        try:
            if own is None:
                raise MediaError("one of the two calls has no media stream")
            relay = await self._join_streams(own, partner, one_way=BRIDGED.join(PEER, PARTNER) is Join.FIRST_HEARS)
        except ActiveCallError as error:
            reason = str(error)
            self._ports.later(lambda: self.part(reason) if self.current is bridge else None)
            return
        bridge.relay = relay
        if self.current is not bridge:  # the bridge ended while the relay was being made
            relay.close()
        self._ports.later(lambda: self._relay_made(bridge, relay))

    def _relay_made(self, bridge: _Bridge, relay: Relay) -> None:
        if self.current is bridge:
            bridge.listener.joined()
            bridge.partner.send(BridgeJoined(bridge.id, self._id, relay))

    def _refuse(self, bridge: _Bridge, reason: str) -> None:
        self.current = None
        bridge.listener.refused(reason)

    def _end(self, bridge: _Bridge, reason: str) -> None:
        self.current = None
        if bridge.relay is not None:
            bridge.relay.close()
        bridge.listener.parted(reason)

    # -- events of a bridge that is not part of a transfer

    @property
    def _id(self) -> str:
        return self._state.facts.session_id

    def _joined(self, partner_id: str) -> None:
        self._machine.feed(Input.BRIDGE_JOINED)
        self._ports.emit(events.Bridge(state="joined", target_session_id=partner_id))

    def _refused(self, reason: str) -> None:
        self._machine.feed(Input.BRIDGE_OVER)
        self._ports.emit(events.Error(sender="command", error=f"bridge: {reason}"))

    def _bridge_ended(self, partner_id: str, reason: str) -> None:
        self._machine.feed(Input.BRIDGE_OVER)
        self._ports.emit(events.Bridge(state="parted", target_session_id=partner_id, reason=reason))
