"""Measures the whole server: SIP calls with sound in both directions, every process of the server on one core, the callers on another.

    active-call bench server --calls N --seconds S [--rate R] [--srtp] [--record R] [--asr none] [--against PATH] [--json]

Each caller calls over SIP (UDP), speaks (speech with pauses, prepared and encrypted in advance) and hears a file. With `--asr none` nothing
is recognised, but the caller's voice is detected, turns are handled and the file pauses while the caller speaks. `--against PATH` also
measures the server that PATH starts (`tested_server` describes its environment); the output then has `active_call` and `other`.

| key                        | meaning                                                                                             |
|----------------------------|-----------------------------------------------------------------------------------------------------|
| `verdict`, `because`       | see below, and why it is not `held`                                                                 |
| `cpu_ms_per_call_second`   | user and system time, all threads, by process: `control`, `media`, `recorder`, `engines`, …         |
| `packet_offset_ms`         | each packet against its stream's 20 ms grid, by the receiver's kernel stamps                        |
| `packet_offset_all_ms`     | the same from a second after each answer on, window or not; `worst_calls_ms`: p99 of the five worst |
| `skipped`, `lost`, `wrong` | packets that were never sent, did not come, are not authentic or repeated                           |
| `refusal_ms`               | from an INVITE to its refusal. Refused callers retry at the same rate until the end                 |
| `late_ms`                  | the callers' own lateness                                                                           |
| `pss_mb`                   | memory by process, before the first call and with all calls                                         |
| `host`                     | share of the server's core taken by the machine's host (`steal_percent`) and by other processes     |

| verdict      | when                                                                                                    | exit |
|--------------|---------------------------------------------------------------------------------------------------------|------|
| `held`       | all calls are up, p99 off the grid is at most 5 ms, nothing is skipped                                  | 0    |
| `overloaded` | some were refused by 503 with Retry-After, within 50 ms at p99; the others are at most 10 ms off at p99 | 0    |
| `failed`     | anything else                                                                                           | 1    |
| `not judged` | the callers were late themselves                                                                        | 3    |
"""

from __future__ import annotations

import argparse
import asyncio
import json
from typing import Any, Final

from active_call.base.errors import ConfigError
from active_call.bench.server.measurement import Workload, measure
from active_call.server.user_errors import UserErrors

EXIT_CODES: Final = {"held": 0, "overloaded": 0, "failed": 1, "not judged": 3}


def parse(arguments: list[str] | None) -> tuple[Workload, str, bool]:
    """The workload, the server to compare with, and whether the output is one line. Raises ConfigError for invalid numbers."""
    parser = argparse.ArgumentParser(prog="active-call bench server", description="Measure the whole server on loopback.")
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument("--seconds", type=int, default=10, help="how long is measured, once all calls are up and 2 s have passed")
    parser.add_argument("--rate", type=float, default=40.0, help="calls placed a second")
    parser.add_argument("--srtp", action="store_true")
    parser.add_argument("--record", type=int, default=0, metavar="R", help="record every R-th call")
    parser.add_argument("--asr", default="none", metavar="NAME", help="recogniser: none, or a provider's name")
    parser.add_argument("--playbook", default="", metavar="FILE", help="answer with this playbook in place of the bench's own")
    parser.add_argument("--against", default="", metavar="PATH", help="measure the server that this program starts as well")
    parser.add_argument("--profile", default="", metavar="FILE", help="py-spy's stacks of the control process")
    parser.add_argument("--json", action="store_true", help="one line, for programs")
    options = parser.parse_args(arguments)
    for name, value, least in (("calls", options.calls, 1), ("seconds", options.seconds, 1), ("record", options.record, 0)):
        if value < least:
            raise ConfigError(f"--{name}", f"expected {least} or more, found {value}")
    if not 0 < options.rate <= 1000:
        raise ConfigError("--rate", f"expected more than 0 and at most 1000 calls a second, found {options.rate:g}")
    workload = Workload(
        options.calls, options.seconds, options.rate, options.srtp, options.record, options.asr, options.playbook, options.profile
    )
    return workload, options.against, options.json


async def run(workload: Workload, against: str) -> dict[str, Any]:
    """The figures of our server, and those of the other one if there is one. Raises ActiveCallError."""
    own = await measure(workload)
    return {"active_call": own, "other": await measure(workload, against)} if against else own


def main(arguments: list[str] | None = None) -> int:
    """The command line of the module's docstring."""
    workload, against, is_line = parse(arguments)
    result = asyncio.run(run(workload, against))
    print(json.dumps(result, indent=None if is_line else 2))
    verdict = result.get("active_call", result)["verdict"]
    return EXIT_CODES[verdict]


if __name__ == "__main__":
    with UserErrors():
        raise SystemExit(main())
