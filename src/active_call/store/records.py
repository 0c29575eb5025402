"""Where call records go: the interface of a sink, and which sink the configuration asks for.

In: plain settings. Out: a RecordSink. Kinds: `local` (JSON files) and `http` (POST, with local files as the safety net).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import httpx

from active_call.base.errors import ConfigError
from active_call.store.call_record import CallRecord as CallRecord
from active_call.store.call_record import RecordSummary as RecordSummary
from active_call.store.call_record import TranscriptLine as TranscriptLine
from active_call.store.http_records import HttpRecords as HttpRecords
from active_call.store.local_records import LocalRecords as LocalRecords


class RecordSink(Protocol):
    """Takes the record of every call that is over. A record that was accepted is not lost; failures are logged, never raised."""

    async def write(self, record: CallRecord) -> None:
        """Store one record; returns when it is safe."""
        ...

    async def close(self) -> None:
        """Let go of threads and files. Nothing may be written after."""
        ...


class RecordStore(RecordSink, Protocol):
    """A sink whose records on this machine the HTTP API may read. Both functions block: call them in a thread."""

    def list(self, limit: int, offset: int = 0) -> list[dict[str, Any]]:
        """The short form of calls, the newest first, as plain JSON values."""
        ...

    def get(self, session_id: str) -> dict[str, Any] | None:
        """The record of one call as plain JSON values, or None when there is none."""
        ...


class SinkSettings(Protocol):
    """`[callrecord]` as the configuration has it. `local` has a `root`, `http` also a `url` and `headers`."""

    @property
    def type(self) -> str: ...


@runtime_checkable
class _LocalSettings(Protocol):
    @property
    def root(self) -> str: ...


@runtime_checkable
class _HttpSettings(_LocalSettings, Protocol):
    @property
    def url(self) -> str: ...

    @property
    def headers(self) -> Mapping[str, str]: ...


def create_sink(settings: SinkSettings, client: httpx.AsyncClient) -> RecordStore:
    """The sink that `settings` ask for. Raises ConfigError for a type that this version does not have."""
    if settings.type == "local" and isinstance(settings, _LocalSettings):
        return LocalRecords(Path(settings.root))
    if settings.type == "http" and isinstance(settings, _HttpSettings):
        return HttpRecords(settings.url, settings.headers, client, fallback=LocalRecords(Path(settings.root)))
    raise ConfigError("callrecord.type", f"{settings.type!r} is not supported yet in this version; use local or http")
