"""The server under test, as processes: started on one core with its own configuration, measured from /proc, stopped at the end.

Ours gets a configuration file. Any other server is a program or script that gets `BENCH_SIP_PORT` (UDP, on 127.0.0.1), `BENCH_RTP_PORTS`
(`LOW-HIGH`), `BENCH_SOUND` (a WAV file, to be played to every caller) and `BENCH_FOLDER` (for its files) in its environment, answers every
call, and runs until SIGTERM.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from active_call.base.errors import ActiveCallError
from active_call.bench import host as bench_host
from active_call.bench.speech import RATE_HZ, speech

HOST: Final = "127.0.0.1"
RTP_PORTS: Final = (20_000, 25_999)
READY_S: Final = 30.0
STOP_S: Final = 15.0
_PINNED: Final = "import os, sys; os.sched_setaffinity(0, {int(sys.argv[1])}); os.execvp(sys.argv[2], sys.argv[2:])"
_ROLES: Final = {
    "media.worker": "media",
    "media.record": "recorder",
    "providers.local": "engines",
    "fork_server": "fork server",
}
"""The kind of our processes, by a word of the command line; the first process is `control`, all others `other`."""


@dataclass(frozen=True, slots=True)
class Setting:
    """The settings of our server. `playbook`: a file instead of the bench's own."""

    asr: str = "none"
    playbook: str = ""


def bench_playbook(sound: Path, asr: str, *, recording: str = "") -> str:
    """Plays a long file to the caller, and pauses it while the caller speaks."""
    recorder = f"recorder: {{recorderFile: '{recording}', samplerate: 8000}}\n" if recording else ""
    front = f"asr: {{provider: {asr}}}\nllm: {{provider: script}}\n{recorder}"
    return f'---\n{front}---\n# Scene: main\n\n<play file="{sound}"/>\n\n## *\nYes.\n'


def configuration(folder: Path, port: int, setting: Setting) -> str:
    """The text of our server's configuration file."""
    default = setting.playbook or str(folder / "bench.md")
    engines = "use" if setting.asr == "none" else "start"
    return f"""addr = "{HOST}"
udp_port = {port}
http_addr = "{HOST}:0"
media_workers = 1
rtp_start_port = {RTP_PORTS[0]}
rtp_end_port = {RTP_PORTS[1]}
log_level = "error"
graceful_shutdown_timeout = 2
load_engines = "{engines}"

[handler]
type = "playbook"
default = "{default}"

[[handler.rules]]
callee = "sip:record@"
playbook = "{folder / "record.md"}"

[files]
roots = ["{folder}"]

[recording]
path = "{folder / "recordings"}"

[callrecord]
type = "local"
root = "{folder / "records"}"
"""


def write_sound(path: Path, seconds: float) -> None:
    """Write speech with pauses for at least `seconds`, 8 kHz mono. It is the callers' backwards: theirs must be no echo of it."""
    frames = speech().frames[::-1, ::-1]
    n_times = int(seconds * RATE_HZ / frames.size) + 1
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes(np.tile(frames.ravel(), n_times).astype("<i2").tobytes())


class TestedServer:
    """A running server. `name` is used in the figures."""

    __test__ = False  # pytest must not collect it

    def __init__(self, name: str, process: asyncio.subprocess.Process, port: int) -> None:
        self.name = name
        self.port = port
        self._process = process

    def pids(self) -> dict[str, list[int]]:
        """Its processes by kind."""
        found: dict[str, list[int]] = {"control": [self._process.pid]}
        for pid in descendants(self._process.pid):
            with contextlib.suppress(OSError):
                command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                found.setdefault(next((role for word, role in _ROLES.items() if word in command), "other"), []).append(pid)
        return found

    def cpu_s(self) -> dict[str, float]:
        """CPU time so far, by kind of process."""
        used: dict[str, float] = {}
        for role, pids in self.pids().items():
            for pid in pids:
                with contextlib.suppress(OSError):
                    usage = bench_host.usage(pid)
                    used[role] = used.get(role, 0.0) + usage.user_s + usage.system_s
        return used

    def pss_mb(self) -> dict[str, float]:
        """Memory by kind of process; shared pages are divided among the processes that map them."""
        used: dict[str, float] = {}
        for role, pids in self.pids().items():
            used[role] = round(sum(pss_kb(pid) for pid in pids) / 1000, 1)
        return used

    @property
    def has_ended(self) -> bool:
        """It has ended by itself."""
        return self._process.returncode is not None


