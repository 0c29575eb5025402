"""The records over HTTP: pages of finished calls by filters, one whole record, its recording.

Totals and the next page are in headers (`X-Total-Count`, `Link`), so that the body stays the list that clients of the Rust program expect.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Awaitable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar
from urllib.parse import urlencode

from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi.responses import FileResponse

from active_call.api.record_list import listed_record, outcome_of, parse_time
from active_call.contract.json_text import MAX_INTEGER
from active_call.store.records import RecordPage, RecordQuery, RecordStore, RecordsUnavailable

MAX_LIMIT: Final = 1000
MAX_OFFSET: Final = 10_000_000
MAX_TEXT: Final = 256
ANY_BYTES: Final = "application/octet-stream"
SOUND_TYPES: Final = {".wav": "audio/wav", ".mp3": "audio/mpeg", ".ogg": "audio/ogg", ".opus": "audio/ogg"}
"""Media types of recordings by file suffix; sound without a header (`.pcm`, `.g722`) is `ANY_BYTES`."""

T = TypeVar("T")
Text = Annotated[str, Query(max_length=MAX_TEXT)]


def record_routes(records: RecordStore) -> APIRouter:
    """The routes below `/api/records`."""
    router = APIRouter(prefix="/api/records", tags=["records"])

    @router.get("", summary="Finished calls, newest first; X-Total-Count and Link describe further pages")
    async def list_records(
        request: Request,
        response: Response,
        limit: int = 50,
        offset: int = 0,
        cursor: Text = "",
        caller: Text = "",
        callee: Text = "",
        direction: Literal["", "inbound", "outbound"] = "",
        status: Literal["", "answered", "completed", "rejected", "failed", "crashed"] = "",
        trunk: Text = "",
        playbook: Text = "",
        since: Annotated[str, Query(alias="from", max_length=64)] = "",
        until: Annotated[str, Query(alias="to", max_length=64)] = "",
        min_duration: Annotated[float | None, Query(ge=0, le=1e9, allow_inf_nan=False)] = None,
        q: Text = "",
    ) -> list[dict[str, Any]]:
        query = RecordQuery(
            limit=max(1, min(limit, MAX_LIMIT)),
            offset=max(0, min(offset, MAX_OFFSET)),
            before=_parse_cursor(cursor) if cursor else None,
            caller=caller,
            callee=callee,
            direction=direction,
            status=outcome_of(status),
            trunk=trunk,
            playbook=playbook,
            since=_time("from", since),
            until=_time("to", until),
            min_duration_s=min_duration,
            text=q,
        )
        page = await _available(records.list(query))
        response.headers["X-Total-Count"] = str(page.total)
        link = _link(request, page)
        if link:
            response.headers["Link"] = link
        return [listed_record(item) for item in page.items]

    @router.get("/{record_id}", summary="The complete record of a call")
    async def read_record(record_id: str) -> dict[str, Any]:
        return await _record(records, record_id)

    @router.get("/{record_id}/recording", summary="The recording of a call")
    async def read_recording(record_id: str) -> FileResponse:
        path = (await _record(records, record_id)).get("recording")
        if not path or not await asyncio.to_thread(Path(path).is_file):
            raise HTTPException(404, f"no recording of {record_id!r}")
        return FileResponse(path, media_type=SOUND_TYPES.get(Path(path).suffix.lower(), ANY_BYTES))

    return router


async def _record(records: RecordStore, record_id: str) -> dict[str, Any]:
    record = await _available(records.get(record_id))
    if record is None:
        raise HTTPException(404, f"no record of {record_id!r}")
    return record


async def _available(answer: Awaitable[T]) -> T:
    try:
        return await answer
    except RecordsUnavailable as error:
        raise HTTPException(503, str(error), headers={"Retry-After": "5"}) from error


def _link(request: Request, page: RecordPage) -> str:
    """RFC 8288: the link to the next page."""
    if page.more is None:
        return ""
    kept = [(key, value) for key, value in request.query_params.multi_items() if key not in ("cursor", "offset")]
    return f'<{request.url.path}?{urlencode([*kept, ("cursor", _cursor(page.more))])}>; rel="next"'


def _cursor(more: tuple[datetime, int]) -> str:
    return base64.urlsafe_b64encode(f"{more[0].isoformat()} {more[1]}".encode()).decode().rstrip("=")


def _parse_cursor(text: str) -> tuple[datetime, int]:
    try:
        at, _, seq = base64.urlsafe_b64decode(text.encode() + b"=" * (-len(text) % 4)).decode().partition(" ")
        number = int(seq)
        if not 0 <= number <= MAX_INTEGER:
            raise ValueError(f"{number} numbers no record")
        return datetime.fromisoformat(at).astimezone(UTC), number
    except (ValueError, OverflowError, binascii.Error) as error:
        raise HTTPException(400, "cursor: expected the value from the Link header of the previous page") from error


def _time(name: str, text: str) -> datetime | None:
    try:
        return parse_time(text)
    except ValueError as error:
        raise HTTPException(400, f"{name}: {error}") from None
