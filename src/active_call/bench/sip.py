"""Measures call set-up: the whole server in this process, called by a sender in another one over real loopback sockets.

`active-call bench sip --transport udp|tcp|tls [--seconds N] [--rate R] --json` ends with one JSON object. A call is INVITE, 100, 180, 200,
ACK, BYE, 200; it is answered by the real gateway and session with a silent playbook, has its own media stream, and creates a record. Not
included: speech (no sound is played or recognised) and the engines' start; the duration of a real call.

Without `--rate`, it searches for the highest sustained rate: every call succeeds, nothing is retransmitted, and p95 of the answer stays
under 100 ms. The server admits calls as in operation: a 503 fails its rate. It refuses a wave only if the calls would wait for long
(`server/load/core_admission`), and every call while the control process uses its whole core. `calls_per_s` is the highest rate; latency is
then measured at a quarter of it. With `--rate`, all figures are of that rate. The control process is kept on one core; media process,
engines and sender have the others.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args

import typer

from active_call.base.errors import ActiveCallError, ConfigError
from active_call.bench.command_line import JsonFlag, finite, run_command
from active_call.bench.sip_sender import Load, Task
from active_call.media.worker.load import percentile
from active_call.server.certificate import write_development_certificate
from active_call.server.composition import Running, running
from active_call.server.config.document import why_unreadable
from active_call.server.config.loading import load_config
from active_call.server.logs import set_up_logging
from active_call.server.serving import make_collections_rare
from active_call.server.user_errors import UserErrors

Transport = Literal["udp", "tcp", "tls"]
TRANSPORTS: Final = get_args(Transport)
FIRST_RATE: Final = 50.0
GROWTH: Final = 1.6
CLOSE_ENOUGH: Final = 1.12
"""The search ends when the lowest failed rate is at most this many times the highest sustained one."""
SECOND_LOOKS: Final = 4
LEAST_RATE: Final = 2.0
MAX_RATE: Final = 4000.0
MAX_ANSWER_MS: Final = 100.0
LINE_LIMIT_BYTES: Final = 1 << 24
QUIET_DEADLINE_S: Final = 20.0
CONNECTIONS_S: Final = 2.0
PLAYBOOK: Final = "---\nllm: {provider: script}\ninterruption: {strategy: none}\n---\n# Scene: main\n\n## *\nYes.\n"
PORTS: Final = (10_000, 32_766)
"""Ports rest for 30 s after their call, so the range limits the calls in that time: 11,000."""


@dataclass(slots=True)
class Run:
    """The result of one load."""

    rate: float
    calls: int
    failed: int
    failures: dict[str, int]
    retransmissions: int
    calls_per_s: float
    sender_late_ms: float
    trying_ms: list[float] = field(repr=False)
    answer_ms: list[float] = field(repr=False)
    cpu_ms_per_call: float = 0.0

    @property
    def is_kept_up(self) -> bool:
        """Whether the server sustained this load."""
        return not self.failed and not self.retransmissions and percentile(sorted(self.answer_ms), 95) <= MAX_ANSWER_MS


class RateSearch:
    """Searches the highest sustained rate: faster until one fails, then between the two until they are close.

    The lowest failed rate is tried again before the end, a few times, because the machine may have been busy.
    """

    def __init__(self) -> None:
        self._kept = 0.0
        self._failed: float | None = None
        self._looks_left = SECOND_LOOKS

    def next_rate(self) -> float | None:
        """The rate to try next, None at the end."""
        if self._failed is None:
            rate = self._kept * GROWTH if self._kept else FIRST_RATE
            return rate if rate <= MAX_RATE else None
        if self._failed > self._kept * CLOSE_ENOUGH and self._failed > LEAST_RATE:
            return (self._kept * self._failed) ** 0.5 if self._kept else self._failed / 2
        if not self._looks_left:
            return None
        self._looks_left -= 1
        return self._failed

    def note(self, rate: float, *, is_kept_up: bool) -> None:
        """The result of a rate."""
        if is_kept_up:
            self._kept = max(self._kept, rate)
            if self._failed is not None and self._failed <= self._kept:
                self._failed = None
        else:
            self._failed = rate if self._failed is None else min(self._failed, rate)


class Sender:
    """The sender's process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def tell(self, line: object) -> None:
        """Send an order."""
        assert self._process.stdin is not None  # noqa: S101
        self._process.stdin.write(json.dumps(line).encode() + b"\n")
        await self._process.stdin.drain()

    async def ask(self, line: object) -> dict[str, Any]:
        """Send an order and wait for its result. Raises ActiveCallError if the sender fails."""
        assert self._process.stdout is not None  # noqa: S101
        await self.tell(line)
        answer = await self._process.stdout.readline()
        if not answer:
            raise ActiveCallError("the bench's sender has ended")
        figures: dict[str, Any] = json.loads(answer)
        if "error" in figures:
            raise ActiveCallError(f"the bench's sender: {figures['error']}")
        return figures


@asynccontextmanager
async def _server(folder: Path, playbook: str) -> AsyncIterator[Running]:
    (folder / "bench.md").write_text(playbook, encoding="utf-8")
    write_development_certificate(folder / "cert.pem", folder / "key.pem", ["127.0.0.1", "localhost"])
    overrides = {
        "addr": "127.0.0.1",
        "udp_port": 0,
        "tls_port": 0,
        "tls_cert_file": str(folder / "cert.pem"),
        "tls_key_file": str(folder / "key.pem"),
        "http_addr": "127.0.0.1:0",
        "media_workers": 1,
        "load_engines": "use",  # the callers do not speak
        "rtp_start_port": PORTS[0],
        "rtp_end_port": PORTS[1],
        "handler": {"type": "playbook", "default": str(folder / "bench.md")},
        "callrecord": {"type": "local", "root": str(folder / "cdr")},
        "graceful_shutdown_timeout": 2,
    }
    async with running(load_config(None, overrides, os.environ)) as server:
        make_collections_rare()
        yield server


