"""`active-call serve`: runs until stopped, and tells the operator what listens where and what to configure at the carrier."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from io import TextIOBase
from typing import Protocol

from active_call.base.child_processes import StartsChildren
from active_call.base.version import __version__
from active_call.call.opening.routing import Router
from active_call.contract.options import CallOption
from active_call.net.addresses import is_wildcard, local_address_towards
from active_call.server.blocked_loop import blocks_reported
from active_call.server.composition import Running, running
from active_call.server.config.config import Config
from active_call.server.config.sections import PlaybookHandler, WebhookHandler
from active_call.server.logs import LogOutput
from active_call.server.reloading import ConfigSource, Reloader
from active_call.server.setup.engine_lines import engine_lines
from active_call.server.setup.trunks import active_trunks
from active_call.server.stopping import Stopping
from active_call.sip.routing import bracketed

log = logging.getLogger("active_call.server")

SOMEWHERE_PUBLIC = "192.0.2.1"
"""RFC 5737 documentation address: only used for a routing look-up, never as a destination."""

SWITCH_INTERVAL_S = 0.001
"""How long a thread (records, sound files) may hold the GIL while the loop waits for it. The loop releases the GIL at system calls."""

COLLECT_EVERY_S = 30.0
"""As long as transactions linger; what they held is free by then. A pass only covers the live calls."""
COLLECT_PAUSE_FACTOR = 1000
MAX_COLLECT_S = 300.0
"""The loop is blocked by passes for a thousandth of the time, unless a pass takes over 0.3 s."""
FEW_CALLS = 20
"""With fewer calls a full pass takes some 10 ms. With more it waits for a quieter time, but no longer than `MAX_COLLECT_S`."""
YOUNG_OBJECTS = 1_000
"""New objects until a pass over them, which takes 1 to 1.5 ms: less than a step of a call's set-up."""
YOUNG_PASSES = 1
"""More passes over new objects than this are followed by one over what all of them have left: at most 3,000 objects, 5 ms."""
OLD_PASSES = 330
"""The same for a full pass: after a million new objects."""


class Program(Protocol):
    """Takes calls instead of the configured handler, while the server runs."""

    def router(self, configured: Router | None) -> Router:
        """The router to use; `configured` is the configured one. Called again after a reload."""
        ...

    def begin(self, server: Running) -> None:
        """The server is about to accept calls."""
        ...

    async def close(self) -> None:
        """All calls have ended."""
        ...

    def describe_routes(self) -> Sequence[str]:
        """Who takes which calls, one line each, in order."""
        ...


async def serve_until_stopped(
    config: Config,
    environment: Mapping[str, str],
    out: TextIOBase,
    call: str | None = None,
    stopping: Stopping | None = None,
    *,
    source: ConfigSource | None = None,
    output: LogOutput | None = None,
    program: Program | None = None,
    children: StartsChildren | None = None,
) -> None:
    """Serve; with `call`, place that call once ready. With a `source`, SIGHUP reloads the configuration. A second stop signal, by
    `stopping`, ends the remaining calls. `children` starts media and engine processes.
    """
    for warning in config.warnings:
        log.warning("configuration", extra={"warning": warning})
    async with (
        closing(program),
        running(config, environment, wrap_router=program.router if program is not None else None, children=children) as server,
        blocks_reported(),
        asyncio.TaskGroup() as tasks,
    ):
        if program is not None:
            program.begin(server)
        if stopping is not None:
            stopping.end_calls_now = server.hurry
            stopping.drain_s = config.graceful_shutdown_timeout if config.graceful_shutdown else 0.0
        if source is not None:
            reloader = Reloader(source, server.settings, output)
            tasks.create_task(reloader.run(), name="reloading")
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reloader.request)
        make_collections_rare()
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        out.write(describe(server, program.describe_routes() if program is not None else ()) + "\n")
        if call is not None:
            server.registry.place(CallOption(callee=call))
        await collect_now_and_then(lambda: server.registry.n_calls)


@asynccontextmanager
async def closing(program: Program | None) -> AsyncIterator[None]:
    """Close `program` at the end."""
    try:
        yield
    finally:
        if program is not None:
            await program.close()


async def collect_now_and_then(n_calls: Callable[[], int]) -> None:
    """Free what ended calls and finished requests have left in reference cycles, at a time with few calls if there is one."""
    wait_s = COLLECT_EVERY_S
    while True:
        await _wait_for_few_calls(n_calls, wait_s)
        begun = time.monotonic()
        gc.collect()
        wait_s = collect_after_s(time.monotonic() - begun)


