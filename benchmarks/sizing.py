"""How many calls a core carries: whole servers of several sizes on one core, and a line fitted to their cost.

    python benchmarks/sizing.py [--sizes 50,150,300] [--seconds 8] [--json FILE]

Each size is a run of `active-call bench server --srtp`, a minute in total for the three. The share of the core is `fixed + each * calls`:
the cost of tick and loop, and the cost of a call. The limit is where that reaches `core_admission.MAX_SHARE`, above which the server
accepts no more calls. The memory of a call is the slope of the memory of all processes together.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.console import Console
from rich.table import Table

from active_call.bench.server.measurement import Workload, measure
from active_call.server.load.core_admission import MAX_SHARE

RATE: Final = 20.0


def fit(sizes: list[int], values: list[float]) -> tuple[float, float]:
    """`(fixed, each)` of the line through the values."""
    each, fixed = np.polyfit(sizes, values, 1)
    return float(fixed), float(each)


def law(runs: list[dict[str, Any]]) -> dict[str, float]:
    """The line through the core's shares, and through the memory."""
    sizes = [run["calls_up"] for run in runs]
    fixed, each = fit(sizes, [run["core_percent"] for run in runs])
    _, memory = fit(sizes, [sum(run["pss_mb"]["with_calls"].values()) for run in runs])
    return {
        "fixed_percent": round(fixed, 2),
        "percent_a_call": round(each, 4),
        "ms_a_call_second": round(each * 10, 3),
        "calls_a_core": int((MAX_SHARE * 100 - fixed) / each),
        "mb_a_call": round(memory, 3),
    }


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="How many calls a core carries.")
    parser.add_argument("--sizes", default="50,150,300")
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    runs = []
    for size in (int(size) for size in options.sizes.split(",")):
        runs.append(asyncio.run(measure(Workload(size, options.seconds, rate=RATE, srtp=True))))
        print(f"{size}: {runs[-1]['verdict']} {'; '.join(runs[-1]['because'])}", file=sys.stderr)
    table = Table("calls", "verdict", "core %", "ms a call-second (control, media)", "off grid p99 ms", "PSS MB", title="one core, SRTP")
    for run in runs:
        cost, memory = run["cpu_ms_per_call_second"], sum(run["pss_mb"]["with_calls"].values())
        split = f"{cost['all']:.2f} ({cost['control']:.2f}, {cost.get('media', 0):.2f})"
        off_ms = f"{run['packet_offset_ms']['p99']:.1f}"
        table.add_row(str(run["calls_up"]), run["verdict"], f"{run['core_percent']:.0f}", split, off_ms, f"{memory:.0f}")
    Console(width=140).print(table)
    found = law(runs)
    print(json.dumps(found))
    if options.json:
        options.json.write_text(json.dumps({"runs": runs, "law": found}, indent=2), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
