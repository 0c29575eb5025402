"""`active-call show ID`: one ended call: the parties, the times, the transcript, and the latency of each reply.

A record enters, by its id from the configured store, or from a JSON file; text or JSON leaves. Exit codes: 0 shown, 1 no such record, 2 the
configuration or the file cannot be used.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from active_call.base.errors import ActiveCallError
from active_call.client.client import Client
from active_call.client.errors import ClientError
from active_call.server.commands.calls import TokenFlag, run
from active_call.server.config.loading import DEFAULT_FILE, load_config
from active_call.server.terminal import Terminal, json_line, plain_line

out = Terminal()
err = Terminal(stderr=True)

BAR_CHARS = 48
"""The width of a waterfall: with names and figures it fits 100 columns."""
OWNERS = {
    "turn": "end of turn",
    "recogniser": "recogniser",
    "model": "model",
    "synthesiser": "synthesiser",
    "web": "web server",
    "server": "this server",
}
"""The causes of waits, in words."""
MARKS = {
    "recogniserAsked": "recogniser told to finish",
    "finalWords": "final words",
    "turnDecided": "end of turn decided",
    "modelAsked": "model asked",
    "firstToken": "model's first token",
    "firstSentence": "first sentence",
    "synthesisAsked": "synthesiser asked",
    "firstSample": "first audible sample",
    "firstPacket": "first voiced packet out",
}


def show(
    record: Annotated[str, typer.Argument(metavar="ID", help="The id of a call from the records, or the JSON file of a record.")],
    conf: Annotated[Path | None, typer.Option("--conf", help="Config file (default: active-call.toml).")] = None,
    url: Annotated[str | None, typer.Option("--url", help="Ask this server, not the database.", envvar="ACTIVE_CALL_URL")] = None,
    token: TokenFlag = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print only the record, as JSON.")] = False,
) -> None:
    """Show one call: the transcript, and for each reply how long the caller waited and for what."""
    try:
        found = _find(record, conf) if url is None or record.endswith(".json") else _fetched(record, url, token)
    except (ActiveCallError, OSError, ValueError) as error:
        err.print(str(error), style="bold red", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(2) from None
    if found is None:
        reason = f"there is no record {record!r}; `active-call records` lists the finished calls"
        err.print(reason, highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(1)
    if as_json:
        typer.echo(json_line(found))
        return
    for line in lines_of(found):
        out.print(plain_line(line), highlight=False, markup=False, soft_wrap=True)


def _fetched(name: str, url: str, token: str | None) -> dict[str, Any] | None:
    found: list[dict[str, Any]] = []

    async def work(client: Client) -> None:
        try:
            found.append(await client.record(name))
        except ClientError as error:
            if error.status != 404:
                raise

    run(url, token, work)
    return found[0] if found else None


def _find(name: str, conf: Path | None) -> dict[str, Any] | None:
    file = Path(name)
    if file.suffix == ".json" and file.exists():
        found = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError(f"{file}: expected the JSON object of a call record")
        return found
    from active_call.store.create_records import read_record  # not at the top: the other commands need no database

    config = load_config(conf or (DEFAULT_FILE if DEFAULT_FILE.exists() else None), {}, os.environ)
    return asyncio.run(read_record(config.callrecord, name))


def lines_of(record: Mapping[str, Any]) -> list[str]:
    """The record as text: the call, then its turns, each reply with its waterfall."""
    ended = f"{record.get('hangupBy') or '?'} ({record.get('hangupReason') or '?'})"
    lines = [
        f"{record.get('direction', '')} call {record.get('sessionId', '')}, {record.get('status', '')}",
        f"  {record.get('caller') or '?'} -> {record.get('callee') or '?'}",
        f"  {record.get('startTime', '')}, {record.get('durationS', 0):.1f} s, ended by {ended}",
    ]
    lines += [f"  {line}" for line in cost_lines(record)]
    for turn in record.get("turns") or ():
        lines.append("")
        cut = " [interrupted]" if turn.get("interrupted") else ""
        lines.append(f"{turn.get('speaker', '')}: {turn.get('text', '')}{cut}")
        if turn.get("latencyMs") is not None:
            lines += [f"  {line}" for line in waterfall(turn["latencyMs"], turn.get("waits") or (), turn.get("marksMs") or {})]
    return lines


def cost_lines(record: Mapping[str, Any]) -> list[str]:
    """The call's usage and cost: the sum, then a line for each engine; empty if nothing was used."""
    cost, usage = record.get("cost"), record.get("usage") or ()
    if not isinstance(cost, Mapping):
        return []
    total = f"{cost['total']:.4f} {cost.get('currency', '')}" if "total" in cost else "no price is known"
    missing = ", ".join(cost.get("unpriced") or ())
    lines = [f"cost {total}{' (estimated)' if cost.get('estimated') else ''}{f'; without a price: {missing}' if missing else ''}"]
    for row in usage:
        name = " ".join(str(row[key]) for key in ("kind", "provider", "model") if row.get(key))
        units = ", ".join(f"{amount:,} {_words_of(unit)}" for unit, amount in (row.get("units") or {}).items())
        price = f"{row['cost']:.4f}" if "cost" in row else "no price"
        lines.append(f"  {price:>8}  {name}: {units}{' (estimated)' if row.get('estimated') else ''}")
    return lines


def _words_of(unit: str) -> str:
    """`cachedInputTokens` as `cached input tokens`."""
    return "".join(f" {char.lower()}" if char.isupper() else char for char in unit)


def waterfall(latency_ms: float, waits: Sequence[Mapping[str, Any]], marks: Mapping[str, float]) -> list[str]:
    """The latency from the caller's last voiced packet to our first: a line for each wait, then the times of events."""
    lines = [f"{latency_ms:.0f} ms from the caller's last voiced packet to our first"]
    for wait in waits:
        begin, length = float(wait["start"]), float(wait["duration"])
        first = round(begin / latency_ms * BAR_CHARS) if latency_ms else 0
        n = max(1, round((begin + length) / latency_ms * BAR_CHARS) - first) if latency_ms else 0
        bar = (" " * min(first, BAR_CHARS - 1) + "#" * n).ljust(BAR_CHARS)[:BAR_CHARS]
        lines.append(f"  {OWNERS.get(wait['owner'], wait['owner']):<11} {begin:>6.0f} |{bar}| {length:>6.0f} ms")
    told = ", ".join(f"{MARKS.get(name, name)} {at:.0f}" for name, at in sorted(marks.items(), key=lambda mark: mark[1]))
    return [*lines, f"  {told}"] if told else lines
