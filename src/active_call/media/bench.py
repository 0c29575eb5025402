"""Measures the media process: the real one, over real loopback sockets, against peers in a process of their own.

`python -m active_call.media.bench --calls N --seconds S [--srtp] [--vad] [--record R] --json` ends with one JSON object. Every call plays
sound; with `--vad` every call is also decoded, resampled, judged and forwarded. The first second is not measured. `sender_late_ms` is the
bench's own worst lateness: when it is large, the machine was too busy to judge by the other figures.
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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from active_call.base.errors import MediaError
from active_call.base.world import SystemClock
from active_call.media.bench_sender import SUITE, Task
from active_call.media.client import MediaPool, MediaStream, StreamLost
from active_call.media.link import Load, Report, StreamClosed
from active_call.media.load import percentile
from active_call.rtp.srtp import KEY_BYTES

WARM_UP_S: Final = 1.0
PORT_RANGE: Final = (20_000, 25_999)
"""Below the ephemeral ports, where the peers lie: reports to a peer's RTCP port must not hit another stream of ours."""
LINE_LIMIT_BYTES: Final = 1 << 20
_TONE: Final = (4000 * np.sin(2 * np.pi * 400 * np.arange(8000) / 8000)).astype("<i2").tobytes()
"""A second of sound to play."""
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Workload:
    """What is measured. `record`: how many of the calls are recorded."""

    calls: int
    seconds: int = 10
    srtp: bool = False
    vad: bool = False
    record: int = 0


async def measure(workload: Workload) -> dict[str, Any]:
    """Run one workload; returns the figures of the module's JSON object. Raises MediaError when the media process fails."""
    pool = MediaPool(n_workers=1, bind_ip="127.0.0.1", port_range=PORT_RANGE, clock=SystemClock(), capacity=max(workload.calls, 1))
    keys = (secrets.token_hex(KEY_BYTES), secrets.token_hex(KEY_BYTES)) if workload.srtp else ("", "")
    task = Task(workload.calls, (workload.seconds + int(WARM_UP_S)) * 50, *keys)
    sender = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "active_call.media.bench_sender"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=LINE_LIMIT_BYTES,
    )
    try:
        await pool.start()
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            return await _Run(workload, pool, sender, task, Path(folder)).run()
    finally:
        await pool.close()
        if sender.returncode is None:
            sender.kill()
        await sender.wait()


class _Run:
    """One measurement under way."""

    def __init__(self, workload: Workload, pool: MediaPool, sender: asyncio.subprocess.Process, task: Task, folder: Path) -> None:
        self._workload = workload
        self._pool = pool
        self._sender = sender
        self._task = task
        self._folder = folder
        self._loads: list[Load] = []
        self._lost = ""

    async def run(self) -> dict[str, Any]:
        ports = await self._ask(json.dumps(asdict(self._task)))
        streams = [await self._open(index, port) for index, port in enumerate(ports)]
        seen = asyncio.create_task(self._ask(json.dumps([stream.port for stream in streams])))
        pid = streams[0].pid
        await asyncio.sleep(WARM_UP_S)
        cpu_before, begun_at = _cpu_s(pid), time.monotonic()
        await self._watch_load(seen)
        cpu_share = (_cpu_s(pid) - cpu_before) / (time.monotonic() - begun_at)
        closed = await asyncio.gather(*(stream.close() for stream in streams))
        if self._lost:
            raise MediaError(self._lost)
        return self._figures(await seen, cpu_share, [each for each in closed if each is not None])

    async def _ask(self, line: str) -> Any:
        to_sender, from_sender = self._sender.stdin, self._sender.stdout
        if to_sender is None or from_sender is None:
            raise MediaError("the bench's sender has no pipes")
        to_sender.write(line.encode() + b"\n")
        answer = await from_sender.readline()
        if not answer:
            raise MediaError("the bench's sender has ended")
        return json.loads(answer)

    async def _open(self, index: int, peer_port: int) -> MediaStream:
        workload = self._workload
        stream = await self._pool.open_stream(self._note)
        stream.configure(
            remote_ip="127.0.0.1",
            remote_port=peer_port,
            codec="pcmu",
            send_payload_type=0,
            receive_payload_type=0,
            suite=SUITE if workload.srtp else "",
            send_key=bytes.fromhex(self._task.media_key),
            receive_key=bytes.fromhex(self._task.peer_key),
        )
        stream.listen(detect=workload.vad, forward_audio=workload.vad)
        stream.queue_audio("tone", _TONE * (workload.seconds + 3), end=True)
        if index < workload.record:
            stream.start_recording(str(self._folder / f"{index}.wav"))
        return stream

    def _note(self, report: Report | StreamLost) -> None:
        if isinstance(report, StreamLost):
            self._lost = report.reason

    async def _watch_load(self, seen: asyncio.Task[Any]) -> None:
        """Gather the process's own reports until the sender has finished."""
        status = self._pool.workers[0]
        last = status.last_load
        while not seen.done():
            await asyncio.sleep(0.25)
            if status.last_load is not None and status.last_load is not last:
                last = status.last_load
                self._loads.append(last)

    def _figures(self, seen: dict[str, Any], cpu_share: float, closed: list[StreamClosed]) -> dict[str, Any]:
        late_ms = sorted(late for load in self._loads for late in load.tick_late_ms)
        return {
            "calls": self._workload.calls,
            "cpu_ms_per_call_second": round(cpu_share * 1000 / self._workload.calls, 3),
            "tick_late_ms": {
                "p50": round(percentile(late_ms, 50), 3),
                "p99": round(percentile(late_ms, 99), 3),
                "max": round(late_ms[-1], 3) if late_ms else 0.0,
            },
            "skipped_ticks": sum(load.skipped_ticks for load in self._loads),
            "packet_offset_ms": seen["packet_offset_ms"],
            "lost": seen["missing"] + seen["wrong"] + sum(each.packets_lost + each.packets_dropped for each in closed),
            "sender_late_ms": seen["sender_late_ms"],
            "rss_mb": round(max((load.rss_mb for load in self._loads), default=0.0), 1),
        }


def _cpu_s(pid: int) -> float:
    """Processor time of a process so far, from /proc."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def main(arguments: list[str] | None = None) -> int:
    """The command line of the module's docstring."""
    parser = argparse.ArgumentParser(prog="active_call.media.bench", description="Measure the media process on loopback.")
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--srtp", action="store_true")
    parser.add_argument("--vad", action="store_true")
    parser.add_argument("--record", type=int, default=0, metavar="R", help="record R of the calls")
    parser.add_argument("--json", action="store_true", help="one line, for programs")
    options = parser.parse_args(arguments)
    workload = Workload(options.calls, options.seconds, options.srtp, options.vad, options.record)
    figures = asyncio.run(measure(workload))
    print(json.dumps(figures, indent=None if options.json else 2))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
