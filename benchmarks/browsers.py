"""Calls with browsers, compared with aiortc in the same minutes: Opus decoding and encoding, DTLS-SRTP, ICE, 20 ms packets both ways.

    .venv/bin/python benchmarks/browsers.py [--calls 100] [--seconds 5] [--rounds 3] [--only own] [--profile FILE]

Both programs get the same browsers (aiortc sets them up, then prepared packets are sent). The two are started and measured in
alternation, so that other load on the machine affects both. Each program has one core, and the browsers have the others. Figures are CPU
time of all threads, in ms for each second of a call: 10 fills one core with 100 calls. A round in which the browsers sent late (p99 over
5 ms) is not judged, because late senders falsify the measurement.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from active_call.bench import host as bench_host
from active_call.bench.programs import Talking, talking
from active_call.bench.server.measurement import MAX_OFF_GRID_MS, MAX_SENDER_LATE_MS
from active_call.bench.speech import speech

HERE: Final = Path(__file__).parent / "contenders"
WARM_UP_S: Final = 3.0
SPARE_S: Final = 10.0
NAMES: Final = ("own", "aiortc")
MIN_HEARD: Final = 0.98
"""The minimum share of the expected packets that each side must receive."""


@dataclass
class Side:
    """One program with its browsers; each list has one value per round. `shares`: ms of CPU time a call-second, for each process."""

    name: str
    calls: int
    profile: str = ""
    shares: dict[str, list[float]] = field(default_factory=dict)
    heard: list[float] = field(default_factory=list)
    received: list[float] = field(default_factory=list)
    late_ms: list[float] = field(default_factory=list)
    offset_ms: list[float] = field(default_factory=list)
    n_wrong: int = 0

    async def round(self, seconds: float, sound: str) -> None:
        """Start everything, measure for `seconds`, stop it."""
        cores = bench_host.choose_cores()
        async with AsyncExitStack() as stack:
            browsers = await stack.enter_async_context(talking(sys.executable, str(HERE / "browser_callers.py")))
            program = await stack.enter_async_context(talking(sys.executable, "-W", "ignore", str(HERE / f"{self.name}_browsers.py")))
            if cores.media is not None:
                bench_host.pin(browsers.pid, cores.peers)
                bench_host.pin(program.pid, (cores.media,))
            offers = await browsers.ask({"calls": self.calls, "speech": sound, "seconds": WARM_UP_S + seconds + SPARE_S})
            answers: dict[str, Any] = await program.ask(offers | {"speech": sound})
            await browsers.ask({"answers": answers["answers"]})
            pids = {"control": program.pid, "media": answers["media"]} if "media" in answers else {"process": program.pid}
            if cores.media is not None:
                for pid in pids.values():
                    bench_host.pin(pid, (cores.media,))
            await asyncio.sleep(WARM_UP_S)
            await self._measure(seconds, program, browsers, pids)

    async def _measure(self, seconds: float, program: Talking, browsers: Talking, pids: dict[str, int]) -> None:
        await program.ask({})
        await browsers.ask({})
        watching = [await _py_spy(pid, seconds, f"{self.profile}.{self.name}.{name}") for name, pid in pids.items() if self.profile]
        before, began = {name: bench_host.usage(pid) for name, pid in pids.items()}, time.monotonic()
        await asyncio.sleep(seconds)
        took_s = time.monotonic() - began
        for name, pid in pids.items():
            used = bench_host.usage(pid)
            spent_s = used.user_s + used.system_s - before[name].user_s - before[name].system_s
            self.shares.setdefault(name, []).append(spent_s * 1000 / took_s / self.calls)
        due = took_s * 50 * self.calls
        seen = await browsers.ask({})
        self.heard.append((await program.ask({}))["heard"] / due)
        self.received.append(seen["received"] / due)
        self.late_ms.append(seen["late_ms"])
        self.offset_ms.append(seen["offset_ms"]["p99"])
        self.n_wrong += seen["wrong"]
        for one in watching:
            await one.wait()

    def verdict(self) -> str:
        """`held`, `failed` or `not judged`, with the reason."""
        if max(self.late_ms) > MAX_SENDER_LATE_MS:
            return f"not judged: the browsers sent {max(self.late_ms):.1f} ms late at p99 (at most {MAX_SENDER_LATE_MS:g})"
        reasons = []
        if min(self.heard) < MIN_HEARD or min(self.received) < MIN_HEARD:
            reasons.append("not all packets were heard and sent")
        if max(self.offset_ms) > MAX_OFF_GRID_MS:
            reasons.append(f"packets {max(self.offset_ms):.1f} ms off their grid at p99 (at most {MAX_OFF_GRID_MS:g})")
        if self.n_wrong:
            reasons.append(f"{self.n_wrong} packets are not authentic")
        return f"failed: {'; '.join(reasons)}" if reasons else "held"

    def told(self) -> str:
        """The result as a line of text."""
        parts = {name: statistics.median(values) for name, values in self.shares.items()}
        whole = [sum(round_) for round_ in zip(*self.shares.values(), strict=True)]
        detail = " + ".join(f"{name} {value:.2f}" for name, value in parts.items())
        rounds = ", ".join(f"{one:.2f}" for one in whole)
        return (
            f"{self.name:7} {statistics.median(whole):6.2f} ms a call-second (rounds {rounds}; {detail}); "
            f"heard {min(self.heard) * 100:.1f} %, received {min(self.received) * 100:.1f} % of what was due; "
            f"off the grid {max(self.offset_ms):.1f} ms at p99, browsers late {max(self.late_ms):.1f} ms; {self.verdict()}"
        )


async def _py_spy(pid: int, seconds: float, output: str) -> asyncio.subprocess.Process:
    command = (str(Path(sys.executable).with_name("py-spy")), "record", "--nonblocking", "--pid", str(pid), "--format", "raw")
    quiet = {"stdout": asyncio.subprocess.DEVNULL, "stderr": asyncio.subprocess.DEVNULL}
    more = ("--duration", str(max(int(seconds) - 1, 1)), "--rate", "400", "--output", output)
    return await asyncio.create_subprocess_exec(*command, *more, **quiet)


async def run(calls: int, seconds: float, rounds: int, names: tuple[str, ...], profile: str) -> list[Side]:
    """Run `rounds` rounds of each program."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.raw"
        path.write_bytes(speech().frames.tobytes())
        sides = [Side(name, calls, profile) for name in names]
        for _ in range(rounds):
            for side in sides:
                await side.round(seconds, str(path))
        return sides


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=NAMES, help="one of the two alone")
    parser.add_argument("--profile", default="", metavar="FILE", help="py-spy's stacks, one FILE.SIDE.PROCESS for each")
    asked = parser.parse_args()
    names = (asked.only,) if asked.only else NAMES
    for side in asyncio.run(run(asked.calls, asked.seconds, asked.rounds, names, asked.profile)):
        print(side.told())


if __name__ == "__main__":
    main()
