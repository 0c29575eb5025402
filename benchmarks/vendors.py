"""Calls that talk by three vendors: the cost of the server, and how soon the caller hears the answer.

    python benchmarks/vendors.py [--calls 20,200] [--rate 4] [--turns 4] [--contender own|pipecat] [--json]

Calls come as Twilio's Media Streams (µ-law, 8 kHz, real time); recognition is Deepgram, the model OpenAI's chat completions, the voice
Cartesia: simulators that speak the documented protocols over real sockets, in a separate process, at the speed of real ones. Callers,
vendors and the server share this machine.

`heard after`: from the caller's last sound to the first of the agent's answer. Of that the vendors' own time is `model_s`, the words of the
first clause times `token_s`, and `voice_s`; the rest is the end of the turn, and the time added by the server (`addedMs` of its records).
Calls begin `--rate` a second. Callers talk once every call that the server has not refused has its recogniser; if no further one gets it
for `STUCK_S`, the run ends. In both cases it reports how many are `connected` and `set_up`, and which share of the machine each program
took meanwhile (`cores_in_set_up`).

`cpu_per_call_s`: seconds of a core of the server's processes, including children, for each second of a call, while all callers talk;
`control_per_call_s`: those of active-call's control process, whose one thread carries all calls. `cores`: what the server (of it: the
control process), the vendors, the callers and everything on this machine took meanwhile; if that is all there are, the other figures are no
measure of a server. `--contender pipecat` is Pipecat's own bot in one process, as its documentation runs it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any, Final

import psutil

from own_server import free_port, started_server

HERE: Final = Path(__file__).parent
SPEECH: Final = HERE.parent / "tests" / "vectors" / "speech" / "joe_01.ulaw"
PACE: Final = {"model_s": 0.25, "token_s": 0.02, "voice_s": 0.1}
STUCK_S: Final = 20.0
POLL_S: Final = 0.5
PLAYBOOK: Final = """---
asr: {{provider: deepgram, endpoint: "ws://127.0.0.1:{deepgram}", secretKey: "{key}"}}
llm: {{provider: openai, baseUrl: "http://127.0.0.1:{openai}/v1", apiKey: "{key}", model: gpt-4o-mini}}
tts: {{provider: cartesia, endpoint: "ws://127.0.0.1:{cartesia}", secretKey: "{key}"}}
---
You answer the telephone.
"""
CONFIG: Final = """
addr = "127.0.0.1"
udp_port = {udp}
http_addr = "127.0.0.1:{http}"
graceful_shutdown_timeout = 2
[handler]
type = "playbook"
default = "main.md"
[callrecord]
type = "local"
root = "cdr"
"""


class Program:
    """A process controlled by lines of JSON."""

    def __init__(self, *command: str, environment: dict[str, str] | None = None, log: Path) -> None:
        self._log = log.open("wb")
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, env={**os.environ, **(environment or {})}
        )

    def tell(self, message: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        self.process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"a program has ended: {self.process.args}; see {self._log.name}")
        return dict(json.loads(line))

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(30)
        self._log.close()


@contextlib.contextmanager
def own_server(folder: Path, vendors: dict[str, Any]) -> Iterator[tuple[int, str, int]]:
    """active-call; yields its port, the path of streams and its process id."""
    http = free_port(socket.SOCK_STREAM)
    (folder / "main.md").write_text(PLAYBOOK.format(**vendors), encoding="utf-8")
    (folder / "active-call.toml").write_text(CONFIG.format(udp=free_port(socket.SOCK_DGRAM), http=http), encoding="utf-8")
    with started_server(folder, http) as pid:
        yield http, "/call/stream/twilio", pid


@contextlib.contextmanager
def pipecat_server(folder: Path, vendors: dict[str, Any], python: str) -> Iterator[tuple[int, str, int]]:
    """Pipecat's bot with the same three services."""
    port = free_port(socket.SOCK_STREAM)
    program = Program(python, str(HERE / "contenders" / "pipecat_vendors.py"), log=folder / "pipecat.log")
    try:
        program.tell({"port": port, **vendors})
        program.hear()
        yield port, "/ws", program.process.pid
    finally:
        program.close()


def set_up(callers: Program, vendors: Program) -> tuple[int, int, float]:
    """Wait until all calls have begun and each has its connection to the recogniser.

    Returns how many callers are still connected (the server has refused the others), how many recognisers there are, and after how many
    seconds the last one came. It gives up if no further one comes for `STUCK_S`.
    """
    began = moved_at = time.monotonic()
    callers.hear()
    n_open, n_ready, all_began_at = 0, -1, time.monotonic()
    while n_ready < n_open and time.monotonic() < max(moved_at, all_began_at) + STUCK_S:
        time.sleep(POLL_S)
        callers.tell({})
        n_open = callers.hear()["open"]
        vendors.tell({})
        n_now = vendors.hear()["connections"]["deepgram"]
        if n_now > n_ready:
            n_ready, moved_at = n_now, time.monotonic()
    return n_open, n_ready, moved_at - began


def cpu_s(pid: int, *, children: bool = True) -> float:
    """CPU time of the process, and of its children, in seconds."""
    process = psutil.Process(pid)
    times = [one.cpu_times() for one in (process, *(process.children(recursive=True) if children else ()))]
    return sum(time_.user + time_.system for time_ in times)


