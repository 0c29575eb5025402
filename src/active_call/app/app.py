"""`App`: a server that lets Python functions answer its calls.

    app = App("active-call.toml")

    @app.incoming(callee=r"\\+1800")
    async def take(call: Call) -> None:
        await call.answer()
        await call.say("Hello.")

    app.run()

The configuration is the one of `active-call serve`; calls that no function takes go to its handler. `run` serves until stopped;
`async with app:` serves beside other work of the same loop.
"""

from __future__ import annotations

import asyncio
import inspect
import math
import os
import re
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, TypeVar, overload

import msgspec

from active_call.app.call import Call
from active_call.app.programs import Handler, Programs
from active_call.base import pattern_search
from active_call.call.opening.registry import CallRegistry
from active_call.call.opening.routing import Decision, IncomingCall, LeftOpen, Refused, Router
from active_call.contract.options import CallOption, SipOption
from active_call.server import launching
from active_call.server.composition import running
from active_call.server.config.document import read_environment
from active_call.server.config.loading import DEFAULT_FILE, load_config
from active_call.server.reloading import ConfigSource
from active_call.server.user_errors import UserErrors

H = TypeVar("H", bound=Handler)

NOBODY = Refused(404, "No handler for this call")


class CallServer(Protocol):
    """The interface of the server for an application."""

    @property
    def registry(self) -> CallRegistry:
        """The live calls, and how to place new ones."""
        ...


@dataclass(frozen=True, slots=True)
class _Route:
    """A function and the calls that it takes; None matches every call."""

    handler: Handler
    callee: re.Pattern[str] | None
    caller: re.Pattern[str] | None
    trunk: str | None

    def __str__(self) -> str:
        """`take(), when callee matches '1800'`."""
        patterns = {"callee": self.callee, "caller": self.caller}
        when = [f"{what} matches {pattern.pattern!r}" for what, pattern in patterns.items() if pattern is not None]
        when += [f"trunk is {self.trunk}"] if self.trunk is not None else []
        return f"{getattr(self.handler, '__name__', self.handler)}(){', when ' if when else ''}{' and '.join(when)}"

    def takes(self, call: IncomingCall) -> bool:
        return (
            (self.callee is None or pattern_search.search(self.callee, call.callee) is not None)
            and (self.caller is None or pattern_search.search(self.caller, call.caller) is not None)
            and (self.trunk is None or self.trunk == call.trunk)
        )


def _pattern(name: str, text: str | None) -> re.Pattern[str] | None:
    try:
        return re.compile(text) if text else None
    except re.error as error:
        raise ValueError(f"{name}: {text!r} is not a regular expression: {error}") from None


