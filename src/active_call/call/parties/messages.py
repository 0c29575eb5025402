"""Messages between calls that negotiate, set up and end a bridge. Sent with `CallHandle.send`.

    the requesting call                      the other call
    BridgeInvite ──────────────────────────> free: BridgeAccepted; else BridgeRefused
    joins the two streams
    BridgeJoined ──────────────────────────> reports `joined`
    BridgeParted <─────────────────────────> either end, at any time after the invitation

Each contains the ids of the bridge and the sender. A message about an ended bridge is ignored.
"""

from __future__ import annotations

from dataclasses import dataclass

from active_call.media.pool.pool import MediaStream, Relay


@dataclass(frozen=True, slots=True)
class CallMessage:
    """A message from one call to another about the bridge `bridge_id`. `sender`: the sending call's session id."""

    bridge_id: str
    sender: str


@dataclass(frozen=True, slots=True)
class BridgeInvite(CallMessage):
    """The sender asks to bridge its caller with yours."""


@dataclass(frozen=True, slots=True)
class BridgeAccepted(CallMessage):
    """The sender is free, and waits for `BridgeJoined`; its media is on `stream`."""

    stream: MediaStream


@dataclass(frozen=True, slots=True)
class BridgeRefused(CallMessage):
    """The sender cannot be bridged now."""

    reason: str


@dataclass(frozen=True, slots=True)
class BridgeJoined(CallMessage):
    """The two hear each other over `relay`; either call closes it when it leaves."""

    relay: Relay


@dataclass(frozen=True, slots=True)
class BridgeEnded(CallMessage):
    """The bridge has ended, or could not be set up."""

    reason: str
