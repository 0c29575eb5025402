"""What all messages of the link between the control process and a media process have in common."""

from __future__ import annotations

import msgspec


class Link(msgspec.Struct, frozen=True, array_like=True):
    """The base of all link messages."""
