"""Measures the real media process over real loopback sockets, with callers in a separate process.

    active-call bench media --calls N --seconds S [--srtp] [--vad] [--record R] [--profile FILE] [--json]

Standard output ends with one JSON object (with `--json` it is the only line). Every call plays speech, sent in pieces as from a
synthesiser, and receives speech with pauses; with `--vad` every call is also decoded, resampled, analysed and forwarded. The media process
is pinned to one core, this one and the callers to the others.

| key                      | meaning                                                                                                  |
|--------------------------|----------------------------------------------------------------------------------------------------------|
| `cpu_ms_per_call_second` | user and system time of the media process, all threads, over the measured seconds and calls              |
| `tick_late_ms`           | how late ticks began, as the media process reports it                                                    |
| `skipped_ticks`          | given up after a stall                                                                                   |
| `packet_offset_ms`       | each of our packets against its stream's 20 ms grid, by the receiver's kernel stamps (see `media_judge`) |
| `lost`                   | packets of both directions that were sent and not received                                               |
| `wrong`, `refused`       | our packets that are repeated or incorrect; packets to us that were not accepted                         |
| `rss_mb`                 | the media process's memory                                                                               |
| `speech`                 | phrases that the callers spoke, and how many beginnings the media process reported (with `--vad`)        |
| `starved`                | plays that ran out of sound because this process was late                                                |
| `dropped`                | packets that found a socket's buffer full, before the media process and before the callers (in `lost`)   |
| `sender_late_ms`         | the callers' own lateness: if it is large, the other figures are invalid                                 |
| `host`                   | `steal_percent` of the media core taken by the machine's host, `others_percent` by other processes,      |
|                          | `waited_percent`: the media process was runnable but not scheduled                                       |

On loopback the sender's CPU time includes the delivery into the receiver's socket, for the media process and for the callers. `--profile`
writes py-spy's profile of the media process: a flame graph (.svg), stacks with counts (.txt) or speedscope's format (.json); the figures of
such a run are slightly higher. For native frames, run by hand meanwhile: `py-spy record --native --pid PID -o FILE`, or
`perf record -g -p PID`.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from active_call.base.errors import MediaError
from active_call.base.world import SystemClock
from active_call.bench import host as bench_host
from active_call.bench.command_line import JsonFlag, RecordFlag, run_command
from active_call.bench.media_figures import Moment, Run, figures, moment
from active_call.bench.media_judge import Judgement
from active_call.bench.media_sender import SUITE, TICKS_PER_S, Task, first_frame, key_of
from active_call.bench.programs import Talking, talking
from active_call.bench.speech import RATE_HZ, speech
from active_call.media.link.messages import ConfigureRtp, Load, PlayStarved, Report, SpeechStarted
from active_call.media.pool.pool import MediaPool, MediaStream, StreamLost
from active_call.server.user_errors import UserErrors

WARM_UP_S: Final = 2.0
LEAD_S: Final = 1.0
"""From the last stream's opening to the callers' first packet."""
TAIL_S: Final = 0.5
SETTLE_S: Final = 0.1
"""The time to receive the callers' last packets."""
PORT_RANGE: Final = (20_000, 25_999)
"""Below the ephemeral ports, which the callers use."""
PIECE_S: Final = 1
PIECES_AHEAD: Final = 3
PLAY: Final = "speech"
PROFILE_RATE_HZ: Final = 400


@dataclass(frozen=True, slots=True)
class Workload:
    """What is measured. `record`: every n-th call is recorded, 0 none. `profile`: a file for py-spy's output, empty none."""

    calls: int
    seconds: int = 10
    srtp: bool = False
    vad: bool = False
    record: int = 0
    profile: str = ""


async def measure(workload: Workload) -> dict[str, Any]:
    """Run one workload; returns the figures of the module's JSON object. Raises MediaError when the media process fails."""
    pool = MediaPool(n_workers=1, bind_ip="127.0.0.1", port_range=PORT_RANGE, clock=SystemClock(), capacity=max(workload.calls, 1))
    n_packets = round((workload.seconds + WARM_UP_S + TAIL_S) * TICKS_PER_S)
    task = Task(workload.calls, n_packets, secrets.token_hex(8) if workload.srtp else "")
    try:
        await pool.start()
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            async with talking(sys.executable, "-m", "active_call.bench.media_sender") as callers:
                return await _Measurement(workload, pool, callers, task, Path(folder)).run()
    finally:
        await pool.close()


