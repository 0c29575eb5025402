"""The running tool calls: those of a model, and the `<http>` requests of a reply.

In: starts, results, interruptions. Out: the run that a result belongs to. Theory: a run belongs to the reply that started it until that
reply is over or interrupted. Then a cancellable run is cancelled. Any other one keeps running without a reply: the model gets its result
when it arrives, and it is never lost. A result for an unknown run (cancelled or given up) is dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from active_call.agent.tools.registry import Tool

HTTP_PATIENCE_S = 12.0
"""The runner answers an HTTP request within 10 s, with an error if necessary."""


@dataclass(slots=True)
class ToolRun:
    """One running call. After `patience_s` the agent continues without it."""

    id: str
    name: str
    patience_s: float
    is_cancellable: bool = False
    is_attached: bool = True
    """Whether the reply that started it still waits for it."""
    is_http: bool = False
    """It is the request of an `<http>` tag, not a tool call of the model."""
    variable: str = ""
    """The variable for the result."""
    is_text: bool = False
    """It was called in text, so its result is text too."""
    tool: Tool | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)


def http_id(request: int) -> str:
    """The run id of an HTTP request."""
    return f"http-{request}"


class ToolRuns:
    """The running calls in the order of their start."""

    def __init__(self) -> None:
        self._runs: dict[str, ToolRun] = {}

    @property
    def is_waited_for(self) -> bool:
        """Whether the current reply waits for a result."""
        return any(run.is_attached for run in self._runs.values())

    @property
    def patience_s(self) -> float:
        """Maximum wait of the current reply, in seconds."""
        return max((run.patience_s for run in self._runs.values() if run.is_attached), default=0.0)

    def start(self, run: ToolRun) -> None:
        """Add `run` for the current reply."""
        self._runs[run.id] = run

    def finish(self, run_id: str) -> ToolRun | None:
        """Remove a run that has finished. None if it is not running (cancelled, given up, or never started)."""
        return self._runs.pop(run_id, None)

    def detach(self) -> None:
        """The current reply is over. Its runs continue."""
        for run in self._runs.values():
            run.is_attached = False

    def interrupt(self) -> list[ToolRun]:
        """The caller has interrupted. Remove and return the cancellable runs of the current reply. All others continue."""
        cancelled = [run for run in self._runs.values() if run.is_cancellable and run.is_attached]
        for run in cancelled:
            del self._runs[run.id]
        self.detach()
        return cancelled

    def give_up(self) -> list[ToolRun]:
        """The current reply has waited too long. Remove and return the runs that it waits for."""
        late = [run for run in self._runs.values() if run.is_attached]
        for run in late:
            del self._runs[run.id]
        return late

    def clear(self) -> list[ToolRun]:
        """The call is over. Remove and return all runs."""
        runs = list(self._runs.values())
        self._runs.clear()
        return runs
