"""The cost and the start time of an idle server: `python benchmarks/idle.py [--vs CHECKOUT] [--rounds 3] [--json]`.

Each round starts `active-call serve` in an empty folder, like a first-time user (`--conf`: with a configuration file), and measures:

| figure | is |
|---|---|
| ready, wall and CPU | from the start of the program to its line "is ready", and the CPU time of all its processes until then |
| settled CPU | the same once the server is at rest, including work done later while idle |
| memory | PSS of each process at rest (`smaps`): a shared page is divided among all processes of the machine that use it |
| alone | the same as if nothing else ran on the machine: pages of files count in full, once for all processes of the server |
| idle | CPU time of each process in `--seconds` without calls, in per cent of one core (the scheduler's nanoseconds) |
| call 1, 2 | INVITE to 100, to the first 18x and to 200, over UDP. Local engines load while the first call rings |

"At rest": the fork server has freed its memory (five seconds after its last request), and `--rest` seconds have passed since. Pages of
files (libpython, libcrypto, numpy, …) are shared with every other Python program on the machine, so the PSS of the same server is higher on
a quiet machine than beside other servers. Compare `alone`, or the PSS of one run.

`--vs` measures another checkout in alternation with this one, so that other load affects both. Budgets (DESIGN): ready in 1.5 s; 120 MB
and 0.2 % of a core for all processes together.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import select
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from own_server import HOST, free_port

HERE: Final = Path(__file__).resolve().parents[1]
START_S: Final = 60.0
REST_S: Final = 3.0
"""From the rest of the fork server to the first measurement."""
REST_WITHIN_S: Final = 30.0
"""How long the rest of the fork server is waited for."""
CALL_S: Final = 30.0
TICK_S: Final = 1 / os.sysconf("SC_CLK_TCK")


# -- processes


def tree(pid: int) -> list[int]:
    """`pid` and all its descendants."""
    found = [pid]
    for one in found:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{one}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
    return found


def name_of(pid: int, root: int) -> str:
    """The kind of a process: its title, or its module."""
    if pid == root:
        return "control"
    title = Path(f"/proc/{pid}/comm").read_text().strip()
    words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    if title.startswith(("python", "active-call")) and "-m" in words:
        return words[words.index("-m") + 1].removeprefix("active_call.")
    return title


def cpu_ns(pid: int) -> int:
    """CPU time of the living threads of a process."""
    total = 0
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                total += int((task / "schedstat").read_text().split()[0])
    return total


def cpu_s(root: int) -> float:
    """CPU time of a process and all its descendants, including ended ones."""
    total = 0.0
    for pid in tree(root):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += max(cpu_ns(pid) / 1e9, sum(map(int, fields[11:13])) * TICK_S) + sum(map(int, fields[13:15])) * TICK_S
    return total


def pss_mb(pid: int) -> float:
    """Its share of the memory, in MB (10^6 bytes)."""
    found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)
    return int(found[1]) * 1024 / 1e6 if found else 0.0


def alone_mb(root: int) -> float:
    """The memory of a process and all its descendants, in MB, if no other process used the same files.

    The pages of a file that no process has modified for itself count as in the process that uses most of them; all others as in PSS.
    """
    own, files = 0, {}
    for pid in tree(root):
        of_process: dict[str, int] = {}
        for mapping in re.split(r"\n(?=[0-9a-f]+-[0-9a-f]+ )", Path(f"/proc/{pid}/smaps").read_text()):
            head, _, rest = mapping.partition("\n")
            kb = {name: int(value) for name, value in re.findall(r"^(\w+):\s+(\d+) kB", rest, re.M)}
            words = head.split(maxsplit=5)
            if len(words) < 6 or words[4] == "0":
                own += kb["Pss"]
                continue
            own += kb["Private_Dirty"]
            of_process[words[5]] = of_process.get(words[5], 0) + kb["Rss"] - kb["Private_Dirty"]
        for name, size in of_process.items():
            files[name] = max(files.get(name, 0), size)
    return (own + sum(files.values())) * 1024 / 1e6


def wait_for_rest(root: int) -> None:
    """Wait until the fork server has freed its memory. A checkout without one is measured after `REST_WITHIN_S`."""
    until = time.monotonic() + REST_WITHIN_S
    while time.monotonic() < until:
        for pid in tree(root):
            with contextlib.suppress(OSError):
                if b"fork_server_rest" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    return
        time.sleep(0.1)


def by_name(root: int, figure: Any) -> dict[str, float]:
    """A figure of each process, summed by name."""
    found: dict[str, float] = {}
    for pid in tree(root):
        with contextlib.suppress(OSError):
            name = name_of(pid, root)
            found[name] = found.get(name, 0.0) + figure(pid)
    return found


# -- the server


@contextlib.contextmanager
def serving(checkout: Path, folder: Path, conf: Path | None) -> Iterator[tuple[subprocess.Popen[bytes], int, dict[str, float]]]:
    """A server of `checkout` in `folder`; yields it, its SIP port and the cost of its start, once it is ready."""
    if conf is not None:
        shutil.copytree(conf.parent, folder, dirs_exist_ok=True)
    udp, http = free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_STREAM)
    python = checkout / ".venv" / "bin" / "python"
    command = [str(python if python.exists() else sys.executable), "-m", "active_call.server.cli", "serve"]
    command += [*(["--conf", conf.name] if conf else []), "--sip", f"{HOST}:{udp}", "--http", f"{HOST}:{http}"]
    environment = os.environ | {"PYTHONPATH": str(checkout / "src"), "PYTHONUNBUFFERED": "1"}
    with (folder / "server.log").open("wb") as log:
        begun = time.monotonic()
        process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, env=environment)
    try:
        seen = b""
        while b"is ready." not in seen:
            if not select.select([process.stdout], [], [], begun + START_S - time.monotonic())[0]:
                raise SystemExit("the server does not start")
            piece = os.read(process.stdout.fileno(), 65_536) if process.stdout else b""
            if not piece:
                raise SystemExit(f"the server has ended:\n{(folder / 'server.log').read_text()[-2000:]}")
            seen += piece
        yield process, udp, {"ready_s": time.monotonic() - begun, "ready_cpu_s": cpu_s(process.pid)}
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
        if process.stdout is not None:
            process.stdout.close()


# -- a call


def call(port: int, number: int) -> dict[str, float]:
    """Place a call and hang up once it is answered: milliseconds from INVITE to 100, to the first 18x, to the final response."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sip, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as rtp:
        sip.bind((HOST, 0))
        rtp.bind((HOST, 0))
        own, call_id = sip.getsockname()[1], f"idle-{os.getpid()}-{number}"
        uri = f"sip:test@{HOST}:{port}"

        def send(method: str, sequence: int, to: str, target: str = uri, body: str = "") -> float:
            kind = "Content-Type: application/sdp\r\n" if body else ""
            text = (
                f"{method} {target} SIP/2.0\r\nVia: SIP/2.0/UDP {HOST}:{own};branch=z9hG4bK{number}{method};rport\r\nMax-Forwards: 70\r\n"
                f"From: <sip:bench@{HOST}>;tag=b{number}\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: {sequence} {method}\r\n"
                f"Contact: <sip:bench@{HOST}:{own}>\r\n{kind}Content-Length: {len(body)}\r\n\r\n{body}"
            )
            sent = time.monotonic()
            sip.sendto(text.encode(), (HOST, port))
            return sent

        media = f"m=audio {rtp.getsockname()[1]} RTP/AVP 0\r\na=ptime:20\r\na=sendrecv\r\n"
        begun = send("INVITE", 1, f"<{uri}>", body=f"v=0\r\no=- 1 1 IN IP4 {HOST}\r\ns=-\r\nc=IN IP4 {HOST}\r\nt=0 0\r\n{media}")
        times: dict[str, float] = {}
        while select.select([sip], [], [], max(0.0, begun + CALL_S - time.monotonic()))[0]:
            text = sip.recv(65_535).decode("utf-8", "replace")
            code = text.partition(" ")[2][:3]
            if not text.startswith("SIP/2.0 ") or " INVITE" not in header(text, "CSeq"):
                continue
            times.setdefault("18x" if code in ("180", "183") else code, (time.monotonic() - begun) * 1000)
            if code >= "200":
                target = header(text, "Contact").partition("<")[2].partition(">")[0] or uri
                send("ACK", 1, header(text, "To"), target if code < "300" else uri)
                if code < "300":
                    time.sleep(0.5)
                    send("BYE", 2, header(text, "To"), target)
                    time.sleep(0.3)
                break
    return times


