"""What may lie in a call's mailbox, which of it is never refused, and who is named when it cannot be handled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from active_call.agent import effects
from active_call.call.company.messages import BridgeParted, CallMessage
from active_call.call.opening.routing import Decision
from active_call.call.requests import Request
from active_call.contract import commands
from active_call.legs import events as leg_events
from active_call.legs.leg import Leg
from active_call.media.link import messages as link
from active_call.media.pool.pool import StreamLost
from active_call.providers.base import Recognised


@dataclass(frozen=True, slots=True)
class ForAgent:
    """Something for the agent: for the one of that number in the call (`CallState.agent_number`), or for whoever is there."""

    item: effects.AgentInput
    agent_number: int | None = None


@dataclass(frozen=True, slots=True)
class FromLeg:
    """Something has happened on a leg that was the call's own then; it may not be so any more."""

    leg: Leg
    event: leg_events.LegEvent


@dataclass(frozen=True, slots=True)
class RecogniserFailed:
    """The recogniser could not; what it was asked has no other result."""

    error: Exception


@dataclass(frozen=True, slots=True)
class Later:
    """Something to be done in its turn: the result of a task, or news of another leg."""

    do: Callable[[], object]


@dataclass(frozen=True, slots=True)
class Requested:
    """A command whose sender waits for what becomes of it: `done` gets None, or the ActiveCallError that refuses it."""

    command: Request
    done: asyncio.Future[None]


@dataclass(frozen=True, slots=True)
class Routed:
    """A router has decided."""

    decision: Decision


@dataclass(frozen=True, slots=True)
class Fatal:
    """Something that the call needs cannot be had; the call ends with `code`."""

    error: Exception
    code: int


Item = (
    commands.Command
    | Requested
    | CallMessage
    | FromLeg
    | leg_events.LegEvent
    | Recognised
    | ForAgent
    | RecogniserFailed
    | Later
    | Routed
    | Fatal
)
"""A leg event by itself is one of the call's own leg."""


def ends_leg(item: Item) -> bool:
    """The leg is over: there is always room for this."""
    return isinstance(item.event if isinstance(item, FromLeg) else item, leg_events.LegEnded)


def is_essential(item: Item) -> bool:
    """What ends a call or a bridge, or completes a record: it is taken from a call that cannot keep up, too."""
    match item:
        case FromLeg(_, event):
            return is_essential(event)
        case leg_events.LegMedia(report):
            return isinstance(report, StreamLost | link.RecordingEnded)
        case Requested(command):
            return isinstance(command, commands.Hangup)
        case _:
            return isinstance(item, leg_events.LegEnded | commands.Hangup | Fatal | BridgeParted)


def sender_of(item: Item) -> str:
    """Who is named in the `error` event when `item` cannot be handled: the command, or the part of the call that it comes from."""
    match item:
        case commands.CommandBase():
            return type(item).__name__.lower()
        case Requested(command):
            return type(command).__name__.lower()
        case Recognised() | RecogniserFailed():
            return "asr"
        case ForAgent():
            return "agent"
        case FromLeg(_, event):
            return sender_of(event)
        case leg_events.LegMedia():
            return "media"
        case CallMessage():
            return "bridge"
        case _:
            return "call"
