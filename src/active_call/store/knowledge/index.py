"""Finds passages of a folder's Markdown and text files by words: SQLite FTS5, ranked by BM25.

A folder and a query in a caller's words enter; the best passages leave. The index is in memory and is rebuilt when a file has changed,
which is checked at most every `CHECK_S`. Everything here blocks: it is called in a thread. Chinese, Japanese and Korean are indexed by
character, which FTS5's own tokenizer does not do.
"""

from __future__ import annotations

import logging
import re
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from msgspec import Struct

from active_call.store.knowledge.passages import passages_of

log = logging.getLogger(__name__)

MAX_FILES: Final = 2_000
MAX_FILE_BYTES: Final = 4 * 1024 * 1024
MAX_BYTES: Final = 64 * 1024 * 1024
CHECK_S: Final = 5.0
MAX_QUERY_WORDS: Final = 32
ENDINGS: Final = (".md", ".markdown", ".txt")

_CJK = re.compile(r"([\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af])")
_WORD = re.compile(r"\w+")
_COMMON_WORDS: Final = (
    "a an and are as at be by can could do does for from have how i in is it me my of on or please tell that the there this to was what "
    "when where which who why will with would you your der die das ein eine ist und ich sie wie was wo wann haben"
)
_COMMON: Final = frozenset(_COMMON_WORDS.split())

Stamp = tuple[tuple[str, int, int], ...]


class Found(Struct, frozen=True):
    """A passage. `file` is relative to the folder."""

    file: str
    title: str
    text: str


class KnowledgeIndex:
    """One folder. Safe to use from several threads."""

    def __init__(self, folder: Path, now: Callable[[], float]) -> None:
        self._folder = folder
        self._now = now
        self._lock = threading.Lock()
        self._database: sqlite3.Connection | None = None
        self._stamp: Stamp | None = None
        self._checked_at = float("-inf")

    def search(self, query: str, limit: int) -> list[Found]:
        """The best passages for `query`, best first; none if no word of it is known. Raises OSError if the folder cannot be read."""
        wanted = match_of(query)
        with self._lock:
            database = self._fresh()
            if not wanted or database is None:
                return []
            rows = database.execute(
                "SELECT file, title, body FROM passages WHERE passages MATCH ? ORDER BY bm25(passages, 0.0, 4.0, 1.0) LIMIT ?",
                (wanted, limit),
            )
            return [Found(*row) for row in rows]

    def close(self) -> None:
        """Drop the index."""
        with self._lock:
            if self._database is not None:
                self._database.close()
            self._database = self._stamp = None

    def _fresh(self) -> sqlite3.Connection | None:
        now = self._now()
        if self._database is not None and now - self._checked_at < CHECK_S:
            return self._database
        self._checked_at = now
        files = list(_files_in(self._folder))
        stamp = tuple((str(path), stat.st_mtime_ns, stat.st_size) for path in files for stat in (path.stat(),))
        if stamp != self._stamp or self._database is None:
            if self._database is not None:
                self._database.close()
            self._database, self._stamp = self._indexed(files), stamp
        return self._database

    def _indexed(self, files: list[Path]) -> sqlite3.Connection:
        database = sqlite3.connect(":memory:", check_same_thread=False)
        # `words` and `heading` are searched, with CJK characters separated; `title` and `body` are displayed.
        database.execute(
            "CREATE VIRTUAL TABLE passages USING fts5(file UNINDEXED, heading, words, body UNINDEXED, title UNINDEXED, "
            "tokenize='porter unicode61 remove_diacritics 2')"
        )
        n_bytes = n_passages = 0
        for path in files:
            text = path.read_text(encoding="utf-8", errors="replace")
            n_bytes += len(text)
            if n_bytes > MAX_BYTES:
                log.warning("knowledge folder is too large; the rest is left out", extra={"folder": str(self._folder)})
                break
            name = str(path.relative_to(self._folder))
            rows = [(name, _parted(one.title), _parted(one.text), one.text, one.title) for one in passages_of(text, path.stem)]
            database.executemany("INSERT INTO passages (file, heading, words, body, title) VALUES (?, ?, ?, ?, ?)", rows)
            n_passages += len(rows)
        log.info("knowledge indexed", extra={"folder": str(self._folder), "files": len(files), "passages": n_passages})
        return database


def match_of(query: str) -> str:
    """An FTS5 expression: any of the query's words, without common ones if there are others. Nothing in a query is read as syntax."""
    words = list(dict.fromkeys(_WORD.findall(_parted(query).casefold())))[:MAX_QUERY_WORDS]
    telling = [word for word in words if word not in _COMMON]
    return " OR ".join(f'"{word}"' for word in telling or words)


def _files_in(folder: Path) -> Iterator[Path]:
    """The files, in order, without links that lead out of the folder, hidden files and files that are too large."""
    root = folder.resolve(strict=True)
    n_files = 0
    for path in sorted(root.rglob("*")):
        is_hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
        if is_hidden or path.suffix.lower() not in ENDINGS or not path.is_file() or root not in path.resolve().parents:
            continue
        if path.stat().st_size > MAX_FILE_BYTES:
            log.warning("knowledge file is too large", extra={"file": str(path)})
            continue
        n_files += 1
        if n_files > MAX_FILES:
            log.warning("knowledge folder has too many files; the rest is left out", extra={"folder": str(folder)})
            return
        yield path


def _parted(text: str) -> str:
    return _CJK.sub(r" \1 ", text)
