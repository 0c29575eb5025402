"""Messages between calls that negotiate, make and end a bridge. Sent with `CallHandle.send`.

    the call that asks                       the other call
    BridgeInvite ──────────────────────────> free: BridgeAccepted; else BridgeRefused
    joins the two streams
    BridgeJoined ──────────────────────────> tells `joined`
    BridgeParted <─────────────────────────> either end, at any time after the invitation

Each names the bridge and its sender by their ids. A message about a bridge that is over changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from active_call.media.pool.pool import MediaStream, Relay


@dataclass(frozen=True, slots=True)
class CallMessage:
    """A message of one call to another, about the bridge `bridge_id`. `sender`: the session id of the call that sends it."""

    bridge_id: str
    sender: str


@dataclass(frozen=True, slots=True)
class BridgeInvite(CallMessage):
    """The sender wants its caller to be joined with yours."""


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
class BridgeParted(CallMessage):
    """The bridge is over, or could not be made."""

    reason: str
