"""What a `Call` needs of the call behind it, and that on a call of this process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from active_call.base.errors import ActiveCallError
from active_call.call.call import Call as LiveCall
from active_call.call.state import CallFacts
from active_call.contract import commands, events


class CallPort(Protocol):
    """A live call as its program sees it. Everything happens in the call's own loop."""

    @property
    def facts(self) -> CallFacts:
        """What is known of the call, as it is now."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """The SIP headers that came with the invitation, or with the answer to ours."""
        ...

    def watch(self, watcher: Callable[[events.Event], None]) -> Callable[[], None]:
        """Call `watcher` with every event from now on, until the returned function is called."""
        ...

    def request(self, command: commands.Command) -> asyncio.Future[None]:
        """Carry out `command` in its turn.

        The future raises ActiveCallError when the call cannot; it stays open when the call ends before.
        """
        ...


class OwnCallPort:
    """A call of this process."""

    def __init__(self, call: LiveCall) -> None:
        self._call = call

    @property
    def facts(self) -> CallFacts:
        return self._call.facts

    @property
    def headers(self) -> Mapping[str, Any]:
        return self._call.leg.headers

    def watch(self, watcher: Callable[[events.Event], None]) -> Callable[[], None]:
        return self._call.watch(watcher)

    def request(self, command: commands.Command) -> asyncio.Future[None]:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def carry_out() -> None:
            if done.cancelled():
                return
            try:
                self._call.require(command)
            except ActiveCallError as error:
                done.set_exception(error)
            else:
                done.set_result(None)

        self._call.post_later(carry_out)
        return done
