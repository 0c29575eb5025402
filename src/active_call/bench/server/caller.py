"""The callers of the whole-server bench, all in one process on its own core. `python -m active_call.bench.server.caller`.

| to it                               | from it                                                           |
|-------------------------------------|-------------------------------------------------------------------|
| the fields of `Task`                | `{"ready": true}` once every packet is built and encrypted        |
| `{"start_at": …}`                   | `{"offered": true}` when each caller was answered or refused once |
| `{"start": …, "end": …}` (`Window`) | `Seen`, after the window is over and every call hung up           |

Times are CLOCK_MONOTONIC. Refused callers retry at the same rate until the window ends.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import sys
import time
from dataclasses import asdict
from typing import Any, Final

import numpy as np

from active_call.bench.media_judge import spread
from active_call.bench.server.caller_calls import BYE_RATE, Calls
from active_call.bench.server.caller_judge import joined, late_spread, listen
from active_call.bench.server.caller_sound import Sound
from active_call.bench.server.task import Seen, Task, Window
from active_call.bench.sip_sockets import UdpLine

WAKE_S: Final = 0.001
READ_EVERY: Final = 4
LISTEN_EVERY: Final = 20
"""Standard input is checked in every n-th wake-up."""
CLEAR_S: Final = 5.0
"""The time for the answers to the last BYE."""


class Caller:
    """All callers. `run` them from `start_at` until the end of the window given on standard input."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._sound = Sound(task, "127.0.0.1")
        self._line = UdpLine(task.host, task.port)
        self.calls = Calls(task, self._line.local, self._sound.port, self._send, self._sound.begin, self._sound.end)
        self._n_wakings = 0

    def _send(self, data: bytes) -> None:
        self._line.send(data, 0)

    def run(self, start_at: float) -> Window:
        """Call, speak and listen; returns the requested window after its end."""
        window: Window | None = None
        has_told = False
        self._sound.start(start_at)
        self.calls.start(start_at)
        _sleep_until(start_at)
        while window is None or time.monotonic() < window.end:
            self._wake(is_calling=True)
            if not has_told and self.calls.has_offered_all:
                has_told = True
                print(json.dumps({"offered": True}), flush=True)
            if window is None and self._n_wakings % LISTEN_EVERY == 0:
                window = self.asked_for()
        return window

    def asked_for(self) -> Window | None:
        """The window from standard input, once it comes."""
        return Window(**_line()) if select.select([sys.stdin], [], [], 0)[0] else None

    def end(self) -> None:
        """Hang up, a few calls at a time, and wait for the answers."""
        begun_at, n_sent = time.monotonic(), 0
        deadline = begun_at + self.calls.n_open / BYE_RATE + CLEAR_S
        while self.calls.n_open and time.monotonic() < deadline:
            due = int((time.monotonic() - begun_at) * BYE_RATE) + 1 - n_sent
            self.calls.hang_up(due, time.monotonic())
            n_sent += due
            self._wake(is_calling=False)

    def _wake(self, *, is_calling: bool) -> None:
        now = time.monotonic()
        self._sound.send(now)
        if is_calling:
            self.calls.place_due(now)
        shift = time.time() - time.monotonic()
        for data, at in self._line.wait(0.0):
            self.calls.receive(data, at - shift, time.monotonic())
        self.calls.run_timers(now)
        self._n_wakings += 1
        if self._n_wakings % READ_EVERY == 0:
            self._sound.read()
        time.sleep(WAKE_S)

    def seen(self, window: Window) -> Seen:
        """The overall observations."""
        counts, incoming = self.calls.counts, self._sound.incoming
        heard = listen(incoming, self.calls.answered, window, is_secured=bool(self._task.seed))
        return Seen(
            n_up=heard.n_up,
            answered=len(self.calls.answered),
            refused=dict(counts.refused),
            failed=dict(counts.failed),
            without_retry_after=counts.without_retry_after,
            retransmissions=counts.retransmissions,
            answer_ms=spread(np.array(counts.answer_ms)),
            refusal_ms=spread(np.array(counts.refusal_ms)),
            packet_offset_ms=joined(heard.offsets),
            packet_offset_all_ms=joined(heard.offsets_all),
            worst_calls_ms=[round(value, 2) for value in sorted(heard.worst_ms)[-5:]],
            received=heard.received,
            expected=heard.expected,
            skipped=heard.skipped,
            lost=heard.lost,
            wrong=heard.wrong,
            audible_percent=round(heard.n_audible / max(heard.n_close, 1) * 100, 1),
            sent=self._sound.n_sent,
            late_ms=late_spread(self._sound.late, window),
            late_all_ms=late_spread(self._sound.late),
            is_log_full=incoming.is_full,
            ran_out=counts.ran_out,
        )

    def close(self) -> None:
        """Close the sockets."""
        self._sound.close()
        self._line.close()


def _sleep_until(at: float) -> None:
    time.sleep(max(at - time.monotonic(), 0.0))


def main() -> int:
    """Run the protocol of the module's docstring."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    caller = Caller(Task(**_line()))
    gc.collect()
    gc.disable()  # a collector pass would add lateness
    print(json.dumps({"ready": True}), flush=True)
    window = caller.run(_line()["start_at"])
    caller.end()
    print(json.dumps(asdict(caller.seen(window))), flush=True)
    caller.close()
    return 0


def _line() -> dict[str, Any]:
    line: dict[str, Any] = json.loads(sys.stdin.readline())
    return line


if __name__ == "__main__":
    raise SystemExit(main())
