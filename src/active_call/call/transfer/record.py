"""The transfers of one call for its record, with the target's side of each."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Protocol

from active_call.call.transfer.machine import EmitEvent


class TransferTarget(Protocol):
    """The target's side of a transfer that we make ourselves."""

    def listen(self) -> None:
        """Let the caller hear the target before its answer."""
        ...

    def join(self) -> None:
        """Let the two hear each other; Joined or JoinFailed follows."""
        ...

    def hang_up(self, *, cause: str = "hangup") -> None:
        """Cancel the call to the target, or hang up."""
        ...

    def close(self) -> None:
        """The caller's own call has ended."""
        ...

    async def release(self) -> None:
        """Free its resources; may be called again."""
        ...

    def facts(self) -> dict[str, Any]:
        """Its part of the record."""
        ...

    def next_timeout(self) -> float | None:
        """The next deadline, in monotonic seconds."""
        ...

    def handle_timeout(self, now: float) -> None:
        """Handle due timers; does nothing at any other time."""
        ...


class TransferRecords:
    """The transfers of the call, and their targets."""

    def __init__(self) -> None:
        self._transfers: list[tuple[dict[str, Any], list[TransferTarget]]] = []

    def begin(self, target: str, at: datetime) -> dict[str, Any]:
        """A transfer begins; returns its entry, which its owner may extend."""
        entry = {"target": target, "startTime": at.isoformat()}
        self._transfers.append((entry, []))
        return entry

    def add_target(self, target: TransferTarget) -> None:
        """The latest transfer calls a target."""
        self._transfers[-1][1].append(target)

    def note(self, told: EmitEvent, at: datetime) -> None:
        """The progress of the latest transfer."""
        entry, _ = self._transfers[-1]
        if told.state == "connected":
            entry["connectTime"] = at.isoformat()
        if told.final:
            entry |= {"state": told.state, "code": told.code or None, "reason": told.reason or None, "endTime": at.isoformat()}

    def targets(self) -> Iterator[TransferTarget]:
        """The targets of all transfers, the first one first."""
        return (target for _, targets in self._transfers for target in targets)

    def as_json(self) -> list[dict[str, Any]]:
        """For the record."""
        return [{**entry, "farLegs": [far.facts() for far in targets]} if targets else entry for entry, targets in self._transfers]
