"""The first stop signal ends the program in order, the second hurries, the third leaves."""

from __future__ import annotations

import signal

from active_call.server.stopping import EXIT_CODE, Stopping


def test_signals_cancel_once_then_end_calls_then_leave() -> None:
    said: list[object] = []
    stopping = Stopping(exit_now=said.append)
    stopping.end_calls_now = lambda: said.append("end_calls_now")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
        stopping.handle(number, lambda: said.append("cancel"))
    assert said == ["cancel", "end_calls_now", EXIT_CODE]
