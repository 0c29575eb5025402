"""Posts call records to a web service. A record that it refuses permanently is kept as a local file, so that nothing is lost.

Records as JSON enter; each is one POST. The outbox decides about retries.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime

import httpx

from active_call.store.local_records import LocalRecords
from active_call.store.sinks import RecordRefused, SinkBusy

DEADLINE_S = 5.0
RETRYABLE_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses after which a retry may succeed (RFC 9110 §15); after any other it cannot."""


class HttpRecords:
    """Posts each record as JSON. `fallback` stores refused ones and is closed with this sink; the caller owns `client`."""

    gives_up = True

    def __init__(self, url: str, headers: Mapping[str, str], client: httpx.AsyncClient, *, fallback: LocalRecords) -> None:
        self._url = url
        self._where = url.partition("?")[0].rpartition("@")[2]
        """For messages: without parts that may be secret."""
        self._headers = {"Content-Type": "application/json", **headers}
        self._client = client
        self._fallback = fallback

    async def deliver(self, record_id: str, started_at: datetime, body: bytes) -> None:
        """One POST; the key lets the service recognise a repetition. Raises SinkBusy or RecordRefused."""
        try:
            await self._post(record_id, body)
        except RecordRefused:
            await self._fallback.deliver(record_id, started_at, body)
            raise

    async def close(self) -> None:
        """Finish the current writing."""
        await self._fallback.close()

    async def _post(self, record_id: str, body: bytes) -> None:
        headers = {**self._headers, "Idempotency-Key": _header_safe(record_id)}
        try:
            async with asyncio.timeout(DEADLINE_S):
                response = await self._client.post(self._url, content=body, headers=headers)
        except (httpx.HTTPError, TimeoutError, OSError) as error:
            raise SinkBusy(f"{self._where}: {type(error).__name__}: {error}") from error
        except (httpx.InvalidURL, ValueError) as error:
            raise RecordRefused(f"{self._where}: {type(error).__name__}: {error}") from error
        if response.is_success:
            return
        reason = f"{self._where}: status {response.status_code}"
        raise SinkBusy(reason) if response.status_code in RETRYABLE_STATUS else RecordRefused(reason)


def _header_safe(text: str) -> str:
    """A client's session id may contain characters that a header may not."""
    return text.encode("ascii", "backslashreplace").decode().replace("\r", "").replace("\n", "")
