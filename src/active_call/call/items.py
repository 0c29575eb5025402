"""The items of a call's mailbox, which of them are never refused, and which sender an error names."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from msgspec import Struct

from active_call.agent import effects
from active_call.call.conversation.reply_reading import UnreadText
from active_call.call.opening.routing import Decision
from active_call.call.parties.messages import BridgeEnded, CallMessage
from active_call.call.requests import Request
from active_call.contract import commands
from active_call.legs import events as leg_events
from active_call.legs.leg import Leg
from active_call.media.link import messages as link
from active_call.media.pool.pool import StreamLost
from active_call.providers.base import Recognised


class ForAgent(Struct, frozen=True):
    """An item for the agent: for the one with that number in the call (`CallState.agent_number`), or for the current one."""

    item: effects.AgentInput | UnreadText
    agent_number: int | None = None


class FromLeg(Struct, frozen=True):
    """An event of a leg that was the call's own at the time; it may have been replaced since."""

    leg: Leg
    event: leg_events.LegEvent


class RecogniserFailed(Struct, frozen=True):
    """The recogniser failed; the pending request gets no other result."""

    error: Exception


class Later(Struct, frozen=True):
    """An action to run in order: the result of a task, or news of another leg."""

    do: Callable[[], object]


class Requested(Struct, frozen=True):
    """A command whose sender waits for the result: `done` gets None, or the ActiveCallError of the refusal."""

    command: Request
    done: asyncio.Future[None]


class Routed(Struct, frozen=True):
    """A router has decided."""

    decision: Decision


class Fatal(Struct, frozen=True):
    """A required resource is missing; the call ends with `code`."""

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
"""A leg event without a wrapper is from the call's own leg."""


def ends_leg(item: Item) -> bool:
    """The leg has ended: there is always room for this."""
    return isinstance(item.event if isinstance(item, FromLeg) else item, leg_events.LegEnded)


def is_essential(item: Item) -> bool:
    """It ends a call or a bridge, or completes a record: it is accepted even by an overloaded call."""
    match item:
        case FromLeg(_, event):
            return is_essential(event)
        case leg_events.LegMedia(report):
            return isinstance(report, StreamLost | link.RecordingEnded)
        case Requested(command):
            return isinstance(command, commands.Hangup)
        case _:
            return isinstance(item, leg_events.LegEnded | commands.Hangup | Fatal | BridgeEnded)


def sender_of(item: Item) -> str:
    """The sender in the `error` event if `item` fails: the command, or the part of the call that it comes from."""
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