async def _wait_for_few_calls(n_calls: Callable[[], int], wait_s: float) -> None:
    """Wait for `wait_s` seconds, then until there are few calls, at most for `MAX_COLLECT_S` in all."""
    await asyncio.sleep(wait_s)
    waited_s = wait_s
    while n_calls() >= FEW_CALLS and waited_s < MAX_COLLECT_S:
        await asyncio.sleep(COLLECT_EVERY_S)
        waited_s += COLLECT_EVERY_S


def collect_after_s(pass_s: float) -> float:
    """How long to wait after a pass that blocked the loop for `pass_s`: with many calls on a full core a pass takes some 0.1 s and more."""
    return min(max(COLLECT_EVERY_S, pass_s * COLLECT_PAUSE_FACTOR), MAX_COLLECT_S)


def make_collections_rare() -> None:
    """Keep garbage collection from blocking the loop for long.

    Objects loaded by now live as long as the program, so full passes skip them; and full passes come after a million objects, not after
    seventy thousand. With the defaults a pass takes 50 to 100 ms every three seconds at 150 calls a second. The other passes are short: a
    pass over a hundred thousand objects takes 80 ms, and three times as long if media processes use two thirds of the core.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, YOUNG_PASSES, OLD_PASSES)


def describe(server: Running, routes: Sequence[str] = ()) -> str:
    """What listens where, who takes calls, and what to configure at the carrier. `routes`: handlers before the configured one."""
    config = server.config
    learnt = server.listeners[0].learnt
    own = learnt.host if learnt is not None else None
    public = config.public_ip or own or (local_address_towards(SOMEWHERE_PUBLIC) if is_wildcard(config.addr) else config.addr)
    public = bracketed(public)
    sip = ", ".join(f"{entry.transport} {bracketed(entry.bound.host)}:{entry.bound.port}" for entry in server.listeners)
    http_host = "127.0.0.1" if is_wildcard(config.http_host) else bracketed(config.http_host)
    access = "" if config.http_token or config.http_tokens else "; only this machine may control calls, unless http_token is set"
    scheme = "https" if config.http_tls else "http"
    srtp = "on" if config.enable_srtp else "as the caller offers"
    ports_text = f"{bracketed(config.rtp_address)}:{config.rtp_start_port}-{config.rtp_end_port}"
    lines = [
        f"active-call {__version__} is ready.",
        f"  SIP    {sip}",
        f"  HTTP   {scheme}://{http_host}:{server.http_port}/  (console; API at /docs{access})",
        f"  media  udp {ports_text}, {len(server.pool.workers)} process(es), SRTP {srtp}",
        *call_lines(config, routes),
        *(f"  speech {line}" for line in engine_lines(config, server.playbooks, server.environment)),
        f"  from   {_callers_line(config)}",
        "Enter at the carrier (Twilio: Elastic SIP Trunking > your trunk > Origination; Telnyx: FQDN or IP connection):",
    ]
    ports = {entry.transport: entry.bound.port for entry in server.listeners}
    if "tls" in ports:
        lines.append(f"  sip:{public}:{ports['tls']};transport=tls")
    lines.append(f"  sip:{public}:{ports['udp']}{'   (plain UDP, for tests)' if 'tls' in ports else ''}")
    if learnt is not None:
        lines.append(f"  {public} was learnt by STUN; forward the ports to this machine unchanged.")
    elif config.external_ip in (None, "auto"):
        lines.append(f"  {public} is this machine's own address; set external_ip in the config file if carriers see another one.")
    near = "127.0.0.1" if is_wildcard(config.addr) else bracketed(config.addr)
    call = f"/dial sip:test@{near}:{ports['udp']}"
    lines.append(f"Try it: baresip -e '/uanew <sip:me@{near}>;regint=0' -e '{call}'   or   active-call call sip:you@your-phone")
    return "\n".join(lines)


def _callers_line(config: Config) -> str:
    listed = [trunk.name for trunk in active_trunks(config) if trunk.allow]
    return f"trunks {', '.join(listed)}; nobody else" if listed else "anybody: no [[trunks]] entry limits who may call"


def call_lines(config: Config, routes: Sequence[str]) -> list[str]:
    """Who takes inbound calls: the functions of a program, then the configured handler."""
    lines = [f"go to {route}" for route in routes]
    if not routes or config.handler is not None:
        lines.append(f"others {_handler_line(config)}" if routes else _handler_line(config))
    return [f"  {'calls' if index == 0 else '     '}  {line}" for index, line in enumerate(lines)]


def _handler_line(config: Config) -> str:
    match config.handler:
        case None:
            return "nobody takes inbound calls: set [handler] in the config file"
        case PlaybookHandler() as handler:
            rules = f"{len(handler.rules)} rule(s), then " if handler.rules else ""
            return f"go to {rules}{handler.default or 'nobody (404)'}"
        case WebhookHandler() as handler:
            return f"are decided by {', '.join(handler.all_urls)}"
        case handler:
            return f"go to {handler.target}"