def header(text: str, name: str) -> str:
    """The value of a header of a message; empty if there is none."""
    found = re.search(rf"(?mi)^{name}: *(.*?)\r$", text)
    return found[1] if found else ""


# -- the measurement


def measure(checkout: Path, options: argparse.Namespace) -> dict[str, Any]:
    """One start of one checkout."""
    with tempfile.TemporaryDirectory(prefix="idle-") as folder, serving(checkout, Path(folder), options.conf) as (process, udp, figures):
        pid = process.pid
        wait_for_rest(pid)
        time.sleep(options.rest)
        settled = cpu_s(pid)
        before, begun = by_name(pid, cpu_ns), time.monotonic()
        time.sleep(options.seconds)
        lasted_ns = (time.monotonic() - begun) * 1e9
        after = by_name(pid, cpu_ns)
        idle = {name: 100 * (after.get(name, 0.0) - spent) / lasted_ns for name, spent in before.items()}
        memory, alone = by_name(pid, pss_mb), alone_mb(pid)
        calls = [call(udp, number) for number in range(options.calls)]
    return {
        **figures,
        "settled_cpu_s": settled,
        "pss_mb": memory,
        "pss_mb_all": sum(memory.values()),
        "alone_mb": alone,
        "idle_percent": idle,
        "idle_percent_all": sum(idle.values()),
        "calls_ms": calls,
    }