class App:
    """Answers and places calls.

    `config`: the path of a config file; None: `active-call.toml` in the working directory if it exists, else the defaults.
    `overrides`: its top-level keys, such as `udp_port=5060`. Raises ConfigError if the configuration cannot be used.
    """

    def __init__(self, config: str | os.PathLike[str] | None = None, **overrides: Any) -> None:
        self._file = Path(config) if config is not None else DEFAULT_FILE if DEFAULT_FILE.exists() else None
        self._overrides = overrides
        self._routes: list[_Route] = []
        self._programs = Programs()
        self._server: CallServer | None = None
        self._stack: AsyncExitStack | None = None
        self.config = load_config(self._file, overrides, os.environ)

    # -- who takes calls

    @overload
    def incoming(self, function: H, /) -> H: ...
    @overload
    def incoming(self, /, *, callee: str | None = None, caller: str | None = None, trunk: str | None = None) -> Callable[[H], H]: ...
    def incoming(
        self, function: H | None = None, /, *, callee: str | None = None, caller: str | None = None, trunk: str | None = None
    ) -> H | Callable[[H], H]:
        """Decorator: the function takes inbound calls whose callee and caller match these regular expressions (searched, not anchored).

        Functions are tried in the order of their definition. The call rings until the function answers, rejects or returns.
        Raises ValueError for what is not a regular expression, TypeError for a function that is not async.
        """
        patterns = _pattern("callee", callee), _pattern("caller", caller)

        def register(handler: H) -> H:
            is_async = inspect.iscoroutinefunction(handler)
            if not is_async:
                name = getattr(handler, "__name__", handler)
                raise TypeError(f"{name} is not an async function; write `async def {name}(call: Call)`")
            self._routes.append(_Route(handler, *patterns, trunk))
            return handler

        return register if function is None else register(function)

    # -- life

    def run(self) -> None:
        """Serve until a stop signal. A mistake in the configuration is printed in one line, and the process exits with 2."""
        file = self._file or DEFAULT_FILE
        source = ConfigSource(file, self._overrides, os.environ, had_file=self._file is not None)
        with UserErrors():
            launching.serve(self.config, source, program=self)

    async def __aenter__(self) -> App:
        """Start serving, beside other work of this loop. If the application already runs (in tests: virtually), it goes on."""
        if self._server is not None:
            return self
        stack = AsyncExitStack()
        environment = read_environment(self._file.parent if self._file else Path(), os.environ)
        stack.push_async_callback(self.close)
        self.begin(await stack.enter_async_context(running(self.config, environment, wrap_router=self.router)))
        self._stack = stack
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        stack, self._stack = self._stack, None
        if stack is not None:
            await stack.aclose()

    @property
    def server(self) -> CallServer:
        """The running server. Raises RuntimeError before `run` or `async with`."""
        if self._server is None:
            raise RuntimeError("the application is not running yet; use app.run() or 'async with app:'")
        return self._server

    def calls(self) -> list[Call]:
        """The calls that functions of this application handle."""
        return self._programs.calls

    # -- placing calls

    async def call(
        self,
        to: str,
        handler: Handler | None = None,
        *,
        caller: str | None = None,
        headers: Mapping[str, str] | None = None,
        variables: Mapping[str, Any] | None = None,
        timeout: float | None = None,
        option: CallOption | None = None,
    ) -> Call:
        """Place a call to a SIP or tel URI, or to a number over the trunk; returns when it is answered.

        `handler` is then run for it, and the call ends when the handler returns; without a handler you end the call. `timeout`: whole
        seconds until it must be answered; by default those of `option`, or 60.
        Raises CallRefused if it is not answered, ActiveCallError if it cannot be placed.
        """
        given = option or CallOption()
        sip = SipOption(headers=dict(headers)) if headers else given.sip
        until_answered = given.handshake_timeout if timeout is None else max(1, math.ceil(timeout))  # 0 would be the default
        option = msgspec.structs.replace(given, callee=to, caller=caller or given.caller, sip=sip, handshake_timeout=until_answered)
        live = self.server.registry.place(option, variables=variables)
        call = Call(live)
        try:
            await call.wait_answered()
        except asyncio.CancelledError:
            await asyncio.shield(call.hangup("cancelled"))
            raise
        if handler is not None:
            self._programs.start(handler, call)
        return call

    # -- for the server

    def router(self, configured: Router | None) -> Router:
        """Passes calls to this application's functions, and calls that no function takes to `configured`."""
        return _AppRouter(self, configured)

    def begin(self, server: CallServer, on_failure: Callable[[BaseException], None] = lambda error: None) -> None:
        """The server is about to accept calls. `on_failure` is called with what a function raises."""
        self._server = server
        self._programs.on_failure = on_failure

    def describe_routes(self) -> list[str]:
        """Which function takes which calls, in the order in which they are tried."""
        return [str(route) for route in self._routes]

    async def close(self) -> None:
        """The server has stopped: wait for the functions that still run."""
        self._server = None
        await self._programs.close()

    def take(self, incoming: IncomingCall) -> bool:
        """Start the function that takes `incoming`; False if none does."""
        route = next((route for route in self._routes if route.takes(incoming)), None)
        live = self.server.registry.find(incoming.session_id) if route is not None else None
        if route is None or live is None:
            return False
        self._programs.start(route.handler, Call(live))
        return True


@dataclass(frozen=True, slots=True)
class _AppRouter:
    """Passes a call to the application's function, else to the configured handler."""

    app: App
    otherwise: Router | None

    async def route(self, call: IncomingCall) -> Decision:
        if self.app.take(call):
            return LeftOpen()
        return await self.otherwise.route(call) if self.otherwise is not None else NOBODY