class _Measurement:
    """One measurement in progress."""

    def __init__(self, workload: Workload, pool: MediaPool, callers: Talking, task: Task, folder: Path) -> None:
        self._workload = workload
        self._pool = pool
        self._callers = callers
        self._task = task
        self._folder = folder
        self._loads: list[Load] = []
        self._failure = ""
        self._n_starved = self._n_speech = 0
        samples = speech().frames.ravel()
        n_samples = RATE_HZ * PIECE_S
        self._pieces = [piece.tobytes() for piece in samples[: len(samples) // n_samples * n_samples].reshape(-1, n_samples)]

    async def run(self) -> dict[str, Any]:
        pid = self._pool.workers[0].pid
        cores = self._pin(pid)
        try:
            return await self._run_on(cores, pid)
        finally:
            if cores.media is not None:
                bench_host.pin(os.getpid(), cores.all)  # inherited by programs started later

    async def _run_on(self, cores: bench_host.Cores, pid: int) -> dict[str, Any]:
        peer_ports: list[int] = await self._callers.ask(asdict(self._task))
        streams = await asyncio.gather(*(self._pool.open_stream(self._note) for _ in range(self._workload.calls)))
        start_at = time.monotonic() + LEAD_S
        self._callers.tell({"ports": [stream.port for stream in streams], "start_at": start_at})
        for index, (stream, port) in enumerate(zip(streams, peer_ports, strict=True)):
            self._begin(index, stream, port)
        playing = asyncio.create_task(self._play(streams))
        try:
            before, after = await self._watch(pid, cores, start_at + WARM_UP_S)
            n_sent: int = (await self._callers.answer())["sent"]
        finally:
            playing.cancel()
        await asyncio.sleep(SETTLE_S)
        dropped = {"before_media": bench_host.dropped_by_kernel({stream.port for stream in streams})}
        closed = [each for each in await asyncio.gather(*(stream.close() for stream in streams)) if each is not None]
        dropped["before_callers"] = bench_host.dropped_by_kernel(set(peer_ports))
        seen = Judgement(**await self._callers.ask({"from": before.at, "until": after.at}))
        self._check(len(closed), seen)
        return figures(Run(self._workload.calls, before, after, self._loads, closed, n_sent, seen)) | {
            "speech": self._found_speech(),
            "starved": self._n_starved,
            "dropped": dropped,
            "cores": asdict(cores),
            "workload": asdict(self._workload),
        }

    def _pin(self, pid: int) -> bench_host.Cores:
        cores = bench_host.choose_cores()
        if cores.media is None or not bench_host.pin(pid, (cores.media,)):
            return bench_host.Cores(None, ())
        for other in (self._callers.pid, os.getpid()):
            bench_host.pin(other, cores.peers)
        return cores

    def _check(self, n_closed: int, seen: Judgement) -> None:
        if self._failure:
            raise MediaError(self._failure)
        if n_closed < self._workload.calls:
            raise MediaError("the media process did not tell of every stream that it is closed")
        if seen.is_log_full:
            raise MediaError("more packets came than the callers had room for")

    # -- the calls ---------------------------------------------------------------------------------------------------------------------

    def _begin(self, index: int, stream: MediaStream, peer_port: int) -> None:
        workload = self._workload
        stream.configure(
            ConfigureRtp(
                stream=stream.stream,
                remote_ip="127.0.0.1",
                remote_port=peer_port,
                codec="pcmu",
                send_payload_type=0,
                receive_payload_type=0,
                suite=SUITE if workload.srtp else "",
                send_key=key_of(self._task.seed, index, "media"),
                receive_key=key_of(self._task.seed, index, "peer"),
                ssrc=index + 1,
            )
        )
        stream.listen(detect=workload.vad, forward_audio=workload.vad)
        for number in range(PIECES_AHEAD):
            self._queue(index, stream, number)
        if workload.record and index % workload.record == 0:
            stream.start_recording(str(self._folder / f"{index}.wav"))

    def _queue(self, index: int, stream: MediaStream, number: int) -> None:
        stream.queue_audio(PLAY, self._pieces[(index + number) % len(self._pieces)])

    async def _play(self, streams: list[MediaStream]) -> None:
        """Send each stream its next second of sound, one stream after another over every second."""
        begun_at = time.monotonic()
        total = len(streams)
        n_queued = 0
        while True:
            await asyncio.sleep(0.01)
            due = int((time.monotonic() - begun_at) / PIECE_S * total)
            for position in range(n_queued, due):
                self._queue(position % total, streams[position % total], PIECES_AHEAD + position // total)
            n_queued = due

    def _note(self, report: Report | StreamLost) -> None:
        match report:
            case StreamLost():
                self._failure = report.reason
            case SpeechStarted():
                self._n_speech += 1
            case PlayStarved():
                self._n_starved += 1

    def _found_speech(self) -> dict[str, int]:
        if not self._workload.vad:
            return {}
        spoken = sum(speech().n_phrases(first_frame(index), self._task.n_packets) for index in range(self._workload.calls))
        return {"spoken": spoken, "found": self._n_speech}

    # -- the measured time -------------------------------------------------------------------------------------------------------------

    async def _watch(self, pid: int, cores: bench_host.Cores, from_at: float) -> tuple[Moment, Moment]:
        """Wait for the measured time and through it, collecting the process's own reports."""
        await asyncio.sleep(from_at - time.monotonic())
        profiler = await self._profile(pid) if self._workload.profile else None
        before = moment(pid, cores)
        status = self._pool.workers[0]
        last = status.last_load
        while time.monotonic() < before.at + self._workload.seconds:
            await asyncio.sleep(0.1)
            if status.last_load is not None and status.last_load is not last:
                last = status.last_load
                self._loads.append(last)
        after = moment(pid, cores)
        if profiler is not None and await profiler.wait():
            print("py-spy failed; it needs the right to read another process's memory", file=sys.stderr)
        return before, after

    async def _profile(self, pid: int) -> asyncio.subprocess.Process:
        file = Path(self._workload.profile)
        form = {".txt": "raw", ".json": "speedscope"}.get(file.suffix, "flamegraph")
        return await asyncio.create_subprocess_exec(
            *(str(Path(sys.executable).with_name("py-spy")), "record", "--nonblocking", "--pid", str(pid)),
            *("--duration", str(max(self._workload.seconds - 1, 1)), "--rate", str(PROFILE_RATE_HZ)),
            *("--format", form, "--output", str(file)),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )


def measured(workload: Workload) -> dict[str, Any]:
    """`measure` on its own event loop, of the same kind as a server's."""
    try:
        import uvloop  # like the control process
    except ImportError:
        return asyncio.run(measure(workload))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(measure(workload))


def main(
    calls: Annotated[int, typer.Option(min=1, help="Calls at the same time.")] = 100,
    seconds: Annotated[int, typer.Option(min=1, help="How long is measured, after a warm-up of 2 s.")] = 10,
    srtp: Annotated[bool, typer.Option("--srtp", help="Encrypt the sound.")] = False,
    vad: Annotated[bool, typer.Option("--vad", help="Decode, resample, detect speech and forward the sound of every call.")] = False,
    record: RecordFlag = 0,
    profile: Annotated[str, typer.Option(metavar="FILE", help="Write py-spy's profile of the media process: .svg, .txt or .json.")] = "",
    as_json: JsonFlag = False,
) -> None:
    """Measure the media process on loopback."""
    try:
        result = measured(Workload(calls, seconds, srtp, vad, record, profile))
    except MediaError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(1) from None
    print(json.dumps(result, indent=None if as_json else 2))


if __name__ == "__main__":
    with UserErrors():
        raise SystemExit(run_command(main, "active-call bench media"))
