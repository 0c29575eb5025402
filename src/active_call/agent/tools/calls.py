"""Start the tools that a reply calls and take their results: a model's tool calls, and `<http>` tags.

In: a call, a result, an interruption. Out: effects that start and stop tools, history items, variables that a result sets. The model gets
errors as text: an unknown tool, invalid arguments, a tool that failed or is late. `reply.replies` decides how the conversation continues
after a result.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from active_call.agent.effects import (
    CancelTool,
    EmitEvent,
    HttpAnswered,
    ReplyNumber,
    RunTool,
    SendHttp,
    SendToolRequest,
    ToolAnswered,
    ToolCall,
    ToolFinished,
)
from active_call.agent.items import SystemItem, ToolCallItem, ToolResultItem
from active_call.agent.outbox import Outbox
from active_call.agent.reply.tags import HttpTag, Tag, UnknownTag
from active_call.agent.tools.builtins import DONE
from active_call.agent.tools.http_tool import Fill, RequestError
from active_call.agent.tools.registry import AT_NEXT_TURN, AT_ONCE, AT_SILENCE, ArgumentsError, Tool, ToolRegistry, read_arguments
from active_call.agent.tools.runs import HTTP_PATIENCE_S, ToolRun, ToolRuns, http_id
from active_call.contract import events

TOOL_SLACK_S = 2.0
"""How much longer than the tool's own timeout the agent waits for the runner's answer."""
LATE = "no answer in time"
MAX_EQUAL_CALLS = 3
"""How often a model may call one tool with the same arguments before the caller speaks again."""


class Started(Struct, frozen=True):
    """A tool that the model has called. It is running or, with `action`, is a step of the reply."""

    tool: Tool
    action: Tag | None = None


class Finished(Struct, frozen=True):
    """A result has arrived. `is_late`: the reply that asked for it is over. `result_at`: when to speak about it, see `registry`."""

    is_late: bool
    result_at: str

    @property
    def interrupts(self) -> bool:
        """Whether the agent stops speaking in order to speak about it."""
        return self.is_late and self.result_at == AT_ONCE

    @property
    def waits_for_caller(self) -> bool:
        """Whether it waits until the caller has spoken."""
        return self.result_at == AT_NEXT_TURN


class ToolCalls:
    """The tool calls of one conversation. `set_variable` stores a result in a variable of the playbook; `fill` fills in a template.

    `checked` returns an action without what a model may not do, and the reason.
    """

    def __init__(
        self,
        registry: ToolRegistry,
        outbox: Outbox,
        set_variable: Callable[[str, str], None],
        fill: Fill,
        checked: Callable[[Tag], tuple[Tag, str]],
    ) -> None:
        self.registry = registry
        self._fill = fill
        self._checked = checked
        self._runs = ToolRuns()
        self._outbox = outbox
        self._set_variable = set_variable
        self._n_requests = 0
        self._ids: set[str] = set()
        self._n_equal: Counter[tuple[str, bytes]] = Counter()
        """How often each tool was called with the same arguments since the caller spoke."""

    @property
    def is_waited_for(self) -> bool:
        """Whether the current reply waits for a result."""
        return self._runs.is_waited_for

    @property
    def patience_s(self) -> float:
        """Maximum wait of the current reply, in seconds."""
        return self._runs.patience_s

    # -- starting

    def call(self, item: ToolCall, *, is_text: bool = False) -> Started | None:
        """Start a tool that the model calls. None if it cannot be started; its result is then the error.

        `is_text`: the model has called it in text and gets the result in text. Some servers reuse an id in a later reply; such a call gets
        a new id, which RunTool contains.
        """
        run_id = self._new_id(item.id)
        tool = self.registry.get(item.name)
        if tool is None:
            known = ", ".join(self.registry.names()) or "none"
            self._refuse(run_id, item.name, f"there is no tool {item.name!r}; the tools are: {known}", is_text=is_text)
            return None
        try:
            arguments = read_arguments(tool, item.arguments)
        except ArgumentsError as error:
            self._refuse(run_id, item.name, str(error), is_text=is_text)
            return None
        same = (tool.name, msgspec.json.encode(arguments))
        self._n_equal[same] += 1
        if self._n_equal[same] > MAX_EQUAL_CALLS:
            reason = f"called {MAX_EQUAL_CALLS} times already with these arguments; answer the caller with the results so far"
            self._refuse(run_id, item.name, reason, is_text=is_text)
            return None
        if tool.lower is not None:
            return self._act(run_id, tool, arguments, is_text=is_text)
        return self._start(run_id, tool, arguments, is_text=is_text)

    def caller_took_part(self) -> None:
        """The caller has spoken: restart the count of equal calls."""
        self._n_equal.clear()

    def _report(self, run_id: str, tool: Tool, arguments: Mapping[str, Any]) -> None:
        """Report the tool call to the watchers of the call."""
        written = msgspec.json.encode(dict(arguments)).decode()
        self._outbox.put(EmitEvent(events.FunctionCall(call_id=run_id, name=tool.name, arguments=written)))

    def _act(self, run_id: str, tool: Tool, arguments: Mapping[str, Any], *, is_text: bool) -> Started | None:
        """Execute an action of the reply in its place between the words."""
        action, why = self._checked(tool.lower(arguments) if tool.lower is not None else UnknownTag(tool.name))
        if isinstance(action, UnknownTag):
            self._refuse(run_id, tool.name, action.reason, is_text=is_text)
            return None
        self._report(run_id, tool, arguments)
        if not is_text:
            self._outbox.remember(ToolCallItem(run_id, tool.name, arguments))
            self._outbox.remember(ToolResultItem(run_id, f"{DONE}, but without the sound: {why}" if why else DONE))
        return Started(tool, action)

    def _start(self, run_id: str, tool: Tool, arguments: Mapping[str, Any], *, is_text: bool) -> Started | None:
        try:
            request = tool.http.request(arguments, self._fill) if tool.http is not None else None
        except RequestError as error:
            self._refuse(run_id, tool.name, str(error), is_text=is_text)
            return None
        run = ToolRun(run_id, tool.name, tool.timeout_s + TOOL_SLACK_S, is_cancellable=tool.cancellable, tool=tool, arguments=arguments)
        run.is_attached, run.is_text = tool.result_at != AT_NEXT_TURN, is_text
        if not is_text:
            self._outbox.remember(ToolCallItem(run_id, tool.name, arguments))
        self._report(run_id, tool, arguments)
        self._runs.start(run)
        if request is None:
            self._outbox.put(RunTool(run_id, tool.name, arguments, tool.timeout_s))
        else:
            self._outbox.put(SendToolRequest(run_id, tool.name, request, tool.timeout_s))
        return Started(tool)

    def request(self, reply: ReplyNumber, tag: HttpTag) -> None:
        """Send the request of an `<http>` tag. Its answer is added to the history even if the reply is interrupted."""
        self._n_requests += 1
        self._runs.start(ToolRun(http_id(self._n_requests), "http", HTTP_PATIENCE_S, is_http=True, variable=tag.set_var))
        self._outbox.put(SendHttp(reply, self._n_requests, tag.url, tag.method, tag.body, tag.headers))

    # -- results

    def finished(self, item: ToolFinished | ToolAnswered) -> Finished | None:
        """Take the result of a tool. None if that call is not running."""
        run = self._runs.finish(item.id)
        if run is None:
            self._outbox.note("tool result dropped", id=item.id, reason="the call was cancelled or given up")
            return None
        if isinstance(item, ToolAnswered):
            item = self._read(item, run)
        is_error = item.error is not None
        self._remember_result(run, item.error or "failed" if is_error else item.result, is_error=is_error)
        if run.variable and not is_error:
            self._set_variable(run.variable, item.result)
        return Finished(not run.is_attached, run.tool.result_at if run.tool is not None else AT_SILENCE)

    def _read(self, item: ToolAnswered, run: ToolRun) -> ToolFinished:
        """Convert an HTTP answer as the playbook defines."""
        http = run.tool.http if run.tool is not None else None
        if item.error is not None or http is None:
            return ToolFinished(item.id, error=item.error or "no such request")
        run.variable = http.variable
        text, is_error = http.read(item.status, item.text, run.arguments, self._fill)
        return ToolFinished(item.id, error=text) if is_error else ToolFinished(item.id, text)

    def answered(self, item: HttpAnswered) -> bool:
        """Take the answer to an HTTP request. False if that request is not open."""
        run = self._runs.finish(http_id(item.request))
        if run is None:
            return False
        if run.variable:
            self._set_variable(run.variable, item.text)
        self._remember_answer(item.text)
        return True

    def give_up(self) -> None:
        """The reply has waited too long: all results that it waits for count as failed."""
        for run in self._runs.give_up():
            self._outbox.note("tool result missing", id=run.id, tool=run.name)
            if run.is_http:
                self._remember_answer(LATE)
            else:
                self._outbox.put(CancelTool(run.id))
                self._remember_result(run, LATE, is_error=True)

    # -- the end of a reply

    def detach(self) -> None:
        """The reply is over. Its tools keep running."""
        self._runs.detach()

    def interrupt(self) -> None:
        """The caller has taken the turn: cancel the cancellable tools of the reply. All others keep running."""
        self._cancel(self._runs.interrupt())

    def close(self) -> None:
        """The call is over."""
        for run in self._runs.clear():
            if run.is_cancellable:
                self._outbox.put(CancelTool(run.id))

    def _cancel(self, runs: list[ToolRun]) -> None:
        for run in runs:
            self._outbox.put(CancelTool(run.id))
            if not run.is_text:
                self._outbox.remember(ToolResultItem(run.id, is_cancelled=True))

    def _new_id(self, given: str) -> str:
        run_id, n = given, 1
        while run_id in self._ids:
            n += 1
            run_id = f"{given}.{n}"
        self._ids.add(run_id)
        return run_id

    def _remember_result(self, run: ToolRun, text: str, *, is_error: bool) -> None:
        if run.is_text:
            self._outbox.remember(SystemItem(f"[{'Error' if is_error else 'Result'} of {run.name}: {text}]"))
        else:
            self._outbox.remember(ToolResultItem(run.id, text, is_error=is_error))

    def _refuse(self, run_id: str, name: str, reason: str, *, is_text: bool) -> None:
        self._outbox.note("tool call refused", tool=name, reason=reason)
        if is_text:
            self._outbox.remember(SystemItem(f"[Error of {name}: {reason}]"))
            return
        self._outbox.remember(ToolCallItem(run_id, name))
        self._outbox.remember(ToolResultItem(run_id, reason, is_error=True))

    def _remember_answer(self, text: str) -> None:
        self._outbox.remember(SystemItem(f"HTTP Response: {text}"))
