"""The cost of a day's calls, in a small file, so that a restart keeps it.

The sum enters with each change; the file is replaced some seconds later, and at the end. Costs of these seconds are lost if the process
dies. Only one process writes the file.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
from pathlib import Path
from typing import Final

from msgspec import Struct

from active_call.store.private_files import FILE_MODE, private_folder

log = logging.getLogger("active_call.cost")

WRITE_EVERY_S: Final = 2.0


class DaySum(Struct, frozen=True):
    """`day` is a date of UTC as text."""

    day: str
    spent: float
    currency: str


class DaySpendingFile:
    """See the module. Used on the loop; files are touched in threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._sum: DaySum | None = None
        self._is_due = asyncio.Event()
        self._has_failed = False

    async def load(self) -> DaySum | None:
        """The last stored value; None if there is no file, or an invalid one, which is logged."""
        return await asyncio.to_thread(self._load)

    def note(self, day_sum: DaySum) -> None:
        """The sum has changed."""
        self._sum = day_sum
        self._is_due.set()

    async def keep(self) -> None:
        """Write changes until cancelled."""
        while True:
            await self._is_due.wait()
            await asyncio.sleep(WRITE_EVERY_S)
            await self.close()

    async def close(self) -> None:
        """Write the last change. A file that cannot be written is logged once."""
        if not self._is_due.is_set() or self._sum is None:
            return
        self._is_due.clear()
        try:
            await asyncio.to_thread(self._write, self._sum)
            self._has_failed = False
        except OSError as error:
            if not self._has_failed:
                log.error("the day's spending cannot be stored", extra={"path": str(self._path), "reason": str(error)})
            self._has_failed = True

    def _load(self) -> DaySum | None:
        try:
            found = json.loads(self._path.read_text("utf-8"))
            day_sum = DaySum(str(found["day"]), float(found["spent"]), str(found["currency"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            log.error("the day's spending cannot be read; it starts at zero", extra={"path": str(self._path), "reason": repr(error)})
            return None
        return day_sum if math.isfinite(day_sum.spent) and day_sum.spent >= 0 else None

    def _write(self, day_sum: DaySum) -> None:
        private_folder(self._path.parent)
        text = json.dumps({"day": day_sum.day, "spent": day_sum.spent, "currency": day_sum.currency})
        beside = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, FILE_MODE)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        beside.replace(self._path)
