"""One measurement of a server: prepare the callers, set up the calls, observe the window, compute the figures."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
import tempfile
import time
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from active_call.base.errors import ActiveCallError
from active_call.bench import host as bench_host
from active_call.bench.host import Cores, CoreTimes
from active_call.bench.programs import Talking, talking
from active_call.bench.server.task import Seen, Task, Window
from active_call.bench.server.tested_server import HOST, Setting, TestedServer, another, ours

WARM_UP_S: Final = 2.0
LEAD_S: Final = 0.5
SETUP_SLACK: Final = 1.5
"""Set-up may take this much longer than the rate suggests before a caller's packets are used up."""
SPARE_S: Final = 5.0
MAX_LINES: Final = 1200
OFFER_LIMIT_S: Final = 240.0
MAX_SENDER_LATE_MS: Final = 5.0
"""If callers send later than this at p99, they have disturbed the measurement, and there is no verdict."""
MAX_OFF_GRID_MS: Final = 5.0
OVERLOADED_OFF_GRID_MS: Final = 10.0
MAX_REFUSAL_MS: Final = 50.0


@dataclass(frozen=True, slots=True)
class Workload:
    """What is measured. `rate`: calls a second; `record`: every n-th call is recorded, 0 none."""

    calls: int
    seconds: int = 10
    rate: float = 40.0
    srtp: bool = False
    record: int = 0
    asr: str = "none"
    playbook: str = ""
    profile: str = ""
    """A file for py-spy's profile of the control process, empty none."""

    @property
    def talk_s(self) -> float:
        """How long the first caller talks at most."""
        return self.calls / self.rate * SETUP_SLACK + WARM_UP_S + self.seconds + SPARE_S


@dataclass(frozen=True, slots=True)
class Reading:
    """The values read at both ends of the window."""

    at: float
    cpu_s: dict[str, float]
    core: CoreTimes | None


def server_of(workload: Workload, against: str, folder: Path, core: int | None) -> AbstractAsyncContextManager[TestedServer]:
    """The server to measure: ours, or the one that `against` starts."""
    if against:
        return another(str(Path(against).absolute()), folder, core, workload.talk_s)
    return ours(folder, core, Setting(workload.asr, workload.playbook), workload.talk_s)


async def measure(workload: Workload, against: str = "") -> dict[str, Any]:
    """Measure one server; `against`: another one. Raises ActiveCallError."""
    cores = bench_host.choose_cores()
    if cores.media is not None:
        bench_host.pin(os.getpid(), cores.peers)
    try:
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            async with (
                server_of(workload, against, Path(folder), cores.media) as server,
                talking(sys.executable, "-m", "active_call.bench.server.caller") as callers,
            ):
                return await _measure(workload, server, callers, cores)
    finally:
        if cores.media is not None:
            bench_host.pin(os.getpid(), cores.all)


async def _measure(workload: Workload, server: TestedServer, callers: Talking, cores: Cores) -> dict[str, Any]:
    n_lines, n_packets = min(workload.calls, MAX_LINES), round(workload.talk_s * 50)
    seed = secrets.token_hex(8) if workload.srtp else ""
    task = Task(HOST, server.port, workload.calls, n_lines, n_packets, workload.rate, workload.record, seed)
    await callers.ask(asdict(task))
    idle_mb = server.pss_mb()
    callers.tell({"start_at": time.monotonic() + LEAD_S})
    try:
        async with asyncio.timeout(OFFER_LIMIT_S):
            await callers.answer()
    except TimeoutError:
        raise ActiveCallError(f"{server.name} has not answered {workload.calls} callers within {OFFER_LIMIT_S:g} s") from None
    await asyncio.sleep(WARM_UP_S)
    profiler = await _profile(workload, server) if workload.profile else None
    before = _read(server, cores)
    window = Window(before.at, before.at + workload.seconds)
    callers.tell(asdict(window))
    await asyncio.sleep(window.end - time.monotonic())
    after, busy_mb = _read(server, cores), server.pss_mb()
    if profiler is not None:
        await profiler.wait()
    if server.has_ended:
        raise ActiveCallError(f"{server.name} has ended while it was measured")
    seen = Seen(**await callers.answer())
    memory = {"idle": idle_mb, "with_calls": busy_mb}
    return {"server": server.name, **figures(workload, seen, before, after), "pss_mb": memory, "cores": asdict(cores)}


