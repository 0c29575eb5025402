"""What the transfers of a call may ask of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from active_call.call.call_time import CallTime
from active_call.call.company.attention_executor import AttentionExecutor
from active_call.call.company.bridging import Bridging
from active_call.call.dependencies import JoinStreams
from active_call.call.ports import CallNetwork, CallPorts, Emit, HangUp, MachinePort
from active_call.call.shared_state import CallState
from active_call.call.sound.music import Music
from active_call.call.transfer.machine import Input
from active_call.legs.leg import Leg
from active_call.media.pool.pool import MediaStream
from active_call.providers.registry import Engines


class Adopt(Protocol):
    """Goes on with another leg. `is_held`: its peer has put us on hold."""

    def __call__(self, leg: Leg, *, is_held: bool) -> None: ...


@dataclass(frozen=True, slots=True)
class TransferPorts:
    """The call, as its transfers see it."""

    state: CallState
    call: CallPorts
    time: CallTime
    tell: Emit
    """Emits an event past the agent."""
    hang_up: HangUp
    network: CallNetwork
    machine: MachinePort
    attention: AttentionExecutor
    bridging: Bridging
    engines: Engines
    join: JoinStreams
    make_music: Callable[[Callable[[], MediaStream | None]], Music]
    """Music on the stream that the argument gives."""
    adopt: Adopt
    end_if_gone: Callable[[], None]
    """End the call where its own leg is over already."""


@dataclass(frozen=True, slots=True)
class TargetListener:
    """Who hears of the target's leg: `feed` gets what the transfer is to know, `held` and `digit` what the target does."""

    feed: Callable[[Input], None]
    held: Callable[[bool, bool], None]
    """The target has put the caller on hold, or taken it back; and whether it sends no sound meanwhile."""
    digit: Callable[[str], None]
