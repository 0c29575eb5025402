"""Deliveries to web services that survive a restart: each is a file until it was accepted. One that is never accepted becomes a dead
letter.

    waiting/ID.json ── taken ──> (removed)
         │ └── busy ──> waiting, later
         └── refused, too old, too many ──> dead/ID.json ── replayed ──> waiting

Deliveries enter; due ones leave, in the order of their ids. Blocking work is done in threads. A folder that is not writable raises OSError,
and the delivery is then tried from memory alone.
"""

from __future__ import annotations

import asyncio
import logging
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import msgspec

from active_call.store.private_files import create_private, private_folder

log = logging.getLogger("active_call.store")

MAX_WAITING: Final = 20_000
"""The most deliveries that wait for services that are down; further ones become dead letters at once."""
MAX_DEAD: Final = 10_000
"""The most dead letters kept; the oldest is dropped first."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event for one web service. `id` is unique and sorts by time; `target` names the service in the configuration."""

    id: str
    target: str
    type: str
    created_at: float
    """Seconds since 1970."""
    body: str = field(repr=False)
    session_id: str = ""
    attempts: int = 0
    due_at: float = 0.0
    error: str = ""

    def described(self) -> dict[str, Any]:
        """For display: without the body."""
        about = {"id": self.id, "webhook": self.target, "type": self.type, "sessionId": self.session_id}
        return {**about, "createdAt": self.created_at, "attempts": self.attempts, "error": self.error}


_decoder = msgspec.json.Decoder(Delivery)


class WebhookSpool:
    """The deliveries of one server, in its own folder."""

    def __init__(self, folder: Path) -> None:
        self._waiting_folder, self._dead_folder = folder / "waiting", folder / "dead"
        self.waiting: dict[str, Delivery] = {}
        self.dead: dict[str, Delivery] = {}

    async def load(self) -> None:
        """Read the deliveries that an earlier run left. Unreadable files are logged and skipped."""
        self.waiting = await asyncio.to_thread(_read_folder, self._waiting_folder)
        self.dead = await asyncio.to_thread(_read_folder, self._dead_folder)
        for both in self.waiting.keys() & self.dead.keys():  # the earlier run stopped in between
            del self.waiting[both]
            await self._remove(self._waiting_folder, both)

    async def add(self, delivery: Delivery) -> None:
        """Store a delivery until it was accepted. Beyond `MAX_WAITING` it becomes a dead letter."""
        if len(self.waiting) >= MAX_WAITING:
            await self.make_dead_letter(delivery, "too many deliveries wait")
            return
        await self._keep(delivery)

    async def _keep(self, delivery: Delivery) -> None:
        await self._write(self._waiting_folder, delivery)
        self.waiting[delivery.id] = delivery

    async def taken(self, delivery: Delivery) -> None:
        """The service has accepted it."""
        await self._remove(self._waiting_folder, delivery.id)
        self.waiting.pop(delivery.id, None)

    async def try_later(self, delivery: Delivery, due_at: float, error: str) -> None:
        """It was not accepted."""
        later = replace(delivery, attempts=delivery.attempts + 1, due_at=due_at, error=error[:500])
        self.waiting[delivery.id] = later
        await self._write(self._waiting_folder, later)

    async def make_dead_letter(self, delivery: Delivery, error: str) -> None:
        """It will never be accepted: make it a dead letter."""
        dead = replace(delivery, attempts=delivery.attempts + 1, error=error[:500])
        await self._write(self._dead_folder, dead)
        await self._remove(self._waiting_folder, dead.id)
        self.waiting.pop(delivery.id, None)
        self.dead[dead.id] = dead
        while len(self.dead) > MAX_DEAD:
            oldest = min(self.dead)
            del self.dead[oldest]
            await self._remove(self._dead_folder, oldest)

    async def replay(self, delivery_id: str) -> bool:
        """Make a dead letter due again; False if there is none with that id."""
        dead = self.dead.pop(delivery_id, None)
        if dead is None:
            return False
        await self._keep(replace(dead, attempts=0, due_at=0.0))
        await self._remove(self._dead_folder, delivery_id)
        return True

    async def _write(self, folder: Path, delivery: Delivery) -> None:
        try:
            await asyncio.to_thread(_write_whole, folder / f"{delivery.id}.json", msgspec.json.encode(delivery))
        except OSError as error:
            log.warning("webhook cannot be spooled", extra={"folder": str(folder), "error": str(error)})

    async def _remove(self, folder: Path, delivery_id: str) -> None:
        try:
            await asyncio.to_thread((folder / f"{delivery_id}.json").unlink, missing_ok=True)
        except OSError as error:
            log.warning("webhook cannot be removed from its spool", extra={"folder": str(folder), "error": str(error)})


def _write_whole(path: Path, data: bytes) -> None:
    """Write the whole file or nothing; it is on disk when this returns."""
    private_folder(path.parent)
    draft = path.with_suffix(".part")
    draft.unlink(missing_ok=True)
    with create_private(draft) as file:
        file.write(data)
        os.fsync(file.fileno())
    draft.replace(path)


def _read_folder(folder: Path) -> dict[str, Delivery]:
    found: dict[str, Delivery] = {}
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else ():
        try:
            delivery = _decoder.decode(path.read_bytes())
            found[delivery.id] = delivery
        except (OSError, msgspec.MsgspecError) as error:
            log.warning("file of the webhook spool cannot be read", extra={"path": str(path), "error": str(error)})
    return found
