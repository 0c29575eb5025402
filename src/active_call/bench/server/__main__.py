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

import asyncio
import json
from typing import Annotated, Any, Final

import typer

from active_call.bench.command_line import JsonFlag, RecordFlag, finite, run_command
from active_call.bench.server.measurement import Workload, measure
from active_call.server.user_errors import UserErrors

EXIT_CODES: Final = {"held": 0, "overloaded": 0, "failed": 1, "not judged": 3}


async def run(workload: Workload, against: str) -> dict[str, Any]:
    """The figures of our server, and those of the other one if there is one. Raises ActiveCallError."""
    own = await measure(workload)
    return {"active_call": own, "other": await measure(workload, against)} if against else own


def main(
    calls: Annotated[int, typer.Option(min=1, help="Calls at the same time.")] = 100,
    seconds: Annotated[int, typer.Option(min=1, help="How long is measured, once all calls are up and 2 s have passed.")] = 10,
    rate: Annotated[float, typer.Option(min=0.1, max=1000, callback=finite, help="Calls placed a second.")] = 40.0,
    srtp: Annotated[bool, typer.Option("--srtp", help="Encrypt the sound.")] = False,
    record: RecordFlag = 0,
    asr: Annotated[str, typer.Option(metavar="NAME", help="Recogniser: none, or a provider's name.")] = "none",
    playbook: Annotated[str, typer.Option(metavar="FILE", help="Answer with this playbook instead of the bench's own.")] = "",
    against: Annotated[str, typer.Option(metavar="PATH", help="Also measure the server that this program starts.")] = "",
    profile: Annotated[str, typer.Option(metavar="FILE", help="Write py-spy's stacks of the control process.")] = "",
    as_json: JsonFlag = False,
) -> None:
    """Measure the whole server on loopback."""
    result = asyncio.run(run(Workload(calls, seconds, rate, srtp, record, asr, playbook, profile), against))
    print(json.dumps(result, indent=None if as_json else 2))
    verdict = result.get("active_call", result)["verdict"]
    raise typer.Exit(EXIT_CODES[verdict])


if __name__ == "__main__":
    with UserErrors():
        raise SystemExit(run_command(main, "active-call bench server"))
