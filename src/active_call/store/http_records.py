"""Call records POSTed to a web service. What cannot be delivered is kept as a local file, so that nothing is lost.

In: records. Out: one POST a record; after three failures, or when the server is stopping, a file. Bounded: a record takes at most
`ATTEMPTS` times the deadline and the pauses between.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import httpx

from active_call.store.call_record import CallRecord
from active_call.store.local_records import LocalRecords

ATTEMPTS = 3
DEADLINE_S = 5.0
PAUSES_S = (0.5, 2.0)
RETRYABLE_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses after which the same request may succeed (RFC 9110 §15); the others say that it never will."""


class HttpRecords:
    """POSTs each record as JSON. `fallback` takes what is not delivered, and is closed with this sink; `client` belongs to the caller."""

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        client: httpx.AsyncClient,
        *,
        fallback: LocalRecords,
        pauses_s: tuple[float, ...] = PAUSES_S,
        logger: logging.Logger | None = None,
    ) -> None:
        self._url = url
        self._headers = {"Content-Type": "application/json", **headers}
        self._client = client
        self._fallback = fallback
        self._pauses_s = pauses_s
        self._log = logger or logging.getLogger("active_call.records")

    async def write(self, record: CallRecord) -> None:
        """Deliver one record, or keep it locally."""
        delivered = False
        try:
            delivered = await self._deliver(record)
        finally:
            if not delivered:
                await self._fallback.write(record)

    async def close(self) -> None:
        """Finish what is being written."""
        await self._fallback.close()

    def list(self, limit: int, offset: int = 0) -> list[dict[str, Any]]:
        """Calls whose records were kept locally, the newest first. Blocks."""
        return self._fallback.list(limit, offset)

    def get(self, session_id: str) -> dict[str, Any] | None:
        """A record that was kept locally. Blocks."""
        return self._fallback.get(session_id)

    async def _deliver(self, record: CallRecord) -> bool:
        body = record.to_json()
        for attempt in range(1, ATTEMPTS + 1):
            refusal = await self._post(body, record.session_id)
            if refusal is None:
                return True
            reason, is_retryable = refusal
            fields = {"session_id": record.session_id, "url": self._url, "attempt": attempt, "reason": reason}
            self._log.warning("call record was not accepted", extra=fields)
            if not is_retryable or attempt == ATTEMPTS:
                return False
            await asyncio.sleep(self._pauses_s[min(attempt, len(self._pauses_s)) - 1])
        return False

    async def _post(self, body: bytes, session_id: str) -> tuple[str, bool] | None:
        """None when it was accepted; else why not, and whether to try again. The key lets the service know a repetition."""
        headers = {**self._headers, "Idempotency-Key": session_id}
        try:
            async with asyncio.timeout(DEADLINE_S):
                response = await self._client.post(self._url, content=body, headers=headers)
        except (httpx.HTTPError, TimeoutError) as error:
            return f"{type(error).__name__}: {error}", True
        except (httpx.InvalidURL, ValueError) as error:
            return f"{type(error).__name__}: {error}", False
        if response.is_success:
            return None
        return f"status {response.status_code}", response.status_code in RETRYABLE_STATUS
