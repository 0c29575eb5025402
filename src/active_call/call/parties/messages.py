"""Messages between calls that negotiate, set up and end a bridge. Sent with `CallHandle.send`.

    the requesting call                      the other call
    BridgeInvite ──────────────────────────> free: BridgeAccepted; else BridgeRefused
    joins the two streams
    BridgeJoined ──────────────────────────> reports `joined`
    BridgeParted <─────────────────────────> either end, at any time after the invitation

Each contains the ids of the bridge and the sender. A message about an ended bridge is ignored.
"""

from __future__ import annotations

from msgspec import Struct

from active_call.media.pool.pool import MediaStream, Relay


class CallMessage(Struct, frozen=True):
    """A message from one call to another about the bridge `bridge_id`. `sender`: the sending call's session id."""

    bridge_id: str
    sender: str


class BridgeInvite(CallMessage, frozen=True):
    """The sender asks to bridge its caller with yours."""


class BridgeAccepted(CallMessage, frozen=True):
    """The sender is free, and waits for `BridgeJoined`; its media is on `stream`."""

    stream: MediaStream


class BridgeRefused(CallMessage, frozen=True):
    """The sender cannot be bridged now."""

    reason: str


class BridgeJoined(CallMessage, frozen=True):
    """The two hear each other over `relay`; either call closes it when it leaves."""

    relay: Relay


class BridgeEnded(CallMessage, frozen=True):
    """The bridge has ended, or could not be set up."""

    reason: str
