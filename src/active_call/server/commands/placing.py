"""`active-call call`: one outbound call from the command line; its conversation is printed live."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from rich.console import Console

from active_call.base.log_lines import escaped
from active_call.contract import events, wire
from active_call.contract.options import CallOption, SipOption
from active_call.server.composition import running
from active_call.server.config.config import Config
from active_call.server.terminal import plain_line


@dataclass(frozen=True, slots=True)
class CallRequest:
    """The callee and the settings. None: as configured."""

    uri: str
    playbook: str
    caller: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    srtp: bool | None = None
    as_json: bool = False
    """Print only JSON, one event per line."""


async def place_one_call(config: Config, environment: Mapping[str, str], out: Console, request: CallRequest) -> bool:
    """Place the call and wait for its end; cancelling hangs up. True if it was answered.

    Raises ActiveCallError for an address that cannot be dialled.
    """
    config = config.model_copy(update={"udp_port": 0, "tls_port": None, "http_addr": "127.0.0.1:0", "handler": None})
    async with running(config, environment) as server:
        book = server.playbooks.load(request.playbook)
        login = SipOption(username=request.username, password=request.password, enable_srtp=request.srtp)
        option = CallOption(callee=request.uri, caller=request.caller, sip=login)
        call = server.registry.place(option, playbook=book)
        events_of_call = call.subscribe()
        if not request.as_json:
            _print(f"calling {request.uri} …", out)
        try:
            async for item in events_of_call:
                if request.as_json:
                    _print(escaped(wire.encode_event(item.event).decode()), out)
                else:
                    _show(item.event, out)
        except asyncio.CancelledError:
            server.registry.end_calls_now()  # Ctrl-C hangs up; the server would wait until the call is over
            raise
        described = call.describe()
        if described.answered_at is None and not request.as_json:
            why = described.error or f"{described.sip_code or ''} {described.end_reason}".strip()
            _print(f"not answered: {why}", out, style="red")
        return described.answered_at is not None


def _print(text: str, out: Console, style: str | None = None) -> None:
    """Print one line: external text is not markup, has no emoji names, and moves no cursor."""
    out.print(plain_line(text), style=style, highlight=False, markup=False, emoji=False, soft_wrap=True)


def _show(event: events.Event, out: Console) -> None:
    match event:
        case events.Ringing():
            out.print("it rings", style="dim")
        case events.Answer():
            out.print("answered", style="dim")
        case events.AddHistory(speaker=speaker, text=text):
            who = {"assistant": "agent", "user": "callee"}.get(speaker, speaker)
            _print(f"{who:>7}  {text}", out)
        case events.Dtmf(digit=digit):
            _print(f"{'digit':>7}  {digit}", out)
        case events.Error(sender=sender, error=error):
            _print(f"{sender}: {error}", out, style="red")
        case events.Hangup(reason=reason, initiator=initiator):
            _print(f"over: {reason} (by {initiator})", out, style="dim")
        case _:
            pass
