"""SIPp as many callers (or, to prove this harness, as the called side): a scenario in, counts and response times out.

SIPp 3.6.1 (Debian `sip-tester`) has UDP and TCP here, no TLS. The scenarios are in `peers/scenarios`.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from peers.process import Program, require, wait_until

from active_call.testing.sound import audio
from active_call.testing.sound.audio import Pcm
from ports import free_port

SCENARIOS = Path(__file__).parent / "scenarios"


@dataclass(frozen=True, slots=True)
class Result:
    """What SIPp counted. `first_ms` and `answer_ms`: INVITE to the first 100, and to 200, one value a call."""

    successful: int
    failed: int
    retransmissions: int
    unexpected: int
    first_ms: tuple[float, ...]
    answer_ms: tuple[float, ...]
    exit_code: int
    errors: str


class Sipp:
    """One run of one scenario: a name in `peers/scenarios`, or a file. `target` is `ip:port` for callers, empty for the called side.

    `lost_percent` of what it sends, and of what it receives, is lost.
    """

    def __init__(
        self,
        scenario: str | Path,
        folder: Path,
        *,
        target: str = "",
        calls: int = 1,
        rate: float = 10.0,
        limit: int = 10,
        transport: str = "u1",
        service: str = "+15550199",
        timeout_s: int = 60,
        speech: Pcm | None = None,
        ip: str = "127.0.0.1",
        lost_percent: int = 0,
        port: int = 0,
    ) -> None:
        self._folder, self._timeout_s = folder, timeout_s
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "speech.ul").write_bytes(audio.MULAW.encode(audio.noise(8000) if speech is None else speech))
        self.port = port or free_port()
        media_port = free_port(span=8)
        self._arguments = [
            require("sipp"), "-sf",
            str(scenario if isinstance(scenario, Path) else SCENARIOS / f"{scenario}.xml"),
            "-i", ip, "-p", str(self.port), "-mi", ip,
            "-mp", str(media_port), "-t", transport,
            "-m", str(calls), "-r", str(rate), "-l", str(limit), "-s", service, "-timeout", f"{timeout_s}s", "-timeout_error",
            "-nostdin", "-timer_resol", "1",
            "-trace_stat", "-stf", "statistics.csv", "-fd", "1", "-trace_err", "-error_file", "errors.log", "-trace_rtt", "-rtt_freq", "1",
        ]  # fmt: skip
        if lost_percent:
            self._arguments += ["-lost", str(lost_percent)]
        if target:
            self._arguments.append(target)
        self._program: Program | None = None

    def start(self) -> None:
        """Start it; a called side is listening when this returns."""
        program = self._program = Program(self._arguments, self._folder)
        statistics = self._folder / "statistics.csv"
        if not wait_until(lambda: statistics.exists() or program.exit_code is not None, 10) or not statistics.exists():
            program.stop()
            raise RuntimeError(f"sipp did not start:\n{program.log[-2000:]}")

    def stop(self) -> None:
        """End it before its time."""
        if self._program is not None:
            self._program.stop()

    def result(self) -> Result:
        """Wait for the last call and read the figures. Raises TimeoutError when it does not end in its time."""
        if self._program is None:
            self.start()
        assert self._program is not None
        code = self._program.wait(self._timeout_s + 10)
        with (self._folder / "statistics.csv").open() as file:
            rows = list(csv.DictReader(file, delimiter=";"))
        last = rows[-1] if rows else {}
        errors = self._folder / "errors.log"

        def count(name: str) -> int:
            return int(last.get(f"{name}(C)") or 0)

        return Result(
            successful=count("SuccessfulCall"),
            failed=count("FailedCall"),
            retransmissions=count("Retransmissions"),
            unexpected=count("FailedUnexpectedMessage"),
            first_ms=self._response_times("first"),
            answer_ms=self._response_times("answer"),
            exit_code=code,
            errors=errors.read_text(errors="replace")[-4000:] if errors.exists() else "",
        )

    def _response_times(self, name: str) -> tuple[float, ...]:
        times: list[float] = []
        for file in self._folder.glob("*_rtt.csv"):
            rows = csv.reader(file.read_text().splitlines()[1:], delimiter=";")
            times += [float(row[1]) for row in rows if len(row) >= 3 and row[2].strip() == name]
        return tuple(times)

    def __enter__(self) -> Sipp:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
