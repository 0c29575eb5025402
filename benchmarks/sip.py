"""The signalling capacity of the control process: calls a second and set-up times over UDP, TCP and TLS. `python benchmarks/sip.py`.

Each row is a run of `active-call bench sip`: the whole server, called by a sender in a separate process; about a minute for each row. The
budget (DESIGN) is INVITE to 100 in 5 ms, INVITE to 200 in 30 ms at p95 with a playbook, 200 calls a second over UDP and 100 new calls a
second on open TLS connections.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import uvloop
from rich.console import Console
from rich.table import Table

from active_call.base.errors import ActiveCallError
from active_call.bench.sip import TRANSPORTS, measure
from active_call.server.logs import set_up_logging

SECONDS: Final = 6.0
BUDGET_CALLS: Final = {"udp": "≥ 200", "tcp": "-", "tls": "≥ 100"}
COLUMNS: Final = (
    "transport",
    "calls/s",
    "budget",
    "INVITE → 100 p50/p95/p99",
    "budget",
    "→ 200 p50/p95/p99",
    "budget",
    "at calls/s",
    "failed",
    "repeated",
    "cpu ms/call",
    "new conn/s",
)


def row(figures: dict[str, Any]) -> list[str]:
    """One line of the table."""
    return [
        figures["transport"],
        f"{figures['calls_per_s']:.0f}",
        BUDGET_CALLS[figures["transport"]],
        spread(figures["trying_ms"]),
        "≤ 5",
        spread(figures["answer_ms"]),
        "p95 ≤ 30",
        f"{figures['latency_at_calls_per_s']:.0f}",
        str(figures["failed"]),
        str(figures["retransmissions"]),
        f"{figures['cpu_ms_per_call']:.2f}",
        f"{figures['new_connections_per_s']:.0f}" if "new_connections_per_s" in figures else "-",
    ]


def spread(values: dict[str, float]) -> str:
    return f"{values['p50']:.1f} / {values['p95']:.1f} / {values['p99']:.1f}"


def main() -> None:
    """Measure and print."""
    set_up_logging("error")
    console = Console(width=160)
    table = Table(title="call setup, the whole server, control process on one core, times in ms")
    for column in COLUMNS:
        table.add_column(column, justify="right")
    for transport in TRANSPORTS:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                table.add_row(*row(runner.run(measure(transport, seconds=SECONDS, rate=None))))
        except ActiveCallError as error:
            table.add_row(transport, f"failed: {error}")
    console.print(table)


if __name__ == "__main__":
    main()
