"""The delay of events to clients of sockets: idle sockets, and active ones, twenty for each call.

    python benchmarks/sockets.py --idle 500 --active 200 --seconds 10

Starts a server in its own folder, opens the sockets, and sends each call a `custom` command twice a second, which is reported to all its
sockets. The delay of an event is from its timestamp in the server until the client has read it, on one clock (whole milliseconds: the
delay is up to 1 ms less).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
from websockets.asyncio.client import ClientConnection, connect

FOLLOWERS = 20
"""Sockets that follow one call: its own, and joined ones."""
CONFIG = """
addr = "127.0.0.1"
udp_port = {udp}
http_addr = "127.0.0.1:{http}"
http_max_connections = 4000
http_rate = 10000
rtp_start_port = 40000
rtp_end_port = 44000
[asr]
provider = "none"
[tts]
provider = "espeak"
[callrecord]
type = "local"
root = "cdr"
"""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


async def measured(url: str, n_idle: int, n_active: int, seconds: float) -> list[float]:
    """Delays in ms of all events caused by commands."""
    delays: list[float] = []
    idle = [await connect(f"{url}/call/sip?ping=20", compression=None) for _ in range(n_idle)]
    active: list[ClientConnection] = []
    n_calls = max(1, n_active // FOLLOWERS)
    for n in range(n_calls):
        line = await connect(f"{url}/call?id=bench-{n}&ping=20", compression=None)
        await line.send('{"command": "invite", "option": {}}')
        while (json.loads(message) if isinstance(message := await line.recv(), str) else {}).get("event") != "mediaReady":
            pass
        active.append(line)
    joined = [f"{url}/call/sip?id=bench-{n % n_calls}&ping=20" for n in range(n_active - n_calls)]
    active += [await connect(address, compression=None) for address in joined]

    async def read(line: ClientConnection) -> None:
        async for message in line:
            now = time.time() * 1000
            event = json.loads(message) if isinstance(message, str) else {}
            if event.get("event") == "custom":
                delays.append(now - event["timestamp"])

    async def command(line: ClientConnection, after_s: float) -> None:
        await asyncio.sleep(after_s)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            await line.send('{"command": "custom", "data": {"a": 1}}')
            await asyncio.sleep(0.5)

    reading = [asyncio.create_task(read(line)) for line in active]
    await asyncio.gather(*(command(line, n * 0.5 / n_calls) for n, line in enumerate(active[:n_calls])))
    await asyncio.sleep(0.5)
    for task in reading:
        task.cancel()
    await asyncio.gather(*(line.close() for line in (*active, *idle)), return_exceptions=True)
    return delays


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--idle", type=int, default=500)
    arguments.add_argument("--active", type=int, default=200)
    arguments.add_argument("--seconds", type=float, default=10.0)
    given = arguments.parse_args()
    http = free_port()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "active-call.toml").write_text(CONFIG.format(udp=free_port(), http=http), encoding="utf-8")
        log = (Path(folder) / "log").open("wb")
        server = subprocess.Popen([sys.executable, "-m", "active_call.server.cli", "serve"], cwd=folder, stdout=log, stderr=log)
        try:
            for _ in range(300):
                try:
                    httpx.get(f"http://127.0.0.1:{http}/ready", timeout=1).raise_for_status()
                    break
                except httpx.HTTPError:
                    time.sleep(0.1)
            load = os.getloadavg()[0]
            delays = sorted(asyncio.run(measured(f"ws://127.0.0.1:{http}", given.idle, given.active, given.seconds)))
        finally:
            server.kill()
            server.wait(30)
            log.close()
    share = {name: delays[min(len(delays) - 1, int(len(delays) * part))] for name, part in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))}
    print(f"idle {given.idle}, active {given.active}, events {len(delays)}, load before {load:.1f}")
    print("delay ms: " + ", ".join(f"{name} {value:.1f}" for name, value in share.items()) + f", max {delays[-1]:.1f}")


if __name__ == "__main__":
    main()
