"""`active-call call`: one outbound call from the command line, with its conversation printed as it goes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from rich.console import Console

from active_call.contract import events
from active_call.contract.options import CallOption, SipOption
from active_call.server.compose import running
from active_call.server.config import Config


async def place_one_call(
    config: Config,
    environment: Mapping[str, str],
    out: Console,
    uri: str,
    playbook: str,
    *,
    caller: str | None,
    username: str | None,
    password: str | None,
    srtp: bool | None,
) -> bool:
    """Place the call and wait for its end. True when it was answered. Raises ActiveCallError for what cannot be dialled."""
    config = config.model_copy(update={"udp_port": 0, "tls_port": None, "http_addr": "127.0.0.1:0", "handler": None})
    async with running(config, environment) as server:
        book = server.playbooks.load(playbook)
        option = CallOption(callee=uri, caller=caller, sip=SipOption(username=username, password=password, enable_srtp=srtp))
        session = server.directory.place(option, playbook=book)
        over = asyncio.Event()
        session.watch(lambda event: _show(event, out, over))
        out.print(f"calling {uri} …", highlight=False, markup=False)
        await over.wait()
        return session.facts.answered_at is not None


def _show(event: events.Event, out: Console, over: asyncio.Event) -> None:
    match event:
        case events.Ringing():
            out.print("it rings", style="dim")
        case events.Answer():
            out.print("answered", style="dim")
        case events.AddHistory(speaker=speaker, text=text):
            out.print(f"{speaker:>9}  {text}", highlight=False, markup=False)
        case events.Dtmf(digit=digit):
            out.print(f"{'digit':>9}  {digit}", highlight=False, markup=False)
        case events.Error(sender=sender, error=error):
            out.print(f"{sender}: {error}", style="red", highlight=False, markup=False)
        case events.Hangup(reason=reason, initiator=initiator):
            out.print(f"over: {reason} (by {initiator})", style="dim", highlight=False, markup=False)
            over.set()
        case _:
            pass