async def _profile(workload: Workload, server: TestedServer) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(str(Path(sys.executable).with_name("py-spy")), "record", "--nonblocking", "--pid", str(server.pids()["control"][0])),
        *("--duration", str(max(workload.seconds - 1, 1)), "--rate", "400", "--format", "raw", "--output", workload.profile),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )


def _read(server: TestedServer, cores: Cores) -> Reading:
    return Reading(time.monotonic(), server.cpu_s(), None if cores.media is None else bench_host.core_times(cores.media))


def figures(workload: Workload, seen: Seen, before: Reading, after: Reading) -> dict[str, Any]:
    """The figures of one server, and the verdict."""
    wall_s = after.at - before.at
    used_s = {role: used - before.cpu_s.get(role, 0.0) for role, used in after.cpu_s.items()}
    per_call_s = {role: round(used * 1000 / wall_s / max(seen.n_up, 1), 3) for role, used in sorted(used_s.items())}
    verdict, reasons = judge(workload, seen)
    return {
        "workload": asdict(workload),
        "verdict": verdict,
        "because": reasons,
        "calls_up": seen.n_up,
        "cpu_ms_per_call_second": {"all": round(sum(used_s.values()) * 1000 / wall_s / max(seen.n_up, 1), 3), **per_call_s},
        "core_percent": round(sum(used_s.values()) / wall_s * 100, 1),
        "host": _host(before, after, sum(used_s.values())),
        **{key: value for key, value in asdict(seen).items() if key != "n_up"},
    }


def judge(workload: Workload, seen: Seen) -> tuple[str, list[str]]:
    """`held`, `overloaded` (some calls were refused, the others held), `failed`, or `not judged`; and why it is not `held`."""
    late_ms = seen.late_ms.get("p99", 0.0)
    if late_ms > MAX_SENDER_LATE_MS:
        return "not judged", [f"the callers sent {late_ms:.1f} ms late at p99 (at most {MAX_SENDER_LATE_MS:g})"]
    if seen.is_log_full or seen.ran_out:
        return "not judged", ["more packets came, or more calls were taken, than the callers had room for"]
    is_refused = bool(seen.refused)
    allowed_ms = OVERLOADED_OFF_GRID_MS if is_refused else MAX_OFF_GRID_MS
    off_ms = (seen.packet_offset_all_ms if is_refused else seen.packet_offset_ms).get("p99", 0.0)
    reasons = []
    if not seen.n_up:
        reasons.append("no call was up")
    if off_ms > allowed_ms:
        reasons.append(f"packets are {off_ms:.1f} ms off their grid at p99 (at most {allowed_ms:g})")
    if seen.skipped or seen.received < seen.expected - 2 * seen.n_up:  # one more or less at each end of the window
        reasons.append(f"{seen.skipped} packets skipped, {seen.received} of {seen.expected} received")
    if seen.failed:
        reasons.append(f"calls failed: {seen.failed}")
    if seen.wrong:
        reasons.append(f"{seen.wrong} packets are not authentic, repeated or of the wrong length")
    if is_refused:
        reasons += _refusals_judged(seen)
    if reasons:
        return "failed", reasons
    refused = sum(seen.refused.values())
    return ("overloaded", [f"{refused} attempts of {workload.calls} callers were refused"]) if is_refused else ("held", [])


def _refusals_judged(seen: Seen) -> list[str]:
    reasons = []
    if set(seen.refused) - {"503"}:
        reasons.append(f"refused otherwise than by 503: {seen.refused}")
    if seen.without_retry_after:
        reasons.append(f"{seen.without_retry_after} responses 503 without Retry-After")
    if (late_ms := seen.refusal_ms.get("p99", 0.0)) > MAX_REFUSAL_MS:
        reasons.append(f"refusals took {late_ms:.0f} ms at p99 (at most {MAX_REFUSAL_MS:g})")
    return reasons


def _host(before: Reading, after: Reading, used_s: float) -> dict[str, float]:
    if before.core is None or after.core is None:
        return {}
    wall_s = after.at - before.at
    steal_s = after.core.steal_s - before.core.steal_s
    others_s = wall_s - (after.core.idle_s - before.core.idle_s) - used_s - steal_s
    return {"steal_percent": round(steal_s / wall_s * 100, 2), "others_percent": round(max(others_s, 0.0) / wall_s * 100, 2)}
