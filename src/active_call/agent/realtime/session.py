"""The model's session from the view of the conversation: orders out, and the items that the model must know.

In: items and results of tools. Out: orders through the outbox while the session is open. Earlier items are sent when it opens.
"""

from __future__ import annotations

from active_call.agent.effects import ReplyNumber, ToolAnswered, ToolCall, ToolFinished, ToRealtime
from active_call.agent.items import Item
from active_call.agent.outbox import Outbox
from active_call.agent.realtime.events import AddItem, CloseSession, FunctionCall, OpenSession, RealtimeOrder
from active_call.agent.tools.calls import Started, ToolCalls


class Session:
    """The session, and the tools that its model calls."""

    def __init__(self, outbox: Outbox, tools: ToolCalls) -> None:
        self.is_open = False
        self._outbox = outbox
        self._tools = tools

    def opened(self) -> bool:
        """The session is open. False if it was open before."""
        if self.is_open:
            return False
        self.is_open = True
        for item in self._outbox.history.items:
            self.order(AddItem(item))
        return True

    def order(self, order: RealtimeOrder) -> None:
        """Send `order` to the session. While it is not open, only opening and closing have an effect."""
        if self.is_open or isinstance(order, OpenSession | CloseSession):
            self._outbox.put(ToRealtime(order))

    def tell(self, item: Item) -> None:
        """Add `item` to the history and to the model's conversation."""
        self._outbox.remember(item)
        self.order(AddItem(item))

    # -- tools

    @property
    def waits_for_tools(self) -> bool:
        """Whether a tool result is awaited."""
        return self._tools.is_waited_for

    @property
    def tool_patience_s(self) -> float:
        """Maximum wait for a result, in seconds."""
        return self._tools.patience_s

    def call_tool(self, event: FunctionCall) -> Started | None:
        """Start a tool. None if it cannot be started; the model gets the reason. For an action the model gets an immediate success."""
        before = len(self._outbox.history.items)
        started = self._tools.call(ToolCall(ReplyNumber(0), event.id, event.name, event.arguments))
        if started is None or started.action is not None:
            self._report_since(before + 1)  # the call itself is the model's own item
        return started

    def tool_finished(self, item: ToolFinished | ToolAnswered) -> bool:
        """Send the result of a tool to the model. False if no call waits for it."""
        before = len(self._outbox.history.items)
        is_awaited = self._tools.finished(item) is not None
        self._report_since(before)
        return is_awaited

    def interrupt_tools(self) -> None:
        """The caller has interrupted: cancel the cancellable tools and inform the model."""
        before = len(self._outbox.history.items)
        self._tools.interrupt()
        self._report_since(before)

    def give_up_tools(self) -> None:
        """The results take too long: inform the model."""
        before = len(self._outbox.history.items)
        self._tools.give_up()
        self._report_since(before)

    def close(self) -> None:
        """The call is over."""
        self._tools.close()
        self.order(CloseSession())

    def _report_since(self, before: int) -> None:
        for item in self._outbox.history.items[before:]:
            self.order(AddItem(item))
