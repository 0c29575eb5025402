"""Sound over WebSockets, compared with the same number of RTP calls in one run: CPU time per call-second, and offset from the 20 ms grid.

    .venv/bin/python benchmarks/socket_sound.py --calls 50 --seconds 10 [--formats pcm,pcmu,g722,opus,twilio]

Each call has the same playbook (it plays a file, and pauses when the caller speaks) and the same caller's speech. The server has one core,
the callers have the other one; each row has its own server. A row whose callers sent late is not judged.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any, Final

from active_call.bench import host as bench_host
from active_call.bench.programs import talking
from active_call.bench.server.measurement import MAX_OFF_GRID_MS, MAX_SENDER_LATE_MS, WARM_UP_S, Workload, measure
from active_call.bench.server.tested_server import Setting, bench_playbook, configuration, descendants, write_sound
from active_call.bench.speech import speech
from own_server import HOST, free_port, started_server

CALLERS: Final = Path(__file__).parent / "contenders" / "socket_callers.py"
FORMATS: Final = ("pcm", "pcmu", "g722", "opus", "twilio")
RATE: Final = 20.0
SETUP_S: Final = 60.0


def _waiting_calls(http: int, playbook: str, n_calls: int) -> list[str]:
    """Create `n_calls` calls with the playbook that wait for their sockets; returns their ids."""
    body = json.dumps({"content": playbook}).encode()
    found = []
    for _ in range(n_calls):
        request = urllib.request.Request(f"http://{HOST}:{http}/api/playbook/run", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as response:
            found.append(json.loads(response.read())["session_id"])
    return found


def _cpu_s(root: int) -> dict[str, float]:
    """CPU time so far of the control process and of all other processes, with their threads."""
    used = {"control": 0.0, "media": 0.0}
    for pid in (root, *descendants(root)):
        try:
            usage = bench_host.usage(pid)
        except OSError:
            continue
        used["control" if pid == root else "media"] += usage.user_s + usage.system_s
    return used


async def sockets(form: str, n_calls: int, seconds: int, profile: str) -> dict[str, Any]:
    """Measure one row: `n_calls` calls over WebSockets."""
    http, cores = free_port(socket.SOCK_STREAM), bench_host.choose_cores()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        playbook = _written(folder, http, seconds)
        with started_server(folder, http) as root:
            if cores.media is not None:
                for pid in (root, *descendants(root)):
                    bench_host.pin(pid, (cores.media,))
                bench_host.pin(os.getpid(), cores.peers)
            try:
                ids = [str(n) for n in range(n_calls)] if form == "twilio" else _waiting_calls(http, playbook, n_calls)
                task = {"port": http, "ids": ids, "format": form, "speech": str(folder / "speech.raw")}
                return {"row": form, **await _measured(root, task, seconds, f"{profile}.{form}" if profile else "")}
            finally:
                if cores.media is not None:
                    bench_host.pin(os.getpid(), cores.all)


def _written(folder: Path, http: int, seconds: int) -> str:
    """Write the server's files; returns the playbook."""
    sound = folder / "sound.wav"
    write_sound(sound, SETUP_S + WARM_UP_S + seconds)
    (folder / "speech.raw").write_bytes(speech().frames.tobytes())
    playbook = bench_playbook(sound, "none")
    for name in ("bench.md", "record.md"):
        (folder / name).write_text(playbook, encoding="utf-8")
    config = configuration(folder, free_port(socket.SOCK_DGRAM), Setting()).replace(f'"{HOST}:0"', f'"{HOST}:{http}"')
    config = config.replace("media_workers = 1", "media_workers = 1\nhttp_rate = 10000\nhttp_max_connections = 4000")
    (folder / "active-call.toml").write_text(config, encoding="utf-8")
    return playbook


