"""What a media process costs: a table over calls, SRTP and voice detection. `python benchmarks/media.py`, under three minutes.

Each row is a run of `active_call.media.bench`: a real media process, real loopback sockets, peers in a process of their own. The budget
(DESIGN) is 400 calls with everything on one core, 2.0 ms of processor time per call-second, ticks that start at most 3 ms late at p99.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from active_call.base.errors import MediaError
from active_call.media.bench import Workload, measure

SECONDS: Final = 8
CALLS: Final = (50, 200, 400)
COLUMNS: Final = (
    "calls",
    "srtp",
    "vad",
    "cpu ms/call-s",
    "core %",
    "tick late p50/p99/max",
    "skipped",
    "packet off p50/p99/max",
    "lost",
    "MB",
)


def row(workload: Workload, figures: dict[str, Any]) -> list[str]:
    """One line of the table."""
    cpu_ms = figures["cpu_ms_per_call_second"]
    return [
        str(workload.calls),
        "yes" if workload.srtp else "-",
        "yes" if workload.vad else "-",
        f"{cpu_ms:.2f}",
        f"{cpu_ms * workload.calls / 10:.0f}",
        spread(figures["tick_late_ms"]),
        str(figures["skipped_ticks"]),
        spread(figures["packet_offset_ms"]),
        str(figures["lost"]),
        f"{figures['rss_mb']:.0f}",
    ]


def spread(values: dict[str, float]) -> str:
    return f"{values['p50']:.2f} / {values['p99']:.2f} / {values['max']:.1f}"


def main() -> None:
    """Measure and print."""
    console = Console(width=132)
    table = Table(title=f"media process, {SECONDS} s a row, times in ms")
    for column in COLUMNS:
        table.add_column(column, justify="right")
    for calls in CALLS:
        for srtp, vad in ((False, False), (True, False), (False, True), (True, True)):
            workload = Workload(calls, SECONDS, srtp=srtp, vad=vad)
            try:
                table.add_row(*row(workload, asyncio.run(measure(workload))))
            except MediaError as error:
                table.add_row(str(calls), str(srtp), str(vad), f"failed: {error}")
    console.print(table)


if __name__ == "__main__":
    main()