def descendants(pid: int) -> list[int]:
    """All processes below `pid`, from /proc."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError):
                parents[int(entry.name)] = int((entry / "stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[1])
    below, found = [pid], []
    while below:
        parent = below.pop()
        children = [child for child, its_parent in parents.items() if its_parent == parent]
        below += children
        found += children
    return found


def pss_kb(pid: int) -> int:
    """Proportional set size; 0 if it cannot be read."""
    with contextlib.suppress(OSError, IndexError, ValueError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    return 0


@asynccontextmanager
async def ours(folder: Path, core: int | None, setting: Setting, seconds: float) -> AsyncIterator[TestedServer]:
    """Our server, with `seconds` of sound to play."""
    port = free_udp_port()
    sound = folder / "sound.wav"
    write_sound(sound, seconds)
    (folder / "bench.md").write_text(bench_playbook(sound, setting.asr), encoding="utf-8")
    (folder / "record.md").write_text(bench_playbook(sound, setting.asr, recording="{id}.wav"), encoding="utf-8")
    (folder / "bench.toml").write_text(configuration(folder, port, setting), encoding="utf-8")
    command = (sys.executable, "-m", "active_call.server.cli", "serve", "--conf", str(folder / "bench.toml"))
    async with _running("active-call", command, folder, core, port, {}) as server:
        yield server


@asynccontextmanager
async def another(program: str, folder: Path, core: int | None, seconds: float) -> AsyncIterator[TestedServer]:
    """The server that `program` starts; see the module. Raises ActiveCallError if it cannot be run."""
    if not os.access(program, os.X_OK):
        raise ActiveCallError(f"--against {program}: expected an executable file")
    port = free_udp_port()
    sound = folder / "sound.wav"
    write_sound(sound, seconds)
    variables = {
        "BENCH_SIP_PORT": str(port),
        "BENCH_RTP_PORTS": f"{RTP_PORTS[0]}-{RTP_PORTS[1]}",
        "BENCH_SOUND": str(sound),
        "BENCH_FOLDER": str(folder),
    }
    async with _running(Path(program).name, (program,), folder, core, port, variables) as server:
        yield server


@asynccontextmanager
async def _running(
    name: str, command: tuple[str, ...], folder: Path, core: int | None, port: int, variables: dict[str, str]
) -> AsyncIterator[TestedServer]:
    log = folder / "server.log"
    pinned = command if core is None else (sys.executable, "-c", _PINNED, str(core), *command)
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *pinned, cwd=folder, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output, env=os.environ | variables
        )
    server = TestedServer(name, process, port)
    try:
        await _wait_ready(server, log)
        yield server
    finally:
        await _stop(process)


async def _wait_ready(server: TestedServer, log: Path) -> None:
    """Send OPTIONS until there is an answer. Raises ActiveCallError."""
    deadline = time.monotonic() + READY_S
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((HOST, 0))
        sock.setblocking(False)
        local = sock.getsockname()[1]
        n_asked = 0
        while time.monotonic() < deadline and not server.has_ended:
            n_asked += 1
            sock.sendto(_options(server.port, local, n_asked), (HOST, server.port))
            await asyncio.sleep(0.1)
            with contextlib.suppress(BlockingIOError, ConnectionRefusedError):
                if sock.recv(65_535).startswith(b"SIP/2.0 "):
                    return
    raise ActiveCallError(f"{server.name} has not answered OPTIONS on UDP port {server.port} within {READY_S:g} s: {_end_of(log)}")


def _end_of(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-2000:]


def _options(port: int, local: int, number: int) -> bytes:
    return (
        f"OPTIONS sip:{HOST}:{port} SIP/2.0\r\nVia: SIP/2.0/UDP {HOST}:{local};branch=z9hG4bKo{number};rport\r\nMax-Forwards: 70\r\n"
        f"From: <sip:bench@{HOST}>;tag=o\r\nTo: <sip:{HOST}:{port}>\r\nCall-ID: o{number}@{HOST}\r\nCSeq: {number} OPTIONS\r\n"
        f"Content-Length: 0\r\n\r\n"
    ).encode()


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        below = descendants(process.pid)
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_S):
                await process.wait()
        except TimeoutError:
            for pid in (process.pid, *below):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
    await process.wait()


def free_udp_port() -> int:
    """A currently free UDP port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((HOST, 0))
        port: int = sock.getsockname()[1]
        return port
