"""Calls with browsers, compared with aiortc in the same minutes: Opus decoding and encoding, DTLS-SRTP, ICE, 20 ms packets both ways.

    .venv/bin/python benchmarks/browsers.py [--calls 100] [--seconds 5] [--rounds 3]

Both programs get the same browsers (aiortc sets them up, then prepared packets are sent). The two are started and measured in
alternation, so that other load on the machine affects both. Figures are CPU time of all threads, in ms for each second of a call: 10 fills
one core with 100 calls.
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
from active_call.bench.speech import speech

HERE: Final = Path(__file__).parent / "contenders"
WARM_UP_S: Final = 3.0
NAMES: Final = ("own", "aiortc")


@dataclass
class Side:
    """One program with its browsers. `shares`: ms of CPU time a call-second, for each process and round."""

    name: str
    calls: int
    shares: dict[str, list[float]] = field(default_factory=dict)
    heard: list[float] = field(default_factory=list)
    received: list[float] = field(default_factory=list)

    async def round(self, seconds: float, sound: str) -> None:
        """Start everything, measure for this long, stop it."""
        async with AsyncExitStack() as stack:
            browsers = await stack.enter_async_context(talking(sys.executable, str(HERE / "browser_callers.py")))
            program = await stack.enter_async_context(talking(sys.executable, "-W", "ignore", str(HERE / f"{self.name}_browsers.py")))
            offers = await browsers.ask({"calls": self.calls, "speech": sound})
            answers: dict[str, Any] = await program.ask(offers | {"speech": sound})
            await browsers.ask({"answers": answers["answers"]})
            pids = {"control": program.pid, "media": answers["media"]} if "media" in answers else {"process": program.pid}
            await asyncio.sleep(WARM_UP_S)
            await self._measure(seconds, program, browsers, pids)

    async def _measure(self, seconds: float, program: Talking, browsers: Talking, pids: dict[str, int]) -> None:
        await program.ask({})
        await browsers.ask({})
        before, began = {name: bench_host.usage(pid) for name, pid in pids.items()}, time.monotonic()
        await asyncio.sleep(seconds)
        took_s = time.monotonic() - began
        for name, pid in pids.items():
            used = bench_host.usage(pid)
            spent_s = used.user_s + used.system_s - before[name].user_s - before[name].system_s
            self.shares.setdefault(name, []).append(spent_s * 1000 / took_s / self.calls)
        due = took_s * 50 * self.calls
        self.heard.append((await program.ask({}))["heard"] / due)
        self.received.append((await browsers.ask({}))["received"] / due)

    def told(self) -> str:
        parts = {name: statistics.median(values) for name, values in self.shares.items()}
        whole = [sum(round_) for round_ in zip(*self.shares.values(), strict=True)]
        detail = " + ".join(f"{name} {value:.2f}" for name, value in parts.items())
        rounds = ", ".join(f"{one:.2f}" for one in whole)
        return (
            f"{self.name:7} {statistics.median(whole):6.2f} ms a call-second (rounds {rounds}; {detail}); "
            f"heard {min(self.heard) * 100:.1f} %, received {min(self.received) * 100:.1f} % of what was due"
        )


async def run(calls: int, seconds: float, rounds: int) -> list[Side]:
    """Run this many rounds of both."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.raw"
        path.write_bytes(speech().frames.tobytes())
        sides = [Side(name, calls) for name in NAMES]
        for _ in range(rounds):
            for side in sides:
                await side.round(seconds, str(path))
        return sides


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    for side in asyncio.run(run(asked.calls, asked.seconds, asked.rounds)):
        print(side.told())


if __name__ == "__main__":
    main()
