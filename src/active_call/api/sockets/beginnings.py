"""How the call of a socket begins: by SIP, or with the socket's own client, with sound over the socket."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from msgspec import Struct

from active_call.agent.playbook.scenes import Playbook
from active_call.api.sockets.call_socket import BeginsCalls, Begun, Hear
from active_call.api.sockets.query import SocketQuery
from active_call.base.world import World
from active_call.call.handle import CallHandle
from active_call.contract.errors import ContractError
from active_call.contract.options import CallOption
from active_call.legs.leg import Leg
from active_call.legs.webrtc.description import read_offer
from active_call.legs.webrtc.leg import WebRtcLeg
from active_call.legs.webrtc.settings import BrowserSettings
from active_call.legs.websocket.formats import sound_format
from active_call.legs.websocket.leg import WebSocketLeg
from active_call.media.pool.pool import MediaPool


class CallsToPlace(Protocol):
    """See `call.opening.registry.CallRegistry`."""

    def find(self, session_id: str) -> CallHandle | None: ...

    def place(
        self,
        option: CallOption,
        *,
        playbook: Playbook | None = None,
        variables: Mapping[str, Any] | None = None,
        session_id: str | None = None,
        leg: Leg | None = None,
    ) -> CallHandle: ...


def by_sip(calls: CallsToPlace) -> BeginsCalls:
    """`invite` calls `option.callee`."""

    def begin(option: CallOption, query: SocketQuery, playbook: Playbook | None, send_sound: Hear) -> Begun:
        del send_sound
        if not option.callee:
            raise ContractError("option.callee", "missing; expected the address or number to call")
        return Begun(calls.place(option, playbook=playbook, session_id=query.id))

    return begin


def by_browser(calls: CallsToPlace, pool: MediaPool, settings: BrowserSettings, world: World, peer: str) -> BeginsCalls:
    """`invite` begins a call with a browser and contains its offer. `peer`: its IP address."""

    def begin(option: CallOption, query: SocketQuery, playbook: Playbook | None, send_sound: Hear) -> Begun:
        del send_sound
        return Begun(Browsers(calls, pool, settings, world).call(option, peer, session_id=query.id, playbook=playbook))

    return begin


class Browsers(Struct, frozen=True):
    """Calls with browsers."""

    calls: CallsToPlace
    pool: MediaPool
    settings: BrowserSettings
    world: World

    def call(
        self,
        option: CallOption,
        peer: str,
        *,
        session_id: str | None = None,
        playbook: Playbook | None = None,
        variables: Mapping[str, Any] | None = None,
    ) -> CallHandle:
        """A call with the browser that sent `option.offer`. Raises ActiveCallError for an offer that cannot be answered."""
        if not option.offer:
            raise ContractError("option.offer", "missing; expected the browser's session description")
        read_offer(option.offer)
        session_id = session_id or f"s.{self.world.randomness.uuid()}"
        leg = WebRtcLeg(
            self.pool,
            self.settings,
            self.world.randomness,
            option.offer,
            caller=option.caller or "",
            callee=option.callee or "",
            call_id=session_id,
            peer=peer,
            codec=option.codec,
        )
        return self.calls.place(option, playbook=playbook, variables=variables, session_id=session_id, leg=leg)


def by_socket(calls: CallsToPlace, pool: MediaPool, world: World, peer: str) -> BeginsCalls:
    """`invite` begins a call with the client itself. `peer`: its IP address."""

    def begin(option: CallOption, query: SocketQuery, playbook: Playbook | None, send_sound: Hear) -> Begun:
        session_id = query.id or f"s.{world.randomness.uuid()}"
        sound = sound_format(option.codec, query.rate_hz)
        leg = WebSocketLeg(pool, sound, send_sound, caller=option.caller or "", callee=option.callee or "", call_id=session_id, peer=peer)
        return Begun(calls.place(option, playbook=playbook, session_id=session_id, leg=leg), leg)

    return begin
