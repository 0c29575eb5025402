"""The knowledge folders of this server: one index for each folder, shared by all calls, searched in threads."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import Final

from active_call.base.errors import ActiveCallError
from active_call.base.world import Clock
from active_call.store.knowledge.index import Found, KnowledgeIndex

MAX_FOLDERS: Final = 32


class KnowledgeError(ActiveCallError):
    """A folder cannot be searched."""

    code = "knowledge"


class KnowledgeLibrary:
    """Indexes by folder. If there are too many, the least recently used one is dropped."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._indexes: dict[Path, KnowledgeIndex] = {}

    async def search(self, folder: Path, query: str, limit: int) -> list[Found]:
        """The best passages of `folder` for `query`. Raises KnowledgeError."""
        index = self._indexes.pop(folder, None) or KnowledgeIndex(folder, self._clock.now)
        self._indexes[folder] = index
        while len(self._indexes) > MAX_FOLDERS:
            self._indexes.pop(next(iter(self._indexes))).close()
        try:
            return await asyncio.to_thread(index.search, query, limit)
        except (OSError, sqlite3.Error) as error:
            raise KnowledgeError(f"the folder {folder} cannot be searched: {error}") from error

    async def close(self) -> None:
        """Drop all indexes."""
        for index in self._indexes.values():
            index.close()
        self._indexes.clear()


def as_text(found: list[Found], max_chars: int) -> str:
    """Passages as text for a model: whole ones, up to `max_chars`; if the first one alone is longer, it is cut."""
    parts: list[str] = []
    left = max_chars
    for one in found:
        part = f"{one.title} ({one.file})\n{one.text}"
        if len(part) > left and parts:
            break
        parts.append(part[:left])
        left -= len(part) + 2
    return "\n\n".join(parts)
