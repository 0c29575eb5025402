"""The same stages of a phone call by active-call's media process and by three common ways in Python, compared on one core each.

    python3 -m venv .venv-compare && .venv-compare/bin/pip install -r benchmarks/requirements-compare.txt
    .venv/bin/python benchmarks/compare.py [--seconds 6] [--only active-call,asyncio,aiortc,pipecat] [--json FILE]

Every call receives the same speech with pauses (G.711, 20 ms), resamples it to 16 kHz for Silero's detector (active-call uses its network
for 8 kHz), and plays the same speech back. Each program is pinned to one core, with the real-time priority that a media process requests,
and its callers to another; CPU time is the program's only. First all have the same few calls; then each gets more until it no longer works
(`works`). The programs:

| way         | transport                 | jitter buffer | detector                    | sends                                           |
|-------------|---------------------------|---------------|-----------------------------|-------------------------------------------------|
| active-call | RTP, SRTP (SDES)          | yes           | batched in NumPy            | one tick for all; also RTCP, forwards the sound |
| asyncio     | RTP, SRTP, same packets   | none          | one ONNX session a call     | a task a call sleeps to its next 20 ms (uvloop) |
| aiortc      | WebRTC: ICE, DTLS-SRTP    | yes           | one ONNX session a call     | a task a track, at the pace of AudioStreamTrack |
| pipecat     | Twilio's Media Streams:   | no need (TCP) | its SileroVADAnalyzer, a    | its FastAPI transport, up to twice as fast as   |
|             | JSON over a WebSocket     |               | session and a thread a call | it plays; Twilio keeps the pace                 |

aiortc also decodes each track in a separate thread, as usual. Pipecat runs without the processors of a bot.

`late` is the distance of a packet from its stream's 20 ms grid: by kernel stamps for active-call and asyncio, by the caller's clock for
aiortc. Pipecat's messages have no grid: there it is how long Twilio had no sound when a message came. `lost`: packets of the callers that
were not processed within a third of a second, and for the first two also packets that the callers did not receive.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.console import Console
from rich.table import Table

from active_call.base.errors import MediaError
from active_call.bench import host as bench_host
from active_call.bench.media import Workload, measured
from active_call.bench.media_judge import Judgement, off_grid_ms, spread
from active_call.bench.media_sender import TICKS_PER_S, Task, key_of
from active_call.bench.programs import Talking, talking
from active_call.bench.speech import RATE_HZ, speech
from active_call.codec import g711

HERE: Final = Path(__file__).parent
PYTHON: Final = HERE.parent / ".venv-compare" / "bin" / "python"
FEW_CALLS: Final = 10
WARM_UP_S: Final = 2.0
LEAD_S: Final = 1.0
SETTLE_S: Final = 0.3
MAX_LATE_MS: Final = 20.0
MAX_LOST: Final = 0.001
MAX_TRIES: Final = 6
HELD: Final = {"aiortc": 4, "pipecat": 3}
"""Packets of a call in transit at any time: aiortc's jitter buffer, the filter of Pipecat's resampler."""


@dataclass(frozen=True, slots=True)
class Figures:
    """One run. Times in ms."""

    way: str
    calls: int
    cpu_ms_per_call_second: float
    core_percent: float
    late_ms: dict[str, float]
    lost: int
    rss_mb: float
    speech: int
    callers_late_ms: float

    @property
    def works(self) -> bool:
        """p99 within one packet of its time, and almost no packet lost or unsent."""
        return self.late_ms["p99"] <= MAX_LATE_MS and self.lost <= MAX_LOST * self.calls * TICKS_PER_S * 6


@dataclass(frozen=True, slots=True)
class Sound:
    """The speech as files: samples for the programs, payloads for their callers."""

    samples: str
    payloads: str


def write_sound(folder: Path) -> Sound:
    frames = speech().frames
    (folder / "speech.raw").write_bytes(frames.tobytes())
    (folder / "speech.ul").write_bytes(g711.encode(frames, np.zeros(len(frames), np.bool_)).tobytes())
    return Sound(str(folder / "speech.raw"), str(folder / "speech.ul"))


class Watched:
    """A program under measurement: its CPU time between two times."""

    def __init__(self, program: Talking, callers: Talking) -> None:
        self._pid = program.pid
        cores = bench_host.choose_cores()
        if cores.media is not None:
            bench_host.pin(program.pid, (cores.media,))
            bench_host.pin(callers.pid, cores.peers)  # this process only waits meanwhile
        bench_host.prioritise(program.pid)

    async def measure(self, start_at: float, seconds: float) -> tuple[float, float, float]:
        """The share of a core after the warm-up, and the measured interval."""
        await asyncio.sleep(start_at + WARM_UP_S - time.monotonic())
        before, from_at = bench_host.usage(self._pid), time.monotonic()
        await asyncio.sleep(seconds)
        after, until = bench_host.usage(self._pid), time.monotonic()
        used_s = after.user_s + after.system_s - before.user_s - before.system_s
        return used_s / (until - from_at), from_at, until


def n_packets(seconds: float) -> int:
    return round((seconds + WARM_UP_S + 0.5) * TICKS_PER_S)


async def run_active_call(calls: int, seconds: int, sound: Sound) -> Figures:
    workload = Workload(calls, seconds, srtp=True, vad=True)
    seen = await asyncio.to_thread(measured, workload)
    late = seen["packet_offset_ms"]
    lost = seen["lost"] + seen["refused"] + seen["skipped_ticks"] * calls
    cpu_ms = seen["cpu_ms_per_call_second"]
    found = seen["speech"]["found"]
    callers_late = seen["sender_late_ms"]["p99"]
    return Figures("active-call", calls, cpu_ms, seen["core_percent"], late, lost, seen["rss_mb"], found, callers_late)


async def run_asyncio(calls: int, seconds: int, sound: Sound) -> Figures:
    task = Task(calls, n_packets(seconds), secrets.token_hex(8))
    sender = (sys.executable, "-m", "active_call.bench.media_sender")
    async with talking(*sender) as callers, talking(str(PYTHON), "-W", "ignore", str(HERE / "contenders" / "rtp_asyncio.py")) as program:
        watched = Watched(program, callers)
        peers = await callers.ask(asdict(task))
        keys = [(key_of(task.seed, index, "media").hex(), key_of(task.seed, index, "peer").hex()) for index in range(calls)]
        ports = (await program.ask({"peers": peers, "keys": keys, "speech": sound.samples}))["ports"]
        start_at = time.monotonic() + LEAD_S
        callers.tell({"ports": ports, "start_at": start_at})
        program.tell({})
        share, from_at, until = await watched.measure(start_at, seconds)
        sent = (await callers.answer())["sent"]
        await asyncio.sleep(SETTLE_S)
        did = await program.ask({})
        seen = Judgement(**await callers.ask({"from": from_at, "until": until}))
        lost = sent - did["received"] + did["sent"] - sum(seen.received_by_ssrc.values())
        late, callers_late = seen.packet_offset_ms, seen.sender_late_ms["p99"]
        return Figures("asyncio", calls, share * 1000 / calls, share * 100, late, lost, did["rss_mb"], did["speech"], callers_late)


async def run_aiortc(calls: int, seconds: int, sound: Sound) -> Figures:
    programs = [(str(PYTHON), str(HERE / "contenders" / name)) for name in ("aiortc_callers.py", "aiortc_calls.py")]
    async with talking(*programs[0]) as callers, talking(*programs[1]) as program:
        watched = Watched(program, callers)
        offers = await callers.ask({"calls": calls, "payloads": sound.payloads, "n_packets": n_packets(seconds)})
        answers = await program.ask(offers | {"speech": sound.samples})
        await callers.ask(answers)
        return await _finish("aiortc", calls, seconds, watched, callers, program, off_grid)


async def run_pipecat(calls: int, seconds: int, sound: Sound) -> Figures:
    programs = [(str(PYTHON), str(HERE / "contenders" / name)) for name in ("twilio_callers.py", "pipecat_calls.py")]
    async with talking(*programs[0]) as callers, talking(*programs[1]) as program:
        watched = Watched(program, callers)
        port = 18_000 + os.getpid() % 1000
        await program.ask({"port": port, "speech": sound.samples})
        await callers.ask({"calls": calls, "payloads": sound.payloads, "n_packets": n_packets(seconds), "port": port})
        return await _finish("pipecat", calls, seconds, watched, callers, program, after_its_time)


async def _finish(
    way: str, calls: int, seconds: int, watched: Watched, callers: Talking, program: Talking, judge: Callable[[np.ndarray], np.ndarray]
) -> Figures:
    start_at = time.monotonic() + LEAD_S
    callers.tell({"start_at": start_at})
    share, from_at, until = await watched.measure(start_at, seconds)
    ended = await callers.answer()
    await asyncio.sleep(SETTLE_S)
    did = await program.ask({})
    seen = await callers.ask({"from": from_at, "until": until})
    lists = [np.array(one, np.float64).reshape(-1, 2) for one in seen["arrivals"] if one]
    late = spread(np.concatenate([judge(one) for one in lists]) if lists else np.zeros(0))
    unheard = max(0, ended["sent"] - did["received"] - HELD[way] * calls)  # fewer than usual may be in transit at the end
    lost = unheard + seen.get("lost_connections", 0) * n_packets(seconds)
    return Figures(way, calls, share * 1000 / calls, share * 100, late, lost, did["rss_mb"], did["speech"], ended["late_ms"])


def off_grid(arrivals: np.ndarray) -> np.ndarray:
    """Columns: when, RTP timestamp."""
    return off_grid_ms(arrivals[:, 0], arrivals[:, 1].astype(np.int64))


def after_its_time(arrivals: np.ndarray) -> np.ndarray:
    """Columns: when, samples before it. How long the far end, which plays what it has, had no sound when a message came."""
    at, lengths_s = arrivals[:, 0].tolist(), (np.diff(arrivals[:, 1]) / RATE_HZ).tolist()
    played_until = at[0]
    dry_ms = []
    for arrived, next_arrived, length_s in zip(at, at[1:], lengths_s, strict=False):
        played_until = max(played_until, arrived) + length_s
        dry_ms.append(max(next_arrived - played_until, 0) * 1000)
    return np.array(dry_ms)


Run = Callable[[int, int, Sound], Coroutine[Any, Any, Figures]]
WAYS: Final[dict[str, Run]] = {"active-call": run_active_call, "asyncio": run_asyncio, "aiortc": run_aiortc, "pipecat": run_pipecat}


async def most_calls(run: Run, few: Figures, seconds: int, sound: Sound) -> list[Figures]:
    """Runs with fewer and fewer calls, starting from one full core, until one works; then with more while it works."""
    runs: list[Figures] = []
    calls = max(int(900 / few.cpu_ms_per_call_second), 1)
    for _ in range(MAX_TRIES):
        figures = await run(calls, seconds, sound)
        runs.append(figures)
        print(
            f"  {figures.way} {calls}: {figures.cpu_ms_per_call_second:.2f} ms, late p99 {figures.late_ms['p99']:.1f} ms", file=sys.stderr
        )
        if figures.works == any(not one.works for one in runs):
            break  # it works after one that did not, or vice versa
        full = 950 / figures.cpu_ms_per_call_second  # a further call costs less than the first ones
        calls = round(min(max(calls * 1.15, full), calls * 2)) if figures.works else max(round(calls * 0.85), 1)
    return runs


def row(figures: Figures) -> list[str]:
    late = figures.late_ms
    return [
        figures.way,
        str(figures.calls),
        f"{figures.cpu_ms_per_call_second:.2f}",
        f"{figures.core_percent:.0f}",
        f"{late['p50']:.2f} / {late['p99']:.1f} / {late['max']:.0f}",
        str(figures.lost),
        f"{figures.rss_mb:.0f}",
        "yes" if figures.works else "no",
    ]


async def compare(names: list[str], seconds: int) -> list[Figures]:
    found: list[Figures] = []
    with tempfile.TemporaryDirectory(prefix="compare-") as folder:
        sound = write_sound(Path(folder))
        for name in names:
            few = await WAYS[name](FEW_CALLS, seconds, sound)
            found += [few, *await most_calls(WAYS[name], few, seconds, sound)]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare the media process with other ways to do the same.")
    parser.add_argument("--seconds", type=int, default=6)
    parser.add_argument("--only", default=",".join(WAYS))
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every run there")
    options = parser.parse_args()
    if not PYTHON.exists():
        raise SystemExit(f"{PYTHON} is missing; see the head of {__file__}")
    try:
        found = asyncio.run(compare(options.only.split(","), options.seconds))
    except MediaError as error:
        raise SystemExit(str(error)) from None
    if options.json:
        options.json.write_text(json.dumps([asdict(figures) for figures in found], indent=1), encoding="utf-8")
    table = Table(title="one core, the same speech in and out; times in ms")
    for column in ("way", "calls", "cpu ms/call-s", "core %", "late p50/p99/max", "lost", "MB", "works"):
        table.add_column(column, justify="left" if column == "way" else "right")
    for figures in found:
        table.add_row(*row(figures))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