@asynccontextmanager
async def _sender(task: Task) -> AsyncIterator[Sender]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "active_call.bench.sip_sender"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=LINE_LIMIT_BYTES,
    )
    try:
        sender = Sender(process)
        await sender.tell(asdict(task))
        yield sender
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@asynccontextmanager
async def _on_one_core() -> AsyncIterator[None]:
    """Bind this thread to the first of its cores; programs started before keep all of them."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


class Bench:
    """One measurement in progress."""

    def __init__(self, server: Running, sender: Sender) -> None:
        self._server = server
        self._sender = sender

    async def run(self, load: Load) -> Run:
        """Put a load on the server, and wait until it is idle again."""
        before = _cpu_s()
        figures = await self._sender.ask(asdict(load))
        run = Run(rate=load.rate, **figures)
        run.cpu_ms_per_call = (_cpu_s() - before) * 1000 / max(run.calls + run.failed, 1)
        await self._quiet()
        return run

    async def search(self, seconds: float) -> Run:
        """The run at the highest sustained rate; each rate is tried for `seconds`."""
        best: Run | None = None
        search = RateSearch()
        while (rate := search.next_rate()) is not None:
            run = await self._noted(Load(rate, seconds))
            search.note(rate, is_kept_up=run.is_kept_up)
            if run.is_kept_up:
                best = run if best is None or run.rate > best.rate else best
        if best is None:
            raise ActiveCallError("no rate is kept up by this server on this machine")
        return best

    async def _noted(self, load: Load) -> Run:
        run = await self.run(load)
        verdict = "kept up" if run.is_kept_up else f"too fast ({run.failed} failed, {run.retransmissions} repeated)"
        answer_ms = percentile(sorted(run.answer_ms), 95)
        print(f"{run.rate:7.1f} calls/s: {verdict}, answered in {answer_ms:.1f} ms (p95)", file=sys.stderr, flush=True)
        return run

    async def new_connections(self) -> float:
        """Connections that can be opened, used once and closed, per second."""
        return float((await self._sender.ask({"connections_s": CONNECTIONS_S}))["connections_per_s"])

    async def _quiet(self) -> None:
        deadline = time.monotonic() + QUIET_DEADLINE_S
        while self._server.registry.n_calls and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.2)


async def measure(transport: str, *, seconds: float, rate: float | None, playbook: str = PLAYBOOK) -> dict[str, Any]:
    """The figures of the module's JSON object. Raises ActiveCallError if nothing can be measured."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        async with _server(Path(folder), playbook) as server:
            port = next(entry.bound.port for entry in server.listeners if entry.transport == transport)
            async with _sender(Task("127.0.0.1", port, transport)) as sender, _on_one_core():
                bench = Bench(server, sender)
                await bench.run(Load(20.0, 1.0))  # imports, caches and the first garbage collection are not measured
                best = await (bench.search(max(2.0, seconds / 2)) if rate is None else bench.run(Load(rate, seconds)))
                at_load = best if rate is not None else await bench.run(Load(best.rate / 4, seconds))
                figures = _figures(transport, best, at_load)
                if transport != "udp":
                    figures["new_connections_per_s"] = await bench.new_connections()
                return figures


def _figures(transport: str, best: Run, at_load: Run) -> dict[str, Any]:
    runs = (best,) if best is at_load else (best, at_load)
    return {
        "transport": transport,
        "calls": sum(run.calls for run in runs),
        "calls_per_s": best.calls_per_s,
        "failed": sum(run.failed for run in runs),
        "failures": {why: count for run in runs for why, count in run.failures.items()},
        "latency_at_calls_per_s": round(at_load.rate, 1),
        "trying_ms": _spread(at_load.trying_ms),
        "answer_ms": _spread(at_load.answer_ms),
        "retransmissions": sum(run.retransmissions for run in runs),
        "cpu_ms_per_call": round(best.cpu_ms_per_call, 2),
        "sender_late_ms": at_load.sender_late_ms,
    }


def _spread(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {f"p{percent}": round(percentile(ordered, percent), 2) for percent in (50, 95, 99)}


def _cpu_s() -> float:
    """Processor time of this process, the control process, so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main(
    transport: Annotated[Transport, typer.Option(help="Transport of the calls.")] = "udp",
    seconds: Annotated[
        float, typer.Option(min=0.1, callback=finite, help="How long the latency is measured; a rate is tried half as long.")
    ] = 6.0,
    rate: Annotated[
        float | None, typer.Option(min=0.1, callback=finite, help="Calls a second; default: search for the highest rate.")
    ] = None,
    playbook: Annotated[Path | None, typer.Option(help="Answer with this playbook instead of one that says nothing.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Measure call set-up on loopback."""
    import uvloop

    set_up_logging("error")
    content = PLAYBOOK if playbook is None else _content_of(playbook)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        figures = runner.run(measure(transport, seconds=seconds, rate=rate, playbook=content))
    print(json.dumps(figures, indent=None if as_json else 2))


def _content_of(playbook: Path) -> str:
    try:
        return playbook.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("--playbook", f"{playbook}: {why_unreadable(error)}") from error


if __name__ == "__main__":
    with UserErrors():
        raise SystemExit(run_command(main, "active-call bench sip"))
