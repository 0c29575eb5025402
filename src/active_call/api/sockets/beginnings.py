"""How the call of a socket begins: by SIP, or with the socket's own client, whose sound goes over the socket."""

from __future__ import annotations

from typing import Protocol

from active_call.agent.playbook.scenes import Playbook
from active_call.api.sockets.call_socket import BeginsCalls, Begun, Hear
from active_call.api.sockets.query import SocketQuery
from active_call.base.world import World
from active_call.call.handle import CallHandle
from active_call.contract.errors import ContractError
from active_call.contract.options import CallOption
from active_call.legs.leg import Leg
from active_call.legs.websocket.formats import sound_format
from active_call.legs.websocket.leg import WebSocketLeg
from active_call.media.pool.pool import MediaPool


class CallsToPlace(Protocol):
    """As `call.opening.registry.CallRegistry`."""

    def find(self, session_id: str) -> CallHandle | None: ...

    def place(
        self, option: CallOption, *, playbook: Playbook | None = None, session_id: str | None = None, leg: Leg | None = None
    ) -> CallHandle: ...


def by_sip(calls: CallsToPlace) -> BeginsCalls:
    """`invite` calls `option.callee`."""

    def begin(option: CallOption, query: SocketQuery, playbook: Playbook | None, send_sound: Hear) -> Begun:
        del send_sound
        if not option.callee:
            raise ContractError("option.callee", "missing; it names whom to call")
        return Begun(calls.place(option, playbook=playbook, session_id=query.id))

    return begin


def by_socket(calls: CallsToPlace, pool: MediaPool, world: World, peer: str) -> BeginsCalls:
    """`invite` begins a call with the client itself. `peer`: its IP address."""

    def begin(option: CallOption, query: SocketQuery, playbook: Playbook | None, send_sound: Hear) -> Begun:
        session_id = query.id or f"s.{world.randomness.uuid()}"
        sound = sound_format(option.codec, query.rate_hz)
        leg = WebSocketLeg(pool, sound, send_sound, caller=option.caller or "", callee=option.callee or "", call_id=session_id, peer=peer)
        return Begun(calls.place(option, playbook=playbook, session_id=session_id, leg=leg), leg.hear)

    return begin
