"""The first stop signal ends the program in order, the second hurries, the third leaves."""

from __future__ import annotations

import signal

from active_call.server.stopping import EXIT_CODE, Stopping


def test_signals_cancel_once_then_hurry_then_leave() -> None:
    said: list[object] = []
    stopping = Stopping(exit_now=said.append)
    stopping.hurry = lambda: said.append("hurry")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
        stopping.handle(number, lambda: said.append("cancel"))
    assert said == ["cancel", "hurry", EXIT_CODE]
