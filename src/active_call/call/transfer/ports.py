"""The transfers' interface to their call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from msgspec import Struct

from active_call.call.call_time import CallTime
from active_call.call.dependencies import EngineSource, JoinStreams
from active_call.call.parties.attention_executor import AttentionExecutor
from active_call.call.parties.bridging import Bridging
from active_call.call.ports import CallNetwork, CallPorts, Emit, HangUp, MachinePort
from active_call.call.shared_state import CallState
from active_call.call.sound.music import Music
from active_call.call.transfer.machine import Input
from active_call.legs.leg import Leg
from active_call.media.pool.pool import MediaStream


class Adopt(Protocol):
    """Continues with another leg. `is_held`: its peer has put us on hold."""

    def __call__(self, leg: Leg, *, is_held: bool) -> None: ...


class TransferPorts(Struct, frozen=True):
    """The call, as its transfers see it."""

    state: CallState
    call: CallPorts
    time: CallTime
    tell: Emit
    """Emits an event without the agent."""
    hang_up: HangUp
    network: CallNetwork
    machine: MachinePort
    attention: AttentionExecutor
    bridging: Bridging
    engines: EngineSource
    join: JoinStreams
    make_music: Callable[[Callable[[], MediaStream | None]], Music]
    """Music on the stream that the argument returns."""
    adopt: Adopt
    end_if_gone: Callable[[], None]
    """End the call if its own leg has already ended."""


class TargetListener(Struct, frozen=True):
    """Gets the events of the target's leg: `feed` inputs for the transfer, `held` and `digit` the target's actions."""

    feed: Callable[[Input], None]
    held: Callable[[bool, bool], None]
    """The target has put the caller on hold, or resumed; and whether it sends no sound meanwhile."""
    digit: Callable[[str], None]