def middle(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """The median of each figure."""

    def of(values: list[Any]) -> Any:
        if isinstance(values[0], dict):
            return {key: of([value[key] for value in values if key in value]) for key in values[0]}
        if isinstance(values[0], list):
            return [of(list(entries)) for entries in zip(*values, strict=True)]
        return round(statistics.median(values), 3)

    return dict(of(rounds))


def show(name: str, figures: dict[str, Any]) -> None:
    """The figures as text."""
    print(f"{name}")
    print(f"  ready      {figures['ready_s']:.2f} s, {figures['ready_cpu_s']:.2f} s of CPU; {figures['settled_cpu_s']:.2f} s once at rest")
    for word, key, unit in (("memory", "pss_mb", "MB"), ("idle", "idle_percent", "%")):
        parts = ", ".join(f"{part} {value:.3g}" for part, value in figures[key].items())
        print(f"  {word:<10} {figures[key + '_all']:.3g} {unit} ({parts})")
    print(f"  alone      {figures['alone_mb']:.4g} MB")
    for number, times in enumerate(figures["calls_ms"], 1):
        print(f"  call {number}     " + ", ".join(f"{code} after {value:.1f} ms" for code, value in times.items()))


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="What an idle server costs, and how soon it is ready.")
    parser.add_argument("--vs", type=Path, action="append", default=[], metavar="CHECKOUT", help="another checkout, in turn with this one")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0, help="how long the idle server is watched")
    parser.add_argument("--rest", type=float, default=REST_S, help="seconds from the rest of the fork server to the first measurement")
    parser.add_argument("--calls", type=int, default=2, help="calls that are placed at the end, one after another")
    parser.add_argument("--conf", type=Path, help="a configuration file; its folder is copied. Default: none, a first start")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    checkouts = [HERE, *(path.resolve() for path in options.vs)]
    found: dict[Path, list[dict[str, Any]]] = {checkout: [] for checkout in checkouts}
    for _ in range(options.rounds):
        for checkout, rounds in found.items():
            rounds.append(measure(checkout, options))
    result = {checkout.name: middle(rounds) for checkout, rounds in found.items()}
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        for name, figures in result.items():
            show(name, figures)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