async def _measured(root: int, task: dict[str, Any], seconds: int, profile: str) -> dict[str, Any]:
    n_calls = len(task["ids"])
    async with talking(sys.executable, str(CALLERS)) as callers:
        await callers.ask(task)
        await asyncio.sleep(WARM_UP_S)
        watching = await _py_spy(root, seconds, profile) if profile else None
        before, start = _cpu_s(root), time.monotonic()
        callers.tell({"start": start, "end": start + seconds})
        await asyncio.sleep(seconds)
        after, wall_s = _cpu_s(root), time.monotonic() - start
        seen = await callers.answer()
        if watching is not None:
            await watching.wait()
    spent = {role: (after[role] - before[role]) * 1000 / wall_s / n_calls for role in after}
    return {"cpu_ms": {"all": sum(spent.values()), **spent}, **seen}


async def _py_spy(pid: int, seconds: int, output: str) -> asyncio.subprocess.Process:
    command = (str(Path(sys.executable).with_name("py-spy")), "record", "--nonblocking", "--pid", str(pid), "--format", "raw")
    more = ("--duration", str(max(seconds - 1, 1)), "--rate", "400", "--output", output)
    quiet = {"stdout": asyncio.subprocess.DEVNULL, "stderr": asyncio.subprocess.DEVNULL}
    return await asyncio.create_subprocess_exec(*command, *more, **quiet)


async def rtp(n_calls: int, seconds: int) -> dict[str, Any]:
    """Measure the row for comparison: `n_calls` calls over RTP."""
    found = await measure(Workload(n_calls, seconds, RATE))
    return {
        "row": "rtp",
        "cpu_ms": {key: value for key, value in found["cpu_ms_per_call_second"].items() if key in ("all", "control", "media")},
        "late_ms": found["late_ms"].get("p99", 0.0),
        "received": found["received"],
        "expected": found["expected"],
        "offset_ms": found["packet_offset_ms"],
        "lost": n_calls - found["calls_up"],
    }


def told(row: dict[str, Any]) -> str:
    """A row of the result as a line of text, with its verdict."""
    cpu, off = row["cpu_ms"], row["offset_ms"]
    judged = f"off the grid p50 {off.get('p50', 0):.1f}, p99 {off.get('p99', 0):.1f} ms"
    if row["late_ms"] > MAX_SENDER_LATE_MS:
        judged = f"not judged: its callers were {row['late_ms']:.1f} ms late at p99 (at most {MAX_SENDER_LATE_MS:g})"
    elif row["lost"] or off.get("p99", MAX_OFF_GRID_MS + 1) > MAX_OFF_GRID_MS:
        judged += " FAILED"
    share = row["received"] / max(row["expected"], 1) * 100
    return (
        f"{row['row']:7} {cpu['all']:6.2f} ms a call-second (control {cpu['control']:.2f}, media {cpu['media']:.2f}); {judged}; "
        f"{share:.0f} % of the time with sound; {row['lost']} calls lost; callers late by {row['late_ms']:.1f} ms"
    )


async def run(n_calls: int, seconds: int, formats: list[str], profile: str, *, with_rtp: bool) -> list[dict[str, Any]]:
    """Measure all rows in sequence."""
    rows = [await rtp(n_calls, seconds)] if with_rtp else []
    if rows:
        print(told(rows[0]), flush=True)
    for form in formats:
        rows.append(await sockets(form, n_calls, seconds, profile))
        print(told(rows[-1]), flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=50)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--formats", default=",".join(FORMATS))
    parser.add_argument("--without-rtp", action="store_true")
    parser.add_argument("--profile", default="", metavar="FILE", help="py-spy's stacks of the control process, one FILE.FORMAT for each")
    asked = parser.parse_args()
    formats = [one for one in asked.formats.split(",") if one]
    if unknown := set(formats) - set(FORMATS):
        parser.error(f"--formats: expected some of {', '.join(FORMATS)}, found {', '.join(sorted(unknown))}")
    asyncio.run(run(asked.calls, asked.seconds, formats, asked.profile, with_rtp=not asked.without_rtp))


if __name__ == "__main__":
    main()
