"""Runs the handlers of an application: one task per call, from its beginning to shortly after its end.

A handler that returns leaves its call to be ended; one that fails ends it, and the log says why. A handler that goes on after its call is
over has `GRACE_S` for what is left to do, and is then cancelled.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from active_call.app.call import Call
from active_call.app.errors import CallEnded, CallError

log = logging.getLogger("active_call.app")

Handler = Callable[[Call], Awaitable[object]]

GRACE_S: Final = 10.0
"""The time that a handler has after the end of its call, for instance to store what was said."""

CANCELLED_S: Final = 5.0
"""The time in which a cancelled handler must end."""


class Programs:
    """The running handlers. `close` waits for them, at most `GRACE_S`."""

    def __init__(self) -> None:
        self.on_failure: Callable[[BaseException], None] = lambda error: None
        """Called with what a handler raises."""
        self._tasks: dict[asyncio.Task[None], Call] = {}

    @property
    def calls(self) -> list[Call]:
        """The calls with a running handler."""
        return list(self._tasks.values())

    def start(self, handler: Handler, call: Call) -> asyncio.Task[None]:
        """Run `handler` for `call`; the task never raises."""
        task = asyncio.get_running_loop().create_task(self._drive(handler, call), name=f"handler of {call.id}")
        self._tasks[task] = call
        task.add_done_callback(lambda done: self._tasks.pop(done, None))
        return task

    async def close(self) -> None:
        """Wait for all handlers, and cancel those that do not end in time."""
        if not self._tasks:
            return
        _, late = await asyncio.wait(list(self._tasks), timeout=GRACE_S)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=CANCELLED_S)

    async def _drive(self, handler: Handler, call: Call) -> None:
        running = asyncio.get_running_loop().create_task(self._run(handler, call), name=f"handler of {call.id}")
        ended = asyncio.ensure_future(call.wait_ended())
        try:
            await asyncio.wait({running, ended}, return_when=asyncio.FIRST_COMPLETED)
            if not running.done():
                await asyncio.wait({running}, timeout=GRACE_S)
            if not running.done():
                told = {"session_id": call.id, "waited_s": GRACE_S}
                log.warning("handler still runs after its call is over; it is cancelled", extra=told)
        finally:
            running.cancel()
            ended.cancel()
            await asyncio.wait({running, ended}, timeout=CANCELLED_S)
            if running.done() and not running.cancelled():
                running.exception()
            if not running.done():
                log.error("handler ignores that it is cancelled", extra={"session_id": call.id})

    async def _run(self, handler: Handler, call: Call) -> None:
        code, reason = 480, "Temporarily Unavailable"
        try:
            await handler(call)
        except CallEnded as ended:
            if not call.is_over:
                log.exception("handler failed: another call of the handler has ended", extra={"session_id": call.id})
                self.on_failure(ended)
        except (asyncio.CancelledError, GeneratorExit):
            raise
        except BaseException as error:  # a user's handler may raise anything; `sys.exit` ends its call, and not the server with all others
            log.exception("handler failed", extra={"session_id": call.id})
            self.on_failure(error)
            code, reason = 500, "Server Internal Error"
        if not call.is_over:
            await _end(call, code, reason)


async def _end(call: Call, code: int, reason: str) -> None:
    """End a call after its handler has returned."""
    with contextlib.suppress(CallError):
        if call.direction == "inbound" and not call.is_answered:
            await call.reject(code, reason)
        else:
            await call.hangup()
