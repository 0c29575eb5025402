"""`active-call records`: lists finished calls, newest first, by filters; the list of `GET /api/records`.

Filters enter; a line for each call leaves, or JSON. The calls come from the configured database, or from a running server (`--url`).
Exit codes: 0 listed (also if there are none), 2 the configuration, a filter or the server cannot be used.
"""

from __future__ import annotations

import asyncio
import os
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from active_call.api.record_list import listed_record, outcome_of, parse_time
from active_call.base.errors import ActiveCallError
from active_call.client.client import Client
from active_call.server.commands.calls import JsonFlag, TokenFlag, fail, print_line, run
from active_call.server.config.loading import DEFAULT_FILE, load_config
from active_call.server.terminal import Terminal, json_line, plain_line
from active_call.store.records import RecordQuery

err = Terminal(stderr=True)

DIRECTIONS = ("inbound", "outbound")
STATUSES = ("answered", "completed", "rejected", "failed", "crashed")
MAX_LIMIT = 1000


def records(
    caller: Annotated[str, typer.Option(help="Part of the caller's address.")] = "",
    callee: Annotated[str, typer.Option(help="Part of the callee's address.")] = "",
    direction: Annotated[str, typer.Option(help=f"{' or '.join(DIRECTIONS)}.")] = "",
    status: Annotated[str, typer.Option(help=f"{', '.join(STATUSES[:-1])} or {STATUSES[-1]}.")] = "",
    trunk: Annotated[str, typer.Option(help="The name of a trunk.")] = "",
    playbook: Annotated[str, typer.Option(help="The name of a playbook.")] = "",
    since: Annotated[str, typer.Option("--from", metavar="TIME", help="Began at this time or later: 2026-03-04, 2026-03-04T09:30Z.")] = "",
    until: Annotated[str, typer.Option("--to", metavar="TIME", help="Began before this time.")] = "",
    min_duration: Annotated[float | None, typer.Option(min=0, metavar="SECONDS", help="Lasted at least so long.")] = None,
    search: Annotated[str, typer.Option(help="Text in addresses, ids, trunk, playbook, reason or error.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=MAX_LIMIT, help="List at most so many calls.")] = 50,
    conf: Annotated[Path | None, typer.Option("--conf", help="Config file (default: active-call.toml).")] = None,
    url: Annotated[str | None, typer.Option("--url", help="Ask this server, not the database.", envvar="ACTIVE_CALL_URL")] = None,
    token: TokenFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """List finished calls, newest first. `active-call show ID` shows one of them."""
    _check_word("direction", direction, DIRECTIONS)
    _check_word("status", status, STATUSES)
    began, ended = _checked_time("from", since), _checked_time("to", until)
    if url is not None:
        filters: dict[str, object] = {
            "caller": caller,
            "callee": callee,
            "direction": direction,
            "status": status,
            "trunk": trunk,
            "playbook": playbook,
        }
        filters |= {"from_": since, "to": until, "min_duration": min_duration, "q": search, "limit": limit}
        found = _fetched({name: value for name, value in filters.items() if value not in ("", None)}, url, token)
    else:
        query = RecordQuery(
            limit=limit,
            caller=caller,
            callee=callee,
            direction=direction,
            status=outcome_of(status),
            trunk=trunk,
            playbook=playbook,
            since=began,
            until=ended,
            min_duration_s=min_duration,
            text=search,
        )
        found = _read(query, conf)
    for one in found:
        print_line(json_line(one) if as_json else _line_of(one))
    if not found and not as_json:
        err.print("there are no such finished calls", highlight=False)


def _check_word(name: str, word: str, known: tuple[str, ...]) -> None:
    if word and word not in known:
        fail(f"--{name}: expected {', '.join(known[:-1])} or {known[-1]}, found {word!r}", 2)


def _checked_time(name: str, text: str) -> datetime | None:
    try:
        return parse_time(text)
    except ValueError as error:
        fail(f"--{name}: {error}", 2)


def _fetched(filters: dict[str, object], url: str, token: str | None) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []

    async def work(client: Client) -> None:
        found.extend(await client.records(**filters))

    run(url, token, work)
    return found


def _read(query: RecordQuery, conf: Path | None) -> list[dict[str, Any]]:
    from active_call.store.create_records import read_records  # not at the top: the other commands need no database

    try:
        config = load_config(conf or (DEFAULT_FILE if DEFAULT_FILE.exists() else None), {}, os.environ)
        page = asyncio.run(read_records(config.callrecord, query))
    except (ActiveCallError, OSError) as error:
        fail(str(error), 2)
    return [listed_record(item) for item in page.items]


def _line_of(one: dict[str, Any]) -> str:
    began = str(one["date"])[:19].replace("T", " ")
    ends = f"{one['caller'] or '?'} -> {one['callee'] or '?'}"
    return plain_line(f"{one['id']}  {began}  {one['direction']:<8}  {one['outcome']:<8}  {one['durationS']:>7.1f} s  {ends}")
