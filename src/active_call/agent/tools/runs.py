"""The tool calls that are running: those of a model, and the `<http>` requests of a reply.

In: starts, results, interruptions. Out: which run a result belongs to. Theory: a run belongs to the reply that started it until that reply
is over or interrupted. Then a cancellable run is cancelled, and any other runs on without a reply: its result is told to the model when it
comes, and is never lost. A result for a run that is not here (cancelled, or given up) is dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from active_call.agent.tools.registry import Tool

HTTP_PATIENCE_S = 12.0
"""The runner answers an HTTP request within 10 s, with an error if need be."""


@dataclass(slots=True)
class ToolRun:
    """One running call. `patience_s`: after so long the agent continues without it."""

    id: str
    name: str
    patience_s: float
    is_cancellable: bool = False
    is_attached: bool = True
    """The reply that started it still waits for it."""
    is_http: bool = False
    """It is the request of an `<http>` tag, not a tool that the model called."""
    variable: str = ""
    """The variable that the result is put into."""
    is_text: bool = False
    """It was called in text: its result is told in text."""
    tool: Tool | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)


def http_id(request: int) -> str:
    """The id of the run of an HTTP request."""
    return f"http-{request}"


class ToolRuns:
    """What runs now, in the order of the starts."""

    def __init__(self) -> None:
        self._runs: dict[str, ToolRun] = {}

    @property
    def is_waited_for(self) -> bool:
        """The current reply waits for a result."""
        return any(run.is_attached for run in self._runs.values())

    @property
    def patience_s(self) -> float:
        """How long the current reply waits, in seconds, at most."""
        return max((run.patience_s for run in self._runs.values() if run.is_attached), default=0.0)

    def start(self, run: ToolRun) -> None:
        """`run` has begun, for the current reply."""
        self._runs[run.id] = run

    def finish(self, run_id: str) -> ToolRun | None:
        """The run is over; None when it is not running (it was cancelled, given up, or never started)."""
        return self._runs.pop(run_id, None)

    def detach(self) -> None:
        """The current reply is over; what it has started runs on."""
        for run in self._runs.values():
            run.is_attached = False

    def interrupt(self) -> list[ToolRun]:
        """The caller has interrupted. Takes out the cancellable runs of the current reply, for them to be cancelled; all others run on."""
        cancelled = [run for run in self._runs.values() if run.is_cancellable and run.is_attached]
        for run in cancelled:
            del self._runs[run.id]
        self.detach()
        return cancelled

    def give_up(self) -> list[ToolRun]:
        """The current reply has waited for too long. Takes out the runs that it waits for."""
        late = [run for run in self._runs.values() if run.is_attached]
        for run in late:
            del self._runs[run.id]
        return late

    def clear(self) -> list[ToolRun]:
        """The call is over. Takes out all runs."""
        runs = list(self._runs.values())
        self._runs.clear()
        return runs