class Shares:
    """Which share of the machine each program takes, in cores, from now until `read`."""

    def __init__(self, **pids: int) -> None:
        self._pids = pids
        self._began = time.monotonic()
        self._before = self._now()

    def _now(self) -> dict[str, float]:
        spent = {name: cpu_s(pid) for name, pid in self._pids.items()}
        idle_s = psutil.cpu_times().idle
        return {**spent, "control": cpu_s(self._pids["server"], children=False), "idle": idle_s}

    def read(self) -> dict[str, float]:
        """The cores taken by each, by the server's own process (`control`), and by everything on this machine (`all`)."""
        took_s = time.monotonic() - self._began
        cores = {name: (now - self._before[name]) / took_s for name, now in self._now().items()}
        cores["all"] = (psutil.cpu_count() or 1) - cores.pop("idle")
        return cores


def rss_mb(pid: int) -> float:
    process = psutil.Process(pid)
    return sum(one.memory_info().rss for one in (process, *process.children(recursive=True))) / 2**20


def measure(calls: int, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """One run; its figures."""
    folder.mkdir(parents=True, exist_ok=True)
    vendors = Program(sys.executable, str(HERE / "contenders" / "simulated_vendors.py"), log=folder / "vendors.log")
    callers = Program(sys.executable, str(HERE / "contenders" / "talking_callers.py"), log=folder / "callers.log")
    try:
        vendors.tell(PACE)
        ports = vendors.hear()
        serving = own_server(folder, ports) if options.contender == "own" else pipecat_server(folder, ports, options.python)
        with serving as (port, path, pid):
            task = {
                "calls": calls,
                "port": port,
                "path": path,
                "speech": str(options.speech),
                "turns": options.turns,
                "every": options.every,
                "pace_s": 1 / options.rate,
            }
            figures = talk(task, callers, vendors, pid, options)
        vendors.tell({})
        told = vendors.hear()
        own = own_waits(folder)
    finally:
        callers.close()
        vendors.close()
    return figures | {**own, "contender": options.contender, "vendors": told}


def talk(task: dict[str, Any], callers: Program, vendors: Program, pid: int, options: argparse.Namespace) -> dict[str, Any]:
    """Set up all calls and let their callers talk; the figures. They do not talk if a connected caller has no recogniser."""
    calls, pids = task["calls"], {"server": pid, "vendors": vendors.process.pid, "callers": callers.process.pid}
    shares = Shares(**pids)
    callers.tell(task)
    n_open, n_ready, set_up_s = set_up(callers, vendors)
    figures: dict[str, Any] = {"calls": calls, "connected": n_open, "set_up": n_ready, "set_up_s": round(set_up_s, 1)}
    figures["cores_in_set_up"] = _rounded(shares.read())
    if not 0 < n_open <= n_ready:
        return figures
    time.sleep(options.settle)
    shares = Shares(**pids)
    callers.tell({"talk": True})
    heard = callers.hear()
    cores = shares.read()
    per_call = {"cpu_per_call_s": round(cores["server"] / n_open, 4), "control_per_call_s": round(cores["control"] / n_open, 4)}
    return figures | figures_of(heard) | per_call | {"rss_mb": round(rss_mb(pid)), "cores": _rounded(cores)}


def _rounded(cores: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 2) for name, value in cores.items()}


def figures_of(heard: dict[str, Any]) -> dict[str, Any]:
    """The figures from the callers."""
    delays = sorted(heard["delays_ms"])
    p95 = delays[min(len(delays) - 1, round(0.95 * len(delays)))] if delays else None
    return {
        "turns": heard["turns"],
        "answered": len(delays),
        "lost": heard["lost"],
        "heard_after_ms_median": round(median(delays)) if delays else None,
        "heard_after_ms_p95": p95,
        "callers_late_ms": heard["late_ms"],
    }


def own_waits(folder: Path) -> dict[str, Any]:
    """The latencies of the same answers in active-call's records, in ms: the server's own part, the end of the turn, and the vendors'."""
    records = [json.loads(path.read_text(encoding="utf-8")) for path in (folder / "cdr").rglob("*.json")]
    turns = [turn for record in records for turn in record.get("turns", ()) if "addedMs" in turn]
    told: dict[str, Any] = {}
    for name in ("addedMs", "endOfTurnWaitMs", "recognitionMs", "modelMs", "synthesisMs"):
        values = sorted(turn[name] for turn in turns if turn.get(name) is not None)
        if values:
            told[name] = {"median": round(median(values), 1), "p95": round(values[min(len(values) - 1, round(0.95 * len(values)))], 1)}
    return told


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", default="20,200")
    parser.add_argument("--turns", type=int, default=4, help="how often each caller speaks")
    parser.add_argument("--every", type=float, default=10.0, help="seconds from one time to the next")
    parser.add_argument("--rate", type=float, default=4.0, help="calls that begin in a second; a slow machine sets up so many")
    parser.add_argument("--settle", type=float, default=8.0, help="seconds between the set-up of the last call and the first word")
    parser.add_argument("--contender", choices=("own", "pipecat"), default="own")
    parser.add_argument("--python", default=sys.executable, help="the Python that has pipecat-ai")
    parser.add_argument("--speech", type=Path, default=SPEECH)
    parser.add_argument("--keep", type=Path, help="leave logs and records in this folder")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    for calls in map(int, options.calls.split(",")):
        with tempfile.TemporaryDirectory(prefix="vendors-") as folder:
            figures = measure(calls, options, (options.keep or Path(folder)) / str(calls))
        print(json.dumps(figures) if options.json else "  ".join(f"{name} {value}" for name, value in figures.items()), flush=True)


if __name__ == "__main__":
    main()
