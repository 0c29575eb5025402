"""The cost of a media process: tables by calls, SRTP, voice detection and recording. `python benchmarks/media.py`, three minutes.

Each row is a run of `active_call.bench.media`: a real media process on one core, real loopback sockets, callers in a separate process on
another core. The budget (DESIGN) is 400 calls with all features on one core, 2.0 ms of CPU time per call-second, ticks that start at most 3
ms late at p99. The first rows show whether a call costs the same at 400 as at 40.
"""

from __future__ import annotations

from typing import Any, Final

from rich.console import Console
from rich.table import Table

from active_call.base.errors import MediaError
from active_call.bench.media import Workload, measured

SECONDS: Final = 8
ROWS: Final = (
    *(Workload(calls, SECONDS, srtp=True, vad=True) for calls in (40, 100, 200, 400, 600)),
    Workload(400, SECONDS),
    Workload(400, SECONDS, srtp=True),
    Workload(400, SECONDS, vad=True),
    Workload(400, SECONDS, srtp=True, vad=True, record=10),
)
COLUMNS: Final = (
    "calls",
    "srtp",
    "vad",
    "rec",
    "cpu ms/call-s",
    "user + sys",
    "core %",
    "tick late p50/p99/max",
    "skipped",
    "packet off p50/p99/max",
    "lost",
    "MB",
    "host",
)


def row(workload: Workload, figures: dict[str, Any]) -> list[str]:
    """One line of the table."""
    cpu_ms = figures["cpu_ms_per_call_second"]
    return [
        str(workload.calls),
        "yes" if workload.srtp else "-",
        "yes" if workload.vad else "-",
        f"1/{workload.record}" if workload.record else "-",
        f"{cpu_ms:.2f}",
        f"{figures['cpu_user_ms']:.2f} + {figures['cpu_system_ms']:.2f}",
        f"{cpu_ms * workload.calls / 10:.0f}",
        spread(figures["tick_late_ms"]),
        str(figures["skipped_ticks"]),
        spread(figures["packet_offset_ms"]),
        str(figures["lost"]),
        f"{figures['rss_mb']:.0f}",
        "{steal_percent:.0f} + {others_percent:.0f}".format(**figures["host"]) if figures["host"] else "?",
    ]


def spread(values: dict[str, float]) -> str:
    return f"{values['p50']:.2f} / {values['p99']:.2f} / {values['max']:.1f}"


def main() -> None:
    """Measure and print."""
    console = Console(width=170)
    table = Table(title=f"media process, {SECONDS} s a row, times in ms; host: % of its core taken by the host + by others")
    for column in COLUMNS:
        table.add_column(column, justify="right")
    for workload in ROWS:
        try:
            table.add_row(*row(workload, measured(workload)))
        except MediaError as error:
            table.add_row(str(workload.calls), f"failed: {error}")
    console.print(table)


if __name__ == "__main__":
    main()
