"""The model's session as the conversation sees it: orders out, and the items that it must know.

In: items and results of tools. Out: orders, through the outbox, as long as the session is open. Items from before are told when it opens.
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
        """The session takes orders from now on; False when it did already."""
        if self.is_open:
            return False
        self.is_open = True
        for item in self._outbox.history.items:
            self.order(AddItem(item))
        return True

    def order(self, order: RealtimeOrder) -> None:
        """Give `order` to the session; nothing happens while it is not open, except that it is opened or closed."""
        if self.is_open or isinstance(order, OpenSession | CloseSession):
            self._outbox.put(ToRealtime(order))

    def tell(self, item: Item) -> None:
        """Add `item` to the history and to the model's conversation."""
        self._outbox.remember(item)
        self.order(AddItem(item))

    # -- tools

    @property
    def waits_for_tools(self) -> bool:
        """A result is awaited."""
        return self._tools.is_waited_for

    @property
    def tool_patience_s(self) -> float:
        """How long a result is awaited, in seconds, at most."""
        return self._tools.patience_s

    def call_tool(self, event: FunctionCall) -> Started | None:
        """Start a tool; None when it cannot be started: the model has been told why. Of an action, it is told that it is done."""
        before = len(self._outbox.history.items)
        started = self._tools.call(ToolCall(ReplyNumber(0), event.id, event.name, event.arguments))
        if started is None or started.action is not None:
            self._tell_since(before + 1)  # the call itself is the model's own item
        return started

    def tool_finished(self, item: ToolFinished | ToolAnswered) -> bool:
        """Tell the model the result of a tool; False when nobody waits for it."""
        before = len(self._outbox.history.items)
        is_awaited = self._tools.finished(item) is not None
        self._tell_since(before)
        return is_awaited

    def interrupt_tools(self) -> None:
        """The caller has interrupted: cancellable tools are cancelled, and the model is told so."""
        before = len(self._outbox.history.items)
        self._tools.interrupt()
        self._tell_since(before)

    def give_up_tools(self) -> None:
        """The results take too long: the model is told so."""
        before = len(self._outbox.history.items)
        self._tools.give_up()
        self._tell_since(before)

    def close(self) -> None:
        """The call is over."""
        self._tools.close()
        self.order(CloseSession())

    def _tell_since(self, before: int) -> None:
        for item in self._outbox.history.items[before:]:
            self.order(AddItem(item))
