"""Starts the tools that a reply calls, and takes their results: the calls of a model, and `<http>` tags.

In: a call, a result, an interruption. Out: effects that start and stop tools, the items of the history, the variables that a result sets.
Errors reach the model in words: an unknown tool, arguments that do not fit, a tool that failed or is late. Where the conversation continues
after a result is the matter of `reply.replies`.
"""

from __future__ import annotations

from collections.abc import Callable

from active_call.agent.effects import CancelTool, HttpAnswered, ReplyNumber, RunTool, SendHttp, ToolCall, ToolFinished
from active_call.agent.items import SystemItem, ToolCallItem, ToolResultItem
from active_call.agent.outbox import Outbox
from active_call.agent.reply.tags import HttpTag
from active_call.agent.tools.registry import ArgumentsError, Tool, ToolRegistry, read_arguments
from active_call.agent.tools.runs import HTTP_PATIENCE_S, ToolRun, ToolRuns, http_id

TOOL_SLACK_S = 2.0
"""How much longer than a tool's own time limit the agent waits for the runner's answer."""
LATE = "no answer in time"


class ToolCalls:
    """The tool calls of one conversation. `set_variable` puts a result into a variable of the playbook."""

    def __init__(self, registry: ToolRegistry, outbox: Outbox, set_variable: Callable[[str, str], None]) -> None:
        self.registry = registry
        self._runs = ToolRuns()
        self._outbox = outbox
        self._set_variable = set_variable
        self._n_requests = 0
        self._ids: set[str] = set()

    @property
    def is_waited_for(self) -> bool:
        """The current reply waits for a result."""
        return self._runs.is_waited_for

    @property
    def patience_s(self) -> float:
        """How long the current reply waits, in seconds, at most."""
        return self._runs.patience_s

    # -- starting

    def call(self, item: ToolCall) -> Tool | None:
        """Start a tool that the model calls. None when it cannot be started: then the error is its result already.

        Some servers use an id again in a later reply; such a call gets an id of its own, which RunTool names.
        """
        run_id = self._new_id(item.id)
        tool = self.registry.get(item.name)
        if tool is None:
            known = ", ".join(self.registry.names()) or "none"
            self._refuse(run_id, item.name, f"there is no tool {item.name!r}; the tools are: {known}")
            return None
        try:
            arguments = read_arguments(tool, item.arguments)
        except ArgumentsError as error:
            self._refuse(run_id, item.name, str(error))
            return None
        self._outbox.remember(ToolCallItem(run_id, tool.name, arguments))
        self._runs.start(ToolRun(run_id, tool.name, tool.timeout_s + TOOL_SLACK_S, is_cancellable=tool.cancellable))
        self._outbox.put(RunTool(run_id, tool.name, arguments, tool.timeout_s))
        return tool

    def request(self, reply: ReplyNumber, tag: HttpTag) -> None:
        """Send the request of an `<http>` tag. Its answer belongs to the history also when the reply is interrupted."""
        self._n_requests += 1
        self._runs.start(ToolRun(http_id(self._n_requests), "http", HTTP_PATIENCE_S, is_http=True, variable=tag.set_var))
        self._outbox.put(SendHttp(reply, self._n_requests, tag.url, tag.method, tag.body))

    # -- results

    def finished(self, item: ToolFinished) -> bool:
        """Take the result of a tool; False when that call is not running."""
        if self._runs.finish(item.id) is None:
            self._outbox.note("tool result dropped", id=item.id, reason="the call was cancelled or given up")
            return False
        is_error = item.error is not None
        self._outbox.remember(ToolResultItem(item.id, item.error or "failed" if is_error else item.result, is_error=is_error))
        return True

    def answered(self, item: HttpAnswered) -> bool:
        """Take the answer to an HTTP request; False when that request is not open."""
        run = self._runs.finish(http_id(item.request))
        if run is None:
            return False
        if run.variable:
            self._set_variable(run.variable, item.text)
        self._remember_answer(item.text)
        return True

    def give_up(self) -> None:
        """The reply has waited for too long: whatever it waits for has failed."""
        for run in self._runs.give_up():
            self._outbox.note("tool result missing", id=run.id, tool=run.name)
            if run.is_http:
                self._remember_answer(LATE)
            else:
                self._outbox.put(CancelTool(run.id))
                self._outbox.remember(ToolResultItem(run.id, LATE, is_error=True))

    # -- the end of a reply

    def detach(self) -> None:
        """The reply is over; what it has started runs on."""
        self._runs.detach()

    def interrupt(self) -> None:
        """The caller has taken the turn: cancellable tools of the reply are cancelled, all others run on."""
        self._cancel(self._runs.interrupt())

    def close(self) -> None:
        """The call is over."""
        for run in self._runs.clear():
            if run.is_cancellable:
                self._outbox.put(CancelTool(run.id))

    def _cancel(self, runs: list[ToolRun]) -> None:
        for run in runs:
            self._outbox.put(CancelTool(run.id))
            self._outbox.remember(ToolResultItem(run.id, is_cancelled=True))

    def _new_id(self, given: str) -> str:
        run_id, n = given, 1
        while run_id in self._ids:
            n += 1
            run_id = f"{given}.{n}"
        self._ids.add(run_id)
        return run_id

    def _refuse(self, run_id: str, name: str, reason: str) -> None:
        self._outbox.note("tool call refused", tool=name, reason=reason)
        self._outbox.remember(ToolCallItem(run_id, name))
        self._outbox.remember(ToolResultItem(run_id, reason, is_error=True))

    def _remember_answer(self, text: str) -> None:
        self._outbox.remember(SystemItem(f"HTTP Response: {text}"))
